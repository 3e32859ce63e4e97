from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from hosting.prediction import Crashed
from hosting.states import Status
from hosting.storage import heartbeats, predictions, tokens
from hosting.storage.database import Database, Unavailable
from hosting.storage.files import Files
from hosting.storage.tables import Delivery, Heartbeat
from tests.support.front import LONGEST, QUICK, count, place, prediction, queue, until
from tools.fake_cog import CogServer, pixels

WITH_HOOK = {"webhook": "https://example.com"}
DEAD_AFTER = QUICK.dead_after_seconds


class Clock:
    """The time that fronts live by."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(heartbeats, "clock", lambda _: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def store(everywhere: None, tmp_path: Path) -> Iterator[Database]:
    store = Database(place(tmp_path))
    store.write_now(tokens.prepare)
    yield store
    store.close()


def add(store: Database, **fields: Any) -> str:
    """A waiting prediction; its id."""
    token = store.write_now(tokens.find, None)
    assert token is not None
    asked = prediction(token, "fox", **fields)
    store.write_now(predictions.add, asked, 100)
    return asked.id


def there(store: Database) -> set[str]:
    return store.write_now(lambda session: set(session.scalars(select(Heartbeat.id))))


# Who is there


def test_who_has_said_nothing_for_too_long_is_dead(store: Database, clock: Clock) -> None:
    store.write_now(heartbeats.register, "one", DEAD_AFTER)
    store.write_now(heartbeats.beat, "other", DEAD_AFTER)
    clock.now += DEAD_AFTER - 1
    store.write_now(heartbeats.beat, "one", DEAD_AFTER)
    assert there(store) == {"one", "other"}
    clock.now += 2
    store.write_now(heartbeats.beat, "one", DEAD_AFTER)
    assert there(store) == {"one"}
    store.write_now(heartbeats.beat, "other", DEAD_AFTER)  # it was only frozen
    assert there(store) == {"one", "other"}
    store.write_now(heartbeats.unregister, "one")
    assert there(store) == {"other"}


def test_the_dead_do_not_live_until_a_clock_that_stepped_back_has_caught_up(
    store: Database, clock: Clock
) -> None:
    for front in ("one", "other"):
        store.write_now(heartbeats.beat, front, DEAD_AFTER)
    clock.now -= 8638
    store.write_now(heartbeats.beat, "one", DEAD_AFTER)
    assert there(store) == {"one", "other"}
    clock.now += DEAD_AFTER + 1
    store.write_now(heartbeats.beat, "one", DEAD_AFTER)
    assert there(store) == {"one"}


def test_the_others_get_what_the_dead_had_and_nothing_of_the_living(
    store: Database, clock: Clock
) -> None:
    ids = {front: add(store) for front in ("one", "other", "left")}
    for front in ids:
        store.write_now(heartbeats.beat, front, DEAD_AFTER)
        store.write_now(predictions.claim, "img2img", False, front)
    store.write_now(heartbeats.unregister, "left")
    assert store.write_now(heartbeats.beat, "one", DEAD_AFTER) == [ids["left"]]
    clock.now += DEAD_AFTER + 1
    assert store.write_now(heartbeats.beat, "one", DEAD_AFTER) == [ids["other"]]
    assert store.write_now(predictions.running, "one") == {(ids["one"], 1): False}
    assert store.write_now(count, "starting") == 2


def test_who_comes_back_may_write_nothing_of_what_another_has_taken(
    store: Database, clock: Clock
) -> None:
    add(store, **WITH_HOOK)
    store.write_now(heartbeats.beat, "frozen", DEAD_AFTER)
    mine = store.write_now(predictions.claim, "img2img", False, "frozen")
    clock.now += DEAD_AFTER + 1
    store.write_now(heartbeats.beat, "other", DEAD_AFTER)

    def is_refused() -> None:
        assert mine is not None
        mine.logs, mine.output = "old", ["out-0.png"]
        assert store.write_now(predictions.mark_started, mine)  # it is to be cancelled
        assert store.write_now(predictions.record_progress, mine)
        assert store.write_now(predictions.requeue, mine) is None
        assert store.write_now(predictions.crash, mine, Crashed("it died")) is None
        assert store.write_now(predictions.conclude, mine, Status.SUCCEEDED) is None
        assert store.write_now(lambda session: session.scalar(select(Delivery))) is None

    is_refused()  # while it waits
    other = store.write_now(predictions.claim, "img2img", False, "other")
    assert other is not None
    is_refused()  # while it runs
    store.write_now(predictions.requeue, other)
    store.write_now(heartbeats.beat, "frozen", DEAD_AFTER)
    again = store.write_now(predictions.claim, "img2img", False, "frozen")
    assert again is not None
    assert again.attempt == 3
    is_refused()  # while the same front runs it a second time
    again.logs = "new"
    done = store.write_now(predictions.conclude, again, Status.SUCCEEDED)
    assert done is not None
    assert (done.status, done.logs, done.output) == ("succeeded", "new", [])


def test_files_that_a_frozen_front_has_fetched_are_not_taken(store: Database, clock: Clock) -> None:
    slow = add(store, ready=False)
    store.write_now(heartbeats.beat, "frozen", DEAD_AFTER)
    mine = store.write_now(predictions.claim_files, slow, "frozen")
    assert mine is not None
    clock.now += DEAD_AFTER + 1
    store.write_now(heartbeats.beat, "other", DEAD_AFTER)
    other = store.write_now(predictions.claim_files, slow, "other")
    assert other is not None
    assert store.write_now(predictions.set_ready, mine, {"image": "in-old"}, 0) is None
    assert store.write_now(predictions.conclude, mine, Status.FAILED, "gone") is None
    ready = store.write_now(predictions.set_ready, other, {"image": "in-new"}, 0)
    assert ready is not None
    assert (ready.status, ready.files) == ("starting", {"image": "in-new"})


def test_a_front_alone_with_its_file_takes_up_at_once_what_the_last_had(
    tmp_path: Path, clock: Clock
) -> None:
    store = Database(tmp_path / "predictions.db")
    store.write_now(tokens.prepare)
    store.write_now(heartbeats.register, "last", DEAD_AFTER)
    fox = add(store)
    store.write_now(predictions.claim, "img2img", False, "last")
    assert store.write_now(heartbeats.register, "next", DEAD_AFTER) == [fox]
    store.close()


# Two that run


@pytest.fixture
def cogs(on_postgresql: None) -> Iterator[tuple[CogServer, CogServer]]:
    with CogServer(slots=1).served() as one, CogServer(slots=1).served() as other:
        for cog in (one, other):
            cog.tell("fox", "hold")
            cog.tell("owl", "hold")
        yield one, other


def test_two_fronts_share_the_queue_and_each_sees_what_the_other_runs(
    tmp_path: Path, cogs: tuple[CogServer, CogServer]
) -> None:
    async def main() -> None:
        one, other = cogs
        async with queue(tmp_path, one, cog_slots=1) as here:
            fox = await here.ask("fox")
            await until(lambda: one.running == ["fox"])
            async with queue(tmp_path, other, cog_slots=1) as there:
                owl = await here.ask("owl")
                await until(lambda: other.running == ["owl"])
                waiting = asyncio.create_task(here.finished(await here.found(owl), LONGEST))
                other.let_go("owl")
                assert (await waiting).status == "succeeded"
                assert here.pictures(await waiting) == [pixels("owl", 7)]
                await there.cancel(fox)
                (done,) = await there.over(fox)
                assert (done.status, one.runs[0].cancelled) == ("canceled", True)

    asyncio.run(main())


def test_when_one_front_stops_the_other_takes_up_what_it_had(
    tmp_path: Path, cogs: tuple[CogServer, CogServer]
) -> None:
    async def main() -> None:
        one, other = cogs
        async with queue(tmp_path, other, cog_slots=1) as there:
            other.status = "STARTING"
            async with queue(tmp_path, one, cog_slots=1) as here:
                fox = await here.ask("fox")
                await until(lambda: one.running)
            other.status = "READY"
            await until(lambda: other.running)
            other.let_go("fox")
            (done,) = await there.over(fox)
            assert (done.status, done.attempt) == ("succeeded", 2)

    asyncio.run(main())


def test_one_that_others_take_for_dead_gives_up_what_it_runs_and_leaves_no_files(
    tmp_path: Path, cogs: tuple[CogServer, CogServer]
) -> None:
    def bury(session: Session, dead: str, front_id: str) -> list[str]:
        heartbeats.unregister(session, dead)
        return heartbeats.beat(session, front_id, DEAD_AFTER)

    async def main() -> None:
        one, other = cogs
        async with queue(tmp_path, one, cog_slots=1) as here:
            fox = await here.ask("fox")
            await until(lambda: one.running)
            # What it has made by then:
            here.files.write(f"predictions/{fox}/out-0.png", b"old")
            here.dispatcher._runs[fox]._change(output=["out-0.png"])
            other.tell("fox", "succeed")
            async with queue(tmp_path, other, cog_slots=1) as there:
                here.dispatcher._stopping.set()  # else it might be the one to begin it again
                dead, alive = here.dispatcher.front_id, there.dispatcher.front_id
                assert await there.database.write(bury, dead, alive) == [fox]
                await until(lambda: other.runs_of("fox"))
                await until(lambda: one.runs[0].cancelled)  # hung up on, or told to
                (done,) = await there.over(fox)
                assert (done.status, done.output) == ("succeeded", ["out-0-2.png"])
                assert there.pictures(done) == [pixels("fox", 7)]
                await until(lambda: not here.dispatcher._tasks)
                names = [path.name for path in tmp_path.glob(f"predictions/{fox}/*")]
                assert names == ["out-0-2.png"]

    asyncio.run(main())


def test_a_front_that_was_not_heard_of_for_long_begins_nothing(
    tmp_path: Path, cogs: tuple[CogServer, CogServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    timings = replace(QUICK, heartbeat_seconds=0.02, dead_after_seconds=0.5)
    tries: list[Any] = []

    async def lost(*asked: Any) -> list[str]:
        tries.append(asked)
        raise Unavailable("the connection is lost")

    async def main() -> None:
        one, _ = cogs
        async with queue(tmp_path, one, timings=timings) as here:
            await until(lambda: one.status and here.endpoints[0].has_free_slot)
            with monkeypatch.context() as patched:
                patched.setattr(here.store.heartbeats, "beat", lost)
                await until(
                    lambda: tries and not here.dispatcher._may_begin
                )  # none before is under way
                await here.ask("fox")
                looks = len(one.received) + 5
                await until(lambda: len(one.received) > looks)
                assert one.runs == []
            await until(lambda: one.running)

    asyncio.run(main())


# Files of two attempts


def test_an_attempt_removes_its_files_and_those_before_it_and_no_later_ones(tmp_path: Path) -> None:
    files = Files(tmp_path)
    names = ["out-0.png", "out-1.png", "out-0-2.png", "out-1-2.png", "out-0-3.webp", "in-image"]
    for name in names:
        files.write(f"predictions/a1/{name}", b"data")
    files.remove_outputs("a1", 2, ["out-0-2.png"])
    left = {path.name for path in (tmp_path / "predictions" / "a1").iterdir()}
    assert left == {"out-0-2.png", "out-0-3.webp", "in-image"}
    files.remove_outputs("none", 1, [])
