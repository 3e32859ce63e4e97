"""From the queue to a free Cog endpoint, one prediction after another."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from hosting import fair_queueing, log, tracing
from hosting.backends.endpoints import Endpoint
from hosting.prediction import Crashed, Prediction
from hosting.queue import sweep
from hosting.queue.changes import Changes, within
from hosting.queue.downloads import Downloads
from hosting.queue.metrics import Metrics
from hosting.queue.previews import Previews
from hosting.queue.removals import FileRemovals
from hosting.queue.runs import Run
from hosting.queue.thumbnails import Thumbnails
from hosting.queue.webhooks import Webhooks
from hosting.settings import Settings
from hosting.states import Priority, State, Status
from hosting.storage.database import Unavailable
from hosting.storage.files import Files
from hosting.storage.removals import Removed
from hosting.storage.store import Store
from hosting.storage.tables import new_id
from hosting.timings import Timings

OTHERS_SECONDS = 0.1
"""Seconds between two transactions of many rows. Whoever waits for SQLite looks as rarely."""


class Dispatcher:
    """Runs what is in the queue. One for each process, which is a front of the database.

    Args:
        render: makes what a prediction's webhook is sent.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        files: Files,
        endpoints: list[Endpoint],
        render: Callable[[Prediction], object],
        timings: Timings,
    ) -> None:
        self.endpoints = endpoints
        self.front_id = new_id()
        self.changes = Changes()
        self.previews = Previews(self.changes)
        self.metrics = Metrics()
        self.downloads = Downloads(settings, store, files, self.wake, self.front_id, timings)
        self._settings = settings
        self._store = store
        self._files = files
        self._timings = timings
        self._webhooks = Webhooks(store, render, settings.networks, self.front_id)
        self.thumbnails = Thumbnails(files, self.changes)
        self._removals = FileRemovals(
            store, files, self.front_id, self._is_busy, timings.poll_seconds
        )
        self._runs: dict[str, Run] = {}
        """By the predictions' ids."""
        self._ended: dict[str, Prediction] = {}
        """Predictions whose runs have ended, until that is written: their rows are behind."""
        self._tasks: dict[asyncio.Task[None], Run] = {}
        self._seen_at = -math.inf
        """When this front last was known to be there, by the monotonic clock."""
        self._news = asyncio.Event()
        self._claiming = asyncio.Lock()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Run until cancelled; what runs then goes back to the queue.

        Raises:
            SetupFailed: when a server of our own never came up.
        """
        await self._send_heartbeat(self._store.heartbeats.register)
        swept = partial(
            sweep.run, self._settings, self._store, self._files, self._timings.sweep_seconds
        )
        loops = (
            self._fill_endpoints,
            self._send_heartbeats,
            self._reconcile,
            self._end_overdue,
            self.downloads.run,
            self._webhooks.run,
            self._removals.run,
            self.thumbnails.run,
            swept,
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                for endpoint in self.endpoints:
                    tasks.create_task(endpoint.supervise(self._timings.poll_seconds))
                for loop in loops:
                    tasks.create_task(_retry_forever(loop))
        finally:
            # Before the endpoints go: else it would look as if their workers had died.
            await self._halt()
            with contextlib.suppress(Unavailable):  # it will be found dead
                await self._store.heartbeats.unregister(self.front_id)
            await asyncio.gather(*(endpoint.close() for endpoint in self.endpoints))

    async def stop(self, hurry: asyncio.Event) -> None:
        """Begin nothing more; what runs may finish for a time, or goes back to the queue.

        Args:
            hurry: ends the time.
        """
        self._stopping.set()
        async with self._claiming:
            pass  # what was being begun has: nothing else comes after it
        end = time.monotonic() + self._settings.stop_seconds
        while time.monotonic() < end and not hurry.is_set():
            if not self._tasks:
                break
            await within(hurry, 0.1)
        await self._halt()

    def wake(self, prediction_id: str, token_id: str | None = None) -> None:
        """Tell all who wait for it that a prediction is new, or has changed.

        Args:
            token_id: whose it is; None where that is not known here.
        """
        self.changes.notify(prediction_id, token_id)
        self._news.set()
        self.downloads.wake()
        self._webhooks.wake()

    @property
    def is_stopping(self) -> bool:
        """Whether it begins nothing more."""
        return self._stopping.is_set()

    @property
    def has_stopped(self) -> bool:
        """Whether it begins nothing more, and nothing runs."""
        return self.is_stopping and not self._tasks

    def running(self, prediction_id: str) -> Prediction | None:
        """Return a prediction that runs here, as it is now; newer than the store's."""
        run = self._runs.get(prediction_id)
        if run is None:
            return self._ended.get(prediction_id)
        return None if run.is_lost else run.prediction

    async def cancel(self, prediction_id: str, is_overdue: bool = False) -> None:
        """End a prediction, if it is not over: at once in the queue, between two steps else.

        Args:
            is_overdue: whether its deadline does so.
        """
        cancelled = await self._store.predictions.cancel(prediction_id, is_overdue)
        if cancelled:
            await self._take_cancelled(cancelled)
        else:
            self.wake(prediction_id)

    async def remove(self, prediction_id: str, token_id: str) -> bool:
        """Remove a token's prediction and its files, and return whether there was one.

        What runs is cancelled. Files that it may still write are removed when its run has ended.
        """
        removed = await self._store.removals.remove(prediction_id, token_id)
        if removed is None:
            return False
        self._drop(removed)
        await self._removals.begin(removed)
        self.wake(removed.id, token_id)
        return True

    async def cancel_batch(self, batch_id: str) -> None:
        """End what of a batch is not over, as `cancel` does."""
        while some := await self._store.batches.cancel(batch_id):
            for cancelled in some:
                await self._take_cancelled(cancelled)
            await asyncio.sleep(OTHERS_SECONDS)

    async def _take_cancelled(self, cancelled: Prediction) -> None:
        """End the run of a prediction that was cancelled, if it has one here, and tell of it."""
        if cancelled.canceling and cancelled.id in self._runs:
            await self._runs[cancelled.id].cancel()
        if cancelled.status.is_over:
            tracing.record_prediction(cancelled)
        self.wake(cancelled.id, cancelled.token_id)

    async def remove_batch(self, batch_id: str, token_id: str) -> None:
        """Remove a token's batch with its predictions; their files are removed soon."""
        while some := await self._store.batches.remove(batch_id, token_id):
            for removed in some:
                self._drop(removed)
                self.wake(removed.id, token_id)
            await asyncio.sleep(OTHERS_SECONDS)
        self._removals.wake()

    def _drop(self, removed: Removed) -> None:
        """End the run and the downloads of a prediction that was removed, if it has any here."""
        log.info("removed", prediction=removed.id)
        for task, run in self._tasks.items():
            if run.prediction.id == removed.id:
                run.is_lost = True
                # Not before it has begun: then nobody would give its slot back.
                asyncio.get_running_loop().call_soon(task.cancel)
        self.downloads.drop(removed.id)

    async def _is_busy(self, prediction_id: str) -> bool:
        """Return whether this front may still write files of a prediction."""
        async with self._claiming:  # what was being begun has
            runs = any(run.prediction.id == prediction_id for run in self._tasks.values())
        return runs or self.downloads.is_fetching(prediction_id)

    async def _fill_endpoints(self) -> None:
        while True:
            self._news.clear()
            for endpoint in self.endpoints:
                while endpoint.has_free_slot and await self._claim(endpoint):
                    pass
            await self._wake_idle()
            await within(self._news, self._timings.poll_seconds)

    async def _wake_idle(self) -> None:
        """Have endpoints start again that have given their cards back, where predictions wait."""
        idle = [one for one in self.endpoints if one.status is State.IDLE]
        if not idle:
            return
        waiting = await self._store.predictions.unfinished()
        for endpoint in idle:
            if waiting.get((endpoint.task or "", Status.STARTING)):
                endpoint.want()

    async def _claim(self, endpoint: Endpoint) -> bool:
        """Begin what is next for an endpoint, and return whether there was anything."""
        with endpoint.in_use():
            return await self._claim_for(endpoint)

    async def _claim_for(self, endpoint: Endpoint) -> bool:
        async with self._claiming:
            if not self._may_begin:
                return False
            assert endpoint.task is not None
            has_others = bool(endpoint.running) and not endpoint.is_cluster
            claimed = await self._store.predictions.claim(
                endpoint.task, has_others, self.front_id, self._takes_batch(endpoint)
            )
            if claimed:
                self._start(endpoint, claimed)
            return claimed is not None

    def _takes_batch(self, endpoint: Endpoint) -> bool:
        """Return whether an endpoint has a slot for a batch prediction, beside those it keeps."""
        there = (self._runs[one].prediction.priority for one in endpoint.running)
        batch = sum(priority is Priority.BATCH for priority in there)
        return batch < fair_queueing.batch_slots(endpoint.slots)

    @property
    def _may_begin(self) -> bool:
        # Others take a front without heartbeats for dead, and begin what it has begun.
        is_seen = time.monotonic() - self._seen_at < self._timings.dead_after_seconds
        return is_seen and not self._stopping.is_set()

    async def _send_heartbeats(self) -> None:
        while True:
            await asyncio.sleep(self._timings.heartbeat_seconds)
            await self._send_heartbeat(self._store.heartbeats.beat)

    async def _send_heartbeat(self, beat: Callable[[str, float], Awaitable[list[str]]]) -> None:
        seen_at = time.monotonic()
        for prediction_id in await beat(self.front_id, self._timings.dead_after_seconds):
            log.info("taken up again", prediction=prediction_id)
            self.wake(prediction_id)
        self._seen_at = seen_at

    async def _reconcile(self) -> None:
        """End runs here whose predictions were cancelled, or taken over, at another front."""
        while True:
            await asyncio.sleep(self._timings.poll_seconds)
            tasks = list(self._tasks.items())
            if not tasks:
                continue
            own = await self._store.predictions.running(self.front_id)
            for task, run in tasks:
                about = run.prediction.id, run.prediction.attempt
                if self._runs.get(run.prediction.id) is not run or run.is_lost:
                    continue  # it has ended meanwhile, or is about to
                if about not in own:
                    log.warning("it is no longer this front's", prediction=run.prediction.id)
                    run.is_lost = True
                    task.cancel()
                elif own[about]:
                    await run.cancel()

    async def _end_overdue(self) -> None:
        while True:
            for prediction_id in await self._store.predictions.overdue():
                log.info("its deadline has come", prediction=prediction_id)
                await self.cancel(prediction_id, is_overdue=True)
            for batch_id in await self._store.batches.canceling():  # a front has died over it
                await self.cancel_batch(batch_id)
            await asyncio.sleep(self._timings.poll_seconds)

    def _start(self, endpoint: Endpoint, prediction: Prediction) -> None:
        endpoint.occupy(prediction.id, isolated=prediction.crashes > 0)
        run = Run(
            endpoint,
            self.endpoints,
            prediction,
            self._store,
            self._files,
            self.changes,
            self.previews,
            self._webhooks,
            self._timings,
        )
        self._runs[prediction.id] = run
        task = asyncio.create_task(self._finish(run))
        self._tasks[task] = run
        task.add_done_callback(self._tasks.pop)
        task.add_done_callback(lambda _: self._removals.wake())
        self.wake(prediction.id, prediction.token_id)

    async def _finish(self, run: Run) -> None:
        prediction_id = run.prediction.id
        try:
            outcome = await run.execute()
        finally:
            # Before it is written: from then on, another endpoint may have the prediction.
            run.endpoint.vacate(prediction_id)
            del self._runs[prediction_id]
            self.previews.forget(prediction_id)
        if not run.is_lost:
            self._ended[prediction_id] = run.prediction
        # What a dead worker had run goes before what came later, so that has to be written first.
        with run.endpoint.closed() if isinstance(outcome, Crashed) else contextlib.nullcontext():
            try:
                written = await self._store.predictions.settle(run.prediction, outcome)
            finally:
                self._ended.pop(prediction_id, None)
        if written:  # else it was no longer ours
            self.metrics.ran(run.prediction, written, run.endpoint)
            if written.status.is_over:
                tracing.record_prediction(written)
        for measurement in run.measurements:
            weights = run.endpoint.model_of(run.prediction.request)
            self.metrics.engines.measured(measurement, run.endpoint, weights)
        self.wake(prediction_id, run.prediction.token_id)
        kept = written.output if written else run.prediction.checkpoint.get("output", ())
        await run.remove_stale_outputs(kept)
        if written is None:
            await self._removals.remove_if_gone(prediction_id)

    async def _halt(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(self.downloads.halt(), *self._tasks, return_exceptions=True)


async def _retry_forever(loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a loop, and again when the database or the disk fails it."""
    while True:
        try:
            await loop()
        except (Unavailable, OSError) as error:
            log.warning("trying again", reason=str(error))
            await asyncio.sleep(1)
