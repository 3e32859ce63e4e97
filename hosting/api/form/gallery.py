"""The predictions in the form's gallery: in pages, as they change, and their pictures."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from hosting.api import archives, event_stream, limits
from hosting.api.archives import Named
from hosting.api.auth import Admitted
from hosting.api.form import documents, stream
from hosting.api.form.documents import FormPage
from hosting.api.problems import Problem

LONGEST_SEARCH = 500
"""Characters of the words that predictions are searched for by."""
MOST_PREDICTIONS = 200
"""Whose pictures are sent together."""

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


@routes.get("/zip", response_model=None)
async def send_pictures(caller: Admitted, ids: str = Query(min_length=1)) -> StreamingResponse:
    """Return the pictures of one's predictions, named with commas between them, as a zip file."""
    wanted = list(dict.fromkeys(ids.split(",")))
    if len(wanted) > MOST_PREDICTIONS:
        raise Problem(413, f"Ask for {MOST_PREDICTIONS} predictions at most, not {len(wanted)}")
    named = list[Named]()
    for prediction_id in wanted:
        named += archives.pictures_of(await caller.prediction(prediction_id))
    return await archives.response(caller.services.files, named)
