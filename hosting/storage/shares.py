"""The links by which predictions are shared. Each function is one transaction's work.

A share is open until its time is over, it is revoked, its prediction is removed, or that one's
token is revoked. Whatever ends it, nothing that it led to is found by it any more.
"""

from __future__ import annotations

import time

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from hosting.storage.tables import PredictionRow, Share, Token

MOST_SHARES = 20
"""Open shares of a prediction."""


class TooManyShares(Exception):
    """A prediction has as many open shares as it may. The message is for the client."""


def add(session: Session, share: Share) -> Share | None:
    """Store a share; return None if its prediction is gone.

    Raises:
        TooManyShares: when the prediction has as many as it may.
    """
    shared = select(PredictionRow.id).where(PredictionRow.id == share.prediction_id)
    if session.scalar(shared.with_for_update(key_share=True)) is None:
        return None
    of_it = select(func.count()).where(Share.prediction_id == share.prediction_id, _is_open())
    if (session.scalar(of_it) or 0) >= MOST_SHARES:
        raise TooManyShares(f"There are {MOST_SHARES} links to it; revoke one")
    session.add(share)
    return share


def find(session: Session, share_id: str) -> Share | None:
    """Return a share that is open."""
    is_it = (Share.id == share_id) & _is_open() & Token.revoked_at.is_(None)
    shares = select(Share).join(PredictionRow, PredictionRow.id == Share.prediction_id)
    return session.scalar(shares.join(Token, Token.id == PredictionRow.token_id).where(is_it))


def of_prediction(session: Session, prediction_id: str) -> list[Share]:
    """Return the open shares of a prediction, the newest first."""
    of_it = select(Share).where(Share.prediction_id == prediction_id, _is_open())
    return list(session.scalars(of_it.order_by(Share.created_at.desc(), Share.id)))


def revoke(session: Session, share_id: str, token_id: str) -> bool:
    """Remove a share of a token's predictions; return whether there was one that was open."""
    own = select(PredictionRow.id).where(PredictionRow.token_id == token_id)
    is_it = (Share.id == share_id) & Share.prediction_id.in_(own) & _is_open()
    return session.scalar(delete(Share).where(is_it).returning(Share.id)) is not None


def expire(session: Session, now: float) -> None:
    """Remove the shares whose time is over."""
    session.execute(delete(Share).where(Share.expires_at <= now))


def _is_open() -> ColumnElement[bool]:
    """Return the condition for shares whose time is not over."""
    return Share.expires_at.is_(None) | (Share.expires_at > time.time())
