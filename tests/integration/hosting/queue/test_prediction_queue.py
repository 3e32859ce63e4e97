from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hosting.prediction import Outcome, Prediction
from hosting.queue import prediction_queue
from hosting.storage.database import Unavailable
from hosting.storage.store import Predictions
from hosting.storage.tables import new_id
from tests.support.front import LONGEST, Queue, in_queue, said, until
from tools.fake_cog import CogServer

pytestmark = pytest.mark.usefixtures("everywhere")


@pytest.fixture
def cog() -> Iterator[CogServer]:
    with CogServer(slots=4).served() as cog:
        yield cog


async def seen(queue: Queue, prediction_id: str) -> list[Prediction | None]:
    return [one async for one in queue.follow(prediction_id)]


def is_away(store: Predictions, name: str, patch: pytest.MonkeyPatch) -> list[Any]:
    """Has a transaction find no database; returns the arguments of its calls as they come."""
    calls: list[Any] = []

    async def fail(*arguments: Any) -> None:
        calls.append(arguments)
        raise Unavailable("the database is away")

    patch.setattr(store, name, fail)
    return calls


def test_who_follows_a_prediction_sees_it_to_its_end(tmp_path: Path, cog: CogServer) -> None:
    cog.tell("fox", "hold")

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        fox = await queue.ask("fox")
        following = asyncio.create_task(seen(queue, fox))
        await until(lambda: cog.running)
        cog.let_go("fox")
        *before, last = [one for one in await following if one]
        assert (last.status, last.output) == ("succeeded", ["out-0.png"])
        assert {one.status for one in before} <= {"starting", "processing"}
        assert [one.status for one in await seen(queue, fox) if one] == ["succeeded"]


def test_what_came_is_seen_until_the_end_is_written(
    tmp_path: Path, cog: CogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told less than before, also where nothing could be saved while it ran."""
    ended, goes_on = asyncio.Event(), asyncio.Event()

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        store = queue.store.predictions
        settle = store.settle

        async def unsaved(live: Prediction) -> bool:
            return False

        async def late(live: Prediction, outcome: Outcome) -> Prediction | None:
            ended.set()
            await goes_on.wait()
            return await settle(live, outcome)

        monkeypatch.setattr(store, "record_progress", unsaved)
        monkeypatch.setattr(store, "settle", late)
        fox = await queue.ask("fox")
        await ended.wait()
        now = await queue.current(fox)
        assert now is not None
        assert (now.status, now.output) == ("processing", ["out-0.png"])
        assert said(now.logs) == "drawing fox\n"
        goes_on.set()
        (done,) = await queue.over(fox)
        assert (done.status, done.logs) == ("succeeded", now.logs)


def test_nobody_can_follow_what_is_not_there(tmp_path: Path, cog: CogServer) -> None:
    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        assert await seen(queue, new_id()) == []


def test_who_follows_a_prediction_waits_for_a_database_that_is_away(
    tmp_path: Path, cog: CogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_queue, "RETRY_SECONDS", 0.01)
    cog.status = "STARTING"

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        fox = await queue.ask("fox")
        record = await queue.found(fox)
        following = asyncio.create_task(seen(queue, fox))
        with monkeypatch.context() as away:
            asked = is_away(queue.store.predictions, "find", away)
            await until(lambda: len(asked) > 1)
            is_away(queue.store.predictions, "load", away)
            assert await queue.place(record) is None
        assert await queue.place(record) is not None
        cog.status = "READY"
        last = (await following)[-1]
        assert last is not None
        assert last.status == "succeeded"


def test_a_long_silence_is_told(
    tmp_path: Path, cog: CogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_queue, "PING_SECONDS", 0.05)
    cog.tell("fox", "hold")

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        async for one in queue.follow(await queue.ask("fox")):
            if one is None:
                break
            assert one.status in ("starting", "processing")
        else:
            raise AssertionError("it ended")


def test_who_has_waited_enough_is_told_how_it_is(tmp_path: Path, cog: CogServer) -> None:
    cog.tell("fox", "hold")

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        fox = await queue.ask("fox")
        await until(lambda: cog.running)
        told = await queue.finished(await queue.found(fox), 0.05)
        assert (told.id, told.status) == (fox, "processing")
        cog.let_go("fox")
        told = await queue.finished(told, LONGEST)
        assert (told.id, told.status) == (fox, "succeeded")


def test_when_it_stops_nobody_waits_for_one_whose_turn_has_not_come(
    tmp_path: Path, cog: CogServer
) -> None:
    cog.status = "STARTING"

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        fox = await queue.ask("fox")
        following = asyncio.create_task(seen(queue, fox))
        await queue.dispatcher.stop(asyncio.Event())
        assert {one.status for one in await following if one} == {"starting"}
        told = await queue.finished(await queue.found(fox), 3600)
        assert told.status == "starting"


def test_one_that_waits_has_a_place_and_a_wait_by_what_runs(tmp_path: Path) -> None:
    with CogServer(slots=2).served() as cog:
        cog.tell("fox", "hold")

        @in_queue(tmp_path, cog, cog_slots=2)
        async def _(queue: Queue) -> None:
            running = [await queue.ask("fox"), await queue.ask("fox")]
            await until(lambda: len(cog.running) == 2)
            waiting = [await queue.ask("fox") for _ in range(3)]

            async def told(one: str) -> Any:
                return await queue.place(await queue.found(one))

            for one in running:  # half a second is left, it says
                run = queue.dispatcher.running(one)
                while not (run and "progress" in run.metrics):
                    await asyncio.sleep(0.01)
                    run = queue.dispatcher.running(one)
            await queue.ask("old", status="succeeded", started_at=100.0, completed_at=1100.0)
            places = [await told(one) for one in waiting]
            assert [one["position"] for one in places] == [1, 2, 3]
            assert [one["estimated_wait"] for one in places[:2]] == [0.5, 0.5]
            assert 1 <= places[2]["estimated_wait"] < 1 + LONGEST
            assert [await told(one) for one in running] == [None, None]
            cog.let_go("fox")


def test_one_whose_model_is_not_ready_waits_for_that(tmp_path: Path, cog: CogServer) -> None:
    cog.status = "STARTING"

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        await queue.ask("old", status="succeeded", started_at=100.0, completed_at=1100.0)
        foxes = [await queue.ask("fox"), await queue.ask("fox")]
        assert [await queue.place(await queue.found(fox)) for fox in foxes] == [
            {"position": place, "estimated_wait": None, "reason": "starting"} for place in (1, 2)
        ]
        cog.status = "READY"
        await queue.over(*foxes)
