"""A prediction as it happens: the server-sent events of Cog's API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from hosting.api.cog import documents
from hosting.api.context import Services
from hosting.prediction import Prediction
from hosting.states import Status


async def events(services: Services, prediction: Prediction) -> AsyncGenerator[bytes, None]:
    """Return the events `start`, `log`, `metric`, `output` and `completed` of a prediction.

    Whoever hangs up cancels it.
    """

    def event(kind: str, data: dict[str, Any]) -> bytes:
        return format_sse_event(data_str=json.dumps(data), event=kind)

    outputs = characters = 0
    metrics: Mapping[str, Any] = {}
    is_over = False
    try:
        given_id = prediction.given_id or prediction.id
        yield event("start", {"id": given_id, "status": Status.PROCESSING})
        async for now in services.queue.follow(prediction.id):
            if now is None:
                yield KEEPALIVE_COMMENT
                continue
            if len(now.output) < outputs or len(now.logs) < characters:
                kept = now.checkpoint  # it was begun again, and goes on from there
                outputs = min(outputs, len(kept.get("output", ())))
                characters = min(characters, len(kept.get("logs", "")))
            if text := now.logs[characters:]:
                yield event("log", {"data": text, "source": "stdout"})
            characters = len(now.logs)
            for name, value in now.metrics.items():
                if metrics.get(name) != value and name != "predict_time":
                    yield event("metric", {"mode": "replace", "name": name, "value": value})
            metrics = now.metrics
            if len(now.output) > outputs:
                added = now.output[outputs:]
                for url in await asyncio.to_thread(services.files.data_urls, now.id, added):
                    yield event("output", {"chunk": url})
                outputs = len(now.output)
            is_over = now.status.is_over
            if is_over:
                yield event("completed", await documents.result(services.files, now))
    finally:
        if not is_over and not services.queue.is_stopping:
            await asyncio.shield(services.queue.cancel(prediction.id))
