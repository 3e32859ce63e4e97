"""Changes of predictions, for those who wait for them in this process."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary


class Changes:
    """An event for the next change of each prediction; it lives as long as someone waits."""

    def __init__(self) -> None:
        self._next: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()

    def subscribe(self, prediction_id: str) -> asyncio.Event:
        """Return the event that the next change sets. Do so before looking at the prediction."""
        event = self._next.get(prediction_id)
        if event is None:
            event = self._next[prediction_id] = asyncio.Event()
        return event

    def notify(self, prediction_id: str) -> None:
        """Wake those who wait for a change of the prediction."""
        event = self._next.pop(prediction_id, None)
        if event is not None:
            event.set()


async def within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, and return whether it came in time."""
    # Not asyncio.wait_for: Python 3.11's drops a cancellation that comes together with the event.
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
