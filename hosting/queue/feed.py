"""All of a token's predictions, as they change, for who follows them as one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass

from hosting import log
from hosting.prediction import Prediction
from hosting.queue.changes import within
from hosting.queue.dispatch import Dispatcher
from hosting.storage.database import RETRY_SECONDS, Unavailable
from hosting.storage.feed import Seen, Waiting
from hosting.storage.pages import ROWS_AT_ONCE
from hosting.storage.store import Predictions


@dataclass(frozen=True)
class Changed:
    """What may have changed of a token's predictions."""

    predictions: list[Prediction]
    removed: list[str]
    """The ids, as their client knows them, of those that were removed."""
    waiting: list[Waiting]
    """Those that are the same, but for their place in the queue."""


LEAST_SECONDS = 0.33
"""Between two looks, however much happens."""
PLACES_SECONDS = 2.0
"""Between two looks at the places in the queue, which change though nothing else does."""


async def follow(
    token_id: str, predictions: Predictions, dispatcher: Dispatcher, poll_seconds: float
) -> AsyncGenerator[Changed, None]:
    """Yield those of a token's predictions that may have changed, again and again.

    The first are all that are not over. It ends when the token is revoked, or this process ends.

    Args:
        poll_seconds: after which it yields although nothing was announced here: another front may
            have done something, and what it yields may be nothing.
    """
    seen: Seen | None = None
    gone: set[str] = set()
    """Removed ones that still run here, for a moment."""
    placed_at = time.monotonic()
    with dispatcher.changes.watched(token_id) as watch:
        while not dispatcher.has_stopped:
            looked_at = time.monotonic()
            ids = watch.take()
            try:
                news = await predictions.look(token_id, seen)
                if news is None:
                    return
                seen, ids = news.seen, [*news.changed, *ids]
                gone = {one for one in (*gone, *news.removed) if dispatcher.running(one)}
                ids = [one for one in dict.fromkeys(ids) if one not in gone]
                waiting = list[Waiting]()
                if looked_at - placed_at > PLACES_SECONDS:
                    placed_at = looked_at
                    others = {*ids, *gone}
                    waiting = [one for one in seen.waiting if one.id not in others]
                yield Changed([], list(news.removed.values()), waiting)
                for start in range(0, len(ids), ROWS_AT_ONCE):
                    batch = ids[start : start + ROWS_AT_ONCE]
                    now = await _current(token_id, predictions, dispatcher, batch)
                    yield Changed(now, [], [])
            except Unavailable as error:
                log.warning("nobody is told of changes", reason=str(error))
                for prediction_id in ids:
                    watch.add(prediction_id)
                await asyncio.sleep(RETRY_SECONDS)
            if await within(watch.happened, poll_seconds):
                await asyncio.sleep(LEAST_SECONDS - (time.monotonic() - looked_at))


async def _current(
    token_id: str, predictions: Predictions, dispatcher: Dispatcher, ids: Iterable[str]
) -> list[Prediction]:
    """Return those of a token's predictions that have these ids, as they are now."""
    running = {one: dispatcher.running(one) for one in ids}
    found = {one.id: one for one in running.values() if one and one.token_id == token_id}
    others = [one for one, now in running.items() if now is None]
    if others:
        found |= {one.id: one for one in await predictions.find_all(token_id, others)}
    return [found[one] for one in running if one in found]
