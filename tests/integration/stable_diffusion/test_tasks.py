"""The other models' tasks, held to the library's own pipelines on small random models."""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from PIL import Image

from stable_diffusion import images, models
from stable_diffusion.events import Event, Finished, Picture, Progress
from stable_diffusion.models import Model
from stable_diffusion.request import SCHEDULERS
from tests.support import random_models
from tests.support.library import OURS, library_pipeline, mean_latents, take_our_schedule
from tests.support.pictures import EXAMPLES, difference, half_mask, picture_of, same
from tests.support.properties import given, settings
from tests.support.properties import strategies as st
from tests.support.studio import Studio, count_calls, request

FLOWER = images.read_image(EXAMPLES / "flower.png")
NATIVE = (128, 128)
ASKED: dict[str, Any] = {
    "negative_prompt": "blue",
    "guidance_scale": 3,
    "num_inference_steps": 20,
}


def opened_studio(task: str, demo: Model, folders: pytest.TempPathFactory) -> Iterator[Studio]:
    studio = Studio(models.load(random_models.make(task, demo, folders.mktemp(task))))
    yield studio
    studio.close()


@pytest.fixture(scope="module")
def inpainting(demo: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    yield from opened_studio("inpainting", demo, tmp_path_factory)


@pytest.fixture(scope="module")
def depth(demo: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    yield from opened_studio("depth", demo, tmp_path_factory)


@pytest.fixture(scope="module")
def upscaler(demo: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    yield from opened_studio("upscale", demo, tmp_path_factory)


def latents_seen(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """What the UNet is given from now on, call by call."""
    seen: list[torch.Tensor] = []
    forward = model.pipeline.unet.forward

    def watched(latents: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        seen.append(latents.clone())
        return forward(latents, *arguments, **options)

    monkeypatch.setattr(model.pipeline.unet, "forward", watched)
    return seen


def block_mask(size: tuple[int, int] = NATIVE) -> Image.Image:
    """White in a rectangle whose corners are corners of latents."""
    mask = Image.new("L", size, 0)
    mask.paste(255, (size[0] // 4, size[1] // 2, size[0], size[1]))
    return mask


# The library


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("strength", [1, 0.75])
def test_inpainting_is_the_librarys(inpainting: Studio, scheduler: str, strength: float) -> None:
    library = library_pipeline("StableDiffusionInpaintPipeline", inpainting.model, scheduler)
    if (strength < 1 and scheduler in OURS) or scheduler == OURS[-1]:
        take_our_schedule(library, scheduler, ASKED["num_inference_steps"], strength)
    library._encode_vae_image = lambda image, generator: mean_latents(library, image)
    fitted = images.fit(FLOWER, NATIVE)
    theirs = library(
        "a red apple",
        image=fitted,
        mask_image=block_mask(),
        width=128,
        height=128,
        strength=strength,
        generator=torch.Generator().manual_seed(5),
        **ASKED,
    ).images[0]
    options = {"image": FLOWER, "mask": block_mask(), "strength": strength}
    (ours,) = inpainting.draw(scheduler=scheduler, seed=5, **options, **ASKED)
    repainted = (32, 64, 128, 128)
    assert same(ours.crop(repainted), theirs.crop(repainted))
    assert difference(ours.crop(repainted), fitted.crop(repainted))[1] > 5


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.filterwarnings("ignore:In CPU autocast")
def test_depth_to_image_is_the_librarys(depth: Studio, scheduler: str) -> None:
    library = library_pipeline("StableDiffusionDepth2ImgPipeline", depth.model, scheduler)
    if scheduler in OURS:
        take_our_schedule(library, scheduler, ASKED["num_inference_steps"], 0.75)
    fitted = images.fit(FLOWER, (256, 128))
    latents, prepare = mean_latents(library, fitted), library.prepare_latents
    library.prepare_latents = lambda _, *rest: prepare(latents, *rest)
    generator = torch.Generator().manual_seed(5)
    theirs = library("a red apple", image=fitted, strength=0.75, generator=generator, **ASKED)
    options = {"image": FLOWER, "strength": 0.75, "width": 256, "height": 128}
    (ours,) = depth.draw(scheduler=scheduler, seed=5, **options, **ASKED)
    assert same(ours, theirs.images[0])


@pytest.mark.parametrize(
    ("scheduler", "noise_level"),
    [*((name, 20) for name in SCHEDULERS), ("DDIM", 0), ("DDIM", 350)],
)
def test_upscaling_is_the_librarys(upscaler: Studio, scheduler: str, noise_level: int) -> None:
    library = library_pipeline("StableDiffusionUpscalePipeline", upscaler.model, scheduler)
    if scheduler == OURS[-1]:
        take_our_schedule(library, scheduler, ASKED["num_inference_steps"], 1)
    small = images.fit(FLOWER, (32, 24))
    generator = torch.Generator().manual_seed(5)
    # The latents' noise is drawn first, then that on the small image.
    latents = torch.randn((1, 4, 24, 32), generator=generator)
    options: dict[str, Any] = {"noise_level": noise_level, **ASKED}
    theirs = library("a red apple", small, latents=latents, generator=generator, **options)
    (ours,) = upscaler.draw(image=small, scheduler=scheduler, seed=5, **options)
    assert ours.size == (128, 96)
    assert same(ours, theirs.images[0])


# Inpainting


def test_a_trained_inpainter_preserves_black_exactly_and_feathers_the_white_side(
    inpainting: Studio,
) -> None:
    ramp = Image.linear_gradient("L").resize(NATIVE)
    fitted, preserved = images.fit(FLOWER, NATIVE), numpy.asarray(images.fit(ramp, NATIVE)) < 128
    for strength in (0.5, 1):
        (picture,) = inpainting.draw(image=FLOWER, mask=ramp, strength=strength)
        assert (numpy.asarray(picture) == numpy.asarray(fitted))[preserved].all()
        changed = abs(numpy.asarray(picture).astype(int) - numpy.asarray(fitted)).mean(axis=2)
        assert 0 < changed[64:72].mean() < changed[120:].mean()


def test_a_trained_inpainter_sees_the_preserved_part_and_nothing_of_the_other(
    inpainting: Studio,
) -> None:
    mask, options = block_mask(), {"strength": 1, "num_inference_steps": 3}
    other = picture_of()

    def drawn(image: Image.Image) -> Image.Image:
        (picture,) = inpainting.draw(image=image, mask=mask, **options)
        return picture.crop((32, 64, 128, 128))

    fitted = images.fit(FLOWER, NATIVE)
    white_changed = Image.composite(other, fitted, mask)
    black_changed = Image.composite(fitted, other, mask)
    assert same(drawn(fitted), drawn(white_changed))
    assert not same(drawn(fitted), drawn(black_changed))


@pytest.mark.parametrize("task", ["studio", "inpainting"])
def test_a_black_mask_returns_the_image_without_a_step(
    task: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    studio: Studio = request.getfixturevalue(task)
    monkeypatch.setattr(studio.model.pipeline.unet, "forward", None)
    black = Image.new("L", (10, 10), 127)
    (picture,) = studio.draw(image=FLOWER, mask=black, strength=1)
    assert difference(picture, images.fit(FLOWER, NATIVE)) == (0, 0)


def test_a_white_mask_is_a_full_repaint(inpainting: Studio) -> None:
    white = Image.new("L", (10, 10), 255)
    options = {"mask": white, "strength": 1, "num_inference_steps": 3}
    pictures = [inpainting.draw(image=image, **options)[0] for image in (FLOWER, picture_of())]
    assert same(*pictures)


def test_a_latent_is_repainted_when_any_of_its_pixels_is(
    studio: Studio, inpainting: Studio
) -> None:
    mask = Image.new("L", NATIVE, 127)
    mask.putpixel((41, 7), 128)
    expected = torch.zeros(16, 16)
    expected[0, 5] = 1
    blended = studio.engine._task.prepare(request(image=FLOWER, mask=mask))
    assert blended.mask_latents is not None
    assert torch.equal(blended.mask_latents[0, 0], expected)
    seen = inpainting.engine._task.prepare(request(image=FLOWER, mask=mask))
    assert seen.condition is not None
    assert torch.equal(seen.condition[0, 0], expected)


# Depth


def test_the_depth_is_seen_at_full_strength_too(depth: Studio) -> None:
    options = {"strength": 1, "num_inference_steps": 3}
    pictures = [depth.draw(image=image, **options)[0] for image in (FLOWER, picture_of())]
    assert not same(*pictures)


def test_a_flat_image_has_a_depth_and_gives_a_picture(
    depth: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    grey = Image.new("RGB", NATIVE, "grey")
    flat = SimpleNamespace(predicted_depth=torch.full((1, 64, 64), 7.0))
    monkeypatch.setattr(depth.model.pipeline.depth_estimator, "forward", lambda _: flat)
    inputs = depth.engine._task.prepare(request(image=grey))
    assert inputs.condition is not None
    assert torch.isfinite(inputs.condition).all()
    assert depth.draw(image=grey)[0].size == NATIVE


def test_a_mask_preserves_in_depth_to_image_too(depth: Studio) -> None:
    (picture,) = depth.draw(image=FLOWER, mask=block_mask(), strength=1)
    fitted = images.fit(FLOWER, NATIVE)
    assert difference(picture.crop((0, 0, 128, 64)), fitted.crop((0, 0, 128, 64))) == (0, 0)
    assert difference(picture, fitted)[1] > 5


# Upscaling


@settings(max_examples=10)
@given(width=st.integers(1, 40), height=st.integers(1, 40))
def test_any_size_is_upscaled_four_times(upscaler: Studio, width: int, height: int) -> None:
    small = picture_of(size=(width, height))
    (picture,) = upscaler.draw(image=small, num_inference_steps=1)
    assert picture.size == (4 * width, 4 * height)


def test_what_is_padded_is_the_repeated_edge(upscaler: Studio) -> None:
    small = picture_of(size=(20, 13))
    pixels = numpy.asarray(small)
    padded = numpy.concatenate([pixels, pixels[-1:], pixels[-1:], pixels[-1:]])
    padded = numpy.concatenate([padded, *[padded[:, -1:]] * 4], axis=1)
    (whole,) = upscaler.draw(image=Image.fromarray(padded), num_inference_steps=2)
    (picture,) = upscaler.draw(image=small, num_inference_steps=2)
    assert same(picture, whole.crop((0, 0, 80, 52)))


def test_image_i_of_the_upscaler_has_its_own_noise_on_the_small_image(upscaler: Studio) -> None:
    options = {"image": picture_of(size=(32, 32)), "noise_level": 350, "num_inference_steps": 2}
    together = upscaler.draw(seed=7, num_images=3, **options)
    assert same(together[2], upscaler.draw(seed=9, **options)[0])
    assert not same(together[0], together[2])


def test_large_latents_are_decoded_in_tiles(
    upscaler: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = upscaler.model.pipeline.vae
    decoder, sides = vae.decoder, list[int]()
    forward = decoder.forward

    def watched(latents: torch.Tensor, *rest: Any) -> Any:
        sides.append(max(latents.shape[-2:]))
        return forward(latents, *rest)

    monkeypatch.setattr(decoder, "forward", watched)
    for width in (128, 136):
        sides.clear()
        (picture,) = upscaler.draw(image=picture_of(size=(width, 8)), num_inference_steps=1)
        assert picture.size == (4 * width, 32)
        assert max(sides) == 128
        assert len(sides) == (1 if width == 128 else 2)


def test_what_is_larger_than_a_piece_is_upscaled_in_pieces(
    upscaler: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = latents_seen(upscaler.model, monkeypatch)
    wide = picture_of(size=(600, 13))
    options: dict[str, Any] = {"image": wide, "num_inference_steps": 2, "guidance_scale": 3}
    options["num_images"] = 2
    events = list(upscaler.events(**options))
    pictures = [event for event in events if isinstance(event, Picture)]
    assert [picture.image.size for picture in pictures] == [(2400, 52)] * 2
    # Two pieces, with two steps of four rows each.
    assert {tuple(latents.shape[1:]) for latents in seen} == {(7, 16, 336)}
    assert sum(map(len, seen)) == 2 * 2 * 4
    told = [(event.step, event.steps) for event in events if isinstance(event, Progress)]
    assert told == [(step, 4) for step in (1, 2, 3, 4)]
    # What is asked beside it changes nothing, and image i is that of seed + i.
    together, (small,) = upscaler.draw_together(
        [options, {"image": wide.crop((0, 0, 40, 13)), "seed": 2}]
    )
    for picture, other in zip(pictures, together, strict=True):
        assert same(picture.image, other)
    assert small.size == (160, 52)
    (second,) = upscaler.draw(**{**options, "num_images": 1, "seed": 2})
    assert same(second, pictures[1].image)


def test_pieces_begin_with_parts_of_one_noise(
    upscaler: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = latents_seen(upscaler.model, monkeypatch)
    options = {"image": picture_of(size=(600, 8)), "scheduler": "K_EULER_ANCESTRAL"}
    upscaler.draw(**options, num_inference_steps=2, guidance_scale=1)
    first, later, second, later_of_second = seen
    assert torch.equal(first[..., 264:], second[..., :72])
    # The noise that a step adds is most of what it changes here, and shared too.
    ours, others = later[0, :4, :, 264:].flatten(), later_of_second[0, :4, :, :72].flatten()
    assert torch.corrcoef(torch.stack([ours, others]))[0, 1] > 0.9
    ours, others = later[0, :4, :, :72].flatten(), later_of_second[0, :4, :, :72].flatten()
    assert torch.corrcoef(torch.stack([ours, others]))[0, 1] < 0.5


def test_a_request_that_is_cancelled_between_pieces_ends_there(upscaler: Studio) -> None:
    events: SimpleQueue[Event] = SimpleQueue()
    asked = request(image=picture_of(size=(1200, 8)), num_inference_steps=2)
    job = upscaler.engine.submit(asked, events.put)
    told = 0
    while told < 3:
        event = events.get(timeout=60)
        told = event.step if isinstance(event, Progress) else told
    job.cancel()
    upscaler.draw(image=picture_of(size=(8, 8)))  # what comes after it is drawn
    left = [events.get() for _ in range(events.qsize())]
    assert not any(isinstance(event, (Picture, Finished)) for event in left)


# Half precision


@pytest.mark.parametrize("task", ["inpainting", "depth", "upscaler"])
def test_half_precision_draws_nearly_the_same_with_what_does_not_bear_it_in_full(
    task: str, request: pytest.FixtureRequest
) -> None:
    studio: Studio = request.getfixturevalue(task)
    half = Studio(models.load(studio.model.weights, "float16"))
    pipeline = half.model.pipeline
    assert half.model.dtype == pipeline.text_encoder.dtype == torch.float16
    assert pipeline.vae.dtype == (torch.float32 if task == "upscaler" else torch.float16)
    if task == "depth":
        assert pipeline.depth_estimator.dtype == torch.float32
    small = images.fit(FLOWER, (16, 16) if task == "upscaler" else NATIVE)
    inputs: dict[str, Any] = {"image": small, "num_inference_steps": 2}
    if task == "inpainting":
        inputs["mask"] = block_mask()
    largest, mean = difference(half.draw(**inputs)[0], studio.draw(**inputs)[0])
    half.close()
    assert largest <= 8
    assert mean <= 0.5


# The smallest size


@pytest.mark.parametrize("task", ["studio", "inpainting", "depth"])
def test_the_smallest_size_is_drawn_and_preserved_by_every_task(
    task: str, request: pytest.FixtureRequest
) -> None:
    studio: Studio = request.getfixturevalue(task)
    side = {"width": 64, "height": 64}
    asked: list[dict[str, Any]] = [
        {"image": FLOWER, "mask": half_mask(FLOWER.size), "seed": seed, **side} for seed in (1, 2)
    ]
    alone = [studio.draw(**inputs)[0] for inputs in asked]
    assert difference(alone[0], alone[1])[1] > 1
    fitted = images.fit(FLOWER, (64, 64))
    for (picture,), expected in zip(studio.draw_together(asked), alone, strict=True):
        assert same(picture, expected)
        assert difference(picture.crop((0, 0, 32, 64)), fitted.crop((0, 0, 32, 64))) == (0, 0)


@pytest.mark.parametrize("task", ["inpainting", "depth"])
def test_any_result_size_is_drawn_and_preserved_by_every_task(
    task: str, request: pytest.FixtureRequest
) -> None:
    studio: Studio = request.getfixturevalue(task)
    inputs: dict[str, Any] = {"image": FLOWER, "mask": half_mask(FLOWER.size), "seed": 1}
    (picture,) = studio.draw(result_size="100x136", **inputs)
    fitted = images.fit(FLOWER, (100, 136))
    left, right = (0, 0, 49, 136), (52, 0, 100, 136)
    assert difference(picture.crop(left), fitted.crop(left)) == (0, 0)
    assert difference(picture.crop(right), fitted.crop(right))[1] > 1


# Sharing


@pytest.mark.parametrize("task", ["inpainting", "depth", "upscaler"])
def test_every_task_shares_its_steps_and_comes_out_the_same(
    task: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    studio: Studio = request.getfixturevalue(task)
    size = (16, 16) if task == "upscaler" else NATIVE
    asked: list[dict[str, Any]] = [
        {"image": images.fit(FLOWER, size), "seed": 1, "guidance_scale": 3},
        {"image": picture_of(size=size), "seed": 2, "guidance_scale": 1, "noise_level": 300},
        {"image": picture_of(size=size), "seed": 3, "num_images": 2, "prompt": "a blue house"},
    ]
    for inputs in asked if task == "inpainting" else []:
        inputs["mask"] = block_mask()
    alone = [studio.draw(num_inference_steps=4, **inputs) for inputs in asked]
    rows = count_calls(studio.model, monkeypatch)
    together = studio.draw_together([{"num_inference_steps": 4, **inputs} for inputs in asked])
    assert max(rows) == 2 + 1 + 4
    for ours, theirs in zip(together, alone, strict=True):
        assert all(same(*pair) for pair in zip(ours, theirs, strict=True))


# Parts and extensions


def test_the_inpainting_and_depth_models_draw_a_part_alone(
    inpainting: Studio, depth: Studio
) -> None:
    image = picture_of(size=(300, 200))
    mask = Image.new("L", image.size)
    mask.paste(255, (100, 50, 150, 90))
    for studio in (inpainting, depth):
        asked: dict[str, Any] = {"image": image, "mask": mask, "only_masked": True}
        (picture,) = studio.draw(num_inference_steps=2, strength=1, **asked)
        changed = (numpy.asarray(picture) != numpy.asarray(image)).any(2)
        assert changed[50:90, 100:150].mean() > 0.9
        assert changed.sum() == changed[50:90, 100:150].sum()


def test_the_inpainting_and_depth_models_draw_beyond_the_image(
    inpainting: Studio, depth: Studio
) -> None:
    fitted, black = images.fit(FLOWER, NATIVE), Image.new("L", NATIVE)
    for studio, more in ((inpainting, {"mask": black}), (depth, {})):
        (picture,) = studio.draw(
            image=FLOWER, extend_right=40, extend_top=8, num_inference_steps=2, strength=1, **more
        )
        assert picture.size == (168, 136)
        assert difference(picture.crop((0, 8, 128, 136)), fitted) == (0, 0)
        assert numpy.asarray(picture.crop((144, 0, 168, 136))).std() > 1
