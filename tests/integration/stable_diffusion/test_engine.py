"""The contract's laws, by what comes out of the engine."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import numpy
import pytest
import torch
from PIL import Image

from stable_diffusion import engine, images, models, policy
from stable_diffusion.engine import Engine
from stable_diffusion.events import (
    Event,
    Failed,
    Finished,
    Flagged,
    Picture,
    Progress,
    PromptTruncated,
)
from stable_diffusion.models import Model
from stable_diffusion.request import SCHEDULERS, InputError
from stable_diffusion.samplers import Course
from tests.support.library import OURS, library_pipeline, mean_latents, take_our_schedule
from tests.support.pictures import EXAMPLES, difference, half_mask, picture_of, same
from tests.support.properties import given, settings
from tests.support.properties import strategies as st
from tests.support.studio import Studio, count_calls, request, until_over

FLOWER = images.read_image(EXAMPLES / "flower.png")
CAR = images.read_image(EXAMPLES / "car.png")
NATIVE = (128, 128)


# Size


def test_the_result_has_the_asked_size(studio: Studio) -> None:
    for width, height in ((64, 64), (128, 256), (384, 64)):
        for image in (None, FLOWER):
            options = {"image": image, "width": width, "height": height}
            (picture,) = studio.draw(num_inference_steps=1, **options)
            assert picture.size == (width, height)


def test_an_empty_size_is_the_native_one_or_follows_the_picture(studio: Studio) -> None:
    assert studio.draw(num_inference_steps=1)[0].size == NATIVE
    wide = FLOWER.resize((300, 150))
    assert studio.draw(num_inference_steps=1, image=wide)[0].size == (256, 128)


# Strength


def test_strength_zero_returns_the_fitted_image_exactly(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = count_calls(studio.model, monkeypatch)
    for image in (picture_of(), FLOWER, picture_of(size=(300, 200))):
        pictures = studio.draw(image=image, strength=0, num_images=2, width=128, height=256)
        for picture in pictures:
            assert difference(picture, images.fit(image, (128, 256))) == (0, 0)
    assert rows == []


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("schedule", ["studio", "classic"])
def test_strength_one_ignores_the_image(
    schedule: str, scheduler: str, request: pytest.FixtureRequest
) -> None:
    studio: Studio = request.getfixturevalue(schedule)
    options = {"scheduler": scheduler, "strength": 1, "num_inference_steps": 5}
    results = [studio.draw(image=image, **options)[0] for image in (FLOWER, CAR, None)]
    assert same(results[0], results[1])
    assert same(results[0], results[2])


def test_strength_plays_no_part_without_an_image(studio: Studio) -> None:
    assert same(studio.draw(strength=0.1)[0], studio.draw(strength=0.9)[0])


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_little_strength_changes_little_and_more_changes_more(
    studio: Studio, scheduler: str
) -> None:
    fitted = images.fit(FLOWER, NATIVE)
    changes = [
        difference(fitted, studio.draw(image=FLOWER, strength=strength, scheduler=scheduler)[0])[1]
        for strength in (0.01, 0.5, 0.9)
    ]
    assert changes[0] < 6
    assert changes[0] < changes[1] / 1.5 < changes[2]


# Steps


@pytest.mark.parametrize("steps", [1, 2, 3, 400, 512])
def test_any_number_of_steps_gives_a_picture_with_each_sampler(studio: Studio, steps: int) -> None:
    events: SimpleQueue[Event] = SimpleQueue()
    # Many steps are minutes with all: tests/unit/stable_diffusion/test_every_sampler.py has them.
    schedulers = SCHEDULERS[:6] if steps >= 400 else SCHEDULERS
    for scheduler in schedulers:
        studio.engine.submit(
            request(num_inference_steps=steps, scheduler=scheduler, guidance_scale=1, seed=3),
            events.put,
        )
    pictures: list[Image.Image] = []
    while len(pictures) < len(schedulers):
        match events.get(timeout=300):
            case Picture(image=picture):
                pictures.append(picture)
            case Failed(error):
                raise error
    assert all(map(is_a_picture, pictures))
    # They come in any order: one of them is pale with two steps.
    assert sum(map(is_a_red_thing_on_white, pictures)) >= len(pictures) - (steps == 2)


def is_a_red_thing_on_white(picture: Image.Image) -> bool:
    pixels = numpy.asarray(picture).astype(float)
    centre, corners = pixels[48:80, 48:80], pixels[::119, ::119]
    red = centre[..., 0].mean() > 170 and centre[..., 1:].mean() < 110
    return bool(red and corners.mean() > 215 and is_a_picture(picture))


def is_a_picture(picture: Image.Image) -> bool:
    """In noise, neighbours differ; in a picture they do so at edges only."""
    pixels = numpy.asarray(picture).astype(float)
    return bool(numpy.median(abs(numpy.diff(pixels, axis=1))) < 6)


def test_pndm_makes_one_call_more(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    for scheduler, calls in (("PNDM", 21), ("DDIM", 20)):
        rows = count_calls(studio.model, monkeypatch)
        studio.draw(image=FLOWER, num_inference_steps=25, strength=0.8, scheduler=scheduler)
        assert rows == [2] * calls
        monkeypatch.undo()


def test_without_guidance_the_work_is_half(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = count_calls(studio.model, monkeypatch)
    studio.draw(guidance_scale=1, num_inference_steps=3)
    studio.draw(guidance_scale=1.1, num_inference_steps=3)
    assert rows == [1, 1, 1, 2, 2, 2]


def test_guidance_and_the_negative_prompt_matter(studio: Studio) -> None:
    pictures = [
        studio.draw(guidance_scale=1)[0],
        studio.draw(guidance_scale=7.5)[0],
        studio.draw(guidance_scale=7.5, negative_prompt="red")[0],
    ]
    assert difference(pictures[0], pictures[1])[1] > 2
    assert difference(pictures[1], pictures[2])[1] > 2


# Seeds


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_image_i_of_seed_s_is_image_0_of_seed_s_plus_i(studio: Studio, scheduler: str) -> None:
    options = {"scheduler": scheduler, "image": FLOWER}
    together = studio.draw(seed=7, num_images=4, **options)
    assert same(together[3], studio.draw(seed=10, **options)[0])
    assert difference(together[0], together[1])[1] > 0.5


def test_seed_zero_is_honoured_and_the_last_seed_wraps_round(studio: Studio) -> None:
    assert same(studio.draw(seed=0)[0], studio.draw(seed=2**53 - 1, num_images=2)[1])
    assert same(studio.draw(seed=0)[0], studio.draw(seed=0)[0])
    assert not same(studio.draw(seed=0)[0], studio.draw(seed=1)[0])


def test_images_come_in_their_order_with_their_seeds(studio: Studio) -> None:
    events = [e for e in studio.events(num_images=4, seed=40) if isinstance(e, Picture)]
    assert [(event.index, event.seed) for event in events] == [(i, 40 + i) for i in range(4)]


# The library


ASKED = {"negative_prompt": "blue", "guidance_scale": 5, "num_inference_steps": 20}


@pytest.mark.parametrize("schedule", ["studio", "classic"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_text_to_image_is_the_librarys(
    schedule: str, scheduler: str, request: pytest.FixtureRequest
) -> None:
    studio: Studio = request.getfixturevalue(schedule)
    library = library_pipeline("StableDiffusionPipeline", studio.model, scheduler)
    if scheduler == OURS[-1]:
        take_our_schedule(library, scheduler, steps=20, strength=1)
    generator = torch.Generator().manual_seed(5)
    theirs = library("a red apple", width=128, height=128, generator=generator, **ASKED)
    assert same(studio.draw(scheduler=scheduler, seed=5, **ASKED)[0], theirs.images[0])


def test_new_noise_in_ddims_steps_is_the_librarys(studio: Studio) -> None:
    library = library_pipeline("StableDiffusionPipeline", studio.model, "DDIM")
    generator = torch.Generator().manual_seed(5)
    options = {"width": 128, "height": 128, "generator": generator, "eta": 0.7}
    theirs = library("a red apple", **options, **ASKED)
    (ours,) = studio.draw(scheduler="DDIM", eta=0.7, seed=5, **ASKED)
    assert same(ours, theirs.images[0])
    assert not same(ours, studio.draw(scheduler="DDIM", seed=5, **ASKED)[0])


def test_karras_steps_are_the_librarys(studio: Studio) -> None:
    library = library_pipeline("StableDiffusionPipeline", studio.model, "K_HEUN")
    library.scheduler = library.scheduler.from_config(
        library.scheduler.config, timestep_spacing="linspace", use_karras_sigmas=True
    )
    generator = torch.Generator().manual_seed(5)
    theirs = library("a red apple", width=128, height=128, generator=generator, **ASKED)
    (ours,) = studio.draw(scheduler="K_HEUN", spacing="karras", seed=5, **ASKED)
    assert same(ours, theirs.images[0])


def test_clip_skip_draws_by_another_layer_and_names_what_there_is(studio: Studio) -> None:
    assert not same(studio.draw(clip_skip=1)[0], studio.draw()[0])
    with pytest.raises(InputError, match=r"^clip_skip: 11 is not allowed; give 0 to 2"):
        studio.draw(clip_skip=11)


@pytest.mark.parametrize("size", [(64, 64), (192, 64), (64, 320)])
def test_the_smallest_sizes_are_the_librarys(studio: Studio, size: tuple[int, int]) -> None:
    library = library_pipeline("StableDiffusionPipeline", studio.model, "DDIM")
    sides: dict[str, Any] = dict(zip(("width", "height"), size, strict=True))
    generator = torch.Generator().manual_seed(5)
    theirs = library("a red apple", generator=generator, **sides, **ASKED)
    ours = studio.draw(scheduler="DDIM", seed=5, **sides, **ASKED)
    assert same(ours[0], theirs.images[0])


@pytest.mark.parametrize("schedule", ["studio", "classic"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_image_to_image_is_the_librarys(
    schedule: str, scheduler: str, request: pytest.FixtureRequest
) -> None:
    studio: Studio = request.getfixturevalue(schedule)
    library = library_pipeline("StableDiffusionImg2ImgPipeline", studio.model, scheduler)
    if scheduler in OURS:
        take_our_schedule(library, scheduler, steps=20, strength=0.8)
    latents = mean_latents(library, images.fit(FLOWER, NATIVE))
    generator = torch.Generator().manual_seed(5)
    theirs = library("a red apple", image=latents, strength=0.8, generator=generator, **ASKED)
    ours = studio.draw(image=FLOWER, strength=0.8, scheduler=scheduler, seed=5, **ASKED)
    assert same(ours[0], theirs.images[0])


@pytest.mark.parametrize("scheduler", ["DDIM", "K_EULER"])
def test_a_repainted_part_is_the_librarys(studio: Studio, scheduler: str) -> None:
    library = library_pipeline("StableDiffusionInpaintPipeline", studio.model, scheduler)
    fitted = images.fit(FLOWER, NATIVE)
    latents = mean_latents(library, fitted)
    library._encode_vae_image = lambda *_, **__: latents
    theirs = library(
        "a red apple",
        image=fitted,
        mask_image=half_mask(),
        width=128,
        height=128,
        strength=0.75,
        generator=torch.Generator().manual_seed(5),
        **ASKED,
    )
    options = {"image": FLOWER, "mask": half_mask(), "strength": 0.75}
    (ours,) = studio.draw(scheduler=scheduler, seed=5, **options, **ASKED)
    right = (64, 0, 128, 128)
    assert same(ours.crop(right), theirs.images[0].crop(right))


# Masks


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_black_is_preserved_exactly_and_white_is_repainted(studio: Studio, scheduler: str) -> None:
    options = {"image": FLOWER, "mask": half_mask(), "strength": 1, "scheduler": scheduler}
    (picture,) = studio.draw(num_inference_steps=12, **options)
    fitted = images.fit(FLOWER, NATIVE)
    left, right = (0, 0, 64, 128), (64, 0, 128, 128)
    assert difference(picture.crop(left), fitted.crop(left)) == (0, 0)
    assert difference(picture.crop(right), fitted.crop(right))[1] > 5


def test_grey_below_128_is_preserved_and_above_is_feathered(studio: Studio) -> None:
    ramp = Image.linear_gradient("L").resize(NATIVE)
    (picture,) = studio.draw(image=FLOWER, mask=ramp, strength=0.9)
    fitted = images.fit(FLOWER, NATIVE)
    preserved = numpy.asarray(images.fit(ramp, NATIVE)) < 128
    assert (numpy.asarray(picture) == numpy.asarray(fitted))[preserved].all()
    changed = abs(numpy.asarray(picture).astype(int) - numpy.asarray(fitted)).mean(axis=2)
    assert changed[64:72].mean() < changed[120:].mean()


def test_a_black_mask_returns_the_image_and_a_white_one_repaints_all(studio: Studio) -> None:
    black, white = Image.new("L", (10, 10), 0), Image.new("L", (10, 10), 255)
    (picture,) = studio.draw(image=FLOWER, mask=black, strength=1)
    assert difference(picture, images.fit(FLOWER, NATIVE)) == (0, 0)
    masked = studio.draw(image=FLOWER, mask=white, strength=0.7)[0]
    assert same(masked, studio.draw(image=FLOWER, strength=0.7)[0])


def test_a_mask_is_fitted_like_its_image(studio: Studio) -> None:
    wide = images.fit(FLOWER, (256, 128))
    (picture,) = studio.draw(image=wide, mask=half_mask((512, 256)), width=128, height=128)
    left = (0, 0, 63, 128)
    assert difference(picture.crop(left), images.fit(wide, NATIVE).crop(left)) == (0, 0)


# Sharing


@settings(max_examples=8)
@given(st.data())
def test_a_result_does_not_depend_on_who_runs_beside_it(
    studio: Studio, data: st.DataObject
) -> None:
    some = st.fixed_dictionaries(
        {
            "scheduler": st.sampled_from(SCHEDULERS),
            "num_inference_steps": st.integers(1, 9),
            "guidance_scale": st.sampled_from([1, 4]),
            "num_images": st.integers(1, 3),
            "seed": st.integers(0, 99),
            "strength": st.sampled_from([0.3, 0.8, 1]),
            "image": st.sampled_from([None, FLOWER]),
            "width": st.sampled_from([128, 256]),
            "use_compel": st.booleans(),
        }
    )
    asked = data.draw(st.lists(some, min_size=2, max_size=3))
    # All of them, before the first is drawn again: only then is it alone.
    together = studio.draw_together([{"height": 128, **inputs} for inputs in asked])
    for inputs, pictures in zip(asked, together, strict=True):
        for picture, alone in zip(pictures, studio.draw(height=128, **inputs), strict=True):
            assert same(picture, alone)


def test_requests_share_calls_and_a_late_one_joins_at_the_next_step(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio.draw(num_inference_steps=3)  # so that the sampler of the late one is known
    rows = count_calls(studio.model, monkeypatch)
    events: SimpleQueue[Event] = SimpleQueue()
    late: SimpleQueue[Event] = SimpleQueue()

    def listen(event: Event) -> None:
        if event == Progress(2, 8, getattr(event, "seconds_left", 0)):
            studio.engine.submit(request(num_inference_steps=3), late.put)
        events.put(event)

    studio.engine.submit(request(num_inference_steps=8), listen)
    list(until_over(events))
    list(until_over(late))
    assert rows == [2, 2, 4, 4, 4, 2, 2, 2]


def test_no_call_has_more_rows_than_allowed_and_all_advance(
    demo: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = count_calls(demo, monkeypatch)
    studio = Studio(demo, rows=4)
    assert len(studio.draw(num_images=4, num_inference_steps=2)) == 4
    assert rows == [4, 4, 4, 4]
    studio.close()


def test_a_long_request_advances_every_turn_beside_a_stream_of_short_ones(
    demo: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = count_calls(demo, monkeypatch)
    studio = Studio(demo, rows=2)
    streams, steps = 4, 30
    long: SimpleQueue[Event] = SimpleQueue()
    calls_at_progress: list[int] = []
    finished_beside = 0

    def ask_for_a_short_one() -> None:
        studio.engine.submit(request(num_inference_steps=2), listen_to_short)

    def listen_to_short(event: Event) -> None:
        nonlocal finished_beside
        if isinstance(event, Finished) and len(calls_at_progress) < steps:
            finished_beside += 1
            ask_for_a_short_one()

    def listen(event: Event) -> None:
        if isinstance(event, Progress):
            calls_at_progress.append(len(rows))
        long.put(event)

    for _ in range(streams):
        ask_for_a_short_one()
    studio.engine.submit(request(num_inference_steps=steps), listen)
    list(until_over(long))
    studio.close()
    # Between two steps of the long one, each of the streams takes one step at the most.
    between = [after - before for before, after in itertools.pairwise(calls_at_progress)]
    assert max(between) <= streams + 1
    assert finished_beside >= steps // 4


def test_between_two_steps_no_more_than_one_picture_is_encoded_or_decoded(
    demo: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []

    def mark(part: Any, name: str) -> None:
        do = getattr(part, name)

        def marked(*given: Any, **options: Any) -> Any:
            happened.append(name)
            return do(*given, **options)

        monkeypatch.setattr(part, name, marked)

    mark(demo.pipeline.unet, "forward")
    mark(demo.pipeline.vae, "encode")
    mark(demo.pipeline.vae, "decode")
    studio = Studio(demo, rows=64)
    others: SimpleQueue[Event] = SimpleQueue()

    def listen(event: Event) -> None:
        if isinstance(event, Progress) and event.step == 3:
            for seed in range(4):
                image = picture_of(seed=seed)  # another one each time: it is encoded once
                asked = request(image=image, num_images=4, num_inference_steps=2, seed=seed)
                studio.engine.submit(asked, others.put)
        long.put(event)

    long: SimpleQueue[Event] = SimpleQueue()
    studio.engine.submit(request(num_inference_steps=40), listen)
    list(until_over(long))
    studio.close()
    assert happened.count("encode") == 4
    assert happened.count("decode") == 4 * 4 + 1
    assert all("forward" in pair for pair in itertools.pairwise(happened))


@pytest.mark.parametrize(
    ("images", "room", "expected_rows"),
    [
        # Split, and remembered for the second step.
        (4, 3, [8, 4, 2, 2, 2, 2, *[2] * 4]),
        (1, 1, [2, 1, 1, 1, 1]),
    ],
)
def test_when_memory_is_short_the_call_is_split_and_nobody_is_lost(
    images: int,
    room: int,
    expected_rows: list[int],
    demo: Model,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forward, rows = demo.pipeline.unet.forward, list[int]()

    def short(latents: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        rows.append(len(latents))
        if len(latents) > room:
            raise torch.OutOfMemoryError("out of memory")
        return forward(latents, *arguments, **options)

    studio = Studio(demo)
    expected = studio.draw(num_images=images, num_inference_steps=2)
    monkeypatch.setattr(demo.pipeline.unet, "forward", short)
    pictures = studio.draw(num_images=images, num_inference_steps=2)
    assert all(map(same, pictures, expected))
    assert rows == expected_rows
    studio.close()


def test_memory_that_was_short_is_tried_again_later(
    demo: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(policy, "TURNS_BEFORE_GROWTH", 2)
    forward, rows, short = demo.pipeline.unet.forward, list[int](), [True]

    def once_short(latents: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        rows.append(len(latents))
        if short.pop() if short else False:
            raise torch.OutOfMemoryError("out of memory")
        return forward(latents, *arguments, **options)

    monkeypatch.setattr(demo.pipeline.unet, "forward", once_short)
    studio = Studio(demo)
    # A small picture is hit, and a large one is not to suffer from that for ever.
    assert len(studio.draw(num_inference_steps=12)) == 1
    assert "for now a UNet call has at most 256 latent pixels" in capsys.readouterr().err
    assert rows[:3] == [2, 1, 1]
    rows.clear()
    assert len(studio.draw(num_images=4, num_inference_steps=2)) == 4
    assert rows == [8, 8]
    studio.close()


def test_a_picture_that_comes_again_is_not_encoded_again(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae, encoded = studio.model.pipeline.vae, list[int]()
    encode = vae.encode

    def counted(pixels: torch.Tensor) -> Any:
        encoded.append(len(pixels))
        return encode(pixels)

    monkeypatch.setattr(vae, "encode", counted)
    first, second = picture_of(seed=11), picture_of(seed=12)
    options: dict[str, Any] = {"num_inference_steps": 2, "strength": 0.5}
    pictures = [studio.draw(image=image, **options)[0] for image in (first, second, first)]
    assert encoded == [1, 1]
    assert same(pictures[0], pictures[2])
    assert not same(pictures[0], pictures[1])


def test_a_sampler_that_is_no_table_draws_what_the_library_draws_beside_others(
    demo: Model,
) -> None:
    config = demo.pipeline.scheduler.config
    from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline

    clipping = DDIMScheduler.from_config(config, thresholding=True, sample_max_value=3.0)
    components = {**demo.pipeline.components, "scheduler": clipping}
    pipeline = StableDiffusionImg2ImgPipeline(**components, requires_safety_checker=False)
    clipped = Studio(dataclasses.replace(demo, pipeline=pipeline))
    asked: list[dict[str, Any]] = [
        {"scheduler": "DDIM", "image": FLOWER, "strength": 0.8, "seed": 5, **ASKED},
        {"scheduler": "K_EULER", "num_inference_steps": 12},
        {"scheduler": "DDIM", "image": FLOWER, "mask": half_mask(), "num_inference_steps": 9},
    ]
    together = clipped.draw_together(asked)
    assert clipped.engine._task.samplers.table(Course("DDIM", 20, 0.8)).result() is None
    assert clipped.engine._task.samplers.table(Course("K_EULER", 12, 1)).result() is not None
    library = library_pipeline("StableDiffusionImg2ImgPipeline", clipped.model, "DDIM")
    latents = mean_latents(library, images.fit(FLOWER, NATIVE))
    generator = torch.Generator().manual_seed(5)
    theirs = library("a red apple", image=latents, strength=0.8, generator=generator, **ASKED)
    assert same(together[0][0], theirs.images[0])
    left = (0, 0, 64, 128)
    assert difference(together[2][0].crop(left), images.fit(FLOWER, NATIVE).crop(left)) == (0, 0)
    clipped.close()


def test_a_gpu_gets_the_next_step_while_it_runs_one_and_progress_tells_what_it_has_done(
    demo: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    forward = demo.pipeline.unet.forward

    def given(*arguments: Any, **options: Any) -> Any:
        happened.append("given")
        return forward(*arguments, **options)

    class Reached:
        """As the event of a GPU that is behind: it happens when it is waited for."""

        def synchronize(self) -> None:
            happened.append("done")

    monkeypatch.setattr(demo.pipeline.unet, "forward", given)
    monkeypatch.setattr(engine, "_reached", lambda device: Reached())
    studio = Studio(demo)
    events: SimpleQueue[Event] = SimpleQueue()

    def listen(event: Event) -> None:
        happened.append(f"{type(event).__name__} {getattr(event, 'step', '')}".strip())
        events.put(event)

    studio.engine.submit(request(num_inference_steps=3), listen)
    list(until_over(events))
    studio.close()
    first_two = ["given", "given", "done", "Progress 1"]
    assert happened[:8] == [*first_two, "given", "done", "Progress 2", "done"]
    assert happened[8:11] == ["Progress 3", "Picture", "Finished"]


LOST = """
import sys, torch
from stable_diffusion import catalogue, models
model = models.load(catalogue.find("demo"))
from stable_diffusion.engine import Engine
from stable_diffusion.events import until_finished
from stable_diffusion.request import Request
from queue import SimpleQueue

def failing(*arguments, **options):
    raise torch.AcceleratorError("an illegal memory access was encountered")

if "for good" in sys.argv[1]:
    torch.ones = failing
if "later" in sys.argv[1]:
    import stable_diffusion.engine
    stable_diffusion.engine._reached = failing
else:
    model.pipeline.unet.forward = failing
engine, events = Engine(model, executor="plain"), SimpleQueue()
engine.submit(Request.of({"prompt": "a cat", "num_inference_steps": 1}), events.put)
try:
    list(until_finished(events))
except torch.AcceleratorError:
    print("the request failed")
engine.close()
"""


@pytest.mark.parametrize(
    ("how", "status", "told"),
    [
        ("for good", 1, "the GPU has failed"),
        ("for good, told later", 1, "the GPU has failed"),
        ("once", 0, "the request failed"),
    ],
)
def test_a_gpu_that_has_failed_for_good_ends_the_process(how: str, status: int, told: str) -> None:
    command = [sys.executable, "-c", LOST, how]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (ended.returncode, told in ended.stdout + ended.stderr) == (status, True)


def test_a_call_that_fails_ends_its_requests_and_no_other(
    demo: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = demo.pipeline.unet.forward

    def failing(latents: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        if latents.shape[-1] == 32:
            raise torch.OutOfMemoryError("out of memory")
        return forward(latents, *arguments, **options)

    monkeypatch.setattr(demo.pipeline.unet, "forward", failing)
    studio = Studio(demo)
    events: SimpleQueue[Event] = SimpleQueue()
    studio.engine.submit(request(num_inference_steps=5), events.put)
    with pytest.raises(MemoryError, match="not enough memory for a picture of this size"):
        studio.draw(width=256, num_images=2)
    assert any(isinstance(event, Picture) for event in until_over(events))
    studio.close()


# The NSFW checker


class Censor:
    """A checker that flags what it is told to, and keeps what it has seen."""

    def __init__(self, *flagged: int) -> None:
        self.flagged = flagged
        self.seen: list[Image.Image] = []

    def is_nsfw(self, picture: Image.Image) -> bool:
        self.seen.append(picture)
        return len(self.seen) - 1 in self.flagged


def checked_events(demo: Model, censor: Censor, **inputs: Any) -> list[Event]:
    checked = Engine(demo, checker=censor)  # type: ignore[arg-type]
    events: SimpleQueue[Event] = SimpleQueue()
    checked.submit(request(num_inference_steps=1, **inputs), events.put)
    told = list(_until_over(events))
    checked.close()
    return [event for event in told if not isinstance(event, Progress)]


def _until_over(events: SimpleQueue[Event]) -> Iterator[Event]:
    """All events of a request, failure included."""
    while True:
        event = events.get(timeout=300)
        yield event
        if isinstance(event, (Finished, Failed)):
            return


def test_a_flagged_image_is_left_out_and_costs_the_others_nothing(demo: Model) -> None:
    censor = Censor(1)
    told = checked_events(demo, censor, num_images=3, seed=5)
    assert [type(event) for event in told] == [Picture, Flagged, Picture, Finished]
    assert told[1] == Flagged(1, 6)
    for event, seen in ((told[0], censor.seen[0]), (told[2], censor.seen[2])):
        assert isinstance(event, Picture)
        assert event.image is seen
        assert event.nsfw is False


def test_when_all_images_are_flagged_the_request_fails(demo: Model) -> None:
    told = checked_events(demo, Censor(0, 1), num_images=2)
    assert [type(event) for event in told] == [Flagged, Flagged, Failed]
    assert isinstance(told[-1], Failed)
    assert str(told[-1].error) == (
        "NSFW content detected. Try running it again, or try a different prompt."
    )


def test_an_image_that_no_step_has_changed_is_checked_too(demo: Model) -> None:
    told = checked_events(demo, Censor(0), image=FLOWER, strength=0)
    assert [type(event) for event in told] == [Flagged, Failed]


# Events


def test_progress_counts_every_step_and_the_last_event_says_it_is_over(studio: Studio) -> None:
    events = list(studio.events(num_inference_steps=5, num_images=2))
    progress = [event for event in events if isinstance(event, Progress)]
    assert [(event.step, event.steps) for event in progress] == [(k, 5) for k in range(1, 6)]
    assert progress[-1].seconds_left == 0
    assert all(event.seconds_left > 0 for event in progress[:-1])
    assert [type(event) for event in events[5:]] == [Picture, Picture, Finished]


def test_a_prompt_that_is_too_long_is_told(studio: Studio) -> None:
    (cut,) = [
        event
        for event in studio.events(prompt="apple " * 80, num_inference_steps=1)
        if isinstance(event, PromptTruncated)
    ]
    assert (cut.name, cut.part) == ("prompt", "apple " * 5)
    assert 'the last 30 characters are left out: "apple apple' in cut.warning


def test_a_cancelled_request_leaves_at_once_and_the_others_go_on(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = count_calls(studio.model, monkeypatch)
    cancelled: list[Event] = []

    def listen(event: Event) -> None:
        cancelled.append(event)
        if isinstance(event, Progress) and event.step == 2:
            job.cancel()

    job = studio.engine.submit(request(num_inference_steps=512), listen)
    assert len(studio.draw(num_inference_steps=7)) == 1
    assert len(cancelled) == 2
    assert len(rows) <= 9


def test_what_goes_wrong_with_one_request_is_told_and_ends_no_other(studio: Studio) -> None:
    with pytest.raises(InputError, match="weights are too large"):
        studio.draw(prompt="(cat)" + "9" * 40, use_compel=True)
    assert len(studio.draw(num_inference_steps=1)) == 1


def test_an_overflow_is_an_error_and_not_a_black_picture(demo: Model) -> None:
    unet = demo.pipeline.unet
    studio = Studio(demo)
    with pytest.MonkeyPatch.context() as monkeypatch:
        forward = unet.forward
        monkeypatch.setattr(unet, "forward", lambda *a, **k: (forward(*a, **k)[0] * float("inf"),))
        with pytest.raises(ArithmeticError, match="no picture came out"):
            studio.draw()
    studio.close()


def test_a_closed_engine_has_no_thread_left(demo: Model) -> None:
    closed = Engine(dataclasses.replace(demo))
    closed.close()
    assert not closed._thread.is_alive()


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", (130, 3)), ("float16", (10, 0.3))])
def test_half_precision_draws_the_same_picture_within_its_tolerance(
    studio: Studio, dtype: str, tolerance: tuple[float, float]
) -> None:
    rough = Studio(models.load(studio.model.weights, dtype))
    for options in ({}, {"image": FLOWER}, {"image": FLOWER, "mask": half_mask()}):
        largest, mean = difference(rough.draw(**options)[0], studio.draw(**options)[0])
        assert 0 < mean < tolerance[1]
        assert largest < tolerance[0]
    rough.close()
