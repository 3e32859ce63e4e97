"""Batches in the database: one transaction takes, cancels or removes all of one."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from hosting.prediction import Prediction
from hosting.states import Priority, Status
from hosting.storage import batches, predictions, removals
from hosting.storage.quota import QuotaExceeded
from hosting.storage.tables import Batch, PredictionRow, Token, new_id
from tests.support.front import prediction

MOST = 10**9


def new(token: Token, *prompts: str, **fields: Any) -> tuple[Batch, list[Prediction]]:
    """A batch of predictions, to be added."""
    batch_id = new_id()
    members = [
        replace(prediction(token, prompt, **fields), batch_id=batch_id) for prompt in prompts
    ]
    batch = Batch(
        id=batch_id,
        token_id=token.id,
        requests=[{"prediction": one.id} for one in members],
        details={},
    )
    return batch, members


def added(session: Session, token: Token, *prompts: str) -> Batch:
    batch = batches.add(session, *new(token, *prompts), 100, MOST)
    assert batch
    return batch


def rows(session: Session, batch: Batch) -> list[PredictionRow]:
    of_it = select(PredictionRow).where(PredictionRow.batch_id == batch.id)
    return list(session.scalars(of_it.order_by(PredictionRow.number)))


def claimed(session: Session) -> PredictionRow:
    found = predictions.claim(session, "img2img", True, "this")
    assert found
    return found


def test_its_predictions_wait_in_the_order_of_its_requests(session: Session, ann: Token) -> None:
    batch = added(session, ann, "a", "b", "c")
    assert [row.request["prompt"] for row in rows(session, batch)] == ["a", "b", "c"]
    assert [claimed(session).request["prompt"] for _ in range(3)] == ["a", "b", "c"]


def test_their_turns_are_those_that_they_would_have_one_by_one(
    session: Session, ann: Token, bob: Token
) -> None:
    costs = [(3.0, "img2img"), (5.0, "upscale"), (1.0, "img2img"), (2.0, "img2img")]
    asked: dict[str, list[Prediction]] = {}
    for token in (ann, bob):
        predictions.add(session, prediction(token, "before", cost=8.0, priority=Priority.BATCH), 9)
        asked[token.id] = [
            prediction(token, "a", cost=cost, task=task, priority=Priority.BATCH)
            for cost, task in costs
        ]
    for one in asked[ann.id]:
        predictions.add(session, one, 9)
    batch = Batch(id=new_id(), token_id=bob.id, requests=[], details={})
    batches.add(session, batch, [replace(one, batch_id=batch.id) for one in asked[bob.id]], 9, MOST)
    turns = select(PredictionRow.turn).order_by(PredictionRow.number)
    found = [
        list(session.scalars(turns.where(PredictionRow.token_id == token.id)))
        for token in (ann, bob)
    ]
    assert found[0] == found[1]
    assert len(set(found[0])) > 3


def test_beyond_the_limit_of_unfinished_ones_none_is_taken(
    session: Session, ann: Token, bob: Token
) -> None:
    first = added(session, ann, "a", "b")
    assert batches.add(session, *new(ann, "c", "d"), 3, MOST) is None
    assert batches.add(session, *new(bob, "c", "d"), 3, MOST)
    assert len(rows(session, first)) == 2
    predictions.cancel(session, rows(session, first)[0].id)
    assert batches.add(session, *new(ann, "c", "d"), 3, MOST)


def test_others_of_the_token_are_counted_apart(session: Session, ann: Token) -> None:
    added(session, ann, "a", "b")
    assert predictions.add(session, prediction(ann, "c"), 1)
    assert predictions.add(session, prediction(ann, "d"), 1) is None
    assert batches.add(session, *new(ann, "e"), 3, MOST)


def test_files_of_all_count_together(session: Session, ann: Token) -> None:
    with pytest.raises(QuotaExceeded):
        batches.add(session, *new(ann, "a", "b", "c", input_bytes=40), 100, 100)
    session.rollback()
    assert session.scalar(select(func.count()).select_from(PredictionRow)) == 0
    assert session.scalar(select(func.count()).select_from(Batch)) == 0


def test_one_of_a_given_id_is_that_which_is_there(session: Session, ann: Token, bob: Token) -> None:
    batch, members = new(ann, "a")
    batch.given_id = "mine"
    assert batches.add(session, batch, members, 100, MOST) is batch
    other, others = new(ann, "b")
    other.given_id = "mine"
    assert batches.add(session, other, others, 100, MOST) is batch
    assert batches.find(session, "mine", ann.id) is batch
    assert batches.find(session, batch.id, ann.id) is batch
    assert batches.find(session, "mine", bob.id) is None


def test_its_progress_is_that_of_its_predictions(session: Session, ann: Token) -> None:
    batch, other = added(session, ann, "a", "b", "c"), added(session, ann, "d")
    before = batches.progress(session, [batch.id])[batch.id]
    assert (before.counts, before.started_at, before.is_over) == ({Status.STARTING: 3}, None, False)
    first, second = claimed(session), claimed(session)
    predictions.conclude(session, first, Status.SUCCEEDED)
    predictions.conclude(session, second, Status.FAILED, "no")
    found = batches.progress(session, [batch.id, other.id])
    progress = found[batch.id]
    assert progress.counts == {Status.STARTING: 1, Status.SUCCEEDED: 1, Status.FAILED: 1}
    assert (progress.started_at, progress.is_over) == (first.started_at, False)
    assert progress.completed_at == second.completed_at
    assert found[other.id].counts == {Status.STARTING: 1}
    predictions.cancel(session, rows(session, batch)[2].id)
    assert batches.progress(session, [batch.id])[batch.id].is_over


def test_cancelled_what_waits_is_over_and_what_runs_is_told(session: Session, ann: Token) -> None:
    batch, other = added(session, ann, "a", "b", "c"), added(session, ann, "d")
    done, runs = claimed(session), claimed(session)
    predictions.conclude(session, done, Status.SUCCEEDED)
    changed = batches.cancel(session, batch.id)
    assert {(row.request["prompt"], row.status, row.canceling) for row in changed} == {
        ("b", Status.PROCESSING, True),
        ("c", Status.CANCELED, False),
    }
    assert batch.canceled_at
    assert predictions.conclude(session, runs, Status.CANCELED)
    at = batch.canceled_at
    assert batches.cancel(session, batch.id) == []
    assert batch.canceled_at == at
    assert rows(session, other)[0].status is Status.STARTING
    assert batches.cancel(session, "none") == []


def test_many_are_cancelled_and_removed_a_few_at_a_time(
    session: Session, ann: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "AT_ONCE", 2)
    batch = added(session, ann, "a", "b", "c", "d")
    predictions.conclude(session, claimed(session), Status.SUCCEEDED)
    assert batches.canceling(session) == []
    assert [one.request["prompt"] for one in batches.cancel(session, batch.id)] == ["d", "c"]
    assert batches.canceling(session) == [batch.id]
    assert [one.request["prompt"] for one in batches.cancel(session, batch.id)] == ["b"]
    assert batches.cancel(session, batch.id) == []
    assert batches.canceling(session) == []
    found = [len(batches.remove(session, batch.id, ann.id)) for _ in range(3)]
    assert found == [2, 2, 0]
    assert batches.find(session, batch.id, ann.id) is None


def test_one_that_was_over_was_never_cancelled(session: Session, ann: Token) -> None:
    batch = added(session, ann, "a")
    predictions.conclude(session, claimed(session), Status.SUCCEEDED)
    assert batches.cancel(session, batch.id) == []
    assert batch.canceled_at is None


def test_removed_its_predictions_are_too_and_no_others(
    session: Session, ann: Token, bob: Token
) -> None:
    batch, other = added(session, ann, "a", "b"), added(session, ann, "c")
    runs = claimed(session)
    assert batches.remove(session, batch.id, bob.id) == []
    assert batches.find(session, batch.id, ann.id)
    removed = {one.id: one.has_writer for one in batches.remove(session, batch.id, ann.id)}
    waits = next(iter(removed.keys() - {runs.id}))
    assert removed == {runs.id: True, waits: False}
    assert batches.find(session, batch.id, ann.id) is None
    assert rows(session, batch) == []
    assert len(rows(session, other)) == 1
    assert set(removals.due(session, "this")) == set(removed)


def test_it_expires_with_the_last_of_its_predictions(session: Session, ann: Token) -> None:
    batch, later = added(session, ann, "a", "b"), added(session, ann, "c")
    predictions.conclude(session, claimed(session), Status.SUCCEEDED)
    end = time.time() + 1
    predictions.expire(session, end)
    batches.expire(session, end)
    assert batches.find(session, batch.id, ann.id)
    assert batches.progress(session, [batch.id])[batch.id].counts == {Status.STARTING: 1}
    predictions.conclude(session, claimed(session), Status.SUCCEEDED)
    predictions.expire(session, end + 1)
    batches.expire(session, end + 1)
    session.expire_all()
    assert batches.find(session, batch.id, ann.id) is None
    assert batches.find(session, later.id, ann.id)


def test_they_are_listed_in_pages_the_newest_first(
    session: Session, ann: Token, bob: Token
) -> None:
    ids = [added(session, ann, "a").id for _ in range(3)]
    added(session, bob, "b")
    page = batches.page(session, ann.id, None, 2)
    assert [one.id for one in page.rows] == ids[:0:-1]
    rest = batches.page(session, ann.id, page.older, 2)
    assert [one.id for one in rest.rows] == ids[:1]
    assert rest.older is None
