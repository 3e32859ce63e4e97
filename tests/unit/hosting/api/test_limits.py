from __future__ import annotations

import time

import pytest

from hosting.api.limits import Limits


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_ten_seconds_worth_of_requests_may_come_at_once(clock: list[float]) -> None:
    limits = Limits(60)
    assert [limits.seconds_to_wait("a") for _ in range(12)] == [0] * 10 + [1, 1]


def test_a_minute_has_as_many_requests_as_it_should(clock: list[float]) -> None:
    limits = Limits(60)
    taken = 0
    for _ in range(6000):
        taken += limits.seconds_to_wait("a") == 0
        clock[0] += 0.01
    assert 60 <= taken <= 70


def test_after_the_wait_that_was_told_a_request_is_taken(clock: list[float]) -> None:
    limits = Limits(7)
    while not (wait := limits.seconds_to_wait("a")):
        pass
    assert wait == 8
    clock[0] += wait
    assert limits.seconds_to_wait("a") == 0
    assert limits.seconds_to_wait("a") > 0


def test_asking_too_early_costs_nothing(clock: list[float]) -> None:
    limits = Limits(60)
    for _ in range(10):
        limits.seconds_to_wait("a")
    for _ in range(9):
        clock[0] += 0.1
        assert limits.seconds_to_wait("a") == 1
    clock[0] += 0.11
    assert limits.seconds_to_wait("a") == 0


def test_nothing_is_saved_up_beyond_ten_seconds_worth(clock: list[float]) -> None:
    limits = Limits(60)
    limits.seconds_to_wait("a")
    clock[0] += 10**6
    assert [limits.seconds_to_wait("a") for _ in range(11)] == [0] * 10 + [1]


def test_each_token_has_requests_of_its_own(clock: list[float]) -> None:
    limits = Limits(6)
    assert limits.seconds_to_wait("a") == 0
    assert limits.seconds_to_wait("a") == 10
    assert limits.seconds_to_wait("b") == 0
