from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from transformers import CLIPTokenizer

from stable_diffusion.catalogue import WEIGHTS
from tests.support.pictograms import packed
from train_demo import autoencoder
from train_demo.latents import Latents, encode, trained_on
from train_demo.pictograms import read
from train_demo.settings import PRESETS
from train_demo.variants import WHITE, on

TOKENIZER = WEIGHTS / "demo" / "tokenizer"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(tmp_path_factory.mktemp("pictures") / "pictograms.zip")


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    return AutoencoderKL.from_pretrained(WEIGHTS / "demo" / "vae", dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def latents(pictures: Path, vae: AutoencoderKL) -> Latents:
    settings = dataclasses.replace(PRESETS["smoke"], variants=1, captions=5)
    return encode(pictures, vae, TOKENIZER, settings)


@pytest.mark.parametrize("size", [128, 256])
def test_each_pictogram_and_its_variants_have_latents(
    latents: Latents, pictures: Path, vae: AutoencoderKL, size: int
) -> None:
    learned = trained_on(pictures)
    assert latents.of_size[size].shape == (2 * len(learned), 4, size // 8, size // 8)
    assert latents.is_plain.tolist() == [True, False] * len(learned)
    plain = latents.of_size[size][latents.is_plain].float()
    for rgba, found in zip(read(learned[:6], pictures), plain, strict=False):
        original = Image.fromarray(on(rgba, WHITE)).resize((size, size), Image.Resampling.BICUBIC)
        pixels = autoencoder.pixels(np.array(original)[None], vae.device)
        expected = vae.encode(pixels).latent_dist.mean[0]
        assert (found - expected).abs().mean() < 0.05 * expected.std()


def test_each_picture_has_captions_that_say_what_it_shows(latents: Latents) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER)
    assert latents.tokens.shape == (len(latents.is_plain), 5, 77)
    nothing = tokenizer("", padding="max_length", max_length=77).input_ids
    assert latents.no_tokens.tolist() == nothing
    for of_picture in latents.tokens:
        texts = tokenizer.batch_decode(of_picture, skip_special_tokens=True)
        assert all(any(thing in text for thing in ("disc", "bar", "triangle")) for text in texts)
        assert len(set(texts)) > 1


def test_what_is_saved_is_loaded(latents: Latents, tmp_path: Path) -> None:
    latents.save(tmp_path / "latents.pt")
    loaded = Latents.load(tmp_path / "latents.pt")
    assert torch.equal(loaded.tokens, latents.tokens)
    assert torch.equal(loaded.no_tokens, latents.no_tokens)
    assert torch.equal(loaded.is_plain, latents.is_plain)
    assert all(torch.equal(loaded.of_size[size], each) for size, each in latents.of_size.items())
