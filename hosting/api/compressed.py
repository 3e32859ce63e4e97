"""Answers that travel compressed: nothing in them may be secret that others could guess at."""

from __future__ import annotations

from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import Receive, Scope, Send


class _Compressed(Response):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await GZipMiddleware(super().__call__)(scope, receive, send)


class CompressedFile(_Compressed, FileResponse):
    """A file."""


class CompressedHTML(_Compressed, HTMLResponse):
    """A page."""


class CompressedJSON(_Compressed, JSONResponse):
    """A document."""
