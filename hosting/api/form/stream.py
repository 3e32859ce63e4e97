"""All that changes for whoever has the form open, as server-sent events."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator

from fastapi.encoders import jsonable_encoder
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from hosting.api.auth import Caller
from hosting.api.form import documents, models
from hosting.prediction import Prediction
from hosting.queue.prediction_queue import PING_SECONDS
from hosting.queue.waits import Place
from hosting.storage.feed import Waiting

MOST_REMEMBERED = 1000
"""Predictions of which a stream remembers what it has sent last."""


async def events(caller: Caller) -> AsyncGenerator[bytes, None]:
    """Return the events `prediction`, `place`, `deleted`, `preview` and `models` of a caller.

    It has no end, but when the token is revoked. It is empty where the token has as many streams
    as it may: others may have begun since its route has looked.
    """
    services, token_id = caller.services, caller.token.id
    if services.streams.is_full(token_id):
        return
    last = _Last(caller)
    with services.streams.opened(token_id):
        yield KEEPALIVE_COMMENT  # so that the client knows that it is connected
        sent_at = time.monotonic()
        async for changed in services.queue.follow_all(token_id):
            news = [_event("deleted", {"id": known_as}) for known_as in changed.removed]
            for prediction in changed.predictions:
                news += await last.news_of(prediction)
            news += await last.news_of_places(changed.waiting)
            news += last.news_of_models()
            if not news and time.monotonic() - sent_at > PING_SECONDS:
                news.append(KEEPALIVE_COMMENT)
            for event in news:
                sent_at = time.monotonic()
                yield event


class _Last:
    """What was sent last: nothing is sent again that is still so."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._models = models.running(caller)
        self._predictions: dict[str, tuple[int, int]] = {}
        """By the ids of the last ones, the hashes of what was sent, and the last preview's number.
        """
        self._places: dict[str, Place] = {}

    async def news_of(self, prediction: Prediction) -> list[bytes]:
        """Return the events to be sent of a prediction that may have changed."""
        document = await documents.shown(self._caller.view, prediction)
        event = _event("prediction", document)
        before, last_preview = self._predictions.pop(prediction.id, (None, 0))
        news = [event] if hash(event) != before else []
        preview = self._caller.services.queue.preview(prediction.id)
        if preview and preview.number > last_preview:
            last_preview = preview.number
            data = {"id": document["id"], "index": preview.index, "url": preview.url}
            news.append(_event("preview", data))
        self._predictions[prediction.id] = hash(event), last_preview
        if len(self._predictions) > MOST_REMEMBERED:
            del self._predictions[next(iter(self._predictions))]
        return news

    async def news_of_places(self, waiting: list[Waiting]) -> list[bytes]:
        """Return the events to be sent of the places of predictions, if it was looked for them."""
        if not waiting:
            return []
        queue, before = self._caller.services.queue, self._places
        by_task = {task: await queue.places(task) for task in {one.task for one in waiting}}
        found = [(one, by_task[one.task].get(one.id)) for one in waiting]
        self._places = {one.id: place for one, place in found if place}
        return [
            _event("place", {"id": one.known_as, "queue": place})
            for one, place in found
            if place and place != before.get(one.id)
        ]

    def news_of_models(self) -> list[bytes]:
        """Return the event to be sent if the models have changed."""
        before, self._models = self._models, models.running(self._caller)
        return [] if self._models == before else [_event("models", {})]


def _event(kind: str, data: object) -> bytes:
    return format_sse_event(data_str=json.dumps(jsonable_encoder(data)), event=kind)
