"""The turns of predictions in the queue, by `fair_queueing`. Each is work in a transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import case, func, select, text, true, tuple_, update
from sqlalchemy.orm import Session

from hosting import fair_queueing
from hosting.prediction import Prediction
from hosting.states import UNFINISHED, Priority, Status
from hosting.storage.tables import Flow, PredictionRow, TaskQueue, Token

CHARGED = text(
    "INSERT INTO flows (token_id, task, priority, turn) "
    "VALUES (:token_id, :task, :priority, :turn) "
    "ON CONFLICT (token_id, task, priority) DO UPDATE SET turn = excluded.turn "
    "WHERE excluded.turn > flows.turn"
)
ENSURED = text("INSERT INTO queues (task, turn) VALUES (:task, 0) ON CONFLICT DO NOTHING")


def of_next(session: Session, new: Prediction | PredictionRow, only_ready: bool = False) -> float:
    """Return the turn of a prediction that is the next of its flow; its token is locked.

    Args:
        only_ready: whether those before it don't count whose files are not there.
    """
    unit = fair_queueing.length(1.0, new.priority, _weight(session, new.token_id))
    waits_or_runs = select(func.max(PredictionRow.turn + PredictionRow.cost * unit)).where(
        PredictionRow.token_id == new.token_id,
        PredictionRow.status.in_(UNFINISHED),
        PredictionRow.task == new.task,
        PredictionRow.priority == new.priority,
        PredictionRow.ready if only_ready else true(),
    )
    has_run = select(Flow.turn).where(
        Flow.token_id == new.token_id, Flow.task == new.task, Flow.priority == new.priority
    )
    known = select(waits_or_runs.scalar_subquery(), has_run.scalar_subquery())
    ends = [end for end in session.execute(known).one() if end is not None]
    return fair_queueing.next_turn(clock(session, new.task), ends)


def of_several(session: Session, new: Sequence[Prediction]) -> list[float]:
    """Return the turns of one token's predictions that come together; the token is locked."""
    weight = _weight(session, new[0].token_id)
    found = list[float]()
    ends: dict[tuple[str, Priority], float] = {}
    for one in new:
        flow = one.task, one.priority
        turn = ends[flow] if flow in ends else of_next(session, one)
        ends[flow] = turn + fair_queueing.length(one.cost, one.priority, weight)
        found.append(turn)
    return found


def clock(session: Session, task: str) -> float:
    """Return the turn of what was claimed last of a task."""
    turn = session.scalar(select(TaskQueue.turn).where(TaskQueue.task == task))
    if turn is None:
        session.execute(ENSURED, {"task": task})
    return turn or 0.0


def advance(session: Session, task: str, turn: float) -> None:
    """Note the turn of what is claimed."""
    behind = select(TaskQueue).where(TaskQueue.task == task, TaskQueue.turn < turn)
    # Where another front has it locked, since it claims, the clock is one claim late: none waits.
    row = session.scalar(behind.with_for_update(skip_locked=True))
    if row is not None:
        row.turn = turn


def close_up(session: Session, gone: PredictionRow) -> None:
    """Move up those of a flow that are behind one that leaves the queue; its token is locked."""
    length = fair_queueing.length(gone.cost, gone.priority, _weight(session, gone.token_id))
    behind = (
        PredictionRow.token_id == gone.token_id,
        PredictionRow.status == Status.STARTING,
        PredictionRow.task == gone.task,
        PredictionRow.priority == gone.priority,
        tuple_(PredictionRow.turn, PredictionRow.number) > tuple_(gone.turn, gone.number),
    )
    # Not before its turn, if the token's weight was another when they came.
    moved = case(
        (PredictionRow.turn - length > gone.turn, PredictionRow.turn - length), else_=gone.turn
    )
    session.execute(
        update(PredictionRow).where(*behind).values(turn=moved),
        execution_options={"synchronize_session": False},
    )


def charge(session: Session, ended: PredictionRow) -> None:
    """Note what a run that ends has taken of its flow's share; of a broken one by its steps."""
    done = 1.0 if ended.status is Status.SUCCEEDED else _share_done(ended.metrics)
    length = fair_queueing.length(ended.cost, ended.priority, _weight(session, ended.token_id))
    values = {
        "token_id": ended.token_id,
        "task": ended.task,
        "priority": ended.priority.value,
        "turn": ended.turn + done * length,
    }
    session.execute(CHARGED, values)


def _share_done(metrics: Mapping[str, Any]) -> float:
    """Return the share of its steps that a run has taken, by what its worker has told."""
    progress = metrics.get("progress")
    told = progress if isinstance(progress, Mapping) else {}
    step, steps = told.get("step"), told.get("steps")
    if not isinstance(step, int) or not isinstance(steps, int) or steps < 1:
        return 0.0
    return min(1.0, max(0, step) / steps)


def _weight(session: Session, token_id: str) -> float:
    return session.scalar(select(Token.weight).where(Token.id == token_id)) or 1.0
