"""The limits of a token's requests a minute, and of its streams."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

MOST_STREAMS = 32
"""Streams of all its predictions that a token may have open: a browser has one."""


class Limits:
    """A bucket for each token, which fills up again as time goes by.

    Args:
        requests_per_minute: that the bucket takes in a minute; it holds ten seconds' worth.
    """

    def __init__(self, requests_per_minute: int) -> None:
        self._rate = requests_per_minute / 60
        self._size = max(1.0, 10 * self._rate)
        self._buckets: dict[str, tuple[float, float]] = {}

    def seconds_to_wait(self, token_id: str) -> int:
        """Count a request; return 0, or the seconds to wait where the token may make none now."""
        now = time.monotonic()
        level, before = self._buckets.get(token_id, (self._size, now))
        level = min(self._size, level + (now - before) * self._rate)
        if level < 1:
            self._buckets[token_id] = level, now
            return math.ceil((1 - level) / self._rate) if self._rate else 60
        self._buckets[token_id] = level - 1, now
        return 0


class OpenStreams:
    """How many streams each token has open."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def is_full(self, token_id: str) -> bool:
        """Return whether a token may open no other."""
        return self._counts[token_id] >= MOST_STREAMS

    @contextmanager
    def opened(self, token_id: str) -> Iterator[None]:
        """Count one for the time of a block."""
        self._counts[token_id] += 1
        try:
            yield
        finally:
            self._counts[token_id] -= 1
            if not self._counts[token_id]:
                del self._counts[token_id]
