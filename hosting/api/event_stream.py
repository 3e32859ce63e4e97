"""Server-sent events, as an answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from fastapi.responses import StreamingResponse


def response(events: AsyncGenerator[bytes, None]) -> StreamingResponse:
    """Return the response that sends events as they come, through proxies too."""
    headers = {"x-accel-buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)
