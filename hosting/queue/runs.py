"""One attempt at a prediction: a Cog endpoint has it, and what comes of it is kept.

Nothing of an attempt that has lost the prediction is: another front may have taken it meanwhile.
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
from functools import partial
from typing import Any

from hosting import log
from hosting.backends.cog import Busy, Died, Refused, Unreachable
from hosting.backends.endpoints import Endpoint
from hosting.queue.changes import LOOK, Changes
from hosting.queue.webhooks import Webhooks
from hosting.states import FailureKind, State, Status
from hosting.storage import mime, predictions
from hosting.storage.database import Database, Unavailable, Work
from hosting.storage.files import NOTHING_KEPT, TYPES, Files, OutputFile
from hosting.storage.tables import Prediction

SAVED_EVERY = 0.5
"""Seconds between two writes of what a running prediction says; so often come its webhooks."""
DATA_URL = re.compile(r"data:image/(png|webp|jpeg|jpg);base64,")


class Run:
    """An attempt at a prediction.

    Args:
        endpoint: which has it.
        prediction: is kept up to date here, and newer than its record.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        prediction: Prediction,
        database: Database,
        files: Files,
        changes: Changes,
        webhooks: Webhooks,
    ) -> None:
        self.endpoint = endpoint
        self.prediction = prediction
        self._database = database
        self._files = files
        self._changes = changes
        self._webhooks = webhooks
        self._attempt = f"{prediction.id}-{secrets.token_hex(4)}"
        """What Cog calls it."""

    async def outcome(self) -> Work[Prediction | None]:
        """Has the prediction run; what is to be written of it then, whatever has happened."""
        prediction, endpoint = self.prediction, self.endpoint
        about = {"prediction": prediction.id, "endpoint": endpoint.name}
        again = partial(predictions.put_back, live=prediction)
        log.info("started", **about)
        try:
            status, error, failure = await self._listen()
        except asyncio.CancelledError:  # this process ends
            return again
        except Busy:
            endpoint.pause(LOOK)
            return again
        except Unreachable as fault:
            log.info("back to the queue", reason=str(fault), **about)
            endpoint.status = State.UNREACHABLE
            return again
        except Died as fault:
            log.warning("its worker died", reason=str(fault), **about)
            endpoint.status = State.UNREACHABLE
            return partial(predictions.crash, live=prediction, reason=str(fault))
        except Refused as fault:
            status, error, failure = Status.FAILED, str(fault), FailureKind.INPUTS
        except FileNotFoundError:
            status, failure = Status.FAILED, FailureKind.INTERNAL
            error = "The files of its inputs are gone"
        except (OSError, Unavailable) as fault:  # the disk is full, the database locked
            log.warning("back to the queue", reason=str(fault), **about)
            endpoint.pause(NOTHING_KEPT)
            return again
        except Exception as fault:  # a fault of ours, or of Cog's, must not lose the prediction
            reason = repr(fault)
            log.error("its run went wrong", exception=fault, reason=reason, **about)
            return partial(predictions.crash, live=prediction, reason=reason)
        log.info(status, **about, **({"reason": error} if error else {}))
        return partial(
            predictions.conclude, live=prediction, status=status, error=error, failure=failure
        )

    async def cancel(self) -> None:
        """Stops it between two steps, if it has come to the endpoint."""
        await self.endpoint.cog.cancel(self._attempt)

    async def tidy(self, kept: Collection[str]) -> None:
        """Removes what this attempt and those before it have made.

        Args:
            kept: but not the files of these names.
        """
        prediction = self.prediction
        try:
            await asyncio.to_thread(
                self._files.remove_outputs, prediction.id, prediction.attempt, kept
            )
        except OSError as fault:
            log.warning("files are left", prediction=prediction.id, reason=str(fault))

    async def _listen(self) -> tuple[Status, str | None, FailureKind | None]:
        """Has it run, and keeps what comes; how it ended, and why."""
        prediction = self.prediction
        inputs = {**prediction.request, **await asyncio.to_thread(self._input_urls)}
        saved = time.monotonic()
        alone = prediction.crashes > 0
        async with aclosing(self.endpoint.cog.predict(self._attempt, inputs, alone)) as events:
            del inputs
            async for kind, data in events:
                match kind:
                    case "start":
                        # Who cancelled before that found nothing at Cog to cancel.
                        if await self._database(predictions.begin, prediction):
                            await self.cancel()
                    case "log":
                        prediction.logs += str(data.get("data", ""))
                    case "metric":
                        value = data["value"]
                        if data["name"] == "warming":
                            self.endpoint.is_warming = value is True
                        if data["name"] == "images":
                            value = _by_our_names(value, prediction.attempt)
                        prediction.metrics = {**prediction.metrics, data["name"]: value}
                    case "output":
                        await self._keep(str(data["chunk"]))
                    case "completed":
                        # Ours has the pictures by our names.
                        prediction.metrics = {**data.get("metrics", {}), **prediction.metrics}
                        return data["status"], data["error"], data["failure"]
                self._changes.tell(prediction.id)
                if time.monotonic() - saved >= SAVED_EVERY or kind == "output":
                    saved = time.monotonic()
                    if await self._save():
                        await self.cancel()
        raise Died("it ended without a result")

    async def _save(self) -> bool:
        """Writes how far it is; whether it is to be cancelled."""
        try:
            return await self._database(predictions.save, self.prediction)
        except Unavailable as error:  # its end will be written, whatever it takes
            log.warning("not saved", prediction=self.prediction.id, reason=str(error))
            return False
        finally:
            self._webhooks.wake()

    def _input_urls(self) -> dict[str, str]:
        """The input files, as all that ever goes to Cog: data URLs."""
        files = self.prediction.files
        urls = self._files.data_urls(self.prediction.id, files.values())
        return dict(zip(files, urls, strict=True))

    async def _keep(self, url: str) -> None:
        """Writes a picture that came as a data URL."""
        head = DATA_URL.match(url)
        if head is None:
            raise Died("its result is no picture")
        try:
            data = base64.b64decode(url[head.end() :], validate=True)
        except binascii.Error:
            raise Died("its result is no picture") from None
        kind = mime.picture_type(data)
        ending = next((ending for ending, one in TYPES.items() if one == kind), None)
        if ending is None:
            raise Died("its result is no picture")
        prediction = self.prediction
        file = OutputFile(len(prediction.output), prediction.attempt, ending)
        await asyncio.to_thread(self._files.write, file.path(prediction.id), data)
        prediction.output = [*prediction.output, file.name]


def _by_our_names(images: list[dict[str, Any]], attempt: int) -> list[dict[str, Any]]:
    """The metric `images` with the names that the files have here: `out-0.png` and so on."""
    count = itertools.count()
    return [
        {**image, "file": OutputFile(next(count), attempt, image["file"].rpartition(".")[2]).name}
        if image.get("file")
        else image
        for image in images
    ]
