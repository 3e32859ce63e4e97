"""From the queue to a free Cog endpoint, one prediction after another."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from hosting import log
from hosting.backends.endpoints import Endpoint
from hosting.net.links import Links
from hosting.queue import sweep
from hosting.queue.changes import LOOK, Changes, within
from hosting.queue.downloads import Downloads
from hosting.queue.metrics import Metrics
from hosting.queue.runs import Run
from hosting.queue.webhooks import Webhooks
from hosting.settings import Settings
from hosting.states import Status
from hosting.storage import heartbeats, predictions
from hosting.storage.database import Database, Unavailable
from hosting.storage.files import Files
from hosting.storage.tables import Prediction, new_id


class Dispatcher:
    """Runs what is in the queue. One for each process, which is a front of the database.

    Args:
        render: makes what a prediction's webhook is sent.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        files: Files,
        links: Links,
        endpoints: list[Endpoint],
        render: Callable[[Prediction], object],
    ) -> None:
        self.settings = settings
        self.database = database
        self.files = files
        self.links = links
        self.endpoints = endpoints
        self.front_id = new_id()
        self.changes = Changes()
        self.stopping = asyncio.Event()
        self.metrics = Metrics()
        self._webhooks = Webhooks(database, render, settings.networks, self.front_id)
        self.downloads = Downloads(settings, database, files, self.wake, self.front_id)
        self._runs: dict[str, Run] = {}
        """By the predictions' ids."""
        self._tasks: dict[asyncio.Task[None], Run] = {}
        self._seen_at = -math.inf
        """When this front last was known to be there, by the monotonic clock."""
        self._news = asyncio.Event()
        self._claiming = asyncio.Lock()

    async def run(self) -> None:
        """Runs until cancelled; what runs then goes back to the queue.

        Raises:
            SetupFailed: when a server of our own never came up.
        """
        await self._say_that_it_is_there(heartbeats.enter)
        swept = partial(sweep.run, self.settings, self.database, self.files)
        loops = (self._feed, self._beat, self._look, self.downloads.run, self._webhooks.run, swept)
        try:
            async with asyncio.TaskGroup() as tasks:
                for endpoint in self.endpoints:
                    tasks.create_task(endpoint.keep())
                for loop in loops:
                    tasks.create_task(_again_and_again(loop))
        finally:
            # Before the endpoints go: else it would look as if their workers had died.
            await self._halt()
            with contextlib.suppress(Unavailable):  # it will be found dead
                await self.database(heartbeats.leave, self.front_id)
            await asyncio.gather(*(endpoint.close() for endpoint in self.endpoints))

    async def stop(self, hurry: asyncio.Event) -> None:
        """Begins nothing more; what runs may finish for a time, or goes back to the queue.

        Args:
            hurry: ends the time.
        """
        self.stopping.set()
        async with self._claiming:
            pass  # what was being begun has: nothing else comes after it
        end = time.monotonic() + self.settings.stop_seconds
        while time.monotonic() < end and not hurry.is_set():
            if not self._tasks:
                break
            await within(hurry, 0.1)
        await self._halt()

    def wake(self, prediction_id: str) -> None:
        """A prediction is new, or has changed."""
        self.changes.tell(prediction_id)
        self._news.set()
        self.downloads.wake()
        self._webhooks.wake()

    def endpoints_of(self, task: str) -> list[Endpoint]:
        """The endpoints that serve a task."""
        return [endpoint for endpoint in self.endpoints if endpoint.task == task]

    async def current(self, prediction_id: str) -> Prediction | None:
        """A prediction as it is now, which stays so; None if there is none."""
        run = self._runs.get(prediction_id)
        if run is None:
            return await self.database.read(predictions.find, prediction_id)
        return run.prediction.copy()

    def gives_up(self, prediction: Prediction) -> bool:
        """Whether nobody should wait for it: this process ends before its turn comes."""
        return self.stopping.is_set() and prediction.status is Status.STARTING

    async def cancel(self, prediction_id: str) -> None:
        """Ends a prediction, if it is not over: at once in the queue, between two steps else."""
        cancelled = await self.database(predictions.cancel, prediction_id)
        if cancelled and cancelled.canceling and prediction_id in self._runs:
            await self._runs[prediction_id].cancel()
        self.wake(prediction_id)

    async def _feed(self) -> None:
        while True:
            self._news.clear()
            for endpoint in self.endpoints:
                while endpoint.has_room and await self._claim(endpoint):
                    pass
            await within(self._news, LOOK)

    async def _claim(self, endpoint: Endpoint) -> bool:
        """Begins what is next for an endpoint; whether there was anything, and it may."""
        async with self._claiming:
            if not self._may_begin:
                return False
            assert endpoint.task is not None
            has_company = bool(endpoint.running) and not endpoint.is_cluster
            claimed = await self.database(
                predictions.claim, endpoint.task, has_company, self.front_id
            )
            if claimed:
                self._start(endpoint, claimed)
            return claimed is not None

    @property
    def _may_begin(self) -> bool:
        # What one begins that others take for dead, they begin too.
        is_there = time.monotonic() - self._seen_at < heartbeats.DEAD_AFTER
        return is_there and not self.stopping.is_set()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(heartbeats.BEAT)
            await self._say_that_it_is_there(heartbeats.beat)

    async def _say_that_it_is_there(self, say: Callable[..., list[str]]) -> None:
        seen_at = time.monotonic()
        for prediction_id in await self.database(say, self.front_id):
            log.info("taken up again", prediction=prediction_id)
            self.wake(prediction_id)
        self._seen_at = seen_at

    async def _look(self) -> None:
        """Does to what runs here what was done to it at other fronts."""
        while True:
            await asyncio.sleep(LOOK)
            tasks = list(self._tasks.items())
            if not tasks:
                continue
            own = await self.database.read(predictions.running, self.front_id)
            for task, run in tasks:
                about = run.prediction.id, run.prediction.attempt
                if self._runs.get(run.prediction.id) is not run:
                    continue  # it has ended meanwhile
                if about not in own:
                    log.warning("another front has it", prediction=run.prediction.id)
                    task.cancel()
                elif own[about]:
                    await run.cancel()

    def _start(self, endpoint: Endpoint, prediction: Prediction) -> None:
        endpoint.is_reserved = prediction.crashes > 0 and not endpoint.is_cluster
        endpoint.running.add(prediction.id)
        run = Run(endpoint, prediction, self.database, self.files, self.changes, self._webhooks)
        self._runs[prediction.id] = run
        task = asyncio.create_task(self._finish(run))
        self._tasks[task] = run
        task.add_done_callback(self._tasks.pop)
        self.wake(prediction.id)

    async def _finish(self, run: Run) -> None:
        prediction_id = run.prediction.id
        try:
            record = await run.outcome()
        finally:
            # Before it is written: from then on, another endpoint may have the prediction.
            run.endpoint.running.discard(prediction_id)
            run.endpoint.is_reserved = False
            del self._runs[prediction_id]
        written = await self.database.surely(record)
        if written:  # else it was no longer ours
            self.metrics.ran(run.prediction, written, run.endpoint)
        self.wake(prediction_id)
        await run.tidy(written.output if written else ())

    async def _halt(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(self.downloads.halt(), *self._tasks, return_exceptions=True)


async def _again_and_again(loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a loop, and again when the database or the disk fails it."""
    while True:
        try:
            await loop()
        except (Unavailable, OSError) as error:
            log.warning("trying again", reason=str(error))
            await asyncio.sleep(1)
