"""What the engine measures of requests, and counts."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from stable_diffusion import executors, images
from stable_diffusion.events import Event
from stable_diffusion.executors.plain import PlainExecutor
from stable_diffusion.measurement import Measurement
from stable_diffusion.models import Model
from tests.support import made_loras
from tests.support.pictures import EXAMPLES
from tests.support.studio import Studio, count_calls, until_over

FLOWER = images.read_image(EXAMPLES / "flower.png")


def measured(studio: Studio, *asked: dict[str, Any]) -> list[Measurement]:
    """The measurements of requests that run at once."""
    listeners: list[SimpleQueue[Event]] = [SimpleQueue() for _ in asked]
    jobs = [
        studio.engine.submit(studio.request(**inputs), events.put)
        for inputs, events in zip(asked, listeners, strict=True)
    ]
    for events in listeners:
        list(until_over(events))
    return [job.measurement for job in jobs]


def names(measurement: Measurement) -> list[str]:
    return [name for name, _, _ in measurement.phases]


def test_a_request_is_encoded_denoised_decoded_and_finished_in_this_order(studio: Studio) -> None:
    inputs = {"image": FLOWER, "strength": 0.5, "num_images": 2, "num_inference_steps": 8}
    (one,) = measured(studio, inputs)
    assert names(one)[:3] == ["text", "image", "denoise"]
    assert Counter(names(one)) == Counter(
        {"text": 1, "image": 1, "denoise": 1, "decode": 2, "finish": 2}
    )
    starts = [start for _, start, _ in one.phases]
    assert starts == sorted(starts)
    assert one.joined is not None
    assert one.stepped is not None
    assert one.asked <= one.phases[0][1] <= one.joined < one.stepped <= one.phases[2][2]
    assert (one.steps, one.calls, one.rows) == (4, 4, 16)


def test_the_rows_are_those_of_the_calls_that_it_shared(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = studio.engine.totals()
    calls = count_calls(studio.model, monkeypatch)
    asked: list[dict[str, Any]] = [
        {"num_inference_steps": 12, "seed": 1},
        {"num_inference_steps": 12, "seed": 2, "num_images": 2},
        {"num_inference_steps": 3, "seed": 3, "guidance_scale": 1},
    ]
    ones = measured(studio, *asked)
    assert [one.steps for one in ones] == [12, 12, 3]
    assert [one.calls for one in ones] == [12, 12, 3]
    assert ones[1].rows > 12 * 4  # whoever came first shared some
    after = studio.engine.totals()
    assert after["calls"] - before["calls"] == len(calls)
    assert after["rows"] - before["rows"] == sum(calls)
    assert after["steps"] - before["steps"] == 12 + 2 * 12 + 3


def test_a_call_that_had_to_be_divided_counts_as_several(
    demo: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Studio(demo, rows=1)) as studio:
        calls = count_calls(demo, monkeypatch)
        (one,) = measured(studio, {"num_inference_steps": 2})
        assert calls == [1, 1, 1, 1]
        assert (one.calls, one.rows) == (4, 4)


def test_nothing_is_denoised_or_decoded_at_strength_0(studio: Studio) -> None:
    (one,) = measured(studio, {"image": FLOWER, "strength": 0})
    assert names(one) == ["text", "image", "finish"]
    assert (one.joined, one.stepped, one.calls) == (None, None, 0)


def test_a_second_pass_is_measured_too(studio: Studio) -> None:
    inputs = {"refine_scale": 1.5, "num_inference_steps": 4, "refine_strength": 0.5}
    (one,) = measured(studio, {**inputs, "width": 128, "height": 128})
    assert [name for name in names(one) if name in ("denoise", "follow")] == [
        "denoise",
        "follow",
        "denoise",
    ]
    assert one.steps == 4 + 2


def test_requests_that_fail_or_are_cancelled_hurt_no_count(studio: Studio) -> None:
    request = studio.request(num_inference_steps=500)
    events: SimpleQueue[Event] = SimpleQueue()
    job = studio.engine.submit(request, events.put)
    events.get(timeout=300)
    job.cancel()
    (one,) = measured(studio, {"num_inference_steps": 3})
    assert (one.steps, one.calls) == (3, 3)


def test_combinations_of_loras_are_counted_as_long_as_they_have_a_place(
    demo: Model, tmp_path: Path
) -> None:
    loras = {f"lora {seed}": made_loras.lora(demo.pipeline.unet, seed, 2) for seed in range(2)}
    folder = made_loras.folder(demo, tmp_path, loras)
    with closing(Studio(demo, loras=folder)) as studio:
        assert studio.engine.totals()["combinations"] == studio.engine.totals()["slots"] == 0
        for used in (["lora 0"], ["lora 0:0.5"], ["lora 0", "lora 1"], ["lora 0"]):
            measured(studio, {"loras": used, "num_inference_steps": 1})
        totals = studio.engine.totals()
        assert totals["combinations"] == 3
        assert totals["slots"] >= 3


def test_without_a_gpu_nobody_knows_what_tensors_have(studio: Studio) -> None:
    assert "memory_allocated" not in studio.engine.totals()
    assert (studio.engine.totals()["replays"], studio.engine.totals()["captures"]) == (0, 0)


def test_the_engine_counts_what_its_executor_replays(
    demo: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Replaying(PlainExecutor):
        """Says of each call but the first that it was a graph's."""

        def step(self, *arguments: Any) -> Any:
            self.replays, self.captures = self.replays + self.captures, 1
            return super().step(*arguments)

    monkeypatch.setattr(executors, "choose", lambda *_: Replaying(demo))
    with closing(Studio(demo)) as studio:
        (one,) = measured(studio, {"num_inference_steps": 4})
        assert (one.calls, one.replays) == (4, 3)
        totals = studio.engine.totals()
        assert (totals["replays"], totals["captures"]) == (3, 1)
