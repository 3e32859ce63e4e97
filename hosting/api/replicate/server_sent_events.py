"""Predictions as they happen: server-sent events, as Replicate sends them and as Cog does."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from typing import Any

from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from hosting.api.replicate import documents
from hosting.api.view import View
from hosting.queue import watch
from hosting.queue.dispatch import Dispatcher
from hosting.storage.predictions import FINISHED
from hosting.storage.tables import Prediction


def response(events: AsyncGenerator[bytes, None]) -> StreamingResponse:
    """The answer that sends events as they come, through proxies too."""
    headers = {"x-accel-buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


async def replicate(
    view: View, prediction_id: str, last_event_id: str | None
) -> AsyncGenerator[bytes, None]:
    """The events `logs`, `output`, `error` and `done` of a prediction.

    Source: https://replicate.com/docs/topics/predictions/streaming.

    Args:
        last_event_id: of the last event that the client has; the next is the first sent.
    """
    # An event's id is how far the stream is with it: whoever breaks off there misses nothing.
    read = re.fullmatch(r"(\d{1,4})-(\d{1,9})", last_event_id or "0-0")
    outputs, characters = (int(read[1]), int(read[2])) if read else (0, 0)

    def event(kind: str, data: str) -> bytes:
        return format_sse_event(data_str=data, event=kind, id=f"{outputs}-{characters}")

    async for prediction in watch.follow(view.services.dispatcher, prediction_id):
        if prediction is None:
            yield KEEPALIVE_COMMENT
            continue
        if len(prediction.output) < outputs or len(prediction.logs) < characters:
            outputs = characters = 0  # it was begun again
        shown = await documents.shown(view, prediction)
        if text := shown["logs"][characters:]:
            characters += len(text)
            yield event("logs", text)
        for url in (shown["output"] or [])[outputs:]:
            outputs += 1
            yield event("output", url)
        if shown["status"] == "failed":
            yield event("error", json.dumps({"detail": shown["error"]}))
        if shown["status"] in FINISHED:
            reason = {} if shown["status"] == "succeeded" else {"reason": shown["status"]}
            yield event("done", json.dumps(reason))


async def cog(dispatcher: Dispatcher, prediction: Prediction) -> AsyncGenerator[bytes, None]:
    """The events `start`, `log`, `metric`, `output` and `completed` of a prediction.

    Whoever hangs up cancels it.
    """

    def event(kind: str, data: dict[str, Any]) -> bytes:
        return format_sse_event(data_str=json.dumps(data), event=kind)

    outputs = characters = 0
    metrics: dict[str, Any] = {}
    is_over = False
    try:
        given_id = prediction.given_id or prediction.id
        yield event("start", {"id": given_id, "status": "processing"})
        async for now in watch.follow(dispatcher, prediction.id):
            if now is None:
                yield KEEPALIVE_COMMENT
                continue
            if len(now.output) < outputs or len(now.logs) < characters:
                outputs = characters = 0  # it was begun again
            if text := now.logs[characters:]:
                yield event("log", {"data": text, "source": "stdout"})
            characters = len(now.logs)
            for name, value in now.metrics.items():
                if metrics.get(name) != value and name != "predict_time":
                    yield event("metric", {"mode": "replace", "name": name, "value": value})
            metrics = now.metrics
            if len(now.output) > outputs:
                added = now.output[outputs:]
                for url in await asyncio.to_thread(dispatcher.files.data_urls, now.id, added):
                    yield event("output", {"chunk": url})
                outputs = len(now.output)
            is_over = now.status in FINISHED
            if is_over:
                yield event("completed", await cog_result(dispatcher, now))
    finally:
        if not is_over and not dispatcher.stopping.is_set():
            await asyncio.shield(dispatcher.cancel(prediction.id))


async def cog_result(dispatcher: Dispatcher, prediction: Prediction) -> dict[str, Any]:
    """A prediction that is over, as Cog shows it: the pictures in it."""
    shown: dict[str, Any] = {
        "id": prediction.given_id or prediction.id,
        "status": prediction.status,
        "logs": prediction.logs,
        "metrics": prediction.metrics,
    }
    if prediction.error:
        shown["error"] = prediction.error
    if prediction.status == "succeeded":
        urls = dispatcher.files.data_urls
        shown["output"] = await asyncio.to_thread(urls, prediction.id, prediction.output)
    return shown
