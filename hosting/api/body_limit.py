"""Bodies that are too large, or have too many values, are refused."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hosting.api.forms import MULTIPART, URLENCODED
from hosting.storage import mime

LARGEST_URLENCODED_BYTES = 4 * 2**20
"""Bytes of a form whose bytes may each be an escape, which takes fifty bytes of memory."""
TOO_LARGE_URLENCODED = "A form with files, or of more than 4 MiB, has to be multipart/form-data"
MOST_JSON_VALUES = 500_000
"""Values that a JSON body may have, counted by their separators: each takes some hundred bytes of
memory, and all are parsed while nobody else is served."""

TOO_MANY = "Other large requests are being read or answered; send this one again later"
SMALL_BYTES = 2**20
"""Of a body that is taken however many others there are."""
MOST_AT_ONCE = 3
"""Of the largest bodies, how many there may be in memory, or as many bytes of smaller ones."""


class BodyLimit:
    """Refuses bodies that are too large, at once where their length is announced.

    JSON of too many values is refused before it is parsed. Where bodies have too many bytes
    together with those that began earlier and are not answered yet, they are answered 503.

    Args:
        megabytes: MiB that a body may have.
        answer: makes the answer to a request that is refused.
    """

    def __init__(
        self, app: ASGIApp, megabytes: int, answer: Callable[[Request, Exception], Response]
    ) -> None:
        self._app = app
        self._answer = answer
        self._megabytes = megabytes
        self._most_bytes_at_once = MOST_AT_ONCE * megabytes * 2**20
        self._sizes: dict[object, int] = {}
        """Bytes of the bodies of requests that are not answered yet, in the order they began."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answers it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        most_bytes = self._megabytes * 2**20
        too_large = HTTPException(413, f"The body has more than {self._megabytes} MiB")
        if kind == URLENCODED and most_bytes > LARGEST_URLENCODED_BYTES:
            most_bytes = LARGEST_URLENCODED_BYTES
            too_large = HTTPException(413, TOO_LARGE_URLENCODED)
        if int(headers.get("content-length", 0)) > most_bytes:
            await self._answer(Request(scope), too_large)(scope, receive, send)
            return
        size = values = 0
        is_picture = False
        key = object()
        self._sizes[key] = 0

        async def receive_counted() -> Message:
            nonlocal size, values, is_picture
            message = await receive()
            if message["type"] == "http.request":
                body: bytes = message.get("body", b"")
                if not size:
                    is_picture = mime.picture_type(body) is not None
                size += len(body)
                self._sizes[key] = size
                if size > most_bytes:
                    raise too_large
                if size > SMALL_BYTES and self._bytes_until(key) > self._most_bytes_at_once:
                    del self._sizes[key]  # it is answered soon, but read for a while
                    raise HTTPException(503, TOO_MANY, {"Retry-After": "5"})
                if kind != MULTIPART and not is_picture:
                    values += sum(map(body.count, (b",", b"[", b"{")))
                if values > MOST_JSON_VALUES:
                    raise HTTPException(413, f"The body has more than {MOST_JSON_VALUES} values")
            return message

        try:
            await self._app(scope, receive_counted, send)
        finally:
            self._sizes.pop(key, None)

    def _bytes_until(self, key: object) -> int:
        """Return the bytes of a body and those that began before it."""
        total = 0
        for one, size in self._sizes.items():
            total += size
            if one is key:
                break
        return total
