"""Links that whoever has them can follow, for a time: signed, so that nobody can guess one."""

from __future__ import annotations

import hashlib
import hmac
import time
from urllib.parse import parse_qs, urlencode, urlsplit

STEP = 3600
"""Links made within so many seconds are the same, so that browsers keep the pictures."""


class Links:
    """Makes links, and knows its own again.

    Args:
        key: what they are signed with.
        seconds: how long a link is good for, at least.
    """

    def __init__(self, key: bytes, seconds: float) -> None:
        self._key = key
        self._seconds = seconds

    def to(self, base: str, path: str, expires: str | None = None) -> str:
        """The URL of a path of the front.

        Args:
            base: the front's URL, without a path.
            path: such as `/files/predictions/<id>/out-0.png`.
            expires: seconds since 1970, as another link has them; else as long as links are good.
        """
        expires = expires or str((int(time.time() + self._seconds) // STEP + 1) * STEP)
        query = urlencode({"expires": expires, "signature": self._signature(path, expires)})
        return f"{base}{path}?{query}"

    def is_good(self, url: str) -> bool:
        """Whether a URL is a link of ours, whose time is not over. Its host is not looked at."""
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        expires, given = (query.get(name, [""])[0] for name in ("expires", "signature"))
        right = self._signature(parts.path, expires)
        is_ours = hmac.compare_digest(given.encode("utf-8", "replace"), right.encode())
        return is_ours and time.time() < int(expires)

    def _signature(self, path: str, expires: str) -> str:
        text = f"{path}\n{expires}".encode("utf-8", "replace")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()
