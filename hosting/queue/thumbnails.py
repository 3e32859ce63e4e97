"""Small copies of the results that somebody looks at: made some at a time, and kept beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import aclosing

from hosting import log
from hosting.backends import thumbnailer
from hosting.prediction import Prediction
from hosting.queue.changes import Changes
from hosting.storage.files import Files, file_of_prediction, thumbnail_of

AT_ONCE = 16
"""Pictures of a process."""
MOST_WANTED = 500
"""Pictures of a token that wait for their copy; beyond them none is noted, but when it is asked for
again."""
MOST_FAILED = 1000
"""Pictures that are remembered since they have no copy."""


class Thumbnails:
    """Makes what is wanted.

    Args:
        changes: is told of each prediction that has a copy more.
    """

    def __init__(self, files: Files, changes: Changes) -> None:
        self._files = files
        self._changes = changes
        self._wanted: dict[str, tuple[str, str]] = {}
        """By the pictures' paths, their predictions and tokens."""
        self._failed: dict[str, None] = {}
        self._news = asyncio.Event()

    def there(self, prediction: Prediction) -> list[str | None]:
        """Return the paths of the copies of a prediction's pictures; None where there is none."""
        names = [file_of_prediction(prediction.id, name) for name in prediction.output]
        copies = [thumbnail_of(name) for name in names]
        return [copy if self._files.is_there(copy) else None for copy in copies]

    def want(self, prediction: Prediction, names: Iterable[str]) -> None:
        """Have copies made of those of a prediction's pictures that have none."""
        token_id = prediction.token_id
        room = MOST_WANTED - sum(owner == token_id for _, owner in self._wanted.values())
        paths = [file_of_prediction(prediction.id, name) for name in names]
        new = [path for path in paths if path not in self._failed and path not in self._wanted]
        self._wanted |= dict.fromkeys(new[: max(0, room)], (prediction.id, token_id))
        self._news.set()

    async def run(self) -> None:
        """Make what is wanted, until cancelled."""
        while True:
            self._news.clear()
            while self._wanted:
                names = list(self._wanted)[:AT_ONCE]
                try:
                    await self._make([one for one in names if await self._is_needed(one)])
                finally:
                    for name in names:
                        self._wanted.pop(name, None)
            await self._news.wait()

    async def _is_needed(self, name: str) -> bool:
        """Return whether a picture is there, and its copy is not."""
        if await asyncio.to_thread(self._files.is_there, thumbnail_of(name)):
            self._changes.notify(*self._wanted[name])  # another front has made it
            return False
        return await asyncio.to_thread(self._files.is_there, name)

    async def _make(self, names: list[str]) -> None:
        if not names:
            return
        paths = [self._files.path(name) for name in names]
        async with aclosing(thumbnailer.copies(paths)) as copies:
            left = iter(names)
            async for copy in copies:
                name = next(left)
                if copy is None:
                    self._fail(name)
                elif await self._keep(name, copy):
                    self._changes.notify(*self._wanted[name])

    async def _keep(self, name: str, copy: bytes) -> bool:
        """Write a picture's copy; return whether it is there."""
        try:
            await asyncio.to_thread(self._files.add, thumbnail_of(name), copy)
        except FileNotFoundError:  # the prediction was removed
            return False
        except OSError as error:
            log.warning("a small copy was not kept", file=name, reason=str(error))
            return False
        return True

    def _fail(self, name: str) -> None:
        while len(self._failed) >= MOST_FAILED:
            del self._failed[next(iter(self._failed))]
        self._failed[name] = None
