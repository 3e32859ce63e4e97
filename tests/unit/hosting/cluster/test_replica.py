from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from hosting.cluster.replica import ConcurrencyGate, Full


def in_gate(slots: int) -> Callable[[Callable[[ConcurrencyGate], Awaitable[None]]], None]:
    def run(test: Callable[[ConcurrencyGate], Awaitable[None]]) -> None:
        async def main() -> None:
            await test(ConcurrencyGate(slots))

        asyncio.run(main())

    return run


class Guest:
    """A prediction that joins, and stays until it is told to go."""

    def __init__(self, gate: ConcurrencyGate, name: str, isolated: bool = False) -> None:
        self.runs = False
        self.go = asyncio.Event()
        self.task = asyncio.create_task(self._stay(gate, name, isolated))

    async def _stay(self, gate: ConcurrencyGate, name: str, isolated: bool) -> None:
        async with gate.join(name, isolated):
            self.runs = True
            await self.go.wait()
        self.runs = False

    async def leave(self) -> None:
        self.go.set()
        await self.task
        await soon()


async def soon() -> None:
    """Until all that can go on has."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_those_that_need_not_be_alone_run_beside_one_another() -> None:
    @in_gate(3)
    async def _(gate: ConcurrencyGate) -> None:
        guests = [Guest(gate, name) for name in "abc"]
        await soon()
        assert all(guest.runs for guest in guests)
        assert [gate.has(name) for name in "abcd"] == [True, True, True, False]
        for guest in guests:
            await guest.leave()
        assert not gate.has("a")


def test_there_are_no_more_than_slots_also_with_those_that_wait() -> None:
    @in_gate(2)
    async def _(gate: ConcurrencyGate) -> None:
        first, lone = Guest(gate, "a"), Guest(gate, "b", isolated=True)
        await soon()
        assert (first.runs, lone.runs) == (True, False)
        with pytest.raises(Full):
            async with gate.join("c", False):
                pass
        await first.leave()
        async with AsyncExitStack() as stack:
            await lone.leave()
            await stack.enter_async_context(gate.join("c", False))
            await stack.enter_async_context(gate.join("d", False))


def test_one_that_is_to_be_alone_waits_for_those_before_it_and_those_behind_wait_for_it() -> None:
    @in_gate(8)
    async def _(gate: ConcurrencyGate) -> None:
        before = [Guest(gate, name) for name in "ab"]
        lone = Guest(gate, "lone", isolated=True)
        behind = [Guest(gate, name) for name in "cd"]
        await soon()
        await before[0].leave()
        assert not lone.runs
        await before[1].leave()
        assert (lone.runs, behind[0].runs, behind[1].runs) == (True, False, False)
        await lone.leave()
        assert [guest.runs for guest in behind] == [True, True]
        for guest in behind:
            await guest.leave()


def test_two_that_are_to_be_alone_run_one_after_the_other() -> None:
    @in_gate(8)
    async def _(gate: ConcurrencyGate) -> None:
        one, other = (Guest(gate, name, isolated=True) for name in "ab")
        await soon()
        assert (one.runs, other.runs) == (True, False)
        await one.leave()
        assert other.runs
        await other.leave()


def test_one_that_gives_up_waiting_leaves_its_place_and_its_turn() -> None:
    @in_gate(2)
    async def _(gate: ConcurrencyGate) -> None:
        first, lone = Guest(gate, "a"), Guest(gate, "lone", isolated=True)
        await soon()
        lone.task.cancel()
        await soon()
        second = Guest(gate, "b")
        await soon()
        assert second.runs
        await first.leave()
        await second.leave()
