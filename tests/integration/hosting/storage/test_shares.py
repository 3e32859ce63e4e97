from __future__ import annotations

import time

import pytest
from sqlalchemy import delete
from sqlalchemy.orm import Session

from hosting.storage import predictions, shares, tokens
from hosting.storage.shares import MOST_SHARES, TooManyShares
from hosting.storage.tables import PredictionRow, Share, Token
from tests.support.front import prediction


def drawn(session: Session, token: Token) -> str:
    """A prediction of a token; its id."""
    added = predictions.add(session, prediction(token, "fox"), 100)
    assert added
    return added.id


def shared(session: Session, prediction_id: str, seconds: float | None = 60) -> Share:
    expires_at = None if seconds is None else time.time() + seconds
    share = shares.add(session, Share(prediction_id=prediction_id, expires_at=expires_at))
    assert share
    session.flush()
    return share


def test_a_share_is_found_until_its_time_is_over(session: Session, ann: Token) -> None:
    fox = drawn(session, ann)
    over, open_, endless = (shared(session, fox, seconds) for seconds in (-1, 60, None))
    assert shares.find(session, over.id) is None
    assert shares.find(session, open_.id) is open_
    assert shares.find(session, endless.id) is endless
    assert shares.find(session, "none") is None
    assert set(shares.of_prediction(session, fox)) == {open_, endless}


def test_it_is_revoked_by_its_owner_alone(session: Session, ann: Token, bob: Token) -> None:
    share = shared(session, drawn(session, ann))
    assert not shares.revoke(session, share.id, bob.id)
    assert shares.find(session, share.id) is share
    assert shares.revoke(session, share.id, ann.id)
    assert shares.find(session, share.id) is None
    assert not shares.revoke(session, share.id, ann.id)


def test_it_ends_with_the_token_of_its_prediction(session: Session, ann: Token, bob: Token) -> None:
    anns, bobs = (shared(session, drawn(session, token)) for token in (ann, bob))
    tokens.revoke(session, "ann")
    assert shares.find(session, anns.id) is None
    assert shares.find(session, bobs.id) is bobs


def test_it_goes_with_its_prediction_and_no_other(session: Session, ann: Token) -> None:
    fox, owl = (shared(session, drawn(session, ann)) for _ in range(2))
    session.execute(delete(PredictionRow).where(PredictionRow.id == fox.prediction_id))
    session.commit()
    assert [one.id for one in session.query(Share)] == [owl.id]


def test_what_is_gone_can_not_be_shared(session: Session) -> None:
    assert shares.add(session, Share(prediction_id="gone", expires_at=None)) is None


def test_a_prediction_has_so_many_open_shares_at_most(session: Session, ann: Token) -> None:
    fox = drawn(session, ann)
    made = [shared(session, fox) for _ in range(MOST_SHARES)]
    with pytest.raises(TooManyShares, match="20 links"):
        shared(session, fox)
    assert shares.revoke(session, made[0].id, ann.id)
    shared(session, fox)
