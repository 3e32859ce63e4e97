"""All that changes for whoever has the form open, as server-sent events."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator

from fastapi.encoders import jsonable_encoder
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from hosting.api.auth import Caller
from hosting.api.form import documents, models
from hosting.queue.prediction_queue import PING_SECONDS

MOST_SENT = 1000
"""Predictions of which a stream remembers what it has sent last."""


async def events(caller: Caller) -> AsyncGenerator[bytes, None]:
    """Return the events `prediction`, `deleted` and `models` of a caller, without an end.

    A prediction is sent when it is not what was sent last. It ends when the token is revoked.
    """
    services, token_id = caller.services, caller.token.id
    sent: OrderedDict[str, int] = OrderedDict()
    offered = models.running(caller)
    with services.streams.opened(token_id):
        yield KEEPALIVE_COMMENT  # so that the client knows that it is connected
        sent_at = time.monotonic()
        async for changed in services.queue.follow_all(token_id):
            news = []
            for shown_id in changed.removed:
                data = json.dumps({"id": shown_id})
                news.append(format_sse_event(data_str=data, event="deleted"))
            for prediction in changed.predictions:
                data = json.dumps(jsonable_encoder(await documents.shown(caller.view, prediction)))
                if sent.get(prediction.id) != hash(data):
                    news.append(format_sse_event(data_str=data, event="prediction"))
                sent[prediction.id] = hash(data)
                sent.move_to_end(prediction.id)
            while len(sent) > MOST_SENT:
                sent.popitem(last=False)
            if (now := models.running(caller)) != offered:
                offered = now
                news.append(format_sse_event(data_str="{}", event="models"))
            if not news and time.monotonic() - sent_at > PING_SECONDS:
                news.append(KEEPALIVE_COMMENT)
            for event in news:
                sent_at = time.monotonic()
                yield event
