"""Replicate's HTTP API, as its public clients use it.

Source: https://replicate.com/docs/reference/http, and the packages `replicate` of PyPI and npm.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from hosting.api import event_stream, preferences
from hosting.api.auth import Admitted, Caller, caller_of
from hosting.api.context import services_of
from hosting.api.deadlines import CancelAfter, CancelAfterField, seconds_of
from hosting.api.problems import invalid, no_prediction
from hosting.api.replicate import collections, deployments, documents, models, stream, trainings
from hosting.api.replicate.documents import (
    AccountDocument,
    Page,
    PredictionDocument,
)
from hosting.api.results import new_prediction
from hosting.api.schemas import Url
from hosting.api.view import view_of
from hosting.queue.inputs import Fault
from hosting.states import Status
from hosting.storage.files import folder_of_prediction

LONGEST_WAIT_SECONDS = 60
"""Seconds that a client may ask to be kept waiting."""
WAIT_MARGIN_SECONDS = 0.3
"""So much earlier it is answered: clients hang up soon after the time they named."""

routes = APIRouter(prefix="/v1")
for nouns in (models.routes, models.search_routes, deployments.routes, trainings.routes):
    routes.include_router(nouns)
routes.include_router(collections.routes)


class PredictionRequest(BaseModel):
    """The body that asks for a prediction of a model that the path names."""

    model_config = ConfigDict(extra="forbid")

    input: dict[str, Any] = Field(description="the model's inputs; files as URLs or data URLs")
    webhook: Url | None = Field(None, description="a URL that is told of the prediction by POST")
    webhook_events_filter: list[Literal["start", "output", "logs", "completed"]] | None = Field(
        None, description="what the webhook is told of; all unless given"
    )
    webhook_completed: Url | None = Field(
        None, deprecated=True, description="as `webhook`, at the end"
    )
    cancel_after: CancelAfterField = None
    stream: bool | None = Field(None, description="not needed: every prediction can be streamed")


class PredictionRequestByName(PredictionRequest):
    """The body that asks for a prediction."""

    version: str | None = Field(
        None, description="a version's id, `owner/name`, or both as `owner/name:id`"
    )
    model: str | None = Field(None, description="`owner/name`, instead of a version")


Prefer = Annotated[
    Sequence[str],
    Header(description="`wait` or `wait=5`: answer when it is finished, or after 60 or 5 s"),
]


@dataclass(frozen=True)
class Terms:
    """How long a client wants to wait for a prediction, and when it is to be ended."""

    prefer: Sequence[str]
    cancel_after: str | None


def _terms(prefer: Prefer = (), cancel_after: CancelAfter = None) -> Terms:
    return Terms(prefer, cancel_after)


Asked = Annotated[Terms, Depends(_terms)]


@routes.post("/predictions", status_code=201, tags=["predictions"])
async def create_prediction(
    asked: PredictionRequestByName, caller: Admitted, terms: Asked
) -> PredictionDocument:
    """Create a prediction, of a version or a model."""
    reference = asked.version or asked.model
    if reference is None:
        raise invalid([Fault("required", "version", "Version is required, or model")])
    if "/" not in reference and caller.services.models.find(reference) is None:
        raise invalid(
            [Fault("invalid_version", "version", f"There is no version {reference[:100]}")]
        )
    return await _create(caller, reference, asked, terms)


@routes.post("/models/{owner}/{name}/predictions", status_code=201, tags=["predictions"])
async def create_prediction_of_model(
    owner: str, name: str, asked: PredictionRequest, caller: Admitted, terms: Asked
) -> PredictionDocument:
    """Create a prediction of a model."""
    return await _create(caller, f"{owner}/{name}", asked, terms)


@routes.post("/deployments/{owner}/{name}/predictions", status_code=201, tags=["predictions"])
async def create_prediction_of_deployment(
    owner: str, name: str, asked: PredictionRequest, caller: Admitted, terms: Asked
) -> PredictionDocument:
    """Create a prediction of a deployment, which is the model of its name."""
    return await create_prediction_of_model(owner, name, asked, caller, terms)


@routes.get("/predictions", tags=["predictions"])
async def list_predictions(caller: Admitted, cursor: str | None = None) -> Page[PredictionDocument]:
    """Your predictions, the newest first, in pages: of 100, or fewer where they are large."""
    page = await caller.services.queue.page(caller.token.id, cursor)
    shown = [
        documents.prediction(
            documents.known(caller.view, one), caller.view.link, caller.services.models
        )
        for one in page.rows
    ]
    return documents.page(shown, f"{caller.view.base}/v1/predictions", page.newer, page.older)


@routes.get("/predictions/{prediction_id}", tags=["predictions"])
async def get_prediction(prediction_id: str, caller: Admitted) -> PredictionDocument:
    """Return a prediction as it is now; `queue` has the position and estimated wait."""
    return await documents.shown(caller.view, await caller.prediction(prediction_id))


@routes.delete("/predictions/{prediction_id}", status_code=204, tags=["predictions"])
async def delete_prediction(prediction_id: str, caller: Admitted) -> Response:
    """Remove a prediction, its files and the calls of its webhook. One that runs is cancelled."""
    if not await caller.services.queue.remove(prediction_id, caller.token.id):
        raise no_prediction(prediction_id)
    return Response(status_code=204)


@routes.post("/predictions/{prediction_id}/cancel", tags=["predictions"])
async def cancel_prediction(prediction_id: str, caller: Admitted) -> PredictionDocument:
    """End a prediction, between two steps if it runs. One that is over stays as it is."""
    prediction = await caller.prediction(prediction_id)
    await caller.services.queue.cancel(prediction.id)
    return await documents.shown(caller.view, await caller.prediction(prediction_id))


@routes.get("/predictions/{prediction_id}/stream", tags=["predictions"])
async def stream_prediction(
    request: Request,
    prediction_id: str,
    last_event_id: Annotated[str | None, Header()] = None,
    previews: Annotated[
        bool, Query(description="also send `preview`, a small picture of what is being drawn")
    ] = False,
) -> StreamingResponse:
    """Send a prediction's outputs and logs as events: `output`, `logs`, `done`.

    Its URL, in the prediction's `urls`, needs no token for a time. No link in what it sends then is
    good for longer.
    """
    services = services_of(request)
    folder = folder_of_prediction(prediction_id)
    expires = services.links.expiry_of(str(request.url))
    if expires is None or await services.store.tokens.is_owner_gone(folder):
        caller = await caller_of(request)
        prediction_id, expires = (await caller.prediction(prediction_id)).id, None
    view = dataclasses.replace(view_of(request), expires=expires)
    return event_stream.response(stream.events(view, prediction_id, last_event_id, previews))


@routes.get("/account", tags=["account"])
async def get_account(caller: Admitted) -> AccountDocument:
    """Whose token it is."""
    return documents.account(caller.token)


@routes.get("/webhooks/default/secret", tags=["webhooks"])
async def get_webhook_secret(caller: Admitted) -> dict[str, str]:
    """Return the key that your webhooks are signed with."""
    return {"key": caller.token.webhook_secret}


async def _create(
    caller: Caller, reference: str, asked: PredictionRequest, terms: Terms
) -> PredictionDocument:
    services = caller.services
    wait_seconds = _seconds_to_wait(terms.prefer)
    version = models.named(services.models, reference)
    events: list[str] = list(asked.webhook_events_filter or [])
    new = new_prediction(
        caller,
        version,
        asked.input,
        webhook=asked.webhook or asked.webhook_completed,
        webhook_events=events if asked.webhook else ["completed"],
        cancel_after=seconds_of(terms.cancel_after, asked.cancel_after),
        makes_files=caller.view.makes_files and wait_seconds is not None,
    )
    prediction = await services.queue.accept(new)
    if wait_seconds is not None:
        prediction = await services.queue.finished(prediction, wait_seconds - WAIT_MARGIN_SECONDS)
    shown = await documents.shown(caller.view, prediction)
    if shown["status"] is Status.PROCESSING:
        # Replicate says so too: its clients take anything else for the end.
        shown["status"] = Status.STARTING
    return shown


def _seconds_to_wait(prefer: Sequence[str]) -> int | None:
    """Return how long a client asks to be kept waiting; None where it does not."""
    wanted = preferences.read(prefer).get("wait")
    if wanted is None or not re.fullmatch(r"\d{0,9}", wanted, re.ASCII):
        return None
    return min(max(int(wanted or LONGEST_WAIT_SECONDS), 1), LONGEST_WAIT_SECONDS)
