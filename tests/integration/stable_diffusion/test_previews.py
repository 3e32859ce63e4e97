"""Previews, by what comes out of the engine."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import closing
from queue import SimpleQueue
from typing import Any

import numpy
import pytest
import torch
from PIL import Image

from stable_diffusion import engine, images, models, samplers
from stable_diffusion.canvas import SMALL_PIXELS, Canvas
from stable_diffusion.events import Picture, Preview, Progress
from stable_diffusion.models import Model
from stable_diffusion.previews import Estimate, Previews
from stable_diffusion.rough_decoder import RoughDecoder
from tests.support import random_models
from tests.support.pictures import EXAMPLES, half_mask, picture_of, same
from tests.support.studio import Studio

CAR = images.read_image(EXAMPLES / "car.png")
STEPS = 12


@pytest.fixture(autouse=True)
def _at_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PREVIEW_SECONDS", 0)


@pytest.fixture(scope="module")
def shown(demo: Model) -> Iterator[Studio]:
    """A studio whose requests may have previews."""
    with closing(Studio(demo, previews=Previews(RoughDecoder.of(demo)))) as studio:
        yield studio


def opened(preview: Preview) -> Image.Image:
    picture = Image.open(io.BytesIO(preview.file))
    assert picture.format == "WEBP"
    return picture.convert("RGB")


def drawn(studio: Studio, **inputs: Any) -> tuple[list[tuple[float, Preview]], list[Image.Image]]:
    """The previews of a request, each with the share of the steps that was taken, and its pictures.

    Of all steps each has a preview, but for those that were late.
    """
    share, previews, pictures = 0.0, [], []
    for event in studio.events(True, **{"num_inference_steps": STEPS, **inputs}):
        match event:
            case Progress(step, steps):
                share = step / steps
            case Preview():
                previews.append((share, event))
            case Picture(image=picture):
                pictures.append(picture)
    return previews, pictures


def distance(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two pictures' colours, seen from so far that details are gone."""
    pixels = [
        numpy.asarray(picture.resize((16, 16), Image.Resampling.BOX)).astype(float)
        for picture in (one, other)
    ]
    return float(abs(pixels[0] - pixels[1]).mean())


# Of what they are


@pytest.mark.parametrize(
    "inputs",
    [
        {"scheduler": "DPMSolverMultistep"},
        {"scheduler": "K_HEUN", "spacing": "karras"},
        {"scheduler": "K_EULER_ANCESTRAL", "guidance_scale": 1},
        {"scheduler": "PNDM", "image": CAR, "strength": 0.9},
        {"scheduler": "LCM"},
    ],
)
def test_half_way_a_preview_is_like_the_picture(shown: Studio, inputs: dict[str, Any]) -> None:
    previews, (picture,) = drawn(shown, **inputs)
    (other,) = shown.draw(prompt="a green fish", num_inference_steps=STEPS)
    late = [opened(preview) for share, preview in previews if 0.4 < share < 0.9]
    assert late
    assert {preview.size for preview in late} == {(SMALL_PIXELS, SMALL_PIXELS)}
    near, far = (
        numpy.mean([distance(preview, one) for preview in late]) for one in (picture, other)
    )
    assert near < 25 < far / 1.5


def test_what_has_no_table_has_previews(demo: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers, "read", lambda _: None)
    with closing(Studio(demo, previews=Previews(RoughDecoder.of(demo)))) as studio:
        previews, (picture,) = drawn(studio)
    late = [opened(preview) for share, preview in previews if 0.4 < share < 0.9]
    assert late
    assert all(distance(preview, picture) < 25 for preview in late)


@pytest.mark.parametrize(
    ("size", "inputs"),
    [
        ((128, 64), {"width": 256, "height": 128}),
        ((85, 128), {"width": 128, "height": 192}),
        ((86, 128), {"result_size": "520x776", "image": CAR}),
        ((128, 64), {"image": CAR.resize((100, 50)), "width": 256, "keep_size": True}),
        ((128, 128), {"image": CAR, "extend_right": 64, "extend_top": 64}),
        ((128, 43), {"width": 384, "refine_scale": 1.5}),
    ],
)
def test_a_preview_has_the_shape_of_the_result(
    shown: Studio, size: tuple[int, int], inputs: dict[str, Any]
) -> None:
    previews, (picture,) = drawn(shown, num_inference_steps=2, **inputs)
    shape = picture.width / picture.height
    assert {opened(preview).size for _, preview in previews} <= {size, picture.size}
    assert size[0] / size[1] == pytest.approx(shape, rel=0.01)


def test_what_is_preserved_is_the_images(shown: Studio) -> None:
    mask = half_mask(CAR.size)
    previews, _ = drawn(shown, image=CAR, mask=mask, width=128, height=128)
    black = numpy.asarray(mask.resize((128, 128))) == 0
    wanted = numpy.asarray(CAR.resize((128, 128))).astype(float)[black]
    for _, preview in previews:
        assert abs(numpy.asarray(opened(preview))[black] - wanted).mean() < 5


def test_only_the_part_around_the_mask_is_drawn_on_the_image(shown: Studio) -> None:
    mask = Image.new("L", CAR.size)
    mask.paste(255, (0, 0, CAR.width // 4, CAR.height // 4))
    previews, (picture,) = drawn(shown, image=CAR, mask=mask, only_masked=True)
    for _, preview in previews:
        assert opened(preview).size == (128, 128)
        assert distance(opened(preview).crop((64, 64, 128, 128)), CAR.crop(_lower_right(CAR))) < 3
    assert distance(opened(previews[-1][1]), picture) < 10


def _lower_right(picture: Image.Image) -> tuple[int, int, int, int]:
    return picture.width // 2, picture.height // 2, picture.width, picture.height


def test_the_images_of_a_request_take_turns(shown: Studio) -> None:
    previews, pictures = drawn(shown, num_images=3, seed=4)
    late = [preview for share, preview in previews if share > 0.5]
    assert {preview.index for preview in late} == {0, 1, 2}
    for preview in late:
        distances = [distance(opened(preview), picture) for picture in pictures]
        assert min(distances) == distances[preview.index] < 25


def test_they_take_turns_where_they_share_no_call(demo: Model) -> None:
    with closing(Studio(demo, rows=2, previews=Previews(RoughDecoder.of(demo)))) as studio:
        previews, _ = drawn(studio, num_images=2)
    indexes = [preview.index for _, preview in previews]
    assert abs(indexes.count(0) - indexes.count(1)) <= len(indexes) / 3


def test_the_second_pass_has_previews(shown: Studio) -> None:
    previews, (picture,) = drawn(shown, refine_scale=2, refine_strength=0.5)
    of_second = [opened(preview) for share, preview in previews if share > 0.8]
    assert of_second
    assert all(distance(preview, picture) < 20 for preview in of_second)


@pytest.mark.parametrize("task", ["inpainting", "depth", "upscale"])
def test_every_task_has_previews(
    task: str, demo: Model, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = models.load(random_models.make(task, demo, tmp_path_factory.mktemp(task)))
    inputs: dict[str, Any] = {"image": picture_of(size=(64, 48)), "num_inference_steps": 4}
    if task == "inpainting":
        inputs["mask"] = half_mask((64, 48))
    with closing(Studio(model, previews=Previews(RoughDecoder.of(model)))) as studio:
        previews, (picture,) = drawn(studio, **inputs)
    assert previews
    for _, preview in previews:
        width, height = opened(preview).size
        assert width / height == pytest.approx(picture.width / picture.height, rel=0.01)


def test_pieces_are_shown_on_the_picture_that_is_made_larger(
    demo: Model, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = models.load(random_models.make("upscale", demo, tmp_path_factory.mktemp("upscale")))
    image = CAR.resize((560, 64))
    with closing(Studio(model, previews=Previews(RoughDecoder.of(model)))) as studio:
        previews, (picture,) = drawn(studio, image=image, num_inference_steps=2, guidance_scale=1)
    assert picture.size == (2240, 256)
    first, last = opened(previews[0][1]), opened(previews[-1][1])
    small = image.resize(first.size)
    assert first.size == last.size == (128, 15)
    # The first piece is on the left, the last on the right.
    assert distance(first.crop((100, 0, 128, 15)), small.crop((100, 0, 128, 15))) < 5
    assert distance(last.crop((0, 0, 28, 15)), small.crop((0, 0, 28, 15))) < 5
    assert distance(first.crop((0, 0, 28, 15)), small.crop((0, 0, 28, 15))) > 10


# What they change: nothing


@pytest.mark.parametrize("scheduler", ["DPMSolverMultistep", "K_EULER_ANCESTRAL", "PNDM"])
def test_the_pictures_are_the_same_with_previews(shown: Studio, scheduler: str) -> None:
    inputs = {"scheduler": scheduler, "num_images": 2, "image": CAR, "mask": half_mask(CAR.size)}
    previews, pictures = drawn(shown, **inputs)
    unseen = shown.draw(**{"num_inference_steps": STEPS, **inputs})
    assert previews
    assert all(same(*pair) for pair in zip(pictures, unseen, strict=True))


def test_who_asks_for_none_gets_none(shown: Studio) -> None:
    assert not [event for event in shown.events() if isinstance(event, Preview)]


def test_an_engine_without_them_has_none(studio: Studio) -> None:
    assert not [event for event in studio.events(True) if isinstance(event, Preview)]


def test_there_are_only_so_many(shown: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PREVIEW_SECONDS", 1e6)
    previews, _ = drawn(shown, num_images=2)
    assert [preview.index for _, preview in previews] == [0]


# Where nobody waits for them


def estimate(index: int = 0) -> Estimate:
    return Estimate(index, torch.zeros(4, 8, 8), 8, Canvas((64, 64), (64, 64)))


def test_what_is_late_is_left_out(demo: Model) -> None:
    previews = Previews(RoughDecoder.of(demo))
    began, goes_on, come = threading.Event(), threading.Event(), SimpleQueue[int]()

    def slow(preview: Preview) -> None:
        began.set()
        goes_on.wait()
        come.put(preview.index)

    with closing(previews):
        previews.submit("first", estimate(0), slow)
        began.wait()
        for index in (1, 2, 3):
            previews.submit("first", estimate(index), slow)
        previews.submit("second", estimate(4), slow)
        goes_on.set()
        assert [come.get(timeout=60) for _ in range(3)] == [0, 3, 4]
    assert come.empty()


def test_after_one_that_fails_the_next_is_made(
    demo: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed, come = threading.Event(), SimpleQueue[int]()

    def fail(*arguments: Any) -> Image.Image:
        failed.set()
        raise MemoryError("no room")

    with closing(Previews(RoughDecoder.of(demo))) as previews:
        with monkeypatch.context() as short:
            short.setattr(RoughDecoder, "picture", fail)
            previews.submit("first", estimate(0), lambda preview: come.put(preview.index))
            failed.wait()
        previews.submit("second", estimate(1), lambda preview: come.put(preview.index))
        assert come.get(timeout=60) == 1
    assert "a preview was not made: no room" in capsys.readouterr().err


def test_without_room_for_an_estimate_the_request_goes_on(
    shown: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(values: torch.Tensor) -> torch.Tensor:
        raise MemoryError

    monkeypatch.setattr(engine, "_copy", fail)
    previews, pictures = drawn(shown)
    assert (len(previews), len(pictures)) == (0, 1)


def test_the_engine_goes_on_while_a_preview_is_made(
    demo: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    decoder = RoughDecoder.of(demo)
    picture = RoughDecoder.picture

    def slow(*arguments: Any) -> Image.Image:
        goes_on.wait()
        return picture(*arguments)

    monkeypatch.setattr(RoughDecoder, "picture", slow)
    with closing(Studio(demo, previews=Previews(decoder))) as studio:
        previews, pictures = drawn(studio)
        goes_on.set()
    assert len(pictures) == 1
    assert not previews
