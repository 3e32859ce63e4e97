"""The files of predictions that were removed: they go when this front writes none of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from hosting import log
from hosting.queue.changes import within
from hosting.storage.database import Unavailable
from hosting.storage.files import Files, folder_of_prediction
from hosting.storage.removals import Removed
from hosting.storage.store import Store


class FileRemovals:
    """Removes what removed predictions have left.

    Args:
        front_id: that of this front.
        is_busy: tells whether it may still write files of a prediction.
        poll_seconds: between two looks for what other fronts have left.
    """

    def __init__(
        self,
        store: Store,
        files: Files,
        front_id: str,
        is_busy: Callable[[str], Awaitable[bool]],
        poll_seconds: float,
    ) -> None:
        self._store = store
        self._files = files
        self._front_id = front_id
        self._is_busy = is_busy
        self._poll_seconds = poll_seconds
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Look for files that may be removed now."""
        self._news.set()

    async def begin(self, removed: Removed) -> None:
        """Remove the files that are there. Where more may come, they are removed later."""
        await self._remove(removed.id, is_last=not removed.has_writer)
        self.wake()

    async def run(self) -> None:
        """Remove what is left of predictions until cancelled."""
        while True:
            self._news.clear()
            for prediction_id in await self._store.removals.due(self._front_id):
                if not await self._is_busy(prediction_id):
                    await self._remove(prediction_id, is_last=True)
            await within(self._news, self._poll_seconds)

    async def remove_if_gone(self, prediction_id: str) -> None:
        """Remove the files of a prediction that this front has lost, if it was removed.

        It may have been frozen, and then others have taken it for dead and removed them before.
        """
        try:
            if await self._store.predictions.find(prediction_id) is None:
                await asyncio.to_thread(self._files.remove, folder_of_prediction(prediction_id))
        except (OSError, Unavailable) as fault:
            log.warning("files are left", prediction=prediction_id, reason=str(fault))

    async def _remove(self, prediction_id: str, is_last: bool) -> None:
        """Remove the files that are there; what can't be now is tried again.

        Args:
            is_last: whether no more will come.
        """
        try:
            await asyncio.to_thread(self._files.remove, folder_of_prediction(prediction_id))
            if is_last:
                await self._store.removals.finish(prediction_id)
        except (OSError, Unavailable) as fault:
            log.warning("files are left", prediction=prediction_id, reason=str(fault))
