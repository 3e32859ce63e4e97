"""What has changed among a token's predictions, for who follows them all. One transaction's work.

It is for what this process can't know by itself: that another front has done something.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import String, cast, func, select
from sqlalchemy.orm import Session

from hosting.states import UNFINISHED, Status
from hosting.storage import tokens
from hosting.storage.tables import PredictionRow, Removal


@dataclass(frozen=True)
class Waiting:
    """A prediction that has not begun."""

    id: str
    known_as: str
    """Its id for its client."""
    task: str


@dataclass(frozen=True)
class Seen:
    """What a follower has been told of."""

    newest: int
    """The number of the newest prediction."""
    removed: int
    """That of the newest removal."""
    unfinished: Mapping[str, Any]
    """By the ids of those that are not over, how far each is."""
    waiting: list[Waiting]
    """Those of them that have not begun."""


@dataclass(frozen=True)
class News:
    """What has changed since a follower looked."""

    changed: list[str]
    """The ids of predictions that are new or have changed, oldest first."""
    removed: Mapping[str, str]
    """By their ids, those that were removed: the ids that their client knows."""
    seen: Seen


def look(session: Session, token_id: str, seen: Seen | None = None) -> News | None:
    """Return what has changed of a token's predictions; None once the token was revoked.

    Args:
        seen: what the last look has returned. Before the first, all that is not over is new.
    """
    if not tokens.is_valid(session, token_id):
        return None
    own = PredictionRow.token_id == token_id
    newest = session.scalar(select(func.max(PredictionRow.number)).where(own)) or 0
    rows = session.execute(
        select(
            PredictionRow.id,
            PredictionRow.status,
            PredictionRow.attempt,
            PredictionRow.canceling,
            func.length(PredictionRow.logs),
            func.length(cast(PredictionRow.output, String)),
            func.length(cast(PredictionRow.metrics, String)),
            PredictionRow.given_id,
            PredictionRow.task,
        )
        .where(own, PredictionRow.status.in_(UNFINISHED))
        .order_by(PredictionRow.number)
    ).all()
    unfinished = {row.id: tuple(row) for row in rows}
    before = seen.unfinished if seen else {}
    changed = [one for one in before if one not in unfinished]
    if seen:
        new = select(PredictionRow.id).where(own, PredictionRow.number > seen.newest)
        changed += session.scalars(new.order_by(PredictionRow.number))
    changed += [one for one, mark in unfinished.items() if before.get(one) != mark]
    removals = session.execute(
        select(Removal.number, Removal.prediction_id, Removal.given_id)
        .where(Removal.token_id == token_id, Removal.number > (seen.removed if seen else 0))
        .order_by(Removal.number)
    ).all()
    removed = {one.prediction_id: one.given_id or one.prediction_id for one in removals}
    last = removals[-1].number if removals else seen.removed if seen else 0
    waiting = [
        Waiting(row.id, row.given_id or row.id, row.task)
        for row in rows
        if row.status == Status.STARTING
    ]
    changed = [one for one in dict.fromkeys(changed) if one not in removed]
    return News(changed, removed if seen else {}, Seen(newest, last, unfinished, waiting))


def find(session: Session, token_id: str, ids: list[str]) -> list[PredictionRow]:
    """Return those of a token's predictions that have these ids."""
    own = PredictionRow.token_id == token_id
    return list(session.scalars(select(PredictionRow).where(own, PredictionRow.id.in_(ids))))
