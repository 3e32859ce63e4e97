"""How long predictions wait: by what runs still has to do, and by what is before them."""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, NotRequired

# Pydantic, which documents `Place`, takes no other before Python 3.12.
from typing_extensions import TypedDict

from hosting.backends.endpoints import Endpoint
from hosting.prediction import Prediction
from hosting.states import State, Status
from hosting.storage.store import Predictions
from hosting.storage.waits import Load, Running

NATIVE_SIZE = 768
"""The side in pixels of what is drawn where nobody knows it."""


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
        self._work: dict[str, dict[str, float]] = {}
        """By the tasks: how much there is to do, or was, for each prediction."""

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
        work = self._work.setdefault(task, {})
        load = await self._predictions.load(task, list(work))
        endpoints = [one for one in self._endpoints if one.task == task]
        sizes = [one.native_size for one in endpoints if one.native_size]
        for name, (request, has_image) in load.requests.items():
            work[name] = work_of(request, has_image, max(sizes, default=NATIVE_SIZE))
        there = {*load.waiting, *(one.id for one in load.running), *load.finished}
        self._work[task] = work = {name: work[name] for name in there}
        slots = sum(one.slots for one in endpoints if one.status is State.READY)
        if not slots and not load.running:
            return {
                name: {"position": place, "estimated_wait": None, "reason": "starting"}
                for place, name in enumerate(load.waiting, 1)
            }
        # Of other fronts' slots it is known only that something runs there.
        waits = waits_of(load, [self._current(one) for one in load.running], work, slots)
        return {
            name: {
                "position": place,
                "estimated_wait": round(wait, 1) if math.isfinite(wait) else None,
            }
            for place, (name, wait) in enumerate(zip(load.waiting, waits, strict=True), 1)
        }

    def _current(self, run: Running) -> Running:
        """Return a run as it is now, if it is here."""
        here = self._running(run.id)
        return Running(run.id, run.started_at, here.metrics) if here else run


def waits_of(
    load: Load, running: list[Running], work: Mapping[str, float], slots: int
) -> list[float]:
    """Return the seconds until each prediction that waits begins; infinite where nobody knows.

    Each takes the slot that is free first, for a time by its work. How long that takes is known
    best from what runs now, beside as much as they will.

    Args:
        running: all that runs.
        work: of each prediction.
        slots: those that are known of.
    """
    now = time.time()
    elapsed = {one.id: max(0.0, now - one.started_at) for one in running}
    left = {one.id: seconds for one in running if (seconds := _seconds_left(one)) is not None}
    known = {name: elapsed[name] + left[name] for name in left} or load.finished
    pace = sum(known.values()) / sum(work[name] for name in known) if known else math.inf
    free_at = [left.get(one.id, max(0.0, pace * work[one.id] - elapsed[one.id])) for one in running]
    free_at += [0.0] * (slots - len(running))
    heapq.heapify(free_at)
    waits = []
    for name in load.waiting:
        waits.append(free_at[0])
        heapq.heapreplace(free_at, free_at[0] + pace * work[name])
    return waits


def work_of(request: Mapping[str, Any], has_image: bool, native_size: int) -> float:
    """Return how much there is to do for a request: the pixels of all its steps.

    Args:
        request: the numbers among its inputs, by our names.
        native_size: the side in pixels of what is drawn where none was asked for.
    """
    width = request.get("width") or native_size
    height = request.get("height") or native_size
    steps = float(request.get("num_inference_steps", 25))
    first = steps * request.get("strength", 0.8) if has_image else steps
    scale = request.get("refine_scale", 1)
    second = (request.get("refine_steps") or steps) * request.get("refine_strength", 0.4)
    passes = first + (second * scale**2 if scale > 1 else 0)
    return float(request.get("num_images", 1) * width * height * max(1.0, passes))


def _seconds_left(run: Running) -> float | None:
    """Return what a run's metrics say that it still takes; None before they say so."""
    progress = run.metrics.get("progress")
    left = progress.get("seconds_left") if isinstance(progress, Mapping) else None
    return max(0.0, float(left)) if isinstance(left, int | float) else None
