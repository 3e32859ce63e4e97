"""Cog's own HTTP API, through the queue: what a container of the model would answer.

Source: https://github.com/replicate/cog, docs/http.md. There is no `/shutdown`; a busy model is no
409, since predictions queue; and webhooks are the front's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from hosting import published_models
from hosting.api import event_stream, preferences
from hosting.api.auth import Admitted, Caller, limits_of
from hosting.api.cog import documents, stream
from hosting.api.compressed import CompressedJSON
from hosting.api.context import Services, services_of
from hosting.api.deadlines import CancelAfter, CancelAfterField, seconds_of
from hosting.api.problems import Problem
from hosting.api.results import new_prediction
from hosting.api.schemas import Url, running_schema
from hosting.published_models import Version
from hosting.queue.inputs import InvalidInputs
from hosting.states import State
from hosting.storage.predictions import EVENTS

routes = APIRouter(tags=["Cog"])


class CogPredictionRequest(BaseModel):
    """The body that asks for a prediction. Cog's other fields are ignored."""

    model_config = ConfigDict(extra="ignore")

    id: str | None = Field(None, pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="to cancel it by")
    input: dict[str, Any] = Field(default_factory=dict, description="the model's inputs")
    webhook: Url | None = Field(None, description="a URL that is told of the prediction by POST")
    webhook_events_filter: list[str] | None = Field(
        None, description="what the webhook is told of; all unless given"
    )
    cancel_after: CancelAfterField = None


GivenId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Prefer = Annotated[Sequence[str], Header(description="`respond-async`: don't wait for the result")]
Accept = Annotated[str, Header(description="`text/event-stream`: tell what happens as it does")]


@routes.post("/predictions", response_model=None)
async def predict(
    request: Request,
    asked: CogPredictionRequest,
    caller: Admitted,
    prefer: Prefer = (),
    accept: Accept = "application/json",
    cancel_after: CancelAfter = None,
) -> Response:
    """Run a prediction and answer with its result. Whoever hangs up cancels it."""
    return await _predict(request, asked, caller, asked.id, prefer, accept, cancel_after)


@routes.put("/predictions/{prediction_id}", response_model=None)
async def predict_by_id(
    request: Request,
    prediction_id: GivenId,
    asked: CogPredictionRequest,
    caller: Admitted,
    prefer: Prefer = (),
    accept: Accept = "application/json",
    cancel_after: CancelAfter = None,
) -> Response:
    """Do the same by an id of your own. An id that you used before gives that prediction back."""
    return await _predict(request, asked, caller, prediction_id, prefer, accept, cancel_after)


@routes.post("/predictions/{prediction_id}/cancel", response_model=None)
async def cancel(prediction_id: str, caller: Admitted) -> Response:
    """End a prediction, between two steps if it runs."""
    queue = caller.services.queue
    found = await queue.of_token(prediction_id, caller.token.id)
    if found is None or found.status.is_over:
        return JSONResponse({}, 404)
    await queue.cancel(found.id)
    return JSONResponse({})


@routes.get("/openapi.json", response_model=None)
async def schema(request: Request, model: str | None = None) -> Response:
    """Return the OpenAPI document of Cog's model here, or of one of `/v1/models`.

    It has our names only, and is for whoever fills in a form: a prompt is theirs to give, although
    a version has its own, and a seed has bounds. Of its LoRAs it has those that the token may use.
    """
    services = services_of(request)
    found = _main(services) if model is None else services.models.find(model)
    if found is None:
        raise Problem(404, f"There is no model {model}")
    inputs = {name: one for name, one in found.inputs.items() if name not in ("prompt", "seed")}
    document = running_schema(services, found.model)
    if model is not None:
        version = (await limits_of(request)).limited(replace(found, inputs=inputs))
        document = published_models.taken_schema(version, document)
        document["components"]["schemas"]["Input"]["properties"].pop("model", None)  # it is chosen
    paths = {path: what for path, what in document["paths"].items() if path != "/shutdown"}
    return CompressedJSON({**document, "paths": paths})


@routes.get("/health-check", response_model=None)
async def health_check(request: Request) -> Response:
    """Return whether a model is ready: READY, or STARTING."""
    ready = any(one.status is State.READY for one in services_of(request).endpoints)
    return JSONResponse({"status": State.READY if ready else State.STARTING})


async def _predict(
    request: Request,
    asked: CogPredictionRequest,
    caller: Caller,
    given_id: str | None,
    prefer: Sequence[str],
    accepts: str,
    cancel_after: str | None,
) -> Response:
    services = caller.services
    version = _main(services)
    events = [event for event in asked.webhook_events_filter or EVENTS if event in EVENTS]
    new = new_prediction(
        caller,
        version,
        asked.input,
        given_id=given_id,
        webhook=asked.webhook,
        webhook_events=events,
        cancel_after=seconds_of(cancel_after, asked.cancel_after),
    )
    try:
        prediction = await services.queue.accept(new)
    except InvalidInputs as error:
        faults = [
            {"loc": ["body", *one.field.split(".")], "msg": one.description, "type": "value_error"}
            for one in error.faults
        ]
        return JSONResponse({"detail": faults}, 422)
    if "respond-async" in preferences.read(prefer):
        shown = {"id": given_id or prediction.id, "status": prediction.status}
        return JSONResponse(shown, 202)
    if "text/event-stream" in accepts:
        return event_stream.response(stream.events(services, prediction))
    prediction = await services.queue.waited_for(prediction, request.is_disconnected)
    if services.queue.gives_up(prediction):
        raise Problem(503, f"The server stops; it will run prediction {prediction.id} later")
    return JSONResponse(await documents.result(services.files, prediction))


def _main(services: Services) -> Version:
    """Return the version that Cog's API runs: that of the first endpoint known.

    Raises:
        Problem: when nobody knows it yet.
    """
    for served in services.served:
        if served.task:
            return services.models.running(served.task, served.model)
    raise Problem(503, "The models are still starting", headers={"Retry-After": "5"})
