"""Textures: pictures whose edges continue at the opposite ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy
import pytest
import torch
from PIL import Image, ImageChops

from stable_diffusion import tiling
from stable_diffusion.executors.plain import PlainExecutor
from tests.support.pictures import EXAMPLES, difference
from tests.support.studio import Studio, demo_model

ASKED: dict[str, Any] = {"prompt": "a leaf, green background", "seed": 3}


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    studio = Studio(demo_model())
    yield studio
    studio.close()


def step_over(picture: Image.Image, axis: int) -> tuple[float, float]:
    """How much the pixels on both sides of an edge differ, and those beside each other within."""
    pixels = numpy.moveaxis(numpy.asarray(picture).astype(float), axis, 0)
    within = abs(numpy.diff(pixels, axis=0)).mean()
    return abs(pixels[0] - pixels[-1]).mean(), within


@pytest.mark.parametrize("scheduler", ["DPMSolverMultistep", "PNDM"])
def test_a_tile_goes_on_at_its_opposite_edges(studio: Studio, scheduler: str) -> None:
    image = ImageChops.offset(Image.open(EXAMPLES / "flower.png").convert("RGB"), 90, 70)
    for more in ({}, {"image": image, "strength": 0.8}):
        asked = {**ASKED, "scheduler": scheduler, "num_inference_steps": 12, **more}
        (tile,) = studio.draw(tiling=True, **asked)
        for axis in (0, 1):
            over, within = step_over(tile, axis)
            assert over < 2 * within + 1


@pytest.mark.parametrize(
    ("sides", "scale", "drawn"), [((576, 64), 2, (1152, 128)), ((128, 128), 1.7, (192, 192))]
)
def test_a_refined_tile_goes_on_at_its_opposite_edges(
    studio: Studio, sides: tuple[int, int], scale: float, drawn: tuple[int, int]
) -> None:
    width, height = sides
    asked = {**ASKED, "guidance_scale": 3, "num_inference_steps": 6, "width": width}
    (tile,) = studio.draw(**asked, height=height, tiling=True, refine_scale=scale)
    assert tile.size == drawn
    for axis in (0, 1):  # a thing's own edge may lie there
        pixels = numpy.moveaxis(numpy.asarray(tile).astype(float), axis, 0)
        steepest = abs(numpy.diff(pixels, axis=0)).mean((1, 2)).max()
        assert step_over(tile, axis)[0] < steepest + 1


def test_a_tile_beside_another_picture_changes_neither(studio: Studio) -> None:
    plain = {**ASKED, "num_inference_steps": 4}
    tile = {**plain, "tiling": True}
    alone = [studio.draw(**plain), studio.draw(**tile)]
    together = studio.draw_together([plain, tile, plain])
    assert difference(alone[0][0], alone[1][0])[1] > 1
    for pictures, expected in zip(together, (alone[0], alone[1], alone[0]), strict=True):
        assert difference(pictures[0], expected[0])[0] <= 1


def test_what_is_moved_around_gives_what_is_moved_around(studio: Studio) -> None:
    executor = PlainExecutor(studio.model)
    unet, vae = studio.model.pipeline.unet, studio.model.pipeline.vae
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, 16, 16, generator=generator)
    texts = torch.randn(1, 77, unet.config.cross_attention_dim, generator=generator)

    def predicted(latents: torch.Tensor) -> torch.Tensor:
        return executor.unet(latents, torch.tensor([500.0]), texts, None)

    def moved(tensor: torch.Tensor, by: int) -> torch.Tensor:
        return tensor.roll((by, by), (2, 3))

    with tiling.wrapped(unet), tiling.wrapped(vae):
        assert (predicted(moved(latents, 8)) - moved(predicted(latents), 8)).abs().max() < 1e-3
        pixels = executor.decode(latents)
        assert (executor.decode(moved(latents, 8)) - moved(pixels, 64)).abs().max() < 1e-3
    assert torch.equal(executor.decode_tiles(latents), pixels)
    # Outside, nothing is left of it.
    assert (
        executor.decode(moved(latents, 8)) - moved(executor.decode(latents), 64)
    ).abs().max() > 0.1
