"""The rest of a body whose request was answered before all of it had come."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LONGEST_REST_SECONDS = 30.0
"""For which the rest of a body is read after the answer."""
LONGEST_PAUSE_SECONDS = 5.0
"""For which nothing of the rest may come."""


class UnreadBody:
    """Answers at once, but reads the rest of a body before the connection may be closed.

    A connection that is closed while its client still sends is reset, and most clients then report
    that, and not the answer that they were sent. The rest is dropped. Both times are nginx's:
    https://nginx.org/en/docs/http/ngx_http_core_module.html#lingering_close
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        is_whole = "transfer-encoding" not in headers and headers.get("content-length", "0") == "0"
        # Such a client sends no body before it is asked to, which the first receive does.
        is_held_back = headers.get("expect", "").lower() == "100-continue"

        async def receive_noted() -> Message:
            nonlocal is_whole, is_held_back
            is_held_back = False
            message = await receive()
            is_whole = is_whole or not message.get("more_body", False)
            return message

        async def read_rest() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_REST_SECONDS):
                    while not is_whole:
                        async with asyncio.timeout(LONGEST_PAUSE_SECONDS):
                            await receive_noted()

        async def send_all(message: Message) -> None:
            if message["type"] == "http.response.start" and is_held_back and not is_whole:
                # What comes next on it may be the body after all, or another request.
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            is_last = message["type"] == "http.response.body" and not message.get("more_body")
            if is_last and not is_whole and not is_held_back:
                await send({**message, "more_body": True})
                await read_rest()
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await self._app(scope, receive_noted, send_all)
