"""An ASGI application, asked without a socket."""

from __future__ import annotations

import asyncio

import httpx2
from starlette.types import ASGIApp


def ask(application: ASGIApp, headers: dict[str, str] | None = None) -> httpx2.Response:
    """The answer to a request with these headers."""

    async def asked() -> httpx2.Response:
        transport = httpx2.ASGITransport(application)
        async with httpx2.AsyncClient(transport=transport) as client:
            return await client.get("http://127.0.0.1:8000/", headers=headers)

    return asyncio.run(asked())
