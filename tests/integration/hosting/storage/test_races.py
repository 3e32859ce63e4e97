"""Fronts that do the same at the same time, on PostgreSQL: each decision is made once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from hosting.prediction import Crashed
from hosting.states import Status
from hosting.storage import (
    database,
    deliveries,
    heartbeats,
    predictions,
    quota,
    tokens,
    turns,
    uploads,
)
from hosting.storage.database import Database
from hosting.storage.tables import Delivery, Heartbeat, PredictionRow, Token
from hosting.timings import DEFAULT_TIMINGS
from tests.support.front import count, place, prediction, upload

Result = TypeVar("Result")

FRONTS = 6
DEAD_AFTER = DEFAULT_TIMINGS.dead_after_seconds


@pytest.fixture
def store(on_postgresql: None, tmp_path: Path) -> Iterator[Database]:
    store = Database(place(tmp_path))
    store.write_now(tokens.prepare)
    at_once(lambda _: store.write_now(lambda _: time.sleep(0.05)))  # all are connected
    yield store
    store.close()


def at_once(what: Callable[[int], Result], times: int = FRONTS) -> list[Result]:
    """Calls something with 0, 1, 2 …, at the same moment."""
    start = threading.Barrier(times)

    def call(number: int) -> Result:
        start.wait()
        return what(number)

    with ThreadPoolExecutor(times) as threads:
        return list(threads.map(call, range(times)))


def local(session: Session) -> Token:
    return session.get_one(Token, tokens.LOCAL)


def named(session: Session, name: str) -> Token:
    return session.scalars(select(Token).where(Token.name == name)).one()


def add(store: Database, prompt: str = "fox", **fields: Any) -> str:
    """A waiting prediction; its id."""

    def work(session: Session) -> str:
        asked = prediction(local(session), prompt, **fields)
        predictions.add(session, asked, 1000)
        return asked.id

    return store.write_now(work)


def claim(store: Database, front_id: str, has_company: bool = False) -> PredictionRow | None:
    return store.write_now(predictions.claim, "img2img", has_company, front_id)


class Held:
    """A transaction that is in the middle of something until it is let go."""

    def __init__(self, store: Database, work: Callable[..., object], *arguments: Any) -> None:
        self._let_go, is_there = threading.Event(), threading.Event()

        def hold(session: Session) -> None:
            work(session, *arguments)
            session.flush()
            is_there.set()
            self._let_go.wait(10)

        self._thread = threading.Thread(target=store.write_now, args=(hold,))
        self._thread.start()
        assert is_there.wait(10)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._let_go.set()
        self._thread.join()


# The queue


def test_each_prediction_is_claimed_by_one_front(store: Database) -> None:
    ids = [add(store) for _ in range(40)]

    def claim_all(number: int) -> list[str]:
        found = []
        while one := claim(store, str(number)):
            found.append(one.id)
        return found

    claimed = at_once(claim_all)
    assert sorted(one for found in claimed for one in found) == sorted(ids)
    # And each front got its own in their order.
    assert all(found == sorted(found, key=ids.index) for found in claimed)


def test_fronts_that_claim_at_once_have_turns_go_round_by_token(store: Database) -> None:
    hundred = {add(store, "local") for _ in range(100)}
    for name in ("ann", "bob"):
        store.write_now(tokens.create, name)
        owner = store.write_now(named, name)
        store.write_now(predictions.add, prediction(owner, name), 10)
    first = [one.id for one in at_once(lambda number: claim(store, str(number))) if one]
    assert len(set(first)) == FRONTS
    assert len(hundred.intersection(first)) == FRONTS - 2
    rest = [claim(store, "this") for _ in range(len(hundred) - FRONTS + 2)]
    numbers = [one.number for one in rest if one]
    assert numbers == sorted(numbers)
    last = store.write_now(turns.clock, "img2img")
    assert last == max(one.turn for one in rest if one)


def test_one_that_is_just_being_claimed_holds_no_other_front_up(store: Database) -> None:
    fox, owl = add(store), add(store)
    with Held(store, predictions.claim, "img2img", False, "this"):
        other = claim(store, "other")
        assert other is not None
        assert other.id == owl
    assert claim(store, "this") is None
    assert store.write_now(predictions.running, "this") == {(fox, 1): False}


def test_a_suspect_that_is_only_looked_at_is_not_overtaken(store: Database) -> None:
    add(store, "suspect", crashes=1)
    add(store, "behind")
    with Held(store, predictions.claim, "img2img", True, "busy"):
        assert claim(store, "busy too", has_company=True) is None
        idle = claim(store, "idle")
        assert idle is not None
        assert idle.request["prompt"] == "suspect"
    behind = claim(store, "busy", has_company=True)
    assert behind is not None
    assert behind.request["prompt"] == "behind"


def test_a_token_never_has_more_unfinished_predictions_than_it_may(store: Database) -> None:
    def ask(_: int) -> bool:
        return store.write_now(
            lambda session: (
                predictions.add(session, prediction(local(session), "fox"), 3) is not None
            )
        )

    assert sum(at_once(ask)) == 3
    assert store.write_now(count, "starting") == 3


def test_an_id_that_is_given_several_times_at_once_is_one_prediction(store: Database) -> None:
    def ask(_: int) -> str:
        def work(session: Session) -> str:
            asked = prediction(local(session), "fox", given_id="mine")
            accepted = predictions.add(session, asked, 100)
            assert accepted is not None
            return accepted.id

        return store.write_now(work)

    assert len(set(at_once(ask))) == 1


def test_a_prediction_ends_once(store: Database) -> None:
    add(store, webhook="https://example.com")
    live = claim(store, "this")
    assert live is not None

    def end(number: int) -> bool:
        if number % 2:
            return store.write_now(predictions.conclude, live, Status.SUCCEEDED) is not None
        return store.write_now(predictions.crash, live, Crashed("it died")) is not None

    assert sum(at_once(end)) == 1


def test_what_a_dead_front_had_is_put_back_once(store: Database) -> None:
    ids = [add(store) for _ in range(5)]
    for _ in ids:
        claim(store, "dead")
    put_back = at_once(lambda number: store.write_now(heartbeats.beat, str(number), DEAD_AFTER))
    assert sorted(one for found in put_back for one in found) == sorted(ids)


def test_files_are_fetched_by_one_front(store: Database) -> None:
    slow = add(store, ready=False)
    for number in range(FRONTS):
        store.write_now(heartbeats.beat, str(number), DEAD_AFTER)
    claimed = at_once(lambda number: store.write_now(predictions.claim_files, slow, str(number)))
    (one,) = [one for one in claimed if one]
    waiting = [store.write_now(predictions.unready, str(number)) for number in range(FRONTS)]
    assert [bool(found) for found in waiting].count(True) == 1
    assert store.write_now(predictions.set_ready, one, {}, 0) is not None


# What else is decided


def test_uploads_never_are_more_than_they_may(store: Database) -> None:
    def send(_: int) -> bool:
        try:
            store.write_now(
                lambda session: uploads.add(session, upload(local(session), size=10), 35)
            )
        except quota.QuotaExceeded:
            return False
        return True

    assert sum(at_once(send)) == 3


def test_a_webhook_is_called_by_one_front(store: Database) -> None:
    fox = add(store, webhook="https://example.com", status="succeeded")
    delivery = Delivery(id="d", prediction_id=fox, event="completed", seen={}, due_at=time.time())
    store.write_now(lambda session: session.add(delivery))
    for number in range(FRONTS):
        store.write_now(heartbeats.beat, str(number), DEAD_AFTER)
    claimed = at_once(
        lambda number: store.write_now(deliveries.claim, "d", str(number)) is not None
    )
    assert sum(claimed) == 1
    caller, other = str(claimed.index(True)), str(claimed.index(False))
    assert store.write_now(deliveries.due, [], other, 9) == []
    # Who is not the caller can't say that it was taken; when the caller is dead, another calls.
    store.write_now(deliveries.finish, "d", other, True)
    store.write_now(heartbeats.unregister, caller)
    assert [one for one, *_ in store.write_now(deliveries.due, [], other, 9)] == ["d"]
    assert store.write_now(deliveries.claim, "d", other) is not None
    store.write_now(deliveries.finish, "d", caller, True)
    assert store.write_now(lambda session: session.scalar(select(Delivery.tries))) == 2
    store.write_now(deliveries.finish, "d", other, True)
    assert store.write_now(lambda session: session.scalar(select(Delivery.tries))) is None


def test_what_happens_while_a_webhook_is_called_is_told_in_another_call(store: Database) -> None:
    add(store, webhook="https://example.com")
    live = claim(store, "this")
    assert live is not None
    live.logs = "one"
    store.write_now(predictions.record_progress, live)
    (delivery,) = store.write_now(deliveries.due, [], "this", 9)

    with Held(store, deliveries.claim, delivery[0], "this"):
        live.logs = "two"
        saving = threading.Thread(target=store.write_now, args=(predictions.record_progress, live))
        saving.start()
        time.sleep(0.3)  # it comes to the call that is being made
    saving.join()
    seen = store.write_now(
        lambda session: list(session.scalars(select(Delivery).order_by("number")))
    )
    assert [one.seen["logs"] for one in seen] == ["one", "two"]


def test_what_is_drawn_or_made_once_is_the_same_for_all(store: Database) -> None:
    assert len(set(at_once(lambda _: store.write_now(database.secret, "links")))) == 1

    def create(_: int) -> bool:
        try:
            store.write_now(tokens.create, "ann")
        except tokens.TokenError:
            return False
        return True

    assert sum(at_once(create)) == 1


def test_old_predictions_are_swept_by_whoever_comes_first(store: Database) -> None:
    ids = [add(store, status="succeeded", completed_at=1.0) for _ in range(20)]
    swept = at_once(lambda _: store.write_now(predictions.expire, 2.0))
    assert sorted(one for found in swept for one in found) == sorted(ids)


def test_fronts_that_come_at_once_all_are_there(store: Database) -> None:
    at_once(lambda number: store.write_now(heartbeats.register, str(number), DEAD_AFTER))
    there = store.write_now(lambda session: set(session.scalars(select(Heartbeat.id))))
    assert there == {str(number) for number in range(FRONTS)}
