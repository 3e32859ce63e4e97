"""What is known of how long predictions take that wait. Each function is one transaction's work."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from hosting.states import Status
from hosting.storage.pages import ROWS_AT_ONCE
from hosting.storage.tables import PredictionRow

SAMPLE_SIZE = 20
"""Finished predictions that the speed of a task's next ones is estimated by."""


@dataclass(frozen=True)
class Running:
    """A prediction that an endpoint has, as its row has it."""

    id: str
    started_at: float
    """Seconds since 1970."""
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class Load:
    """What there is to do of a task, and what was done last. All are named by their ids."""

    waiting: list[str]
    """In their order."""
    running: list[Running]
    finished: dict[str, float]
    """The seconds that the latest have run."""
    requests: dict[str, tuple[Mapping[str, Any], bool]]
    """What was asked for, and whether there is an image; of those that were not known."""


def load(session: Session, task: str, known: Collection[str]) -> Load:
    """Return what there is to do of a task.

    Args:
        known: the ids of those predictions whose requests need not be read.
    """
    of_task = PredictionRow.task == task
    waits = select(PredictionRow.id).where(of_task, PredictionRow.status == Status.STARTING)
    waiting = list(session.scalars(waits.order_by(PredictionRow.number)))
    runs = select(
        PredictionRow.id, PredictionRow.started_at, PredictionRow.created_at, PredictionRow.metrics
    ).where(of_task, PredictionRow.status == Status.PROCESSING)
    running = [
        Running(row.id, row.started_at or row.created_at, row.metrics)
        for row in session.execute(runs)
    ]
    done = (
        select(PredictionRow.id, PredictionRow.completed_at - PredictionRow.started_at)
        .where(of_task, PredictionRow.status == Status.SUCCEEDED)
        .order_by(PredictionRow.number.desc())
        .limit(SAMPLE_SIZE)
    )
    # Older versions have written runs that ended before they began, by a clock that stepped back.
    finished = {
        name: max(0.0, float(seconds))
        for name, seconds in session.execute(done)
        if seconds is not None
    }
    ids = [*waiting, *(one.id for one in running), *finished]
    return Load(waiting, running, finished, _requests(session, set(ids) - set(known)))


def _requests(session: Session, ids: Collection[str]) -> dict[str, tuple[Mapping[str, Any], bool]]:
    found: dict[str, tuple[Mapping[str, Any], bool]] = {}
    wanted = list(ids)
    for start in range(0, len(wanted), ROWS_AT_ONCE):
        batch = wanted[start : start + ROWS_AT_ONCE]
        rows = select(PredictionRow.id, PredictionRow.request, PredictionRow.files)
        for row in session.execute(rows.where(PredictionRow.id.in_(batch))):
            # The rest may be large.
            numbers = {name: one for name, one in row.request.items() if not isinstance(one, str)}
            found[row.id] = numbers, "image" in row.files
    return found
