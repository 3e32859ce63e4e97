"""A prediction as it happens: the server-sent events of Replicate's API."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from hosting.api.replicate import documents
from hosting.api.view import View
from hosting.states import Status


async def events(
    view: View, prediction_id: str, last_event_id: str | None, with_previews: bool = False
) -> AsyncGenerator[bytes, None]:
    """Return the events `logs`, `output`, `error` and `done` of a prediction.

    Source: https://replicate.com/docs/topics/predictions/streaming.

    Args:
        last_event_id: of the last event that the client has; the next is the first sent.
        with_previews: whether there are events `preview`, too, which are not of Replicate's API.
    """
    # An event's id is how far the stream is with it: whoever breaks off there misses nothing.
    read = re.fullmatch(r"(\d{1,4})-(\d{1,9})", last_event_id or "0-0")
    outputs, characters = (int(read[1]), int(read[2])) if read else (0, 0)

    def event(kind: str, data: str) -> bytes:
        return format_sse_event(data_str=data, event=kind, id=f"{outputs}-{characters}")

    queue, shown_preview = view.services.queue, 0
    async for prediction in queue.follow(prediction_id):
        if prediction is None:
            yield KEEPALIVE_COMMENT
            continue
        if len(prediction.output) < outputs or len(prediction.logs) < characters:
            kept = prediction.checkpoint  # it was begun again, and goes on from there
            outputs = min(outputs, len(kept.get("output", ())))
            characters = min(characters, len(kept.get("logs", "")))
        preview = queue.preview(prediction_id) if with_previews else None
        if preview and preview.number > shown_preview:
            shown_preview = preview.number
            yield event("preview", json.dumps({"index": preview.index, "url": preview.url}))
        shown = await documents.shown(view, prediction)
        if text := shown["logs"][characters:]:
            characters += len(text)
            yield event("logs", text)
        output = shown["output"] or []
        for url in ([output] if isinstance(output, str) else output)[outputs:]:
            outputs += 1
            yield event("output", url)
        if shown["status"] is Status.FAILED:
            yield event("error", json.dumps({"detail": shown["error"]}))
        if shown["status"].is_over:
            reason = {} if shown["status"] is Status.SUCCEEDED else {"reason": shown["status"]}
            yield event("done", json.dumps(reason))
