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
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        expires, given = (query.get(name, [""])[0] for name in ("expires", "signature"))
        right = self._signature(parts.path, expires)
        is_ours = hmac.compare_digest(given.encode("utf-8", "replace"), right.encode())
        return is_ours and time.time() < int(expires)

    def _signature(self, path: str, expires: str) -> str:
        text = f"{path}\n{expires}".encode("utf-8", "replace")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()
