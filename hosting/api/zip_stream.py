"""A zip archive that is made while it is sent: it is nowhere as a whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO
from zipfile import ZIP_STORED, ZipFile, ZipInfo

CHUNK_BYTES = 2**18
EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The time before which nothing can be in an archive."""


@dataclass(frozen=True)
class Entry:
    """A file that goes into an archive."""

    name: str
    """In the archive."""
    open: Callable[[], BinaryIO]
    """Opens it to be read."""
    changed_at: float
    """Seconds since 1970."""


def stream(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield an archive of files, as they are: pictures are compressed already.

    One that is gone when its turn comes is left out.
    """
    sent = _Sent()
    with ZipFile(sent, "w", ZIP_STORED) as archive:
        for entry in entries:
            with suppress(FileNotFoundError), entry.open() as file:
                changed = time.localtime(entry.changed_at)[:6]
                about = ZipInfo(entry.name, max(changed, EARLIEST))
                about.external_attr = 0o644 << 16
                with archive.open(about, "w") as written:
                    while data := file.read(CHUNK_BYTES):
                        written.write(data)
                        yield sent.taken()
    yield sent.taken()


class _Sent:
    """What a `ZipFile` writes to, which can't go back in it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes, /) -> int:
        """Keep what is written until it is taken."""
        self._parts.append(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: it is taken as it comes."""

    def close(self) -> None:
        """Do nothing: there is nothing that is open."""

    def taken(self) -> bytes:
        """Return what was written since this was called last."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data
