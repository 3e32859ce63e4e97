"""The queue as the routes see it: predictions go in, are looked at, waited for and cancelled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import replace

from hosting import log
from hosting.prediction import Prediction
from hosting.queue import feed
from hosting.queue.changes import within
from hosting.queue.dispatch import Dispatcher
from hosting.queue.feed import Changed
from hosting.queue.intake import Intake, NewPrediction
from hosting.queue.previews import Preview
from hosting.queue.waits import Place, Waits
from hosting.states import Status
from hosting.storage.database import RETRY_SECONDS, Unavailable
from hosting.storage.pages import Page
from hosting.storage.store import Store
from hosting.timings import Timings

PING_SECONDS = 15.0
"""The silence after which a stream sends a sign of life."""


class PredictionQueue:
    """The operations on predictions; who may do them, the routes have checked.

    All methods raise `Unavailable` when the database can't be reached, but `follow`, `follow_all`,
    `place` and `places`, whose answers may have begun.
    """

    def __init__(
        self, store: Store, intake: Intake, dispatcher: Dispatcher, timings: Timings
    ) -> None:
        self._predictions = store.predictions
        self._intake = intake
        self._dispatcher = dispatcher
        self._poll_seconds = timings.poll_seconds
        self._waits = Waits(
            self._predictions, dispatcher.endpoints, dispatcher.running, timings.poll_seconds
        )

    async def accept(self, new: NewPrediction) -> Prediction:
        """Take a prediction into the queue; see `Intake.accept`."""
        prediction = await self._intake.accept(new)
        self._dispatcher.wake(prediction.id, prediction.token_id)
        return prediction

    async def picture(self, url: str, token_id: str, hosts: frozenset[str]) -> bytes:
        """Return the picture that a URL leads to, for someone who waits for it.

        Args: those of `Intake.local`.

        Raises:
            NoTurn: when too much is being fetched.
            FetchError: when it leads to none.
        """
        data = await self._intake.local(url, token_id, hosts)
        return await self._dispatcher.downloads.now(token_id, url) if data is None else data

    async def current(self, prediction_id: str) -> Prediction | None:
        """Return a prediction as it is now; None if there is none."""
        running = self._dispatcher.running(prediction_id)
        return running or await self._predictions.find(prediction_id)

    async def of_token(self, prediction_id: str, token_id: str) -> Prediction | None:
        """Return a token's prediction, by its own id or its client's, as it is now."""
        found = await self._predictions.find(prediction_id, token_id)
        return found and (self._dispatcher.running(found.id) or found)

    async def newest(self, token_id: str, api: str) -> Prediction | None:
        """Return the newest of a token's unfinished predictions by an API, as it is now."""
        found = await self._predictions.newest(token_id, api)
        return found and (self._dispatcher.running(found.id) or found)

    async def page(self, token_id: str, cursor: str | None) -> Page[Prediction]:
        """Return a page of a token's predictions, the newest first.

        Raises:
            InvalidCursor: when no page has given the cursor.
        """
        return await self._predictions.page(token_id, cursor)

    async def search(self, token_id: str, text: str, cursor: str | None) -> Page[Prediction]:
        """Return a page of those of a token's predictions whose prompts have all words of a text.

        They are as they are now.

        Raises:
            InvalidCursor: when no page has given the cursor.
        """
        page = await self._predictions.search(token_id, text, cursor)
        return replace(page, rows=[self._dispatcher.running(one.id) or one for one in page.rows])

    def follow_all(self, token_id: str) -> AsyncGenerator[Changed, None]:
        """Yield those of a token's predictions that may have changed; see `feed.follow`."""
        return feed.follow(token_id, self._predictions, self._dispatcher, self._poll_seconds)

    async def cancel(self, prediction_id: str) -> None:
        """End a prediction, if it is not over: at once in the queue, between two steps else."""
        await self._dispatcher.cancel(prediction_id)
        self._waits.forget()

    async def remove(self, prediction_id: str, token_id: str) -> bool:
        """Remove a token's prediction and its files, and return whether there was one.

        Whoever waits for it is told that it is canceled.
        """
        was_there = await self._dispatcher.remove(prediction_id, token_id)
        self._waits.forget()
        return was_there

    async def follow(self, prediction_id: str) -> AsyncGenerator[Prediction | None, None]:
        """Yield a prediction whenever it may have changed, to its end; None after long silence."""
        yielded_at = time.monotonic()
        last: Prediction | None = None
        while True:
            change = self._dispatcher.changes.subscribe(prediction_id)
            try:
                last = await self.current(prediction_id) or (last and _removed(last))
            except Unavailable as error:
                log.warning("nobody is told of changes", reason=str(error))
                await asyncio.sleep(RETRY_SECONDS)
            else:
                if last is None:
                    return
                yield last
                if last.status.is_over or self.gives_up(last):
                    return
            if await within(change, self._poll_seconds):
                yielded_at = time.monotonic()
            elif time.monotonic() - yielded_at > PING_SECONDS:
                yielded_at = time.monotonic()
                yield None

    def preview(self, prediction_id: str) -> Preview | None:
        """Return the last preview of a prediction that runs here; `follow` yields at each."""
        return self._dispatcher.previews.of(prediction_id)

    async def finished(self, prediction: Prediction, seconds: float) -> Prediction:
        """Return a prediction when it is over, or as it is after some seconds."""
        end = time.monotonic() + seconds
        while True:
            change = self._dispatcher.changes.subscribe(prediction.id)
            prediction = await self.current(prediction.id) or _removed(prediction)
            left = end - time.monotonic()
            if prediction.status.is_over or left <= 0 or self.gives_up(prediction):
                return prediction
            await within(change, min(self._poll_seconds, left))

    async def waited_for(
        self, prediction: Prediction, has_hung_up: Callable[[], Awaitable[bool]]
    ) -> Prediction:
        """Return a prediction when it is over, or is given up here.

        Args:
            has_hung_up: whether the client that waits has; that cancels the prediction.
        """
        while not prediction.status.is_over:
            prediction = await self.finished(prediction, self._poll_seconds)
            if self.gives_up(prediction):
                break
            if await has_hung_up():
                await self.cancel(prediction.id)
        return prediction

    async def place(self, prediction: Prediction) -> Place | None:
        """Return the position and the estimated wait of a prediction.

        None if it does not wait, or nobody can know now.
        """
        try:
            return await self._waits.place(prediction)
        except Unavailable:
            return None

    async def places(self, task: str) -> Mapping[str, Place]:
        """Return the places of the predictions of a task, by their ids; none where nobody can."""
        try:
            return await self._waits.places(task)
        except Unavailable:
            return {}

    async def unfinished(self) -> dict[tuple[str, Status], int]:
        """Return how many predictions wait and run, by their task and status."""
        return await self._predictions.unfinished()

    async def count_of_model(self, model: str) -> int:
        """Return how many predictions of a model there were, by whomever."""
        return await self._predictions.count_of_model(model)

    @property
    def is_stopping(self) -> bool:
        """Whether nothing more begins: this process ends."""
        return self._dispatcher.is_stopping

    def gives_up(self, prediction: Prediction) -> bool:
        """Return whether nobody should wait for it: this process ends before its turn comes."""
        return self.is_stopping and prediction.status is Status.STARTING


def _removed(prediction: Prediction) -> Prediction:
    """Return a prediction that was removed as those see it who have waited for it."""
    now = time.time()
    return replace(prediction, status=Status.CANCELED, output=[], completed_at=now)
