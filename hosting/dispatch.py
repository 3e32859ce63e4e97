"""From the queue to a free Cog endpoint, and what comes back into the record."""

from __future__ import annotations

import asyncio
import base64
import binascii
import itertools
import logging
import re
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from functools import partial
from pathlib import PurePath
from typing import Any

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from hosting import fetch, log, pictures, predictions, uploads
from hosting.changes import Changes, within
from hosting.cog import Busy, Died, Refused, Unreachable
from hosting.database import Database, Prediction
from hosting.endpoints import Endpoint
from hosting.files import TYPES, Files
from hosting.links import Links
from hosting.settings import Settings
from hosting.shapes import Queue
from hosting.webhooks import Webhooks

SAVED_EVERY = 0.5
"""Seconds between two writes of what a running prediction says; so often come its webhooks."""
LOOK = 0.5
"""Seconds after which the queue is looked at though nothing woke us."""
PING = 15.0
"""Seconds of silence after which a stream should show that it is there."""
FETCHED, FETCHED_EACH = 8, 2
"""Predictions whose files are fetched at the same time: of all tokens, and of each."""
NOTHING_KEPT = 60.0
"""Seconds until something is tried again that found no room on the disk."""
SWEPT_EVERY = 600.0
"""Seconds between two removals of what is too old."""
DATA_URL = re.compile(r"data:image/(png|webp|jpeg|jpg);base64,")


class Dispatcher:
    """Runs what is in the queue. One for each process."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        files: Files,
        links: Links,
        endpoints: list[Endpoint],
    ) -> None:
        self.settings = settings
        self.database = database
        self.files = files
        self.links = links
        self.endpoints = endpoints
        self.changes = Changes()
        self.stopping = asyncio.Event()
        self._webhooks = Webhooks(database, links, settings.networks)
        self._live: dict[str, Prediction] = {}
        """The predictions that run here, newer than their record."""
        self._attempts: dict[str, tuple[Endpoint, str]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._fetching: dict[str, str] = {}
        """The tokens of the predictions whose files are being fetched."""
        self._fetches: set[asyncio.Task[None]] = set()
        self._to_run, self._to_fetch = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Runs until cancelled; what runs then goes back to the queue.

        Raises:
            SetupFailed: when a server of our own never came up.
        """
        for prediction_id in await self.database(predictions.put_back_all):
            log.info("taken up again", prediction=prediction_id)
        try:
            async with asyncio.TaskGroup() as tasks:
                for endpoint in self.endpoints:
                    tasks.create_task(endpoint.keep())
                for loop in (self._feed, self._fetch_all, self._sweep, self._webhooks.run):
                    tasks.create_task(self._again_and_again(loop))
        finally:
            # Before the endpoints go: else it would look as if their workers had died.
            await self._halt()
            await asyncio.gather(*(endpoint.close() for endpoint in self.endpoints))

    async def stop(self, hurry: asyncio.Event) -> None:
        """Begins nothing more; what runs may finish for a time, or goes back to the queue.

        Args:
            hurry: ends the time.
        """
        self.stopping.set()
        end = time.monotonic() + self.settings.stop_seconds
        while time.monotonic() < end and not hurry.is_set():
            if not self._running:
                break
            await within(hurry, 0.1)
        await self._halt()

    def wake(self, prediction_id: str) -> None:
        """A prediction is new, or has changed."""
        self.changes.tell(prediction_id)
        self._to_run.set()
        self._to_fetch.set()
        self._webhooks.wake()

    def endpoints_of(self, task: str) -> list[Endpoint]:
        """The endpoints that serve a task."""
        return [endpoint for endpoint in self.endpoints if endpoint.task == task]

    async def current(self, prediction_id: str) -> Prediction | None:
        """A prediction as it is now, which stays so; None if there is none."""
        live = self._live.get(prediction_id)
        if live is None:
            return await self.database.read(predictions.find, prediction_id)
        columns = Prediction.__mapper__.columns.keys()
        return Prediction(**{name: getattr(live, name) for name in columns})

    async def follow(self, prediction_id: str) -> AsyncGenerator[Prediction | None, None]:
        """A prediction whenever it may have changed, to its end; None after a long silence."""
        told = time.monotonic()
        while True:
            change = self.changes.next(prediction_id)
            prediction = await self.current(prediction_id)
            if prediction is None:
                return
            yield prediction
            if prediction.status in predictions.FINISHED or self.gives_up(prediction):
                return
            if await within(change, LOOK):
                told = time.monotonic()
            elif time.monotonic() - told > PING:
                told = time.monotonic()
                yield None

    async def queue(self, prediction: Prediction) -> Queue | None:
        """The place and the estimated wait, in seconds, of a prediction that waits."""
        if prediction.status != "starting":
            return None
        place = await self.database.read(predictions.position, prediction)
        seconds = await self.database.read(predictions.typical_seconds, prediction.task)
        slots = sum(endpoint.slots for endpoint in self.endpoints_of(prediction.task))
        estimate = round(seconds * place / slots, 1) if seconds is not None and slots else None
        return {"position": place, "estimated_wait": estimate}

    def gives_up(self, prediction: Prediction) -> bool:
        """Whether nobody should wait for it: this process ends before its turn comes."""
        return self.stopping.is_set() and prediction.status == "starting"

    async def finished(self, prediction: Prediction, seconds: float) -> Prediction:
        """The prediction when it is over, or as it is after some seconds."""
        end = time.monotonic() + seconds
        while True:
            change = self.changes.next(prediction.id)
            prediction = await self.current(prediction.id) or prediction
            left = end - time.monotonic()
            if prediction.status in predictions.FINISHED or left <= 0 or self.gives_up(prediction):
                return prediction
            await within(change, min(LOOK, left))

    async def cancel(self, prediction_id: str) -> None:
        """Ends a prediction, if it is not over: at once in the queue, between two steps else."""
        cancelled = await self.database(predictions.cancel, prediction_id)
        if cancelled and cancelled.canceling and prediction_id in self._attempts:
            endpoint, attempt = self._attempts[prediction_id]
            await endpoint.cog.cancel(attempt)
        self.wake(prediction_id)

    # The queue

    async def _feed(self) -> None:
        while True:
            self._to_run.clear()
            for endpoint in self.endpoints:
                while endpoint.has_room and not self.stopping.is_set():
                    assert endpoint.task is not None
                    has_company = bool(endpoint.running)
                    claimed = await self.database(predictions.claim, endpoint.task, has_company)
                    if claimed is None:
                        break
                    self._start(endpoint, claimed)
            await within(self._to_run, LOOK)

    def _start(self, endpoint: Endpoint, prediction: Prediction) -> None:
        endpoint.is_reserved = prediction.crashes > 0
        endpoint.running.add(prediction.id)
        self._live[prediction.id] = prediction
        task = asyncio.create_task(self._run(endpoint, prediction))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        self.wake(prediction.id)

    async def _run(self, endpoint: Endpoint, prediction: Prediction) -> None:
        try:
            record = await self._outcome(endpoint, prediction)
        finally:
            # Before it is written: from then on, another endpoint may have the prediction.
            endpoint.running.discard(prediction.id)
            endpoint.is_reserved = False
            del self._live[prediction.id], self._attempts[prediction.id]
        await self._surely(record)
        self.wake(prediction.id)

    async def _outcome(
        self, endpoint: Endpoint, prediction: Prediction
    ) -> Callable[[Session], object]:
        """Has a prediction run; what is to be written of it then, whatever has happened."""
        about = {"prediction": prediction.id, "endpoint": endpoint.name}
        again = partial(predictions.put_back, prediction_id=prediction.id)
        attempt = f"{prediction.id}-{secrets.token_hex(4)}"
        self._attempts[prediction.id] = endpoint, attempt
        log.info("started", **about)
        try:
            status, error = await self._listen(endpoint, prediction, attempt)
        except asyncio.CancelledError:  # this process ends
            return again
        except Busy:
            endpoint.pause(LOOK)
            return again
        except Unreachable as fault:
            log.info("back to the queue", reason=str(fault), **about)
            endpoint.status = ""
            return again
        except Died as fault:
            log.info("its worker died", reason=str(fault), **about)
            endpoint.status = ""
            return partial(predictions.crash, prediction_id=prediction.id, reason=str(fault))
        except Refused as fault:
            status, error = "failed", str(fault)
        except FileNotFoundError:
            status, error = "failed", "The files of its inputs are gone"
        except (OSError, OperationalError) as fault:  # the disk is full, the database locked
            log.info("back to the queue", reason=str(fault), **about)
            endpoint.pause(NOTHING_KEPT)
            return again
        except Exception as fault:  # a fault of ours, or of Cog's, must not lose the prediction
            logging.getLogger(__name__).exception("prediction %s", prediction.id)
            reason = repr(fault)
            return partial(predictions.crash, prediction_id=prediction.id, reason=reason)
        log.info(status, **about, **({"error": error} if error else {}))
        return partial(_finish, live=prediction, status=status, error=error)

    async def _listen(
        self, endpoint: Endpoint, prediction: Prediction, attempt: str
    ) -> tuple[str, str | None]:
        """Has it run, and keeps what comes; how it ended, and why."""
        inputs = {**prediction.request, **await asyncio.to_thread(self._input_urls, prediction)}
        saved = time.monotonic()
        async with aclosing(endpoint.cog.predict(attempt, inputs)) as events:
            del inputs
            async for kind, data in events:
                match kind:
                    case "start":
                        # Who cancelled before that found nothing at Cog to cancel.
                        if await self.database(predictions.begin, prediction.id):
                            await endpoint.cog.cancel(attempt)
                    case "log":
                        prediction.logs += str(data.get("data", ""))
                    case "metric":
                        value = data["value"]
                        if data["name"] == "images":
                            value = _by_our_names(value)
                        prediction.metrics = {**prediction.metrics, data["name"]: value}
                    case "output":
                        await self._keep(prediction, str(data["chunk"]))
                    case "completed":
                        # Ours has the pictures by our names.
                        prediction.metrics = {**data.get("metrics", {}), **prediction.metrics}
                        return str(data["status"]), data["error"]
                self.changes.tell(prediction.id)
                if time.monotonic() - saved >= SAVED_EVERY or kind == "output":
                    saved = time.monotonic()
                    if await self._save(prediction):
                        await endpoint.cog.cancel(attempt)
        raise Died("it ended without a result")

    async def _save(self, prediction: Prediction) -> bool:
        """Writes how far it is; whether it is to be cancelled."""
        try:
            return await self.database(predictions.save, prediction)
        except OperationalError as error:  # its end will be written, whatever it takes
            log.info("not saved", prediction=prediction.id, fault=str(error.orig))
            return False
        finally:
            self._webhooks.wake()

    def output_urls(self, prediction: Prediction) -> list[str]:
        """The pictures that a prediction has made, as data URLs."""
        folder = f"predictions/{prediction.id}"
        return [self.files.data_url(f"{folder}/{name}") for name in prediction.output]

    def _input_urls(self, prediction: Prediction) -> dict[str, str]:
        """The input files, as all that ever goes to Cog: data URLs."""
        folder = f"predictions/{prediction.id}"
        return {
            name: self.files.data_url(f"{folder}/{file}") for name, file in prediction.files.items()
        }

    async def _keep(self, prediction: Prediction, url: str) -> None:
        """Writes a picture that came as a data URL."""
        head = DATA_URL.match(url)
        if head is None:
            raise Died("its result is no picture")
        try:
            data = base64.b64decode(url[head.end() :], validate=True)
        except binascii.Error:
            raise Died("its result is no picture") from None
        kind = pictures.picture_type(data)
        ending = next((ending for ending, one in TYPES.items() if one == kind), None)
        if ending is None:
            raise Died("its result is no picture")
        name = f"out-{len(prediction.output)}.{ending}"
        await asyncio.to_thread(self.files.write, f"predictions/{prediction.id}/{name}", data)
        prediction.output = [*prediction.output, name]

    # Files

    async def _fetch_all(self) -> None:
        while True:
            self._to_fetch.clear()
            for waiting in await self.database.read(predictions.unready):
                tokens = list(self._fetching.values())
                has_room = len(tokens) < FETCHED and tokens.count(waiting.token_id) < FETCHED_EACH
                if has_room and waiting.id not in self._fetching:
                    self._fetching[waiting.id] = waiting.token_id
                    task = asyncio.create_task(self._fetch(waiting))
                    self._fetches.add(task)
                    task.add_done_callback(self._fetches.discard)
            await within(self._to_fetch, LOOK)

    async def _fetch(self, prediction: Prediction) -> None:
        try:
            await self._surely(await self._fetched(prediction))
        except OSError as error:
            log.info("not kept; trying again", prediction=prediction.id, fault=str(error))
            await asyncio.sleep(NOTHING_KEPT)
        finally:
            del self._fetching[prediction.id]
            self.wake(prediction.id)

    async def _fetched(self, prediction: Prediction) -> Callable[[Session], object]:
        """Fetches a prediction's files; what is to be written of it then."""
        files = dict(prediction.files)
        for name, url in files.items():
            if "://" in url:
                try:
                    data = await self._download(url)
                except fetch.FetchError as error:
                    told = f"{name}: {error}"
                    return partial(_finish, live=prediction, status="failed", error=told)
                kept = f"predictions/{prediction.id}/in-{name}"
                await asyncio.to_thread(self.files.write, kept, data)
                files[name] = f"in-{name}"
        return partial(predictions.set_ready, prediction_id=prediction.id, files=files)

    async def _download(self, url: str) -> bytes:
        settings = self.settings
        data = await fetch.download(
            url,
            largest=settings.image_megabytes * 2**20,
            seconds=settings.fetch_seconds,
            allowed=settings.networks,
        )
        if pictures.picture_type(data) is None:
            raise fetch.FetchError(f"what {url[:100]} leads to is no picture; {pictures.TAKEN}")
        return data

    async def _sweep(self) -> None:
        while True:
            await self.sweep()
            await asyncio.sleep(SWEPT_EVERY)

    async def sweep(self) -> None:
        """Removes what is older than the settings say, and files that nothing refers to."""
        now = time.time()
        for upload_id in await self.database(uploads.expire, now):
            await asyncio.to_thread(self.files.remove, f"uploads/{upload_id}")
        if self.settings.retention_days:
            before = now - self.settings.retention_days * 86400
            for prediction_id in await self.database(predictions.expire, before):
                await asyncio.to_thread(self.files.remove, f"predictions/{prediction_id}")
            # What was written for a row that then was not. Not sooner: if the database was lost,
            # nobody refers to any of the files.
            old = await asyncio.to_thread(lambda: list(self.files.old(before)))
            names = [entry for _, entry in old]
            strangers = await self.database.read(predictions.strangers, names)
            for kind, entry in old:
                if entry in strangers:
                    await asyncio.to_thread(self.files.remove, f"{kind}/{entry}")

    # How it holds out

    async def _surely(self, work: Callable[[Session], object]) -> None:
        """A transaction that must not be lost: tried until the database takes it."""
        while True:
            try:
                await asyncio.shield(self.database(work))
            except OperationalError as error:
                log.info("the database does not answer", fault=str(error.orig))
                await asyncio.sleep(1)
            else:
                return

    async def _again_and_again(self, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs a loop, and again when the database or the disk fails it."""
        while True:
            try:
                await loop()
            except (OperationalError, OSError) as error:
                log.info("trying again", fault=str(getattr(error, "orig", error)))
                await asyncio.sleep(1)

    async def _halt(self) -> None:
        tasks = self._fetches | self._running
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _by_our_names(images: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The metric `images` with the names that the files have here: `out-0.png` and so on."""
    count = itertools.count()
    return [
        {**image, "file": f"out-{next(count)}{PurePath(image['file']).suffix}"}
        if image.get("file")
        else image
        for image in images
    ]


def _finish(session: Session, live: Prediction, status: str, error: str | None) -> None:
    predictions.save(session, live)
    predictions.finish(session, live.id, status, error)
