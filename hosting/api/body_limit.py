"""Bodies that are too large, or have too many values, are refused in our words."""

from __future__ import annotations

import math
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hosting.api.forms import MULTIPART, URLENCODED
from hosting.api.problems import Problem

LARGEST_URLENCODED_BYTES = 4 * 2**20
"""Bytes of a form whose bytes may each be an escape, which takes fifty bytes of memory."""
TOO_LARGE_URLENCODED = "A form with files, or of more than 4 MiB, has to be multipart/form-data"
MOST_JSON_VALUES = 500_000
"""Values that a JSON body may have, counted by their separators: each takes some hundred bytes of
memory, and all are parsed while nobody else is served."""


class BodyLimit:
    """Answers in our words where the framework has refused a body in words of its own.

    JSON of too many values is refused here, before it is parsed.

    Args:
        megabytes: MiB that a body may have. It is the framework that counts them.
        answer: makes the answer to a request that is refused.
    """

    def __init__(
        self, app: ASGIApp, megabytes: int, answer: Callable[[Request, Exception], Response]
    ) -> None:
        self._app = app
        self._answer = answer
        self._detail = f"The body has more than {megabytes} MiB"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        is_replaced = False
        values = 0
        kind = Headers(scope=scope).get("content-type", "") if scope["type"] == "http" else ""
        kind = kind.partition(";")[0].strip().lower()
        most_bytes = LARGEST_URLENCODED_BYTES if kind == URLENCODED else math.inf
        size = 0

        async def receive_counted() -> Message:
            nonlocal size, values
            message = await receive()
            if message["type"] == "http.request" and kind != MULTIPART:
                body: bytes = message.get("body", b"")
                size += len(body)
                if size > most_bytes:
                    raise HTTPException(413, TOO_LARGE_URLENCODED)
                values += sum(map(body.count, (b",", b"[", b"{")))
                if values > MOST_JSON_VALUES:
                    raise HTTPException(413, f"The body has more than {MOST_JSON_VALUES} values")
            return message

        async def send_ours(message: Message) -> None:
            nonlocal is_replaced
            if is_replaced:
                return
            if message["type"] == "http.response.start" and message["status"] == 413:
                # Ours are JSON: problems, or an API's own form of them.
                answered = Headers(raw=message["headers"]).get("content-type", "")
                is_replaced = answered.startswith("text/plain")
            if is_replaced:
                answer = self._answer(Request(scope), Problem(413, self._detail))
                await answer(scope, receive, send)
            else:
                await send(message)

        await self._app(scope, receive_counted, send_ours)
