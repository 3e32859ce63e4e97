"""The input files that lie elsewhere: fetched into the predictions' folders, beside the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from hosting import log, tracing
from hosting.net import fetch
from hosting.prediction import Ended, Prediction
from hosting.queue.changes import to_its_end, within
from hosting.settings import Settings
from hosting.states import FailureKind, Status
from hosting.storage import mime
from hosting.storage.database import Unavailable
from hosting.storage.files import Files, InputFile
from hosting.storage.quota import QuotaExceeded
from hosting.storage.store import Store
from hosting.storage.tables import new_id
from hosting.timings import Timings

AT_ONCE = 8
"""Predictions whose files are fetched at the same time."""
EACH_AT_ONCE = 2
"""Of these, a token's, while less than half of the places are taken; else it has one."""


class NoTurn(Exception):
    """As many pictures are being fetched as may be at once. The message is for the client."""


class Downloads:
    """Fetches what waiting predictions need.

    Args:
        changed: is told of each prediction that then may run, or has failed, and its token.
        front_id: who fetches.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        files: Files,
        changed: Callable[[str, str], None],
        front_id: str,
        timings: Timings,
    ) -> None:
        self._settings = settings
        self._predictions = store.predictions
        self._files = files
        self._changed = changed
        self._front_id = front_id
        self._timings = timings
        self._tokens: dict[str, str] = {}
        """The tokens of what is being fetched, by the predictions' ids, or ids of their own."""
        self._turns: dict[str, int] = {}
        """By tokens: the number of the last turn that each has had."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """By the predictions' ids."""
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Look for predictions whose files are to be fetched."""
        self._news.set()

    async def run(self) -> None:
        """Fetch until cancelled; what has begun then goes on, see `halt`."""
        while True:
            self._news.clear()
            waiting = await self._predictions.unready(self._front_id)
            while one := self._next(waiting):
                self._begin(*one)
                self._tasks[one[0]] = asyncio.create_task(self._fetch(one[0]))
            await within(self._news, self._timings.poll_seconds)

    async def now(self, token_id: str, url: str) -> bytes:
        """Return the picture that a URL leads to, for someone who waits for it.

        Raises:
            NoTurn: when too much is being fetched.
            FetchError: when it leads to none.
        """
        if not self._has_turn(token_id):
            raise NoTurn("Other pictures are being fetched; try again when they have come")
        key = new_id()
        self._begin(key, token_id)
        try:
            return await picture(self._settings, url, token_id)
        finally:
            del self._tokens[key]
            self.wake()

    def _next(self, waiting: list[tuple[str, str]]) -> tuple[str, str] | None:
        """Return what is to be fetched next, if anything may be, with its token.

        That of the token whose last turn is longest ago, so that a token waits for one file of
        each other token at most, however slow those are and however many they have asked for.

        Args:
            waiting: predictions' ids and their tokens', oldest first.
        """
        ready = [one for one in waiting if one[0] not in self._tokens and self._has_turn(one[1])]
        return min(ready, key=lambda one: self._turns.get(one[1], 0), default=None)

    def _has_turn(self, token_id: str) -> bool:
        tokens = list(self._tokens.values())
        most = EACH_AT_ONCE if len(tokens) < AT_ONCE // 2 else 1
        return len(tokens) < AT_ONCE and tokens.count(token_id) < most

    def _begin(self, key: str, token_id: str) -> None:
        self._tokens[key] = token_id
        self._turns[token_id] = max(self._turns.values(), default=0) + 1

    def is_fetching(self, prediction_id: str) -> bool:
        """Return whether a prediction's files are being fetched here."""
        return prediction_id in self._tasks

    def drop(self, prediction_id: str) -> None:
        """Break off what is being fetched for a prediction, if anything is."""
        if task := self._tasks.get(prediction_id):
            # Not before it has begun: then nobody would give its turn back.
            asyncio.get_running_loop().call_soon(task.cancel)

    async def halt(self) -> None:
        """Break off what has begun; it is fetched after the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, prediction_id: str) -> None:
        try:
            prediction = await self._predictions.claim_files(prediction_id, self._front_id)
            if prediction is not None:
                await self._fetch_files(prediction)
        except (OSError, Unavailable) as error:
            log.warning("not kept; trying again", prediction=prediction_id, reason=str(error))
            await asyncio.sleep(self._timings.disk_retry_seconds)
        finally:
            del self._tasks[prediction_id]
            self._changed(prediction_id, self._tokens.pop(prediction_id))

    async def _fetch_files(self, prediction: Prediction) -> None:
        """Fetch a claimed prediction's files, after which it may run, or has failed."""
        fetched: dict[str, InputFile] = {}
        size = 0
        try:
            with tracing.span(prediction, "download") as span:
                for name, location in prediction.files.items():
                    if InputFile(location).is_stored:
                        continue
                    try:
                        data = await picture(self._settings, location, prediction.token_id)
                    except fetch.FetchError as error:
                        tracing.fail(span, type(error).__name__)
                        raise
                    fetched[name] = file = InputFile.fetched(name)
                    size += len(data)
                    path = file.path(prediction.id)
                    await to_its_end(asyncio.to_thread(self._files.write, path, data))
                span.set_attribute("http.response.body.size", size)
            files = {**prediction.files, **{name: one.location for name, one in fetched.items()}}
            most = self._settings.kept_bytes
            if await self._predictions.set_ready(prediction, files, size, most):
                return
        except fetch.FetchError as error:
            await self._fail(prediction, f"{name}: {error}")
        except QuotaExceeded as error:
            await self._fail(prediction, str(error))
        except OSError:
            await self._discard(prediction, fetched.values())
            raise
        await self._discard(prediction, fetched.values())

    async def _fail(self, prediction: Prediction, error: str) -> None:
        failed = Ended(Status.FAILED, error, FailureKind.INPUTS)
        if written := await self._predictions.settle(prediction, failed):
            tracing.record_prediction(written)

    async def _discard(self, prediction: Prediction, fetched: Collection[InputFile]) -> None:
        """Remove files that no row has: they count in nobody's quota."""
        names = [file.location for file in fetched]
        await asyncio.to_thread(self._files.remove_inputs, prediction.id, names)


async def picture(settings: Settings, url: str, token_id: str) -> bytes:
    """Return the picture that a client's URL leads to.

    Args:
        token_id: the client's.

    Raises:
        FetchError: when it leads to none.
    """
    return await fetch.download(
        url,
        largest=settings.image_megabytes * 2**20,
        seconds=settings.fetch_seconds,
        allowed=settings.networks,
        owner=token_id,
        fault_of=mime.fault_of,
    )
