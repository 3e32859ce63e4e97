"""What Cog's API answers: the document of a prediction."""

from __future__ import annotations

import asyncio
from typing import Any

from hosting.queue.dispatch import Dispatcher
from hosting.states import Status
from hosting.storage.tables import Prediction


async def result(dispatcher: Dispatcher, prediction: Prediction) -> dict[str, Any]:
    """A prediction that is over, as Cog shows it: the pictures in it."""
    shown: dict[str, Any] = {
        "id": prediction.given_id or prediction.id,
        "status": prediction.status,
        "logs": prediction.logs,
        "metrics": prediction.metrics,
    }
    if prediction.error:
        shown["error"] = prediction.error
    if prediction.status is Status.SUCCEEDED:
        urls = dispatcher.files.data_urls
        shown["output"] = await asyncio.to_thread(urls, prediction.id, prediction.output)
    return shown
