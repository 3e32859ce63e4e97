from __future__ import annotations

import math
import time
from typing import Any

import pytest

from hosting.queue.waits import waits_of, work_of
from hosting.storage.waits import Load, Running


def run(name: str, elapsed: float, left: float | None = None) -> Running:
    """A prediction that runs."""
    progress = {} if left is None else {"progress": {"seconds_left": left}}
    return Running(name, time.time() - elapsed, progress)


def waits(
    waiting: dict[str, float],
    running: list[tuple[Running, float]],
    slots: int,
    finished: dict[str, tuple[float, float]] | None = None,
) -> list[float]:
    """The waits, by the work of what waits and runs, and seconds and work of what has run."""
    done = finished or {}
    work = {**waiting, **{one.id: much for one, much in running}}
    work |= {name: much for name, (_, much) in done.items()}
    seconds = {name: one for name, (one, _) in done.items()}
    load = Load(list(waiting), [one for one, _ in running], seconds, {})
    return waits_of(load, load.running, work, slots)


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
    finished = {"old": (10.0, 5.0), "older": (30.0, 15.0)}
    assert waits({"fox": 5.0, "owl": 1.0}, [(run("a", 4), 10.0)], 1, finished) == [16, 26]


def test_what_runs_longer_than_it_should_may_end_at_any_time() -> None:
    assert waits({"fox": 1.0}, [(run("a", 99), 1.0)], 1, {"old": (10.0, 1.0)}) == [0]


def test_short_ones_of_before_do_not_make_long_ones_short() -> None:
    """Eight slots with 120 steps, after twenty predictions of two steps: minutes, not a second."""
    running = [(run(str(one), 30, left=120), 120.0) for one in range(8)]
    finished = {f"old {one}": (0.5, 2.0) for one in range(20)}
    assert waits({"fox": 120.0}, running, 8, finished) == [120]


def test_where_nothing_is_known_of_the_pace_only_what_is_before_it_is_known() -> None:
    assert waits({"fox": 1.0, "owl": 1.0}, [(run("a", 1), 1.0)], 1) == [math.inf, math.inf]
    assert waits({"fox": 1.0, "owl": 1.0}, [], 1) == [0, math.inf]


def test_slots_of_other_fronts_are_those_where_something_runs() -> None:
    running = [(run("a", 10, left=10), 1.0), (run("b", 10, left=5), 1.0)]
    assert waits({"fox": 1.0}, running, 0) == [5]


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
def test_work_is_steps_times_pixels(
    request_: dict[str, Any], has_image: bool, steps: float
) -> None:
    assert work_of(request_, has_image, 512) == steps * 512 * 512
    half = {**request_, "width": 256, "height": 512}
    assert work_of(half, has_image, 768) == steps * 256 * 512
