"""How those who wait for a prediction see it: as it changes, when it is over, and how long yet."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable

# Pydantic, which documents `Queue`, takes no other before Python 3.12.
from typing_extensions import TypedDict

from hosting.queue.changes import LOOK, within
from hosting.queue.dispatch import Dispatcher
from hosting.states import Status
from hosting.storage import predictions
from hosting.storage.tables import Prediction

PING = 15.0
"""Seconds of silence after which a stream should show that it is there."""


class Queue(TypedDict):
    """Where a prediction is that waits."""

    position: int
    estimated_wait: float | None


async def follow(
    dispatcher: Dispatcher, prediction_id: str
) -> AsyncGenerator[Prediction | None, None]:
    """A prediction whenever it may have changed, to its end; None after a long silence."""
    told = time.monotonic()
    while True:
        change = dispatcher.changes.next(prediction_id)
        prediction = await dispatcher.current(prediction_id)
        if prediction is None:
            return
        yield prediction
        if prediction.status.is_over or dispatcher.gives_up(prediction):
            return
        if await within(change, LOOK):
            told = time.monotonic()
        elif time.monotonic() - told > PING:
            told = time.monotonic()
            yield None


async def finished(dispatcher: Dispatcher, prediction: Prediction, seconds: float) -> Prediction:
    """The prediction when it is over, or as it is after some seconds."""
    end = time.monotonic() + seconds
    while True:
        change = dispatcher.changes.next(prediction.id)
        prediction = await dispatcher.current(prediction.id) or prediction
        left = end - time.monotonic()
        is_over = prediction.status.is_over
        if is_over or left <= 0 or dispatcher.gives_up(prediction):
            return prediction
        await within(change, min(LOOK, left))


async def waited_for(
    dispatcher: Dispatcher, prediction: Prediction, has_gone: Callable[[], Awaitable[bool]]
) -> Prediction:
    """The prediction when it is over, or is given up here; whoever goes meanwhile cancels it.

    Args:
        has_gone: whether the client that waits has hung up.
    """
    while not prediction.status.is_over:
        prediction = await finished(dispatcher, prediction, LOOK)
        if dispatcher.gives_up(prediction):
            break
        if await has_gone():
            await dispatcher.cancel(prediction.id)
    return prediction


async def queue(dispatcher: Dispatcher, prediction: Prediction) -> Queue | None:
    """The place and the estimated wait, in seconds, of a prediction that waits."""
    if prediction.status is not Status.STARTING:
        return None
    place = await dispatcher.database.read(predictions.position, prediction)
    seconds = await dispatcher.database.read(predictions.typical_seconds, prediction.task)
    slots = sum(endpoint.slots for endpoint in dispatcher.endpoints_of(prediction.task))
    estimate = round(seconds * place / slots, 1) if seconds is not None and slots else None
    return {"position": place, "estimated_wait": estimate}
