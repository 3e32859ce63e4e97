"""What is known of how long predictions take that wait. Each function is one transaction's work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from hosting.states import Priority, Status
from hosting.storage.tables import PredictionRow

SAMPLE_SIZE = 20
"""Finished predictions that the speed of a task's next ones is estimated by."""


@dataclass(frozen=True)
class Waiting:
    """A prediction in the queue. Its `cost` is as `Prediction.cost`, as that of the others is."""

    id: str
    cost: float
    priority: Priority = Priority.INTERACTIVE


@dataclass(frozen=True)
class Running:
    """A prediction that an endpoint has, as its row has it."""

    id: str
    started_at: float
    """Seconds since 1970."""
    metrics: Mapping[str, Any]
    cost: float
    priority: Priority = Priority.INTERACTIVE


@dataclass(frozen=True)
class Finished:
    """A prediction that has run."""

    seconds: float
    """For which it ran."""
    cost: float


@dataclass(frozen=True)
class Load:
    """What there is to do of a task, and what was done last."""

    waiting: list[Waiting]
    """In their order."""
    running: list[Running]
    finished: list[Finished]


def load(session: Session, task: str) -> Load:
    """Return what there is to do of a task."""
    row = PredictionRow
    waits = (
        select(row.id, row.cost, row.priority)
        .where(row.task == task, row.status == Status.STARTING)
        .order_by(row.turn, row.number)
    )
    runs = select(
        row.id, row.started_at, row.created_at, row.metrics, row.cost, row.priority
    ).where(row.task == task, row.status == Status.PROCESSING)
    # Older versions have written no cost.
    done = (
        select(row.completed_at - row.started_at, row.cost)
        .where(row.task == task, row.status == Status.SUCCEEDED, row.cost > 0)
        .order_by(row.number.desc())
        .limit(SAMPLE_SIZE)
    )
    return Load(
        [Waiting(*found) for found in session.execute(waits)],
        [
            Running(one.id, one.started_at or one.created_at, one.metrics, one.cost, one.priority)
            for one in session.execute(runs)
        ],
        # Older versions have written runs that ended before they began, by a clock that stepped
        # back.
        [
            Finished(max(0.0, float(seconds)), cost)
            for seconds, cost in session.execute(done)
            if seconds is not None
        ],
    )
