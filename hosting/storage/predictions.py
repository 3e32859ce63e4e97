"""The durable record of each prediction, and the queue that those not begun form.

Each function is one transaction's work on rows, which `store.Predictions` runs. A prediction is
`starting` while it waits, `processing` while a Cog endpoint has it, and then `succeeded`, `failed`
or `canceled` for good. Whoever has it is its `front_id` and `attempt`: what is written by another,
who had it before, is not taken.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace

from sqlalchemy import ColumnElement, Select, delete, func, or_, select, tuple_, update
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import InstrumentedAttribute

from hosting.limits import NO_LIMITS, TokenLimits
from hosting.prediction import Crashed, Ended, Outcome, Prediction, Requeued
from hosting.states import FINISHED, UNFINISHED, FailureKind, Priority, Status
from hosting.storage import pages, quota, spendings, turns
from hosting.storage.pages import Page
from hosting.storage.tables import Delivery, Heartbeat, PredictionRow, Upload

EVENTS = ("start", "output", "logs", "completed")
"""The events that a webhook may ask for."""
CHANGING = (
    "status",
    "output",
    "logs",
    "metrics",
    "error",
    "started_at",
    "completed_at",
)
"""The fields that a webhook is sent as they were when its event happened."""
MOST_CRASHES = 4
"""Deaths of its worker that a prediction may see: one beside others, where it may be innocent, and
three isolated."""
Known = Prediction | PredictionRow
"""A prediction as whoever has it knows it."""


def add(
    session: Session,
    prediction: Prediction,
    limit: int,
    most_bytes: float = math.inf,
    limits: TokenLimits = NO_LIMITS,
) -> PredictionRow | None:
    """Take a prediction into the queue; return it, or the one that has its `given_id` already.

    Args:
        limit: unfinished predictions that its token may have. None is taken beyond them. Those of
            batches do not count, and have a limit of their own (`batches.add`).
        most_bytes: of files that its token may keep at a time.
        limits: of its token.

    Raises:
        QuotaExceeded: when it would keep more with this one's.
        DailyQuotaSpent: when it has asked for too much today.
    """
    quota.lock(session, prediction.token_id)
    if prediction.given_id is not None:
        known = find(session, prediction.given_id, prediction.token_id)
        if known is not None:
            return known
    unfinished = select(func.count()).where(
        PredictionRow.token_id == prediction.token_id,
        PredictionRow.status.in_(UNFINISHED),
        PredictionRow.batch_id.is_(None),
    )
    if (session.scalar(unfinished) or 0) >= limit:
        return None
    if prediction.input_bytes:
        quota.check(session, prediction.token_id, prediction.input_bytes, most_bytes)
    spendings.spend(session, prediction, limits)
    row = PredictionRow.of(replace(prediction, turn=turns.of_next(session, prediction)))
    session.add(row)
    session.flush()
    return row


def find(session: Session, prediction_id: str, token_id: str | None = None) -> PredictionRow | None:
    """One prediction; of a token, also by the id that its client gave it."""
    if token_id is None:
        return session.scalar(select(PredictionRow).where(PredictionRow.id == prediction_id))
    is_it = (PredictionRow.id == prediction_id) | (PredictionRow.given_id == prediction_id)
    return session.scalar(select(PredictionRow).where(is_it, PredictionRow.token_id == token_id))


def newest(session: Session, token_id: str, api: str) -> PredictionRow | None:
    """Return the newest of a token's unfinished predictions by an API; None if there is none."""
    asked = select(PredictionRow).where(
        PredictionRow.token_id == token_id,
        PredictionRow.api == api,
        PredictionRow.status.in_(UNFINISHED),
    )
    return session.scalar(asked.order_by(PredictionRow.number.desc()).limit(1))


def page(session: Session, token_id: str, cursor: str | None = None) -> Page[PredictionRow]:
    """Return a page of a token's predictions, the newest first.

    Raises:
        InvalidCursor: when no page has given the cursor.
    """
    return pages.read(session, PredictionRow, PredictionRow.token_id == token_id, cursor)


def unready(session: Session, front_id: str) -> list[tuple[str, str]]:
    """Return the waiting predictions whose files a front is still to fetch, oldest first.

    Returns:
        Their ids and tokens' ids alone: each prediction may have a MiB of inputs.
    """
    waiting = select(PredictionRow.id, PredictionRow.token_id).where(_is_unready(front_id))
    rows = session.execute(waiting.order_by(PredictionRow.number))
    return [(row.id, row.token_id) for row in rows]


def claim_files(session: Session, prediction_id: str, front_id: str) -> PredictionRow | None:
    """Note that a front fetches a prediction's files; None if another does, or none need be."""
    wanted = select(PredictionRow).where(PredictionRow.id == prediction_id, _is_unready(front_id))
    prediction = session.scalar(wanted.with_for_update(skip_locked=True))
    if prediction is not None:
        prediction.front_id = front_id
    return prediction


def set_ready(
    session: Session,
    live: Known,
    files: dict[str, str],
    fetched_bytes: int,
    most_bytes: float = math.inf,
) -> PredictionRow | None:
    """Note that a prediction's files are stored, by these names; None if `live` has lost it.

    Args:
        live: the prediction as it was claimed.
        fetched_bytes: of those files that did not come with the request.
        most_bytes: of files that its token may keep at a time.

    Raises:
        QuotaExceeded: when it would keep more with these.
    """
    quota.lock(session, live.token_id)
    prediction = _held(session, live)
    if prediction is not None:
        quota.check(session, prediction.token_id, fetched_bytes, most_bytes)
        # While its files were fetched it gathered no credit that would hold the others up now.
        if prediction.turn < turns.clock(session, prediction.task):
            prediction.turn = turns.of_next(session, prediction, only_ready=True)
        prediction.files, prediction.ready, prediction.front_id = files, True, None
        prediction.input_bytes += fetched_bytes
    return prediction


def claim(
    session: Session, task: str, has_others: bool, front_id: str, takes_batch: bool = True
) -> PredictionRow | None:
    """Take the prediction of a task with the lowest turn out of the queue, if that has come.

    Args:
        has_others: whether others run where it would. One whose worker died is run isolated, and
            those behind it wait.
        front_id: who takes it.
        takes_batch: whether it may be a batch prediction.
    """
    in_time = or_(PredictionRow.deadline.is_(None), PredictionRow.deadline > time.time())
    waiting = _waiting(task).where(PredictionRow.ready, in_time)
    waiting = waiting.order_by(PredictionRow.turn, PredictionRow.number).limit(1)
    suspect = PredictionRow.crashes > 0
    # A row that another front has locked, since it takes it, is passed over. A suspect is locked
    # only by a front that would take it: else others would pass it over meanwhile.
    wanted = waiting.where(~suspect) if has_others else waiting
    if not takes_batch:
        wanted = wanted.where(PredictionRow.priority == Priority.INTERACTIVE)
    prediction = session.scalar(wanted.with_for_update(skip_locked=True))
    if prediction is None:
        return None
    place = tuple_(PredictionRow.turn, PredictionRow.number)
    before = waiting.where(suspect, place < tuple_(prediction.turn, prediction.number))
    if has_others and session.scalar(before) is not None:
        return None
    turns.advance(session, task, prediction.turn)
    prediction.status, prediction.front_id = Status.PROCESSING, front_id
    prediction.started_at = _now_after(prediction.created_at)
    prediction.attempt += 1
    return prediction


def mark_started(session: Session, live: Known) -> bool:
    """Note that a run has begun; return whether it is to be cancelled.

    Args:
        live: the prediction as the front that runs it knows it, here and in what follows.
    """
    prediction = _held(session, live)
    if prediction is None:
        return True
    prediction.has_begun = True
    _announce(session, prediction, "start")
    return prediction.canceling


def record_progress(session: Session, live: Known) -> bool:
    """Write a running prediction's logs, output and metrics; return whether to cancel it."""
    prediction = _held(session, live)
    if prediction is None:
        return True
    events = [one for one in ("output", "logs") if getattr(prediction, one) != getattr(live, one)]
    prediction.output, prediction.logs = live.output, live.logs
    prediction.metrics, prediction.checkpoint = live.metrics, live.checkpoint
    for event in events:
        _announce(session, prediction, event)
    return prediction.canceling


def settle(session: Session, live: Known, outcome: Outcome) -> PredictionRow | None:
    """Write the outcome of a prediction's run or downloads. None if `live` has lost it."""
    match outcome:
        case Ended(status, error, failure):
            return conclude(session, live, status, error, failure)
        case Requeued():
            return requeue(session, live)
        case Crashed():
            return crash(session, live, outcome)


def requeue(session: Session, live: Known) -> PredictionRow | None:
    """Back to its old place in the queue, as it was at its checkpoint; None if it is over."""
    prediction = _held(session, live)
    if prediction is None:
        return None
    if prediction.canceling:
        return finish(session, prediction.id, Status.CANCELED)
    prediction.status, prediction.started_at, prediction.front_id = Status.STARTING, None, None
    kept = prediction.checkpoint
    prediction.output, prediction.logs = kept.get("output", []), kept.get("logs", "")
    prediction.metrics = kept.get("metrics", {})
    return prediction


def crash(session: Session, live: Known, crashed: Crashed) -> PredictionRow | None:
    """Back in the queue after its run broke; failed, if that was too often. None if it is over."""
    prediction = _held(session, live)
    if prediction is None:
        return None
    prediction.crashes += 1
    if prediction.crashes < MOST_CRASHES or prediction.canceling:
        return requeue(session, prediction)
    fault, kind = "The worker died", FailureKind.WORKER
    if not crashed.has_died:
        fault, kind = "The worker had too little memory", FailureKind.INTERNAL
    isolated = MOST_CRASHES - 1
    error = f"{fault} each time it ran this prediction, {isolated} times isolated: {crashed.reason}"
    return finish(session, prediction.id, Status.FAILED, error, kind)


def running(session: Session, front_id: str) -> dict[tuple[str, int], bool]:
    """Return the ids and attempts that a front runs, and whether each is to be cancelled."""
    own = select(PredictionRow.id, PredictionRow.attempt, PredictionRow.canceling).where(
        PredictionRow.status == Status.PROCESSING, PredictionRow.front_id == front_id
    )
    return {(one.id, one.attempt): one.canceling for one in session.execute(own)}


def requeue_orphans(session: Session) -> list[str]:
    """Requeue what was running at fronts that are dead; return the ids."""
    orphans = select(PredictionRow).where(
        PredictionRow.status == Status.PROCESSING, is_free(PredictionRow.front_id)
    )
    found = list(session.scalars(orphans.order_by(PredictionRow.number).with_for_update()))
    for prediction in found:
        requeue(session, prediction)
    return [prediction.id for prediction in found]


def is_free(front_id: InstrumentedAttribute[str | None]) -> ColumnElement[bool]:
    """Return the condition that no living front has a row, by its column `front_id`."""
    return front_id.is_(None) | front_id.not_in(select(Heartbeat.id))


def finish(
    session: Session,
    prediction_id: str,
    status: Status,
    error: str | None = None,
    failure: FailureKind | None = None,
) -> PredictionRow | None:
    """End a prediction, whoever has it, and announce that; return None if it was over."""
    prediction = _unfinished(session, prediction_id)
    if prediction is None:
        return None
    began_at = prediction.started_at or prediction.created_at
    ran = prediction.status is Status.PROCESSING
    prediction.status, prediction.completed_at = status, _now_after(began_at)
    prediction.error, prediction.failure = error, failure
    if ran:
        turns.charge(session, prediction)
    is_ours = failure in (FailureKind.WORKER, FailureKind.INTERNAL)
    if is_ours or not (prediction.has_begun or status is Status.SUCCEEDED):
        spendings.give_back(session, prediction.id)
    _announce(session, prediction, "completed")
    return prediction


def conclude(
    session: Session,
    live: Known,
    status: Status,
    error: str | None = None,
    failure: FailureKind | None = None,
) -> PredictionRow | None:
    """Record what `live` has, and end the prediction; return None if `live` has lost it.

    One that failed after it was cancelled is canceled: a backend that is told to stop in the middle
    of starting says that it failed.
    """
    if live.status is Status.STARTING:  # its files can't be had
        quota.lock(session, live.token_id)
    held = _held(session, live)
    if held is None:
        return None
    if held.status is Status.STARTING:
        turns.close_up(session, held)
    if record_progress(session, live) and status is Status.FAILED:
        return finish(session, live.id, Status.CANCELED)
    return finish(session, live.id, status, error, failure)


def cancel(session: Session, prediction_id: str, is_overdue: bool = False) -> PredictionRow | None:
    """End a waiting prediction, or note it for one that runs; None if it was over.

    Args:
        is_overdue: whether its deadline does so. One that has never begun is aborted then.
    """
    token_id = select(PredictionRow.token_id).where(PredictionRow.id == prediction_id)
    quota.lock(session, session.scalar(token_id) or "")
    prediction = _unfinished(session, prediction_id)
    if prediction is None:
        return None
    if prediction.status == Status.STARTING:
        turns.close_up(session, prediction)
        never_began = is_overdue and not prediction.has_begun
        return finish(session, prediction_id, Status.ABORTED if never_began else Status.CANCELED)
    prediction.canceling = True
    return prediction


def overdue(session: Session) -> list[str]:
    """Return the ids of the predictions that are to be ended, since their deadline has come."""
    due = select(PredictionRow.id).where(
        PredictionRow.status.in_(UNFINISHED),
        PredictionRow.deadline <= time.time(),
        PredictionRow.canceling.is_(False),
    )
    return list(session.scalars(due))


def unfinished(session: Session) -> dict[tuple[str, Status], int]:
    """Return how many predictions wait and run, by their task and status."""
    counted = (
        select(PredictionRow.task, PredictionRow.status, func.count())
        .where(PredictionRow.status.in_(UNFINISHED))
        .group_by(PredictionRow.task, PredictionRow.status)
    )
    return {(task, status): number for task, status, number in session.execute(counted)}


def count_of_model(session: Session, model: str) -> int:
    """Return how many predictions of a model there are, of all tokens."""
    return session.scalar(select(func.count()).where(PredictionRow.model == model)) or 0


def failed_with_inputs(session: Session, completed_before: float) -> list[str]:
    """Return the ids of those that ended without success before a time and have input files."""
    failed = PredictionRow.status.in_((Status.FAILED, Status.CANCELED, Status.ABORTED))
    old = failed & (PredictionRow.completed_at < completed_before)
    return list(session.scalars(select(PredictionRow.id).where(old, PredictionRow.input_bytes > 0)))


def forget_inputs(session: Session, prediction_id: str) -> None:
    """Note that a prediction's input files were removed."""
    it = PredictionRow.id == prediction_id
    session.execute(update(PredictionRow).where(it).values(input_bytes=0))


def expire(session: Session, completed_before: float) -> list[str]:
    """Forget predictions that were finished before a time; return their ids."""
    old = PredictionRow.status.in_(FINISHED) & (PredictionRow.completed_at < completed_before)
    ids = list(session.scalars(delete(PredictionRow).where(old).returning(PredictionRow.id)))
    there = select(PredictionRow.id)
    session.execute(delete(Delivery).where(Delivery.prediction_id.not_in(there)))
    return ids


def unknown_ids(session: Session, ids: list[str]) -> set[str]:
    """Return those of the ids that neither a prediction nor an upload has."""
    unknown = set(ids)
    for start in range(0, len(ids), 500):  # a statement takes only so many
        batch = ids[start : start + 500]
        unknown -= set(session.scalars(select(PredictionRow.id).where(PredictionRow.id.in_(batch))))
        unknown -= set(session.scalars(select(Upload.id).where(Upload.id.in_(batch))))
    return unknown


def _now_after(moment: float) -> float:
    """Return the time by the clock, which may have stepped back; a moment before stays before."""
    return max(moment, time.time())


def _announce(session: Session, prediction: PredictionRow, event: str) -> None:
    """Queue a call of the prediction's webhook, if it asked for the event."""
    if not prediction.webhook or event not in (prediction.webhook_events or EVENTS):
        return
    seen = {name: getattr(prediction, name) for name in CHANGING}
    # The newest that waits behind a slow receiver tells the news too, so that they don't pile up.
    # An older one must not: what comes after it would go back in time.
    of_it = select(Delivery).where(Delivery.prediction_id == prediction.id)
    newest = session.scalar(of_it.order_by(Delivery.number.desc()).limit(1).with_for_update())
    if newest is not None and newest.event == event and not newest.tries:
        newest.seen = seen
        return
    now = time.time()
    session.add(Delivery(prediction_id=prediction.id, event=event, seen=seen, due_at=now))


def _unfinished(session: Session, prediction_id: str) -> PredictionRow | None:
    """Return a prediction that is not over, locked to the transaction's end."""
    wanted = select(PredictionRow).where(PredictionRow.id == prediction_id)
    now = wanted.with_for_update().execution_options(populate_existing=True)
    prediction = session.scalar(now)
    return prediction if prediction and not prediction.status.is_over else None


def _held(session: Session, live: Known) -> PredictionRow | None:
    """Return the same, if `live` names its front and attempt still."""
    front_id, attempt = live.front_id, live.attempt  # `live` may be the record itself
    prediction = _unfinished(session, live.id)
    if prediction is None or (prediction.front_id, prediction.attempt) != (front_id, attempt):
        return None
    return prediction


def _is_unready(front_id: str) -> ColumnElement[bool]:
    """Return the condition for files that are still to be fetched, by no other front."""
    waits = (PredictionRow.status == Status.STARTING) & PredictionRow.ready.is_(False)
    return waits & ((PredictionRow.front_id == front_id) | is_free(PredictionRow.front_id))


def _waiting(task: str) -> Select[PredictionRow]:
    return select(PredictionRow).where(
        PredictionRow.status == Status.STARTING, PredictionRow.task == task
    )
