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
from collections.abc import Collection, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from hosting import log
from hosting.backends.cog import Busy, Died, DiskFull, OutOfMemory, Refused, Unreachable
from hosting.backends.endpoints import Endpoint
from hosting.backends.measurement import METRIC, Measurement, measurement_of
from hosting.prediction import Crashed, Ended, Outcome, Prediction, Requeued
from hosting.queue import parts, run_traces
from hosting.queue.changes import Changes, to_its_end
from hosting.queue.previews import PREVIEW, Previews
from hosting.queue.progress import WORKERS_LINE, Progress
from hosting.queue.webhooks import Webhooks
from hosting.states import FailureKind, Status
from hosting.storage import mime
from hosting.storage.database import Unavailable
from hosting.storage.files import TYPES, Files, OutputFile
from hosting.storage.store import Store
from hosting.timings import Timings
from hosting.tracing import NO_SPAN

MOST_FULL_DISKS = 1000
"""Attempts after which a prediction fails whose endpoint's disk is full: most of a day."""
ADAPTERS, MODELS = "adapters", "models"
WHAT_IS_THERE = (ADAPTERS, MODELS)
"""The metrics by which a worker tells the front what is installed; they are not the client's."""
DATA_URL = re.compile(r"data:image/(png|webp|jpeg|jpg);base64,")


class Run:
    """An attempt at a prediction.

    Args:
        endpoint: which has it.
        others: all that this front has, it too: some may serve the same model.
        prediction: is kept up to date here, and newer than its row.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        others: Iterable[Endpoint],
        prediction: Prediction,
        store: Store,
        files: Files,
        changes: Changes,
        previews: Previews,
        webhooks: Webhooks,
        timings: Timings,
    ) -> None:
        self.endpoint = endpoint
        self._others = others
        self.prediction = prediction
        self._store = store
        self._files = files
        self._changes = changes
        self._previews = previews
        self._webhooks = webhooks
        self._timings = timings
        self.is_lost = False
        """Whether the prediction was removed meanwhile, or is another front's."""
        self.measurements: list[Measurement] = []
        """What its worker has measured, for each part that has ended."""
        self._cog_id = ""
        """The id for Cog of the part that runs."""
        self._span = NO_SPAN
        self._part_began = 0.0
        """When the worker had the inputs of the part that runs, in seconds since 1970."""

    async def execute(self) -> Outcome:
        """Have the prediction run, and return what is to be written of it, whatever happens."""
        run_traces.record_wait(self.prediction)
        with run_traces.span_of_run(self.prediction, self.endpoint) as self._span:
            outcome = await self._attempt()
            run_traces.note_outcome(self._span, outcome)
        return outcome

    async def _attempt(self) -> Outcome:
        about = {"prediction": self.prediction.id, "endpoint": self.endpoint.name}
        log.info("started", **about)
        try:
            ended = await self._run_parts()
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
        await self.endpoint.cog.cancel(self._cog_id)

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

    async def _run_parts(self) -> Ended:
        """Run the parts that are not finished, one after another; return how it ended."""
        all_parts = parts.of(self.prediction.request)
        finished = self.prediction.checkpoint.get("parts", 0)
        progress = Progress(len(all_parts), finished)
        for number in range(finished, len(all_parts)):
            ended = await self._run_part(number, all_parts[number], progress)
            # A part that was flagged whole is no failure, unless all are.
            if ended.status is not Status.SUCCEEDED and ended.failure is not FailureKind.NSFW:
                return ended
            if number + 1 < len(all_parts):
                self._set_checkpoint(number + 1)
                if await self._save():
                    return Ended(Status.CANCELED)
        return Ended(Status.SUCCEEDED) if self.prediction.output else ended

    def _set_checkpoint(self, finished: int) -> None:
        now = self.prediction
        kept = {"output": now.output, "logs": now.logs, "metrics": now.metrics}
        self._change(checkpoint={"parts": finished, **kept})

    async def _run_part(self, number: int, part: Mapping[str, Any], progress: Progress) -> Ended:
        """Have a part run, keep what comes, and return how it ended.

        Args:
            number: from 0 on.
            part: its inputs, without the files.
        """
        before = self.prediction
        is_first = not self._cog_id
        self._cog_id = f"{before.id}-{secrets.token_hex(4)}"
        saved_at = time.monotonic()
        isolated = before.crashes > 0
        inputs = {**part, **await asyncio.to_thread(self._input_urls)}
        async with aclosing(self.endpoint.cog.predict(self._cog_id, inputs, isolated)) as events:
            del inputs  # they may be large
            async for kind, data in events:
                match kind:
                    case "start":
                        self._part_began = time.time()
                        began = self._store.predictions.mark_started
                        goes_on = self._store.predictions.record_progress
                        # A cancel that came earlier found no prediction at Cog.
                        if await (began if is_first else goes_on)(self.prediction):
                            await self.cancel()
                    case "log":
                        text = WORKERS_LINE.sub("", str(data.get("data", "")))
                        self._change(logs=self.prediction.logs + text)
                    case "metric" if data["name"] == PREVIEW:
                        self._take_preview(before, number, data["value"])
                        continue  # nothing of it is to be written
                    case "metric":
                        self._take_metric(before, number, data["name"], data["value"], progress)
                    case "output":
                        await self._store_output(str(data["chunk"]))
                    case "completed":
                        self._take_totals(before, dict(data.get("metrics", {})))
                        return Ended(data["status"], data["error"], data["failure"])
                self._changes.notify(before.id, before.token_id)
                if time.monotonic() - saved_at >= self._timings.save_seconds or kind == "output":
                    saved_at = time.monotonic()
                    if await self._save():
                        await self.cancel()
        raise Died("it ended without a result")

    def _take_preview(self, before: Prediction, number: int, preview: object) -> None:
        """Show a preview of a part, unless its pictures are there.

        Args:
            before: as the prediction was when the part began.
            number: of the part.
        """
        if self.prediction.metrics.get("images") == before.metrics.get("images"):
            self._previews.take(before.id, preview, number * parts.IMAGES, before.token_id)

    def _take_metric(
        self, before: Prediction, number: int, name: str, value: Any, progress: Progress
    ) -> None:
        """Keep a metric of a part, joined to those of the parts before; the same arguments."""
        match name:
            case "progress":
                metric, line = progress.over_all(number, value)
                self._set_metrics(progress=metric)
                self._change(logs=f"{self.prediction.logs}{line}\n")
            case "images":
                earlier = before.metrics.get("images", [])
                later = _images(value, before, number * parts.IMAGES)
                self._set_metrics(images=[*earlier, *later])
                self._previews.forget(before.id)
            case "notes":
                # Of another part they are the same again.
                notes = [*before.metrics.get("notes", []), *value]
                self._set_metrics(notes=list(dict.fromkeys(notes)))
            case _ if name in WHAT_IS_THERE:
                self._learn(name, value)
            case _ if name == METRIC:
                self._take_measurement(value)
            case _:
                if name == "warming":
                    self.endpoint.is_warming = value is True
                self._set_metrics(**{name: value})

    def _take_totals(self, before: Prediction, totals: dict[str, Any]) -> None:
        """Keep the metrics with which a part has ended."""
        for name in (*WHAT_IS_THERE, PREVIEW, METRIC):
            totals.pop(name, None)
        seconds = [one.get("predict_time", 0) for one in (before.metrics, totals)]
        # What came while it ran is over all parts already.
        metrics = {**totals, **self.prediction.metrics}
        self._change(metrics={**metrics, "predict_time": sum(seconds)})

    def _take_measurement(self, metric: object) -> None:
        """Keep what a worker has measured of a part; the client is told that of the last one."""
        if measurement := measurement_of(metric):
            self.measurements.append(measurement)
            run_traces.record_phases(self.prediction, self._span, self._part_began, measurement)
            self._set_metrics(**{METRIC: measurement.for_client})

    def _learn(self, name: str, metric: object) -> None:
        """Tell what is there to all that serve the model: requests are read by the first."""
        for one in self._others:
            if (one.task, one.model) == (self.endpoint.task, self.endpoint.model):
                (one.learn if name == ADAPTERS else one.learn_models)(metric)

    def _change(self, **fields: Any) -> None:
        self.prediction = replace(self.prediction, **fields)

    def _set_metrics(self, **metrics: Any) -> None:
        self._change(metrics={**self.prediction.metrics, **metrics})

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
        # To its end: nothing may be written of a prediction that was removed.
        path = file.path(prediction.id)
        await to_its_end(asyncio.to_thread(self._files.write, path, data))
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


def _images(
    images: list[dict[str, Any]], before: Prediction, first_index: int
) -> list[dict[str, Any]]:
    """Return a part's metric `images` by their places in the prediction and their files' names.

    Args:
        before: the prediction as it was when the part began.
        first_index: of the part's images.
    """
    count = itertools.count(len(before.output))
    return [
        {
            **image,
            "index": first_index + image["index"],
            "file": image.get("file")
            and OutputFile(next(count), before.attempt, image["file"].rpartition(".")[2]).name,
        }
        for image in images
    ]
