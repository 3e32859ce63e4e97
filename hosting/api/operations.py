"""For whoever runs the front: its health and its metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from hosting import log
from hosting.api.auth import Admitted
from hosting.api.context import services_of
from hosting.queue import metrics
from hosting.states import UNFINISHED, State, Status
from hosting.storage.database import Unavailable

LEAST_FREE_BYTES = 16 * 2**20
"""Of the disk with DATA: with less, no picture can be taken or kept, and `/health` says so."""
NAMED = {"loras", "embeddings"}
"""Of a description, what only who has a token is told."""

routes = APIRouter(tags=["operations"])


@routes.get("/health", response_model=None)
async def health(request: Request) -> Response:
    """Return the state of front, database, disk and endpoints; 503 if nothing can run."""
    services = services_of(request)
    queue: dict[Status, int] | None = None
    try:
        waiting = await services.queue.unfinished()
        queue = {
            status: sum(count for (_, one), count in waiting.items() if one is status)
            for status in UNFINISHED
        }
    except Unavailable as error:
        log.warning("the database does not answer", reason=str(error))
    endpoints = [
        {
            "name": one.name,
            "task": one.task,
            "models": [served.model for served in one.served],
            "description": one.description.model_dump(exclude=NAMED) if one.description else None,
            "status": one.status,
            "warming": one.is_warming,
            "slots": one.slots,
            "running": len(one.running),
        }
        for one in services.endpoints
    ]
    database = "ok" if queue is not None else "unavailable"
    if services.store.is_damaged:
        database = "damaged"
    has_space = services.files.free_bytes() >= LEAST_FREE_BYTES
    is_ready = any(one.status in (State.READY, State.IDLE) for one in services.endpoints)
    is_well = database == "ok" and has_space and is_ready
    document = {
        "status": "ok" if is_well else "unavailable",
        "front": "stopping" if services.queue.is_stopping else "ok",
        "database": database,
        "disk": "ok" if has_space else "full",
        "queue": queue,
        "endpoints": endpoints,
    }
    return JSONResponse(document, 200 if is_well else 503)


@routes.get("/metrics", response_model=None)
async def figures(caller: Admitted) -> Response:
    """Return the queue, waits, run times, failures and endpoints, for Prometheus."""
    services = caller.services
    queue = await services.queue.unfinished()
    text = services.metrics.text(queue, services.endpoints)
    return Response(text, media_type=metrics.CONTENT_TYPE)
