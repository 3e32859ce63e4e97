"""News of predictions, for those who wait for them in this process."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

LOOK = 0.5
"""Seconds after which who waits for news looks though there were none."""


class Changes:
    """An event for the next change of each prediction; it lives as long as someone waits."""

    def __init__(self) -> None:
        self._next: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()

    def next(self, prediction_id: str) -> asyncio.Event:
        """The event that the next change sets. Ask for it before looking at the prediction."""
        event = self._next.get(prediction_id)
        if event is None:
            event = self._next[prediction_id] = asyncio.Event()
        return event

    def tell(self, prediction_id: str) -> None:
        """Something about the prediction is new."""
        event = self._next.pop(prediction_id, None)
        if event is not None:
            event.set()


async def within(event: asyncio.Event, seconds: float) -> bool:
    """Waits for an event; whether it came in time."""
    # Not asyncio.wait_for: Python 3.11's drops a cancellation that comes together with the event.
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
