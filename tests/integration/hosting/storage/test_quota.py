"""What a token keeps: its uploads, and the input files of its predictions."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.orm import Session

from hosting.states import FINISHED, Status
from hosting.storage import predictions, uploads
from hosting.storage.quota import QuotaExceeded
from hosting.storage.tables import PredictionRow, Token
from tests.support.front import prediction, upload


def add(session: Session, owner: Token, size: int, **fields: Any) -> PredictionRow:
    """A prediction with input files of so many bytes, of a token that may keep 10."""
    asked = prediction(owner, "fox", input_bytes=size, **fields)
    row = predictions.add(session, asked, 100, 10)
    assert row is not None
    return row


def test_inputs_and_uploads_count_together(session: Session, ann: Token, bob: Token) -> None:
    add(session, ann, 6)
    with pytest.raises(QuotaExceeded):
        uploads.add(session, upload(ann, size=5), 10)
    uploads.add(session, upload(ann, size=4), 10)
    with pytest.raises(QuotaExceeded, match="delete uploads, or wait until files expire"):
        add(session, ann, 1)
    add(session, ann, 0)
    add(session, bob, 10)


def test_a_prediction_that_is_asked_for_again_needs_no_more_room(
    session: Session, ann: Token
) -> None:
    first = add(session, ann, 10, given_id="mine")
    assert add(session, ann, 10, given_id="mine") is first


def test_a_fetched_input_counts_from_then_on(session: Session, ann: Token) -> None:
    slow = add(session, ann, 4, ready=False)
    held = predictions.claim_files(session, slow.id, "this")
    assert held is not None
    with pytest.raises(QuotaExceeded):
        predictions.set_ready(session, held, {"image": "in-image"}, 7, 10)
    assert predictions.set_ready(session, held, {"image": "in-image"}, 6, 10) is slow
    assert slow.input_bytes == 10
    with pytest.raises(QuotaExceeded):
        add(session, ann, 1)


def test_inputs_that_were_removed_do_not_count(session: Session, ann: Token) -> None:
    old = [add(session, ann, 2, status=one, completed_at=99.0) for one in FINISHED]
    without_success = {one.id for one in old if one.status is not Status.SUCCEEDED}
    assert predictions.failed_with_inputs(session, 99.0) == []
    assert set(predictions.failed_with_inputs(session, 100.0)) == without_success
    for one in without_success:
        predictions.forget_inputs(session, one)
    assert predictions.failed_with_inputs(session, 100.0) == []
    add(session, ann, 8)
    with pytest.raises(QuotaExceeded):
        add(session, ann, 1)
    predictions.expire(session, 100.0)
    add(session, ann, 2)
