"""What only a GPU can show; where there is none, nothing of it runs."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest
import torch
from PIL import Image

from stable_diffusion import catalogue, engine, images, models, steps
from stable_diffusion.events import Event, Picture, Preview, until_finished
from stable_diffusion.executors import proof
from stable_diffusion.executors.cuda_graphs import CudaGraphExecutor
from stable_diffusion.models import Model
from stable_diffusion.previews import Previews
from stable_diffusion.request import SCHEDULERS
from stable_diffusion.rough_decoder import RoughDecoder
from tests.support.pictures import EXAMPLES, difference, half_mask
from tests.support.studio import Studio, request

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

FLOWER = images.read_image(EXAMPLES / "flower.png")
KERNELS = {"KLMS": (60, 3.0), "PNDM": (60, 3.0)}
"""How far pictures in half precision may be apart that other kernels have drawn, of 255, at most
and in the mean: the samplers that extrapolate from earlier outputs make more of their rounding."""
OTHERS = (24, 0.6)
"""The same for the other samplers."""
BESIDE = (8, 0.5)
"""How far they may be apart that differ in who ran beside them (docs/performance.md)."""


@pytest.fixture(scope="module")
def model() -> Model:
    return models.load(catalogue.find("demo"))


@pytest.fixture(scope="module")
def plain(model: Model) -> Iterator[Studio]:
    studio = Studio(model)
    yield studio
    studio.close()


@pytest.fixture(scope="module")
def fast(plain: Studio) -> Iterator[Studio]:
    # A model of its own: fused kernels stay in it.
    studio = Studio(models.load(plain.model.weights), executor="cuda-graphs")
    studio.wait_until_warm()
    yield studio
    studio.close()


def executor_of(studio: Studio) -> CudaGraphExecutor:
    executor = studio.engine._executor
    assert isinstance(executor, CudaGraphExecutor)
    return executor


def close(one: Image.Image, other: Image.Image, tolerance: tuple[float, float] = BESIDE) -> bool:
    largest, mean = difference(one, other)
    print(f"apart: {largest:.0f} at most, {mean:.3f} in the mean")
    return largest <= tolerance[0] and mean <= tolerance[1]


def test_nothing_was_left_out_and_the_native_size_has_a_graph(
    fast: Studio, capfd: pytest.CaptureFixture[str]
) -> None:
    executor = executor_of(fast)
    print({str(kind): backend for kind, backend in executor._backends.items()})
    print({rows: graph.milliseconds for (_, rows, _), graph in executor._graphs.items()})
    print({rows: taken for (_, rows, _), taken in executor._plain_milliseconds.items()})
    assert not executor._is_left_out
    assert executor._graphs
    assert "forward" in vars(fast.model.pipeline.unet.conv_norm_out)  # the fused kernel


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_graphs_draw_what_the_plain_way_draws(plain: Studio, fast: Studio, scheduler: str) -> None:
    asked: list[dict[str, Any]] = [
        {"num_inference_steps": 20},
        {"num_inference_steps": 20, "image": FLOWER, "strength": 0.7, "num_images": 2},
        {"num_inference_steps": 20, "image": FLOWER, "mask": half_mask(), "guidance_scale": 5},
        {"num_inference_steps": 20, "guidance_scale": 1},
    ]
    together = fast.draw_together([{"scheduler": scheduler, **inputs} for inputs in asked])
    for inputs, pictures in zip(asked, together, strict=True):
        for ours, theirs in zip(pictures, plain.draw(scheduler=scheduler, **inputs), strict=True):
            assert close(ours, theirs, KERNELS.get(scheduler, OTHERS))


def test_a_result_beside_others_is_the_one_alone(fast: Studio) -> None:
    asked: list[dict[str, Any]] = [
        {"seed": seed, "num_inference_steps": 12 + seed, "scheduler": SCHEDULERS[seed % 6]}
        for seed in range(8)
    ]
    together = fast.draw_together(asked)
    for inputs, pictures in zip(asked, together, strict=True):
        assert close(pictures[0], fast.draw(**inputs)[0])


def test_previews_are_like_the_pictures_and_change_nothing(
    fast: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "PREVIEW_SECONDS", 0)
    asked: dict[str, Any] = {"num_images": 2, "num_inference_steps": 30}
    unseen, previews = fast.draw(**asked), Previews(RoughDecoder.of(fast.model))
    monkeypatch.setattr(fast.engine, "_previews", previews)
    last, pictures = dict[int, Image.Image](), list[Image.Image]()
    for event in fast.events(True, **asked):
        if isinstance(event, Preview):
            last[event.index] = Image.open(io.BytesIO(event.file)).convert("RGB")
        elif isinstance(event, Picture):
            pictures.append(event.image)
    previews.close()
    assert last
    for index, preview in last.items():
        assert close(preview, pictures[index].resize(preview.size), (255, 30))
    assert all(difference(*pair) == (0, 0) for pair in zip(pictures, unseen, strict=True))


def test_graphs_are_captured_while_another_thread_decodes(fast: Studio) -> None:
    executor, events = executor_of(fast), SimpleQueue[Event]()
    for width in (128, 256, 384, 512):
        for seed in range(3):
            inputs = {"width": width, "height": 256, "num_inference_steps": 14, "seed": seed}
            fast.engine.submit(request(image=FLOWER, num_images=2, **inputs), events.put)
    pictures = 0
    while pictures < 24:
        event = events.get(timeout=120)
        pictures += isinstance(event, Picture)
        assert getattr(event, "error", None) is None
    assert not executor._is_left_out
    assert len({kind for kind, *_ in executor._graphs}) >= 4


def test_weights_that_move_are_followed_after_a_release(fast: Studio) -> None:
    before = fast.draw(num_inference_steps=20)[0]
    executor_of(fast).release()
    unet = fast.model.pipeline.unet
    for parameter in unet.parameters():
        parameter.data = parameter.data.clone(memory_format=torch.preserve_format)
    assert close(fast.draw(num_inference_steps=20)[0], before)


def test_memory_that_runs_out_divides_the_turn_and_loses_nobody(
    fast: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fast.draw(num_images=4, num_inference_steps=2, width=256)
    take, failed = steps.take, list[int]()

    def short(*arguments: Any, **named: Any) -> torch.Tensor:
        if not failed:
            failed.append(1)
            torch.empty(2**50, device="cuda")
        return take(*arguments, **named)

    executor_of(fast).release()
    monkeypatch.setattr(steps, "take", short)
    found = fast.draw(num_images=4, num_inference_steps=2, width=256)
    assert failed
    assert all(close(*pair) for pair in zip(found, expected, strict=True))


def test_a_graph_of_a_trial_gives_the_plain_step(fast: Studio, plain: Studio) -> None:
    with torch.inference_mode():
        bank, occupants = proof.trial(fast.model, images=3)
        expected = plain.engine._executor.step(bank, occupants, 99, 0)
        found = executor_of(fast)._capture(bank, occupants, rows=6)
        assert proof.is_close(found[:3], expected, fast.model.dtype)


@pytest.mark.parametrize("guidance_scale", [7.5, 20])
def test_half_precision_gives_no_black_picture(fast: Studio, guidance_scale: float) -> None:
    options: dict[str, Any] = {"guidance_scale": guidance_scale, "num_inference_steps": 20}
    for picture in fast.draw(num_images=4, width=256, height=256, **options):
        low, high = picture.convert("L").getextrema()
        assert high - low > 50  # type: ignore[operator]


def test_requests_that_leave_at_any_moment_harm_no_other(fast: Studio) -> None:
    expected = fast.draw(num_inference_steps=30, seed=9)[0]
    events: SimpleQueue[Event] = SimpleQueue()
    fast.engine.submit(request(num_inference_steps=30, seed=9), events.put)
    for seed in range(20):
        job = fast.engine.submit(request(num_inference_steps=50, seed=seed), lambda _: None)
        threading.Timer(0.005 * seed, job.cancel).start()
    (found,) = [each.image for each in until_finished(events, 120) if isinstance(each, Picture)]
    assert close(found, expected)
