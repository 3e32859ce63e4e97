"""How long predictions wait: by what runs still has to do, and by what is before them."""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal, NotRequired

# Pydantic, which documents `Place`, takes no other before Python 3.12.
from typing_extensions import TypedDict

from hosting import fair_queueing
from hosting.backends.endpoints import Endpoint
from hosting.prediction import Prediction
from hosting.states import Priority, State, Status
from hosting.storage.store import Predictions
from hosting.storage.waits import Load, Running, Waiting


class Place(TypedDict):
    """The place of a prediction that waits."""

    position: int
    """1 is the next."""
    estimated_wait: float | None
    """Seconds until it begins; None where nobody can know."""
    reason: NotRequired[Literal["starting"]]
    """Why it waits, where that is not those before it: the model is still starting."""


class Waits:
    """The places of all predictions that wait, kept for a moment: many ask for them.

    Args:
        running: tells how a prediction is that runs here.
        seconds: for which places are kept.
    """

    def __init__(
        self,
        predictions: Predictions,
        endpoints: list[Endpoint],
        running: Callable[[str], Prediction | None],
        seconds: float,
    ) -> None:
        self._predictions = predictions
        self._endpoints = endpoints
        self._running = running
        self._seconds = seconds
        self._looking = asyncio.Lock()
        self._places: dict[str, tuple[float, dict[str, Place]]] = {}
        """By the tasks: when they were found, and they by the predictions' ids."""

    async def place(self, prediction: Prediction) -> Place | None:
        """Return the place of a prediction; None if it does not wait."""
        if prediction.status is not Status.STARTING:
            return None
        places = await self.places(prediction.task, prediction.id)
        # One that is not among them has just been begun.
        return places.get(prediction.id, {"position": 1, "estimated_wait": 0.0})

    async def places(self, task: str, wanted: str | None = None) -> Mapping[str, Place]:
        """Return the places of all predictions of a task that wait, by their ids.

        Args:
            wanted: the id of one that is to be among them, if it waits.
        """
        async with self._looking:
            found_at, places = self._places.get(task, (-math.inf, {}))
            is_old = time.monotonic() - found_at > self._seconds
            if is_old or (wanted is not None and wanted not in places):
                places = await self._look(task)
                self._places[task] = time.monotonic(), places
        return places

    def forget(self) -> None:
        """Find the places anew: somebody has left the queue."""
        self._places.clear()

    async def _look(self, task: str) -> dict[str, Place]:
        load = await self._predictions.load(task)
        endpoints = [
            one for one in self._endpoints if one.task == task and one.status is State.READY
        ]
        slots = sum(one.slots for one in endpoints)
        if not slots and not load.running:
            return {
                one.id: {"position": position, "estimated_wait": None, "reason": "starting"}
                for position, one in enumerate(load.waiting, 1)
            }
        # Of other fronts' slots it is known only that something runs there.
        waits = waits_of(
            replace(load, running=[self._current(one) for one in load.running]),
            slots,
            sum(fair_queueing.batch_slots(one.slots) for one in endpoints),
        )
        return {
            name: {
                "position": position,
                "estimated_wait": round(wait, 1) if math.isfinite(wait) else None,
            }
            for position, (name, wait) in enumerate(waits.items(), 1)
        }

    def _current(self, run: Running) -> Running:
        """Return a run as it is now, if it is here."""
        here = self._running(run.id)
        return replace(run, metrics=here.metrics) if here else run


def waits_of(load: Load, slots: int, batch_slots: int) -> dict[str, float]:
    """Return the seconds until each prediction that waits begins, in the order in which they do.

    They are infinite where nobody knows. Each takes the slot that is free first, for a time by its
    cost; a batch prediction only while fewer of its kind run than may. How long a cost takes is
    known best from what runs now, beside as much as they will.

    Args:
        slots: those that are known of.
        batch_slots: how many of them batch predictions may hold.
    """
    pace = _pace(load)
    ends = [(_seconds_left(one, pace), one.priority) for one in load.running]
    ends += [(0.0, Priority.INTERACTIVE)] * (slots - len(ends))
    heapq.heapify(ends)
    batch = sum(priority is Priority.BATCH for _, priority in ends)
    batch_slots = max(batch_slots, min(1, len(ends)))
    queues = {
        priority: deque(
            (place, one) for place, one in enumerate(load.waiting) if one.priority is priority
        )
        for priority in Priority
    }
    waits: dict[str, float] = {}
    while len(waits) < len(load.waiting):
        now, ended = heapq.heappop(ends)
        batch -= ended is Priority.BATCH
        next_ones = [queue[0] for queue in queues.values() if queue]
        if batch >= batch_slots:
            next_ones = [one for one in next_ones if one[1].priority is Priority.INTERACTIVE]
        if not next_ones:  # the rest are batch predictions, to which this slot is closed
            continue
        _, begun = min(next_ones, key=_place)
        queues[begun.priority].popleft()
        waits[begun.id] = now
        batch += begun.priority is Priority.BATCH
        heapq.heappush(ends, (now + _seconds(begun.cost, pace), begun.priority))
    return waits


def _place(one: tuple[int, Waiting]) -> int:
    return one[0]


def _pace(load: Load) -> float:
    """Return the seconds that a unit of cost takes; infinite where nobody knows."""
    told = [
        (_elapsed(one) + left, one.cost)
        for one in load.running
        if (left := _told_left(one)) is not None
    ]
    known = told or [(one.seconds, one.cost) for one in load.finished]
    cost = sum(cost for _, cost in known)
    return sum(seconds for seconds, _ in known) / cost if cost else math.inf


def _seconds_left(run: Running, pace: float) -> float:
    """Return what a run still takes."""
    left = _told_left(run)
    return max(0.0, _seconds(run.cost, pace) - _elapsed(run)) if left is None else left


def _seconds(cost: float, pace: float) -> float:
    return cost * pace if cost else 0.0  # of older versions, however unknown the pace is


def _elapsed(run: Running) -> float:
    return max(0.0, time.time() - run.started_at)


def _told_left(run: Running) -> float | None:
    """Return what a run's metrics say that it still takes; None before they say so."""
    progress = run.metrics.get("progress")
    left = progress.get("seconds_left") if isinstance(progress, Mapping) else None
    return max(0.0, float(left)) if isinstance(left, int | float) else None
