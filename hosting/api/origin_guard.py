"""The guard that refuses requests from pages and hosts that may not send them."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hosting.api.problems import Problem
from hosting.settings import Settings, bare_host

PROBED = ("/health", "/health-check")
"""Paths that balancers and Kubernetes ask for by whatever address they have, or by HTTP/1.0, which
needs no Host. What they tell is no secret, and asking changes nothing."""


class OriginGuard:
    """Refuses requests whose Host is not ours, or that a page of another origin makes.

    A page that a browser shows can reach a server on its machine's loopback: by a name of its own
    that leads there (DNS rebinding), which the Host header tells, or straight, which the Origin
    header tells.

    Args:
        listens_on: the address that the front listens on.
        answer: makes the answer to a request that is refused.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        listens_on: str,
        answer: Callable[[Request, Exception], Response],
    ) -> None:
        self._app = app
        self._answer = answer
        self._hosts = settings.hosts | {
            f"[{listens_on}]" if ":" in listens_on else listens_on.lower()
        }
        self._origins = {*settings.allowed_origins, settings.public_url.lower()} - {""}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answers it."""
        fault = self._fault(scope) if scope["type"] == "http" else None
        if fault:
            answer = self._answer(Request(scope), Problem(403, fault))
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _fault(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if bare_host(host) not in self._hosts and scope["path"].rstrip("/") not in PROBED:
            return f"The host {host[:100]!r} is not served here; ALLOWED_HOSTS can name it"
        origin = headers.get("origin")
        if origin is None or origin.lower() in self._origins:
            return None
        if origin.lower() in (f"http://{host}".lower(), f"https://{host}".lower()):
            return None
        return f"Pages of {origin[:100]!r} may not ask here; ALLOWED_ORIGINS can name it"
