"""The removal of a prediction: its row goes at once, its files when nobody writes them any more.

Each function is one transaction's work. A removal is known until the files are gone, so that they
go whatever is killed in between, and for a while longer, so that each front can tell of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from hosting.states import Status
from hosting.storage import predictions, quota, spendings, turns
from hosting.storage.database import clock
from hosting.storage.tables import Delivery, PredictionRow, Removal

KEPT_SECONDS = 600.0
"""Seconds for which a removal is known whose files are gone."""


@dataclass(frozen=True)
class Removed:
    """A prediction that was removed."""

    id: str
    has_writer: bool
    """Whether a front runs it or fetches its files, and so may write some until it knows."""


def remove(session: Session, prediction_id: str, token_id: str) -> Removed | None:
    """Remove a token's prediction, by its own id or its client's; None if there is none.

    Nobody can see it from then on, nothing counts it, and its webhook is not called again. Whoever
    runs it has lost it.
    """
    # Whoever follows goes by the numbers of removals: of a token, they come in their order.
    quota.lock(session, token_id)
    is_it = (PredictionRow.id == prediction_id) | (PredictionRow.given_id == prediction_id)
    own = select(PredictionRow).where(is_it, PredictionRow.token_id == token_id)
    row = session.scalar(own.with_for_update().execution_options(populate_existing=True))
    if row is None:
        return None
    if row.status is Status.STARTING:
        turns.close_up(session, row)
    if row.status is Status.PROCESSING:
        turns.charge(session, row)
    if not (row.has_begun or row.status.is_over):
        spendings.give_back(session, row.id)
    writer = None if row.status.is_over else row.front_id
    session.add(
        Removal(
            prediction_id=row.id,
            given_id=row.given_id,
            token_id=token_id,
            front_id=writer,
            has_files=True,
            removed_at=clock(session),
        )
    )
    session.execute(delete(Delivery).where(Delivery.prediction_id == row.id))
    session.delete(row)
    return Removed(row.id, writer is not None)


def due(session: Session, front_id: str) -> list[str]:
    """Return the ids of the predictions whose files a front is to remove, once it has ended them.

    They are those that it has had, and those that no living front has.
    """
    is_ours = (Removal.front_id == front_id) | predictions.is_free(Removal.front_id)
    return list(session.scalars(select(Removal.prediction_id).where(Removal.has_files, is_ours)))


def finish(session: Session, prediction_id: str) -> None:
    """Note that a prediction's files are gone."""
    it = Removal.prediction_id == prediction_id
    session.execute(update(Removal).where(it).values(has_files=False))


def forget(session: Session) -> None:
    """Forget removals of which nothing is left, and all fronts have heard."""
    old = Removal.removed_at < clock(session) - KEPT_SECONDS
    session.execute(delete(Removal).where(old, ~Removal.has_files))
