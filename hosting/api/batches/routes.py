"""Batches: many predictions by one request.

In a form of our own, and in OpenAI's: https://platform.openai.com/docs/api-reference/batch, and the
packages `openai` of PyPI and npm.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response, StreamingResponse

from hosting.api import archives
from hosting.api.archives import Named
from hosting.api.auth import Admitted, Caller
from hosting.api.batches import documents, requests
from hosting.api.batches.documents import BatchDocument, BatchPage, ResultsDocument
from hosting.api.batches.requests import BatchRequest
from hosting.api.problems import Problem, invalid
from hosting.queue.batches import InvalidBatch, NewBatch
from hosting.queue.inputs import Fault
from hosting.storage.pages import PAGE_ROWS
from hosting.storage.tables import Batch

routes = APIRouter(prefix="/v1/batches", tags=["batches"])


@routes.post("", status_code=201)
async def create_batch(asked: BatchRequest, caller: Admitted) -> BatchDocument:
    """Create a batch: all of its requests are taken, or none. What somebody waits for goes first.

    It has `requests`, or in OpenAI's form `input_file_id` and `endpoint`.
    """
    if (asked.requests is None) == (asked.input_file_id is None):
        sentence = "Give requests, or the input_file_id of a file that has them"
        raise invalid([Fault("required", "requests", sentence)])
    if asked.requests is not None:
        read = requests.of_body(caller, asked)
    else:
        read = await requests.of_file(caller, asked)
    new = NewBatch(
        token=caller.token,
        requests=read.requests,
        given_id=asked.id,
        endpoint=asked.endpoint if asked.requests is None else None,
        input_file_id=asked.input_file_id,
        details=asked.metadata or {},
    )
    try:
        batch = await caller.services.batches.accept(new)
    except InvalidBatch as error:
        raise invalid([read.name(place, fault) for place, fault in error.faults]) from None
    return await _shown(caller, batch)


@routes.get("")
async def list_batches(
    caller: Admitted,
    cursor: str | None = None,
    after: Annotated[str | None, Query(description="the batch that they come after")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_ROWS)] = PAGE_ROWS,
) -> BatchPage:
    """Your batches, the newest first, in pages: of `limit`, or fewer where they are large."""
    services = caller.services
    if after is not None:
        cursor = f"o{(await _own(caller, after)).number}"
    page = await services.batches.page(caller.token.id, cursor, limit)
    progress = await services.batches.progress(page.rows)
    shown = [documents.batch(one, progress[one.id], caller.view.base) for one in page.rows]
    return documents.page(page, shown, caller.view.base)


@routes.get("/{batch_id}")
async def get_batch(batch_id: str, caller: Admitted) -> BatchDocument:
    """Return a batch as it is now."""
    return await _shown(caller, await _own(caller, batch_id))


@routes.post("/{batch_id}/cancel")
async def cancel_batch(batch_id: str, caller: Admitted) -> BatchDocument:
    """End what of a batch is not over, between two steps if it runs. What is over stays."""
    batch = await _own(caller, batch_id)
    await caller.services.batches.cancel(batch.id)
    return await _shown(caller, await _own(caller, batch_id))


@routes.get("/{batch_id}/results")
async def get_batch_results(batch_id: str, caller: Admitted) -> ResultsDocument:
    """Return the manifest of a batch: what has become of each request so far."""
    batch = await _own(caller, batch_id)
    services = caller.services
    results = [
        documents.result(place, request, prediction, caller.view.link)
        async for place, request, prediction in services.batches.members(batch)
    ]
    progress = (await services.batches.progress([batch]))[batch.id]
    return {
        "id": batch.given_id or batch.id,
        "status": documents.status_of(batch, progress),
        "results": results,
    }


@routes.get("/{batch_id}/zip", response_model=None)
async def get_batch_pictures(batch_id: str, caller: Admitted) -> StreamingResponse:
    """Return all pictures of a batch so far as a zip file; their names begin with the index."""
    batch = await _own(caller, batch_id)
    named = list[Named]()
    async for place, _, prediction in caller.services.batches.members(batch):
        if prediction:
            pictures = archives.pictures_of(prediction)
            named += [replace(one, name=f"{place:04}-{one.name}") for one in pictures]
    return await archives.response(caller.services.files, named)


@routes.delete("/{batch_id}", status_code=204)
async def delete_batch(batch_id: str, caller: Admitted) -> Response:
    """Remove a batch with all its predictions and their files. What runs is cancelled."""
    batch = await _own(caller, batch_id)
    await caller.services.batches.remove(batch.id, caller.token.id)
    return Response(status_code=204)


async def _own(caller: Caller, batch_id: str) -> Batch:
    """Return the caller's batch of an id, its own or the caller's."""
    batch = await caller.services.batches.find(batch_id, caller.token.id)
    if batch is None:
        raise Problem(404, f"There is no batch {batch_id[:100]}")
    return batch


async def _shown(caller: Caller, batch: Batch) -> BatchDocument:
    progress = (await caller.services.batches.progress([batch]))[batch.id]
    return documents.batch(batch, progress, caller.view.base)
