"""Batches: predictions that were asked for together. Each function is one transaction's work."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import ColumnElement, delete, exists, func, select
from sqlalchemy.orm import Session

from hosting.limits import NO_LIMITS, TokenLimits
from hosting.prediction import Prediction
from hosting.states import UNFINISHED, Status
from hosting.storage import pages, predictions, quota, removals, spendings, turns
from hosting.storage.pages import Page
from hosting.storage.removals import Removed
from hosting.storage.tables import Batch, PredictionRow

AT_ONCE = 50
"""Predictions of a batch that a transaction cancels or removes: SQLite lets nobody else write
meanwhile."""


@dataclass(frozen=True)
class Progress:
    """How far a batch is, by the predictions of it that there are."""

    counts: Mapping[Status, int] = field(default_factory=dict)
    started_at: float | None = None
    """When the first was begun."""
    completed_at: float | None = None
    """When the last was over, so far."""

    @property
    def is_over(self) -> bool:
        """Whether all are over."""
        return not any(self.counts.get(status) for status in UNFINISHED)


def add(
    session: Session,
    batch: Batch,
    members: Sequence[Prediction],
    limit: int,
    most_bytes: float,
    limits: TokenLimits = NO_LIMITS,
) -> Batch | None:
    """Take a batch's predictions into the queue; return it, or the one that has its `given_id`.

    Args:
        members: its predictions, in their order.
        limit: unfinished predictions of batches that its token may have. None is taken beyond them.
        most_bytes: of files that its token may keep at a time.
        limits: of its token.

    Raises:
        QuotaExceeded: when it would keep more with these.
        DailyQuotaSpent: when it would have asked for too much today.
    """
    quota.lock(session, batch.token_id)
    if batch.given_id is not None:
        known = find(session, batch.given_id, batch.token_id)
        if known is not None:
            return known
    unfinished = select(func.count()).where(
        PredictionRow.token_id == batch.token_id,
        PredictionRow.status.in_(UNFINISHED),
        PredictionRow.batch_id.is_not(None),
    )
    if (session.scalar(unfinished) or 0) + len(members) > limit:
        return None
    if kept := sum(one.input_bytes for one in members):
        quota.check(session, batch.token_id, kept, most_bytes)
    for prediction in members:
        spendings.spend(session, prediction, limits)
    places = zip(members, turns.of_several(session, members), strict=True)
    session.add_all([batch, *(PredictionRow.of(replace(one, turn=turn)) for one, turn in places)])
    return batch


def find(session: Session, batch_id: str, token_id: str) -> Batch | None:
    """Return a token's batch, by its own id or its client's."""
    is_it = (Batch.id == batch_id) | (Batch.given_id == batch_id)
    return session.scalar(select(Batch).where(is_it, Batch.token_id == token_id))


def page(
    session: Session, token_id: str, cursor: str | None = None, most_rows: int | None = None
) -> Page[Batch]:
    """Return a page of a token's batches, the newest first.

    Raises:
        InvalidCursor: when no page has given the cursor.
    """
    return pages.read(session, Batch, Batch.token_id == token_id, cursor, most_rows)


def progress(session: Session, batch_ids: Sequence[str]) -> dict[str, Progress]:
    """Return how far each of some batches is."""
    found = dict[str, Progress]()
    counted = (
        select(
            PredictionRow.batch_id,
            PredictionRow.status,
            func.count(),
            func.min(PredictionRow.started_at),
            func.max(PredictionRow.completed_at),
        )
        .where(PredictionRow.batch_id.in_(batch_ids))
        .group_by(PredictionRow.batch_id, PredictionRow.status)
    )
    for of_batch, status, number, started_at, completed_at in session.execute(counted):
        batch_id = str(of_batch)
        before = found.get(batch_id, Progress())
        started = [one for one in (before.started_at, started_at) if one is not None]
        completed = [one for one in (before.completed_at, completed_at) if one is not None]
        found[batch_id] = Progress(
            {**before.counts, status: number},
            min(started, default=None),
            max(completed, default=None),
        )
    return {batch_id: found.get(batch_id, Progress()) for batch_id in batch_ids}


def members(session: Session, prediction_ids: Sequence[str]) -> list[PredictionRow]:
    """Return those predictions of some ids that there are, in any order."""
    return list(session.scalars(select(PredictionRow).where(PredictionRow.id.in_(prediction_ids))))


def cancel(session: Session, batch_id: str) -> list[PredictionRow]:
    """End what of a batch waits, and note it for what runs: up to `AT_ONCE` of it.

    Returns:
        Those, as they are then; none when nothing is left to be cancelled.
    """
    batch = session.scalar(select(Batch).where(Batch.id == batch_id).with_for_update())
    if batch is None:
        return []
    of_it = select(PredictionRow.id).where(_is_in(batch_id), _is_to_be_cancelled())
    # The last first: what waits behind one that goes has to move up.
    ids = list(session.scalars(of_it.order_by(PredictionRow.number.desc()).limit(AT_ONCE)))
    if ids and batch.canceled_at is None:
        batch.canceled_at = time.time()
    cancelled = [predictions.cancel(session, one) for one in ids]
    return [one for one in cancelled if one is not None]


def canceling(session: Session) -> list[str]:
    """Return the ids of batches that were cancelled, and of which something is left to be."""
    is_left = exists().where(PredictionRow.batch_id == Batch.id, _is_to_be_cancelled())
    return list(session.scalars(select(Batch.id).where(Batch.canceled_at.is_not(None), is_left)))


def remove(session: Session, batch_id: str, token_id: str) -> list[Removed]:
    """Remove a token's batch: up to `AT_ONCE` of its predictions, and with the last the batch.

    Returns:
        Those that were removed, as `removals.remove` does; none when the batch is gone.
    """
    quota.lock(session, token_id)
    of_it = select(PredictionRow.id).where(_is_in(batch_id), PredictionRow.token_id == token_id)
    ids = list(session.scalars(of_it.order_by(PredictionRow.number.desc()).limit(AT_ONCE)))
    removed = [removals.remove(session, one, token_id) for one in ids]
    if len(ids) < AT_ONCE:
        session.execute(delete(Batch).where(Batch.id == batch_id, Batch.token_id == token_id))
    return [one for one in removed if one is not None]


def expire(session: Session, created_before: float) -> None:
    """Forget batches of before a time of which no prediction is left."""
    has_any = exists().where(PredictionRow.batch_id == Batch.id)
    session.execute(delete(Batch).where(Batch.created_at < created_before, ~has_any))


def _is_to_be_cancelled() -> ColumnElement[bool]:
    return PredictionRow.status.in_(UNFINISHED) & PredictionRow.canceling.is_(False)


def _is_in(batch_id: str) -> ColumnElement[bool]:
    return PredictionRow.batch_id == batch_id
