"""The predictions in the form's gallery: in pages, and as they change."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from hosting.api import event_stream, limits
from hosting.api.auth import Admitted
from hosting.api.form import documents, stream
from hosting.api.form.documents import FormPage
from hosting.api.problems import Problem

LONGEST_SEARCH = 500
"""Characters of the words that predictions are searched for by."""

routes = APIRouter(prefix="/form", include_in_schema=False)


@routes.get("/predictions")
async def list_predictions(
    caller: Admitted,
    cursor: str | None = None,
    search: Annotated[str, Query(max_length=LONGEST_SEARCH)] = "",
) -> FormPage:
    """Return the caller's predictions, the newest first: those whose prompts have all the words."""
    page = await caller.services.queue.search(caller.token.id, search, cursor)
    query = urlencode({"cursor": page.older, **({"search": search} if search else {})})
    return {
        "results": [await documents.shown(caller.view, one) for one in page.rows],
        "next": f"{caller.view.base}/form/predictions?{query}" if page.older else None,
    }


@routes.get("/events", response_model=None)
async def stream_events(caller: Admitted) -> StreamingResponse:
    """Send all that changes of the caller's predictions, and when the models do."""
    if caller.services.streams.is_full(caller.token.id):
        raise Problem(
            429,
            f"You have {limits.MOST_STREAMS} pages open, as many as hear of changes; close some",
            headers={"Retry-After": "15"},
        )
    return event_stream.response(stream.events(caller))
