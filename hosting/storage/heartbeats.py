"""Which fronts are there. Each says so again and again; one that has not for long is dead.

Each function is one transaction's work. What a dead front had goes to the others. It may only have
been frozen: when it comes back, what it had is no longer its own, and it may write none of it.
"""

from __future__ import annotations

from sqlalchemy import delete
from sqlalchemy.orm import Session

from hosting.storage import predictions
from hosting.storage.database import clock, is_shared, lock
from hosting.storage.tables import Heartbeat

BEAT = 3.0
"""Seconds between two heartbeats."""
DEAD_AFTER = 15.0
"""Seconds without one after which a front is dead."""


def enter(session: Session, front_id: str) -> list[str]:
    """A front is there from now on; the ids of the predictions that were put back."""
    if not is_shared(session):  # whoever else was there is not any more: there can be but one
        session.execute(delete(Heartbeat))
    return beat(session, front_id)


def beat(session: Session, front_id: str) -> list[str]:
    """A front is there still. It buries the dead; the ids of the predictions that it put back."""
    lock(session, "fronts")
    now = clock(session)
    session.execute(delete(Heartbeat).where(Heartbeat.seen_at < now - DEAD_AFTER))
    session.merge(Heartbeat(id=front_id, seen_at=now))
    session.flush()
    return predictions.put_back_forsaken(session)


def leave(session: Session, front_id: str) -> None:
    """A front is there no longer, and has nothing."""
    session.execute(delete(Heartbeat).where(Heartbeat.id == front_id))
