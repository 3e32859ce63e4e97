from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import pytest

from hosting.backends import supervision
from hosting.backends.cog import Cog
from hosting.backends.servers import Server
from hosting.backends.supervision import Health
from hosting.states import State


class Both:
    """A Cog server, as its client and as its process."""

    status_now = State.UNREACHABLE
    is_alive = True

    async def status(self, is_wanted: bool = False) -> State:
        return self.status_now


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def is_lost(health: Health, both: Both) -> bool:
    """Whether it is lost, after a look at it."""
    asyncio.run(health.look(cast(Cog, cast(Any, both))))
    assert health.status == both.status_now
    return health.is_lost(cast(Server, cast(Any, both)))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (State.READY, False),
        (State.STARTING, False),
        (State.UNREACHABLE, False),
        (State.SETUP_FAILED, True),
        (State.UNHEALTHY, True),
        (State.DEFUNCT, True),
    ],
)
def test_a_server_is_lost_when_it_says_so(now: list[float], status: State, expected: bool) -> None:
    both = Both()
    both.status_now = status
    assert is_lost(Health(), both) is expected


def test_an_answer_that_never_is_whole_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dripping:
        async def status(self, is_wanted: bool = False) -> State:
            await asyncio.sleep(60)
            return State.READY

    monkeypatch.setattr(supervision, "LONGEST_LOOK_SECONDS", 0.01)
    health = Health()
    health.status = State.READY
    assert asyncio.run(health.look(cast(Cog, Dripping()))) is State.UNREACHABLE


def test_a_server_whose_process_has_ended_is_lost(now: list[float]) -> None:
    both = Both()
    both.status_now = State.READY
    both.is_alive = False
    assert is_lost(Health(), both)


def test_a_server_that_has_long_said_nothing_is_lost(now: list[float]) -> None:
    both, health = Both(), Health()
    now[0] += supervision.LONGEST_SILENCE_SECONDS
    assert not is_lost(health, both)
    both.status_now = State.STARTING
    assert not is_lost(health, both)
    both.status_now = State.UNREACHABLE
    now[0] += supervision.LONGEST_SILENCE_SECONDS
    assert not is_lost(health, both)
    now[0] += 0.1
    assert is_lost(health, both)
