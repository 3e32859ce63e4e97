"""The document of Cog's API: a prediction's."""

from __future__ import annotations

import asyncio
from typing import Any

from hosting.prediction import Prediction
from hosting.states import Status
from hosting.storage.files import Files


async def result(files: Files, prediction: Prediction) -> dict[str, Any]:
    """Return a prediction that is over as Cog's document, with the pictures in it."""
    status = prediction.status
    shown: dict[str, Any] = {
        "id": prediction.given_id or prediction.id,
        "status": Status.CANCELED if status is Status.ABORTED else status,
        "logs": prediction.logs,
        "metrics": prediction.metrics,
    }
    if prediction.error:
        shown["error"] = prediction.error
    if status is Status.SUCCEEDED:
        names = prediction.output
        shown["output"] = await asyncio.to_thread(files.data_urls, prediction.id, names)
    return shown
