"""One attempt at a prediction: a Cog endpoint has it, and what comes of it is kept.

Of an attempt that has lost the prediction nothing is kept: another front may have it by now.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import itertools
import re
import secrets
import time
from collections.abc import Collection
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from hosting import log
from hosting.backends.cog import Busy, Died, DiskFull, OutOfMemory, Refused, Unreachable
from hosting.backends.endpoints import Endpoint
from hosting.prediction import Crashed, Ended, Outcome, Prediction, Requeued
from hosting.queue.changes import Changes
from hosting.queue.webhooks import Webhooks
from hosting.states import FailureKind, Status
from hosting.storage import mime
from hosting.storage.database import Unavailable
from hosting.storage.files import TYPES, Files, OutputFile
from hosting.storage.store import Store
from hosting.timings import Timings

MOST_FULL_DISKS = 1000
"""Attempts after which a prediction fails whose endpoint's disk is full: most of a day."""
DATA_URL = re.compile(r"data:image/(png|webp|jpeg|jpg);base64,")


class Run:
    """An attempt at a prediction.

    Args:
        endpoint: which has it.
        prediction: is kept up to date here, and newer than its row.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        prediction: Prediction,
        store: Store,
        files: Files,
        changes: Changes,
        webhooks: Webhooks,
        timings: Timings,
    ) -> None:
        self.endpoint = endpoint
        self.prediction = prediction
        self._store = store
        self._files = files
        self._changes = changes
        self._webhooks = webhooks
        self._timings = timings
        self._attempt = f"{prediction.id}-{secrets.token_hex(4)}"
        """Its id for Cog."""

    async def execute(self) -> Outcome:
        """Have the prediction run, and return what is to be written of it, whatever happens."""
        about = {"prediction": self.prediction.id, "endpoint": self.endpoint.name}
        log.info("started", **about)
        try:
            ended = await self._consume_events()
        except asyncio.CancelledError:
            return Requeued("this process ends")
        except Exception as fault:
            outcome = outcome_of(fault, self.prediction.attempt, self._timings)
            self._log_fault(fault, outcome, about)
            if isinstance(fault, (Unreachable, Died)):
                self.endpoint.lose()
            if isinstance(outcome, Requeued):
                self.endpoint.pause(outcome.pause_seconds)
            return outcome
        log.info(ended.status, **about, **({"reason": ended.error} if ended.error else {}))
        return ended

    async def cancel(self) -> None:
        """Stop it between two steps, if it has come to the endpoint."""
        await self.endpoint.cog.cancel(self._attempt)

    async def remove_stale_outputs(self, keep: Collection[str]) -> None:
        """Remove what this attempt and those before it have made.

        Args:
            keep: but not the files of these names.
        """
        prediction = self.prediction
        try:
            await asyncio.to_thread(
                self._files.remove_outputs, prediction.id, prediction.attempt, keep
            )
        except OSError as fault:
            log.warning("files are left", prediction=prediction.id, reason=str(fault))

    async def _consume_events(self) -> Ended:
        """Have it run, keep what comes, and return how it ended."""
        prediction = self.prediction
        inputs = {**prediction.request, **await asyncio.to_thread(self._input_urls)}
        saved_at = time.monotonic()
        isolated = prediction.crashes > 0
        async with aclosing(self.endpoint.cog.predict(self._attempt, inputs, isolated)) as events:
            del inputs
            async for kind, data in events:
                match kind:
                    case "start":
                        # A cancel that came earlier found no prediction at Cog.
                        if await self._store.predictions.mark_started(self.prediction):
                            await self.cancel()
                    case "log":
                        self._change(logs=self.prediction.logs + str(data.get("data", "")))
                    case "metric":
                        self._take_metric(data["name"], data["value"])
                    case "output":
                        await self._store_output(str(data["chunk"]))
                    case "completed":
                        # In our metrics the images have the names of our files.
                        self._change(metrics={**data.get("metrics", {}), **self.prediction.metrics})
                        return Ended(data["status"], data["error"], data["failure"])
                self._changes.notify(prediction.id)
                if time.monotonic() - saved_at >= self._timings.save_seconds or kind == "output":
                    saved_at = time.monotonic()
                    if await self._save():
                        await self.cancel()
        raise Died("it ended without a result")

    def _change(self, **fields: Any) -> None:
        self.prediction = replace(self.prediction, **fields)

    def _take_metric(self, name: str, value: Any) -> None:
        if name == "warming":
            self.endpoint.is_warming = value is True
        if name == "images":
            value = _by_our_names(value, self.prediction.attempt)
        self._change(metrics={**self.prediction.metrics, name: value})

    async def _save(self) -> bool:
        """Write how far it is, and return whether it is to be cancelled."""
        try:
            return await self._store.predictions.record_progress(self.prediction)
        except Unavailable as error:  # its end will be written, whatever it takes
            log.warning("not saved", prediction=self.prediction.id, reason=str(error))
            return False
        finally:
            self._webhooks.wake()

    def _input_urls(self) -> dict[str, str]:
        """Return the input files, as all that ever goes to Cog: data URLs."""
        files = self.prediction.files
        urls = self._files.data_urls(self.prediction.id, files.values())
        return dict(zip(files, urls, strict=True))

    async def _store_output(self, url: str) -> None:
        """Write a picture that came as a data URL."""
        head = DATA_URL.match(url)
        if head is None:
            raise Died("its result is not a picture")
        try:
            data = base64.b64decode(url[head.end() :], validate=True)
        except binascii.Error:
            raise Died("its result is not a picture") from None
        kind = mime.picture_type(data)
        ending = next((ending for ending, one in TYPES.items() if one == kind), None)
        if ending is None:
            raise Died("its result is not a picture")
        prediction = self.prediction
        file = OutputFile(len(prediction.output), prediction.attempt, ending)
        await asyncio.to_thread(self._files.write, file.path(prediction.id), data)
        self._change(output=[*self.prediction.output, file.name])

    def _log_fault(self, fault: Exception, outcome: Outcome, about: dict[str, str]) -> None:
        match outcome:
            case Ended(status, error):
                log.info(status, reason=error, **about)
            case Requeued(reason) if isinstance(fault, (OSError, Unavailable, DiskFull)):
                log.warning("back to the queue", reason=reason, **about)
            case Requeued(reason):
                log.info("back to the queue", reason=reason, **about)
            case Crashed(reason) if isinstance(fault, Died):
                log.warning("its worker died", reason=reason, **about)
            case Crashed(reason, has_died=False):
                log.warning("its worker had too little memory", reason=reason, **about)
            case Crashed(reason):
                log.error("its run went wrong", exception=fault, reason=reason, **about)


def outcome_of(fault: Exception, attempt: int, timings: Timings) -> Outcome:
    """Return what becomes of a prediction whose run a fault has ended.

    Args:
        attempt: which run of it that was, counted from 1.
    """
    match fault:
        case Busy():
            return Requeued("the endpoint is full", timings.poll_seconds)
        case Unreachable():
            return Requeued(str(fault))
        case Died():
            return Crashed(str(fault))
        case OutOfMemory():
            return Crashed(str(fault), has_died=False)
        case Refused():
            return Ended(Status.FAILED, str(fault), FailureKind.INPUTS)
        case FileNotFoundError():
            error = "The files of its inputs are gone"
            return Ended(Status.FAILED, error, FailureKind.INTERNAL)
        case DiskFull() if attempt >= MOST_FULL_DISKS:
            error = f"The disk of the model's machine was full {attempt} times: {fault}"
            return Ended(Status.FAILED, error, FailureKind.INTERNAL)
        case OSError() | Unavailable() | DiskFull():  # or the database is locked
            return Requeued(str(fault), timings.disk_retry_seconds)
        case _:  # a fault of ours, or of Cog's, must not lose the prediction
            return Crashed(repr(fault))


def _by_our_names(images: list[dict[str, Any]], attempt: int) -> list[dict[str, Any]]:
    """Return the metric `images` with the names that the files have here: `out-0.png` and so on."""
    count = itertools.count()
    return [
        {**image, "file": OutputFile(next(count), attempt, image["file"].rpartition(".")[2]).name}
        if image.get("file")
        else image
        for image in images
    ]
