"""Changes of predictions, for those who wait for them in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary


class Watch:
    """The changes of a token's predictions, as they gather until they are taken."""

    def __init__(self, token_id: str) -> None:
        self.token_id = token_id
        self.happened = asyncio.Event()
        """Set while there are any."""
        self._ids: dict[str, None] = {}

    def add(self, prediction_id: str) -> None:
        """Note a change."""
        self._ids[prediction_id] = None
        self.happened.set()

    def take(self) -> list[str]:
        """Return the ids of what has changed since the last call, in the order of the changes."""
        taken, self._ids = list(self._ids), {}
        self.happened.clear()
        return taken


class Changes:
    """An event for the next change of each prediction; it lives as long as someone waits."""

    def __init__(self) -> None:
        self._next: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()
        self._watches: set[Watch] = set()

    @contextmanager
    def watched(self, token_id: str) -> Iterator[Watch]:
        """Gather the changes of a token's predictions for the time of a block."""
        watch = Watch(token_id)
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    def subscribe(self, prediction_id: str) -> asyncio.Event:
        """Return the event that the next change sets. Do so before looking at the prediction."""
        event = self._next.get(prediction_id)
        if event is None:
            event = self._next[prediction_id] = asyncio.Event()
        return event

    def notify(self, prediction_id: str, token_id: str | None = None) -> None:
        """Wake those who wait for a change of the prediction.

        Args:
            token_id: whose it is; None where that is not known here.
        """
        event = self._next.pop(prediction_id, None)
        if event is not None:
            event.set()
        for watch in self._watches:
            if token_id in (None, watch.token_id):
                watch.add(prediction_id)


async def to_its_end(work: Awaitable[None]) -> None:
    """Await something that is not to be left half done: to its end, also when cancelled."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, and return whether it came in time."""
    # Not asyncio.wait_for: Python 3.11's drops a cancellation that comes together with the event.
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
