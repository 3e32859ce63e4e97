from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from transformers import CLIPTokenizer

from stable_diffusion.catalogue import WEIGHTS
from tests.support.pictograms import packed
from train_demo import autoencoder
from train_demo.latents import Latents, encode, trained_on
from train_demo.settings import PRESETS

TOKENIZER = WEIGHTS / "demo" / "tokenizer"


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Latents, int]:
    """Latents of three things in all styles, and how many pictograms that were."""
    torch.manual_seed(0)
    pictures = packed(tmp_path_factory.mktemp("pictures") / "pictograms.zip")
    settings = dataclasses.replace(PRESETS["smoke"], variants=2, captions=5)
    vae = autoencoder.new(settings.autoencoder_channels).eval()
    return encode(pictures, vae, TOKENIZER, settings), len(trained_on(pictures))


def test_each_pictogram_and_its_variants_have_latents_of_each_size(
    encoded: tuple[Latents, int],
) -> None:
    latents, count = encoded
    assert latents.of_size[128].shape == (3 * count, 4, 16, 16)
    assert latents.of_size[256].shape == (3 * count, 4, 32, 32)
    assert latents.is_plain.tolist() == [True, False, False] * count
    for of_size in latents.of_size.values():
        assert of_size.isfinite().all()
    # The same pictures: their latents at half the size are alike.
    smaller = torch.nn.functional.avg_pool2d(latents.of_size[256].float(), 2)
    pair = torch.stack([smaller.flatten(), latents.of_size[128].float().flatten()])
    assert torch.corrcoef(pair)[0, 1] > 0.9


def test_each_picture_has_captions_that_say_what_it_shows(encoded: tuple[Latents, int]) -> None:
    latents, count = encoded
    tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER)
    assert latents.tokens.shape == (3 * count, 5, 77)
    nothing = tokenizer("", padding="max_length", max_length=77).input_ids
    assert latents.no_tokens.tolist() == nothing
    for of_picture in latents.tokens:
        texts = tokenizer.batch_decode(of_picture, skip_special_tokens=True)
        assert all(any(thing in text for thing in ("disc", "bar", "triangle")) for text in texts)
        assert len(set(texts)) > 1


def test_what_is_saved_is_loaded(encoded: tuple[Latents, int], tmp_path: Path) -> None:
    latents, _ = encoded
    latents.save(tmp_path / "latents.pt")
    loaded = Latents.load(tmp_path / "latents.pt")
    assert torch.equal(loaded.tokens, latents.tokens)
    assert torch.equal(loaded.no_tokens, latents.no_tokens)
    assert torch.equal(loaded.is_plain, latents.is_plain)
    assert all(torch.equal(loaded.of_size[size], each) for size, each in latents.of_size.items())
