from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from train_demo.progress import LONGEST_STEP, Clock, Log


class Time:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def step(clock: Clock, time: Time, seconds: float) -> None:
    clock.begin()
    time.seconds += seconds
    clock.end()


def test_only_steps_count_and_not_what_lies_between_them() -> None:
    time = Time()
    clock = Clock(60, seconds=time)
    for _ in range(11):
        step(clock, time, 30)
        time.seconds += 500
    # The first has no usual step to be compared with.
    assert clock.minutes == pytest.approx(5)
    assert clock.share == pytest.approx(5 / 60)
    assert not clock.over


def test_while_the_process_is_stopped_no_minutes_pass() -> None:
    time = Time()
    clock = Clock(60, seconds=time)
    for _ in range(5):
        step(clock, time, 6)
    before = clock.minutes
    step(clock, time, 10 * 3600)
    assert clock.minutes - before == pytest.approx(LONGEST_STEP * 0.1)
    step(clock, time, 6)
    assert clock.minutes - before == pytest.approx(LONGEST_STEP * 0.1 + 0.1)


def test_steps_that_grow_longer_count_in_full_after_a_while() -> None:
    time = Time()
    clock = Clock(1000, seconds=time)
    for _ in range(40):
        step(clock, time, 1)
    for _ in range(40):
        step(clock, time, 60)
    before = clock.minutes
    step(clock, time, 60)
    assert clock.minutes - before == pytest.approx(1)


def test_minutes_may_be_counted_by_steps() -> None:
    time = Time()
    clock = Clock(1, of_a_step=0.25, seconds=time)
    for _ in range(4):
        assert not clock.over
        step(clock, time, 999)
    assert clock.over


def test_something_is_due_after_its_minutes() -> None:
    clock = Clock(10, of_a_step=1)
    due = []
    for _ in range(6):
        clock.begin()
        clock.end()
        due.append(clock.due("grid", 2))
    assert due == [False, False, True, False, True, False]


class Closed(io.StringIO):
    def write(self, _: str) -> int:
        raise OSError(5, "Input/output error")


def test_the_log_goes_on_in_its_file_when_the_terminal_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Closed())
    log = Log(tmp_path / "log.txt")
    log("one")
    log("two")
    sys.stdout.close()
    assert [line.split()[1] for line in log.path.read_text().splitlines()] == ["one", "two"]
