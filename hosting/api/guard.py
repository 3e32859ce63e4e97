"""What no route sees: requests from where they may not come. And the headers of every answer."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hosting.api.problems import Problem
from hosting.settings import Settings, bare_host

HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
"""Unless a route says otherwise."""


class Guard:
    """Refuses requests whose Host is not ours, or that a page of another origin makes.

    A page that a browser shows can reach a server on its machine's loopback: by a name of its own
    that leads there (DNS rebinding), which the Host header tells, or straight, which the Origin
    header tells.

    Args:
        listens_on: the address that the front listens on.
    """

    def __init__(self, app: ASGIApp, settings: Settings, listens_on: str) -> None:
        self._app = app
        self._hosts = settings.hosts | {
            f"[{listens_on}]" if ":" in listens_on else listens_on.lower()
        }
        self._too_large = f"The body has more than {settings.upload_megabytes} MiB"
        self._origins = {*settings.allowed_origins, settings.public_url.lower()} - {""}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        is_replaced = False

        async def send_with_headers(message: Message) -> None:
            nonlocal is_replaced
            if is_replaced:
                return
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if message["status"] == 413 and headers.get("content-type") != Problem.MEDIA_TYPE:
                    # In the framework's own words: ours, and then nothing of it.
                    await Problem(413, self._too_large).response()(
                        scope, receive, send_with_headers
                    )
                    is_replaced = True
                    return
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        fault = self._fault(Headers(scope=scope))
        if fault:
            await Problem(403, fault).response()(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)

    def _fault(self, headers: Mapping[str, str]) -> str | None:
        host = headers.get("host", "")
        if bare_host(host) not in self._hosts:
            return f"The host {host[:100]!r} is not served here; ALLOWED_HOSTS can name it"
        origin = headers.get("origin")
        if origin is None or origin.lower() in self._origins:
            return None
        if origin.lower() in (f"http://{host}".lower(), f"https://{host}".lower()):
            return None
        return f"Pages of {origin[:100]!r} may not ask here; ALLOWED_ORIGINS can name it"
