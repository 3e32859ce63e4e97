"""The durable record of each prediction, and the queue that those not begun form.

Each function is one transaction's work. A prediction is `starting` while it waits, `processing`
while a Cog endpoint has it, and then `succeeded`, `failed` or `canceled` for good.
"""

from __future__ import annotations

import time

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from hosting.database import Delivery, Prediction, Upload

FINISHED = ("succeeded", "failed", "canceled")
EVENTS = ("start", "output", "logs", "completed")
"""What a webhook may want to hear of."""
CHANGING = (
    "status",
    "output",
    "logs",
    "metrics",
    "error",
    "started_at",
    "completed_at",
)
"""What a webhook tells as it was when its event happened."""
MOST_CRASHES = 4
"""Deaths of its worker that a prediction may see: one in company, where it may be innocent, and
three alone."""
SAMPLE = 20
"""How many finished predictions the estimated wait is the mean of."""


def add(session: Session, prediction: Prediction, limit: int) -> Prediction | None:
    """Takes a prediction into the queue; it, or the one that has its `given_id` already.

    Args:
        limit: unfinished predictions that its token may have. None is taken beyond them.
    """
    if prediction.given_id is not None:
        known = find(session, prediction.given_id, prediction.token_id)
        if known is not None:
            return known
    unfinished = select(func.count()).where(
        Prediction.token_id == prediction.token_id,
        Prediction.status.in_(("starting", "processing")),
    )
    if (session.scalar(unfinished) or 0) >= limit:
        return None
    session.add(prediction)
    session.flush()
    return prediction


def find(session: Session, prediction_id: str, token_id: str | None = None) -> Prediction | None:
    """One prediction; of a token, also by the id that its client gave it."""
    if token_id is None:
        return session.scalar(select(Prediction).where(Prediction.id == prediction_id))
    is_it = (Prediction.id == prediction_id) | (Prediction.given_id == prediction_id)
    return session.scalar(select(Prediction).where(is_it, Prediction.token_id == token_id))


def unready(session: Session) -> list[Prediction]:
    """The waiting predictions whose files are still to be fetched, oldest first."""
    waiting = select(Prediction).where(Prediction.status == "starting", Prediction.ready.is_(False))
    return list(session.scalars(waiting.order_by(Prediction.number)))


def set_ready(session: Session, prediction_id: str, files: dict[str, str]) -> None:
    """Its files lie in its folder, under these names."""
    if prediction := find(session, prediction_id):
        prediction.files = files
        prediction.ready = True


def claim(session: Session, task: str, has_company: bool) -> Prediction | None:
    """Takes the longest waiting prediction of a task out of the queue, if its turn has come.

    Args:
        has_company: whether others run where it would. One whose worker died is run alone, and
            those behind it wait.
    """
    waiting = _waiting(task).where(Prediction.ready).order_by(Prediction.number).limit(1)
    prediction = session.scalar(waiting)
    if prediction is None or (prediction.crashes and has_company):
        return None
    prediction.status = "processing"
    prediction.started_at = time.time()
    return prediction


def begin(session: Session, prediction_id: str) -> bool:
    """A Cog endpoint has begun with it; whether it is to be cancelled."""
    prediction = _unfinished(session, prediction_id)
    if prediction is None:
        return True
    _announce(session, prediction, "start")
    return prediction.canceling


def save(session: Session, live: Prediction) -> bool:
    """Writes what a running prediction has said and made; whether it is to be cancelled.

    Args:
        live: the prediction as the process that runs it knows it.
    """
    prediction = _unfinished(session, live.id)
    if prediction is None:
        return True
    events = [one for one in ("output", "logs") if getattr(prediction, one) != getattr(live, one)]
    prediction.output, prediction.logs = live.output, live.logs
    prediction.metrics = live.metrics
    for event in events:
        _announce(session, prediction, event)
    return prediction.canceling


def put_back(session: Session, prediction_id: str) -> Prediction | None:
    """Back to its old place in the queue, as if it had not begun; None if it is over."""
    prediction = _unfinished(session, prediction_id)
    if prediction is None:
        return None
    if prediction.canceling:
        return finish(session, prediction_id, "canceled")
    prediction.status, prediction.started_at = "starting", None
    prediction.output, prediction.logs, prediction.metrics = [], "", {}
    return prediction


def crash(session: Session, prediction_id: str, reason: str) -> Prediction | None:
    """Back in the queue after its worker died; failed, if it died too often. None if it is over."""
    prediction = _unfinished(session, prediction_id)
    if prediction is None:
        return None
    prediction.crashes += 1
    if prediction.crashes < MOST_CRASHES:
        return put_back(session, prediction_id)
    alone = MOST_CRASHES - 1
    error = f"The worker died whenever it ran this prediction, {alone} times alone: {reason}"
    return finish(session, prediction_id, "failed", error)


def put_back_all(session: Session) -> list[str]:
    """Puts back whatever was running; the ids. For when nothing runs: at the start."""
    running = select(Prediction.id).where(Prediction.status == "processing")
    ids = list(session.scalars(running))
    for prediction_id in ids:
        put_back(session, prediction_id)
    return ids


def finish(
    session: Session, prediction_id: str, status: str, error: str | None = None
) -> Prediction | None:
    """Ends a prediction, once: None if it was over."""
    prediction = _unfinished(session, prediction_id)
    if prediction is None:
        return None
    prediction.status, prediction.error, prediction.completed_at = status, error, time.time()
    _announce(session, prediction, "completed")
    return prediction


def conclude(session: Session, live: Prediction, status: str, error: str | None = None) -> None:
    """Ends a prediction with all that it has said and made.

    Args:
        live: as for `save`.
    """
    save(session, live)
    finish(session, live.id, status, error)


def cancel(session: Session, prediction_id: str) -> Prediction | None:
    """Ends one that waits; notes it for one that runs. None if there is nothing to end."""
    prediction = _unfinished(session, prediction_id)
    if prediction is None:
        return None
    if prediction.status == "starting":
        return finish(session, prediction_id, "canceled")
    prediction.canceling = True
    return prediction


def position(session: Session, prediction: Prediction) -> int:
    """Its place among those that wait for the same: 1 is the next."""
    before = _waiting(prediction.task).where(Prediction.number < prediction.number)
    return 1 + (session.scalar(select(func.count()).select_from(before.subquery())) or 0)


def typical_seconds(session: Session, task: str) -> float | None:
    """How long a prediction of the task has run of late, in the mean; None if none has."""
    done = (
        select(Prediction.completed_at - Prediction.started_at)
        .where(Prediction.task == task, Prediction.status == "succeeded")
        .order_by(Prediction.number.desc())
        .limit(SAMPLE)
    )
    seconds = [float(one) for one in session.scalars(done) if one is not None]
    return sum(seconds) / len(seconds) if seconds else None


def count(session: Session, status: str) -> int:
    """How many predictions are in a state."""
    return session.scalar(select(func.count()).where(Prediction.status == status)) or 0


def runs(session: Session, model: str) -> int:
    """How many predictions of a model there were, by whomever."""
    return session.scalar(select(func.count()).where(Prediction.model == model)) or 0


def expire(session: Session, completed_before: float) -> list[str]:
    """Forgets predictions that were finished before a time; their ids."""
    old = Prediction.status.in_(FINISHED) & (Prediction.completed_at < completed_before)
    ids = list(session.scalars(delete(Prediction).where(old).returning(Prediction.id)))
    there = select(Prediction.id)
    session.execute(delete(Delivery).where(Delivery.prediction_id.not_in(there)))
    return ids


def strangers(session: Session, ids: list[str]) -> set[str]:
    """Those of the ids that there is neither a prediction nor an upload of."""
    unknown = set(ids)
    for start in range(0, len(ids), 500):  # a statement takes only so many
        some = ids[start : start + 500]
        unknown -= set(session.scalars(select(Prediction.id).where(Prediction.id.in_(some))))
        unknown -= set(session.scalars(select(Upload.id).where(Upload.id.in_(some))))
    return unknown


def _announce(session: Session, prediction: Prediction, event: str) -> None:
    """Has the prediction's webhook called, if it wants to hear of the event."""
    if not prediction.webhook or event not in (prediction.webhook_events or EVENTS):
        return
    seen = {name: getattr(prediction, name) for name in CHANGING}
    # The newest that waits behind a slow receiver tells the news too, so that they don't pile up.
    # An older one must not: what comes after it would go back in time.
    of_it = select(Delivery).where(Delivery.prediction_id == prediction.id)
    newest = session.scalar(of_it.order_by(Delivery.number.desc()).limit(1))
    if newest is not None and newest.event == event and not newest.tries:
        newest.seen = seen
        return
    now = time.time()
    session.add(Delivery(prediction_id=prediction.id, event=event, seen=seen, due_at=now))


def _unfinished(session: Session, prediction_id: str) -> Prediction | None:
    prediction = find(session, prediction_id)
    return prediction if prediction and prediction.status not in FINISHED else None


def _waiting(task: str) -> Select[Prediction]:
    return select(Prediction).where(Prediction.status == "starting", Prediction.task == task)
