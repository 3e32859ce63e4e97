"""A body that is too large is refused in our words."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hosting.api.problems import Problem


class BodyLimit:
    """Answers with a problem where the framework has refused a body in words of its own.

    Args:
        megabytes: MiB that a body may have. It is the framework that counts them.
    """

    def __init__(self, app: ASGIApp, megabytes: int) -> None:
        self._app = app
        self._detail = f"The body has more than {megabytes} MiB"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        is_replaced = False

        async def send_ours(message: Message) -> None:
            nonlocal is_replaced
            if is_replaced:
                return
            if message["type"] == "http.response.start" and message["status"] == 413:
                kind = Headers(raw=message["headers"]).get("content-type")
                is_replaced = kind != Problem.MEDIA_TYPE
            if is_replaced:
                await Problem(413, self._detail).response()(scope, receive, send)
            else:
                await send(message)

        await self._app(scope, receive, send_ours)
