"""The calls of webhooks that are to be made. Each function is one transaction's work."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from hosting.prediction import Prediction
from hosting.states import Status
from hosting.storage import predictions
from hosting.storage.tables import Delivery, PredictionRow, Token

MOST_TRIES = 7
"""Calls of a `completed` webhook: a second after the first, then twice as long each time, so that
the last is a minute after it. The others are called once, as by Replicate."""


LONGEST_PAUSE_SECONDS = 2.0 ** (MOST_TRIES - 2)
"""Seconds between the last two of them."""


def due(
    session: Session, being_called: list[str], front_id: str, limit: int
) -> list[tuple[str, str, str]]:
    """Return the ids of the deliveries due, of their predictions and tokens: tokens in turn.

    Of each prediction it is the oldest alone, so that the order is kept.
    """
    oldest = select(func.min(Delivery.number)).group_by(Delivery.prediction_id)
    place = func.row_number().over(partition_by=PredictionRow.token_id, order_by=Delivery.due_at)
    due = (
        select(Delivery.id, Delivery.prediction_id, PredictionRow.token_id)
        .join(PredictionRow, PredictionRow.id == Delivery.prediction_id)
        .where(Delivery.number.in_(oldest), _is_due(), _is_own(front_id))
        .where(Delivery.prediction_id.not_in(being_called))
        .order_by(place)
        .limit(limit)
    )
    return [(row.id, row.prediction_id, row.token_id) for row in session.execute(due)]


def claim(session: Session, delivery_id: str, front_id: str) -> tuple[Prediction, str, str] | None:
    """Return the prediction, its token's secret and the URL; None if another front calls."""
    due = (Delivery.id == delivery_id) & _is_due() & _is_own(front_id)
    delivery = session.scalar(select(Delivery).where(due).with_for_update(skip_locked=True))
    if delivery is None:
        return None
    delivery.tries += 1
    delivery.front_id = front_id
    wanted = select(PredictionRow).where(PredictionRow.id == delivery.prediction_id)
    row = session.scalar(wanted)
    if row is None or row.webhook is None:
        return None
    token = session.get_one(Token, row.token_id)
    seen: dict[str, Any] = {
        n: Status(value) if n == "status" else value for n, value in delivery.seen.items()
    }
    return replace(row.frozen(), **seen), token.webhook_secret, row.webhook


def finish(session: Session, delivery_id: str, front_id: str, is_taken: bool) -> None:
    """Note that a call was made: it is over if it was taken, else it may be made again."""
    own = (Delivery.id == delivery_id) & (Delivery.front_id == front_id)
    delivery = session.scalar(select(Delivery).where(own).with_for_update())
    if delivery is None:
        return
    delivery.front_id = None
    if is_taken or delivery.event != "completed" or delivery.tries >= MOST_TRIES:
        session.delete(delivery)
    else:
        delivery.due_at = time.time() + 2.0 ** (delivery.tries - 1)


def _is_due() -> ColumnElement[bool]:
    """Return the condition for the calls whose time has come.

    What is due later than any pause lasts was so by a clock that has stepped back since.
    """
    now = time.time()
    return (Delivery.due_at <= now) | (Delivery.due_at > now + LONGEST_PAUSE_SECONDS)


def _is_own(front_id: str) -> ColumnElement[bool]:
    """Return the condition for the calls that no other front is making."""
    return (Delivery.front_id == front_id) | predictions.is_free(Delivery.front_id)
