"""Heartbeats: each front writes one again and again; one without for long is dead.

Each function is one transaction's work. What a dead front had goes to the others. It may only have
been frozen: when it comes back, what it had is no longer its own, and it may write none of it.
"""

from __future__ import annotations

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from hosting.storage import predictions
from hosting.storage.database import clock, is_shared, lock
from hosting.storage.tables import Heartbeat


def register(session: Session, front_id: str, dead_after: float) -> list[str]:
    """Note that a front is there from now on; see `beat`."""
    if not is_shared(session):  # there can be only one: any other is dead
        session.execute(delete(Heartbeat))
    return beat(session, front_id, dead_after)


def beat(session: Session, front_id: str, dead_after: float) -> list[str]:
    """Note that a front is still there, and remove the dead.

    Args:
        dead_after: seconds without a sign of life.

    Returns:
        The ids of the predictions that went back to the queue since their front is dead.
    """
    lock(session, "fronts")
    now = clock(session)
    session.execute(delete(Heartbeat).where(Heartbeat.seen_at < now - dead_after))
    # Where the clock has stepped back, the dead must not live until it has caught up.
    session.execute(update(Heartbeat).where(Heartbeat.seen_at > now).values(seen_at=now))
    session.merge(Heartbeat(id=front_id, seen_at=now))
    session.flush()
    return predictions.requeue_orphans(session)


def unregister(session: Session, front_id: str) -> None:
    """Note that a front is gone, and has nothing."""
    session.execute(delete(Heartbeat).where(Heartbeat.id == front_id))
