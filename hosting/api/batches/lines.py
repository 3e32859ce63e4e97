"""The files of a batch's results, as OpenAI's API has them: JSON, a line for each request."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

from hosting.api.auth import Caller
from hosting.api.batches.documents import ERRORS, OUTPUT
from hosting.api.openai import drawing
from hosting.api.openai import errors as openai_errors
from hosting.api.problems import Problem
from hosting.api.replicate import documents as replicate
from hosting.api.results import Failed
from hosting.prediction import Prediction
from hosting.states import Status
from hosting.storage.files import FileGone
from hosting.storage.tables import Batch

TYPE = "application/jsonl"
ID = re.compile(rf"([a-z0-9]{{26}})-({OUTPUT}|{ERRORS})")
CANCELLED = {"code": "batch_cancelled", "message": "It was canceled before it was over"}
REMOVED = {"code": "removed", "message": "It was removed"}


async def lines(caller: Caller, batch: Batch, kind: str) -> AsyncIterator[bytes]:
    """Yield the lines of a file, of those requests that are over.

    Args:
        kind: `OUTPUT` has those that have succeeded, `ERRORS` those that have not.
    """
    async for place, request, prediction in caller.services.batches.members(batch):
        has_succeeded = prediction is not None and prediction.status is Status.SUCCEEDED
        is_over = prediction is None or prediction.status.is_over
        if not is_over or has_succeeded != (kind == OUTPUT):
            continue
        response, error = await _answer(caller, request, prediction)
        line = {
            "id": request["prediction"],
            "custom_id": request.get("id") or str(place),
            "response": response,
            "error": error,
        }
        yield json.dumps(line).encode() + b"\n"


async def _answer(
    caller: Caller, request: Mapping[str, Any], prediction: Prediction | None
) -> tuple[dict[str, Any] | None, dict[str, str] | None]:
    """Return what a request would have been answered, or why it would not."""
    if prediction is None:
        return None, REMOVED
    if prediction.status in (Status.CANCELED, Status.ABORTED):
        return None, CANCELLED
    is_theirs = "formats" in request
    status, body = 200, dict[str, Any]()
    if prediction.status is Status.FAILED:
        failed = Failed(prediction, request.get("names", {}))
        status = failed.status
        if is_theirs:
            body = json.loads(bytes(openai_errors.response(failed).body))
    if not is_theirs:
        body = dict(replicate.prediction(prediction, caller.view.link, caller.services.models))
    elif status == 200:
        said = [request["formats"], request["names"], request["size"], request["warnings"]]
        try:
            body = dict(await drawing.answer(caller.view, prediction, *said))
        except FileGone:
            return None, REMOVED
    return {"status_code": status, "request_id": prediction.id, "body": body}, None


async def batch_of(caller: Caller, file_id: str) -> tuple[Batch, str] | None:
    """Return the batch and the kind of a file by its id; None if it is no such id.

    Raises:
        Problem: when it is of no batch of the caller's.
    """
    found = ID.fullmatch(file_id)
    if found is None:
        return None
    batch = await caller.services.batches.find(found[1], caller.token.id)
    if batch is None:
        raise Problem(404, f"There is no file {file_id}")
    return batch, found[2]
