from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import pytest

from hosting.queue import cost
from hosting.queue.waits import waits_of
from hosting.states import Priority
from hosting.storage.waits import Finished, Load, Running, Waiting


def run(name: str, elapsed: float, left: float | None = None) -> Running:
    """A prediction that runs."""
    progress = {} if left is None else {"progress": {"seconds_left": left}}
    return Running(name, time.time() - elapsed, progress, 0.0)


def waits(
    waiting: dict[str, float],
    running: list[tuple[Running, float]],
    slots: int,
    finished: list[tuple[float, float]] | None = None,
) -> list[float]:
    """The waits, by the cost of what waits and runs, and seconds and cost of what has run."""
    load = Load(
        [Waiting(name, much) for name, much in waiting.items()],
        [replace(one, cost=much) for one, much in running],
        [Finished(seconds, much) for seconds, much in finished or ()],
    )
    found = waits_of(load, slots, slots)
    assert list(found) == list(waiting)
    return list(found.values())


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)


def test_the_next_begins_when_the_first_of_those_that_run_ends() -> None:
    running = [(run("a", 10, left=50), 60.0), (run("b", 10, left=20), 30.0)]
    assert waits({"fox": 1.0}, running, 2) == [20]


def test_those_behind_it_wait_for_it_too_at_the_pace_of_what_runs() -> None:
    running = [(run("a", 10, left=50), 30.0), (run("b", 10, left=20), 15.0)]  # 2 s for each
    assert waits({"fox": 3.0, "owl": 30.0, "cat": 1.0}, running, 2) == [20, 26, 50]


def test_a_free_slot_has_no_wait() -> None:
    assert waits({"fox": 1.0}, [(run("a", 1, left=9), 1.0)], 2) == [0]


def test_how_long_the_last_took_tells_while_what_runs_has_not_said() -> None:
    finished = [(10.0, 5.0), (30.0, 15.0)]
    assert waits({"fox": 5.0, "owl": 1.0}, [(run("a", 4), 10.0)], 1, finished) == [16, 26]


def test_what_runs_longer_than_it_should_may_end_at_any_time() -> None:
    assert waits({"fox": 1.0}, [(run("a", 99), 1.0)], 1, [(10.0, 1.0)]) == [0]


def test_short_ones_of_before_do_not_make_long_ones_short() -> None:
    """Eight slots with 120 steps, after twenty predictions of two steps: minutes, not a second."""
    running = [(run(str(one), 30, left=120), 120.0) for one in range(8)]
    finished = [(0.5, 2.0)] * 20
    assert waits({"fox": 120.0}, running, 8, finished) == [120]


def test_where_nothing_is_known_of_the_pace_only_what_is_before_it_is_known() -> None:
    assert waits({"fox": 1.0, "owl": 1.0}, [(run("a", 1), 1.0)], 1) == [math.inf, math.inf]
    assert waits({"fox": 1.0, "owl": 1.0}, [], 1) == [0, math.inf]


def test_slots_of_other_fronts_are_those_where_something_runs() -> None:
    running = [(run("a", 10, left=10), 1.0), (run("b", 10, left=5), 1.0)]
    assert waits({"fox": 1.0}, running, 0) == [5]


def test_a_batch_prediction_waits_for_a_place_of_its_kind() -> None:
    """Of four slots they hold three, and what somebody waits for has the fourth."""
    running = [replace(run(str(n), 10, left=10 * n), priority=Priority.BATCH) for n in (4, 5, 6)]
    load = Load(
        [Waiting(name, 1.0, Priority.BATCH) for name in ("fox", "owl")] + [Waiting("cat", 1.0)],
        [replace(one, cost=1.0) for one in running],
        [],
    )
    found = waits_of(load, 4, 3)
    assert list(found) == ["cat", "fox", "owl"]
    assert found == {"cat": 0, "fox": 40, "owl": 50}


def test_one_of_an_older_version_has_no_cost_and_takes_no_time() -> None:
    assert waits({"fox": 0.0, "owl": 0.0}, [(run("a", 1, left=9), 1.0)], 1) == [9, 9]
    assert waits({"fox": 0.0, "owl": 0.0}, [], 1) == [0, 0]


@pytest.mark.parametrize(
    ("request_", "has_image", "steps"),
    [
        ({}, False, 25),
        ({"num_inference_steps": 50, "num_images": 4}, False, 200),
        ({"num_inference_steps": 50, "strength": 0.5}, True, 25),
        ({"num_inference_steps": 50, "strength": 0.5}, False, 50),
        ({"num_inference_steps": 50, "strength": 0}, True, 1),
        ({"num_inference_steps": 50, "refine_scale": 2, "refine_strength": 0.5}, False, 150),
        ({"refine_scale": 2, "refine_strength": 0.5, "refine_steps": 10}, False, 45),
    ],
)
def test_the_cost_is_steps_times_pixels(
    request_: dict[str, Any], has_image: bool, steps: float
) -> None:
    assert cost.of(request_, has_image, 512) == steps * 512 * 512
    half = {**request_, "width": 256, "height": 512}
    assert cost.of(half, has_image, 768) == steps * 256 * 512


def test_the_cost_of_a_size_that_follows_the_result_is_that_of_the_result() -> None:
    request = {"num_inference_steps": 10, "result_size": "256x4000"}
    assert cost.of(request, False, 512) == 10 * 256 * 1024
    assert cost.of({**request, "width": 64, "height": 64}, False, 512) == 10 * 64 * 64
