"""The limit of a token's requests a minute."""

from __future__ import annotations

import math
import time


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
