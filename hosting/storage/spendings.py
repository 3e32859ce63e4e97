"""What tokens have asked for in the last day. Each function is work in a transaction.

It outlives the prediction, so that who deletes one does not get its quota back. Only what a token
with a daily quota asks for is counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from hosting.limits import TokenLimits
from hosting.prediction import Prediction
from hosting.storage.database import clock
from hosting.storage.tables import Spending

DAY_SECONDS = 24 * 3600.0
MEGA = 1e6


class DailyQuotaSpent(Exception):
    """A token has asked for as much as it may in a day. The message is for the client.

    Args:
        seconds: until enough of it is a day ago.
    """

    def __init__(self, sentence: str, seconds: float) -> None:
        self.retry_after_seconds = max(1, math.ceil(seconds))
        super().__init__(f"{sentence}; try again in {self.retry_after_seconds} s")


def spend(session: Session, new: Prediction, limits: TokenLimits) -> None:
    """Count a prediction in its token's day; the token is locked.

    Raises:
        DailyQuotaSpent: when that would be too much.
    """
    if limits.predictions_a_day is None and limits.megapixel_steps_a_day is None:
        return
    now = clock(session)
    own = Spending.token_id == new.token_id
    session.execute(delete(Spending).where(own, Spending.spent_at <= now - DAY_SECONDS))
    spent = [
        (at, cost)
        for at, cost in session.execute(
            select(Spending.spent_at, Spending.cost).where(own).order_by(Spending.spent_at)
        )
    ]
    if (most := limits.predictions_a_day) is not None:
        at = _when([(at, 1.0) for at, _ in spent], most - 1.0)
        if at is not None:
            sentence = f"You may ask for {most} predictions a day, and have"
            raise DailyQuotaSpent(sentence, at + DAY_SECONDS - now)
    if (most_cost := limits.megapixel_steps_a_day) is not None:
        at = _when(spent, most_cost * MEGA - new.cost)
        if at is not None:
            had = sum(cost for _, cost in spent) / MEGA
            sentence = (
                f"You may ask for {most_cost:g} megapixel-steps a day, have asked for {had:.0f}, "
                f"and this prediction has {new.cost / MEGA:.0f}"
            )
            raise DailyQuotaSpent(sentence, at + DAY_SECONDS - now)
    session.add(Spending(token_id=new.token_id, prediction_id=new.id, cost=new.cost, spent_at=now))


def give_back(session: Session, prediction_id: str) -> None:
    """Count a prediction no more: it never began, or failed by our fault."""
    session.execute(delete(Spending).where(Spending.prediction_id == prediction_id))


def _when(spent: Sequence[tuple[float, float]], room: float) -> float | None:
    """Return when the last was spent that must be a day ago for the others to fit; None if all do.

    Args:
        spent: times, the oldest first, and how much.
        room: for what was spent.
    """
    left = sum(much for _, much in spent)
    gone: float | None = None
    for at, much in spent:
        if left <= room:
            break
        gone, left = at, left - much
    return gone
