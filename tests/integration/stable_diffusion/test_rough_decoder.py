"""The rough decoder, held to the VAE that it stands for."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from stable_diffusion import images, rough_decoder
from stable_diffusion.autoencoder import Autoencoder
from stable_diffusion.executors.plain import PlainExecutor
from stable_diffusion.models import Model
from stable_diffusion.rough_decoder import RoughDecoder
from tests.support.pictures import EXAMPLES, difference


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that is empty."""
    monkeypatch.setenv("CACHE_DIR", str(tmp_path))
    return tmp_path / "previews"


def latents_of(demo: Model, picture: Image.Image) -> torch.Tensor:
    executor = PlainExecutor(demo)
    vae = Autoencoder(demo, executor.encode, executor.decode, executor.decode_tiles)
    return vae.latents(picture)[0]


@pytest.mark.parametrize("name", ["apple", "car", "flower", "cat"])
def test_it_gives_what_the_vae_was_given(demo: Model, name: str) -> None:
    picture = images.fit(images.read_image(EXAMPLES / f"{name}.png"), (256, 192))
    rough = RoughDecoder.of(demo).picture(latents_of(demo, picture).numpy(), 128)
    assert rough.size == (128, 96)
    assert difference(rough, picture.resize(rough.size, Image.Resampling.BOX))[1] < 25


@pytest.mark.parametrize(
    ("latents", "most", "size"),
    [
        ((16, 16), 128, (64, 64)),
        ((16, 32), 128, (128, 64)),
        ((64, 64), 128, (128, 128)),
        ((96, 96), 128, (96, 96)),
        ((512, 256), 128, (64, 128)),
        ((1, 512), 128, (128, 1)),
    ],
)
def test_its_pictures_have_the_shape_of_the_latents(
    demo: Model, latents: tuple[int, int], most: int, size: tuple[int, int]
) -> None:
    values = numpy.zeros((4, *latents), numpy.float32)
    assert RoughDecoder.of(demo).picture(values, most).size == size


def test_numbers_that_have_overflowed_are_no_fault(demo: Model) -> None:
    values = numpy.full((4, 8, 8), numpy.inf, numpy.float32)
    values[0] = numpy.nan
    assert RoughDecoder.of(demo).picture(values, 128).size == (32, 32)


def test_it_is_fitted_once_to_each_vae(
    demo: Model, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = RoughDecoder.of(demo)
    (file,) = cache.iterdir()
    fitted: list[Model] = []
    fit = rough_decoder._fit

    def counted(model: Model) -> numpy.ndarray:
        fitted.append(model)
        return fit(model)

    monkeypatch.setattr(rough_decoder, "_fit", counted)
    assert numpy.array_equal(RoughDecoder.of(demo).weights, first.weights)
    assert not fitted
    for broken in (b"", b"no array", file.read_bytes()[:-8]):
        file.write_bytes(broken)
        assert numpy.array_equal(RoughDecoder.of(demo).weights, first.weights)
    assert len(fitted) == 3
    pipeline = copy.copy(demo.pipeline)
    pipeline.vae = copy.deepcopy(demo.pipeline.vae)
    pipeline.vae.encoder.conv_out.weight[0, 0, 0, 0] += 1
    other = RoughDecoder.of(dataclasses.replace(demo, pipeline=pipeline))
    assert not numpy.array_equal(other.weights, first.weights)
    assert len(list(cache.iterdir())) == 2
