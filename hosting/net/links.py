"""Links that whoever has them can follow, for a time: signed, so that nobody can guess one."""

from __future__ import annotations

import hashlib
import hmac
import time
from urllib.parse import parse_qs, urlencode, urlsplit

STEP_SECONDS = 3600
"""Links made within so many seconds are the same, so that browsers keep the pictures."""


class Links:
    """Makes links, and knows its own again.

    Args:
        key: what they are signed with.
        seconds: after which a link expires, at the earliest.
    """

    def __init__(self, key: bytes, seconds: float) -> None:
        self._key = key
        self._seconds = seconds

    def sign(self, base: str, path: str, expires: str | None = None) -> str:
        """Return the signed URL of a path of the front.

        Args:
            base: the front's URL, without a path.
            path: such as `/files/predictions/<id>/out-0.png`.
            expires: seconds since 1970, as another link has them; else by the clock.
        """
        if expires is None:
            steps = int(time.time() + self._seconds) // STEP_SECONDS + 1
            expires = str(steps * STEP_SECONDS)
        query = urlencode({"expires": expires, "signature": self._signature(path, expires)})
        return f"{base}{path}?{query}"

    def is_valid(self, url: str) -> bool:
        """Return whether a URL is a link of ours that has not expired, by whatever host."""
        return self.expiry_of(url) is not None

    def expiry_of(self, url: str) -> str | None:
        """Return when a link of ours expires, as it says; None when it has, or is none.

        A parameter that is there twice makes it none: who reads the other one must not be misled.
        """
        parts = urlsplit(url)
        try:
            query = parse_qs(parts.query, keep_blank_values=True, max_num_fields=10)
        except ValueError:
            return None
        values = [query.get(name, []) for name in ("expires", "signature")]
        if any(len(value) != 1 for value in values):
            return None
        (expires,), (given,) = values
        right = self._signature(parts.path, expires)
        is_ours = hmac.compare_digest(given.encode("utf-8", "replace"), right.encode())
        return expires if is_ours and time.time() < int(expires) else None

    def _signature(self, path: str, expires: str) -> str:
        text = f"{path}\n{expires}".encode("utf-8", "replace")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()
