"""Replicate's HTTP API, as its public clients use it.

Source: https://replicate.com/docs/reference/http, and the packages `replicate` of PyPI and npm.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from hosting import published_models
from hosting.api import event_stream
from hosting.api.auth import Admitted, Visitor, visitor_of
from hosting.api.context import services_of
from hosting.api.problems import Problem, invalid
from hosting.api.replicate import documents, stream
from hosting.api.replicate.documents import (
    AccountShape,
    ModelShape,
    Page,
    PredictionShape,
    VersionShape,
)
from hosting.api.schemas import running_schema
from hosting.api.view import view_of
from hosting.published_models import MODELS, Model
from hosting.queue import watch
from hosting.queue.inputs import Fault
from hosting.queue.intake import Ask, accept
from hosting.states import Status
from hosting.storage import predictions
from hosting.storage.tables import Prediction

LONGEST_WAIT = 60
"""Seconds that a client may ask to be kept waiting."""
MARGIN = 0.3
"""Seconds before that when it is answered: clients hang up soon after it."""

routes = APIRouter(prefix="/v1")


class Asked(BaseModel):
    """The body that asks for a prediction of a model that the path names."""

    model_config = ConfigDict(extra="forbid")

    input: dict[str, Any] = Field(description="the model's inputs; files as URLs or data URLs")
    webhook: str | None = Field(None, description="a URL that is told of the prediction by POST")
    webhook_events_filter: list[Literal["start", "output", "logs", "completed"]] | None = Field(
        None, description="what the webhook is told of; all unless given"
    )
    webhook_completed: str | None = Field(
        None, deprecated=True, description="as `webhook`, at the end"
    )
    stream: bool | None = Field(None, description="not needed: every prediction can be streamed")


class AskedByName(Asked):
    """The body that asks for a prediction."""

    version: str | None = Field(
        None, description="a version's id, `owner/name`, or both as `owner/name:id`"
    )
    model: str | None = Field(None, description="`owner/name`, instead of a version")


Prefer = Annotated[
    str | None,
    Header(description="`wait` or `wait=5`: answer when it is finished, or after 60 or 5 s"),
]


@routes.post("/predictions", status_code=201, tags=["predictions"])
async def create_prediction(
    asked: AskedByName, visitor: Admitted, prefer: Prefer = None
) -> PredictionShape:
    """Asks for a prediction, of a version or a model."""
    reference = asked.version or asked.model
    if reference is None:
        raise invalid([Fault("required", "version", "Version is required, or model")])
    if "/" not in reference and published_models.find(reference) is None:
        raise invalid(
            [Fault("invalid_version", "version", f"There is no version {reference[:100]}")]
        )
    return await _create(visitor, _model(reference), reference, asked, prefer)


@routes.post("/models/{owner}/{name}/predictions", status_code=201, tags=["predictions"])
async def create_prediction_of_model(
    owner: str, name: str, asked: Asked, visitor: Admitted, prefer: Prefer = None
) -> PredictionShape:
    """Asks for a prediction of a model."""
    reference = f"{owner}/{name}"
    return await _create(visitor, _model(reference), reference, asked, prefer)


@routes.get("/predictions", tags=["predictions"])
async def list_predictions(visitor: Admitted, cursor: str | None = None) -> Page[PredictionShape]:
    """Your predictions, the newest first, in pages of 100."""
    database = visitor.dispatcher.database
    page = await database.read(predictions.page, visitor.token.id, cursor)
    shown = [documents.prediction(one, visitor.view.link) for one in page.rows]
    return documents.page(shown, f"{visitor.view.base}/v1/predictions", page.newer, page.older)


@routes.get("/predictions/{prediction_id}", tags=["predictions"])
async def get_prediction(prediction_id: str, visitor: Admitted) -> PredictionShape:
    """A prediction as it is now; `queue` has the place and estimated wait of one that waits."""
    return await documents.shown(visitor.view, await _own(visitor, prediction_id))


@routes.post("/predictions/{prediction_id}/cancel", tags=["predictions"])
async def cancel_prediction(prediction_id: str, visitor: Admitted) -> PredictionShape:
    """Ends a prediction, between two steps if it runs. One that is over stays as it is."""
    prediction = await _own(visitor, prediction_id)
    await visitor.dispatcher.cancel(prediction.id)
    return await documents.shown(visitor.view, await _own(visitor, prediction_id))


@routes.get("/predictions/{prediction_id}/stream", tags=["predictions"])
async def stream_prediction(
    request: Request, prediction_id: str, last_event_id: Annotated[str | None, Header()] = None
) -> StreamingResponse:
    """A prediction's outputs and logs as they come: server-sent events `output`, `logs`, `done`.

    Its URL, in the prediction's `urls`, needs no token for a time.
    """
    services = services_of(request)
    if not services.dispatcher.links.is_good(str(request.url)):
        prediction_id = (await _own(await visitor_of(request), prediction_id)).id
    return event_stream.response(stream.events(view_of(request), prediction_id, last_event_id))


@routes.get("/models", tags=["models"])
async def list_models(visitor: Admitted) -> Page[ModelShape]:
    """The models that run here."""
    running = [one for one in MODELS if visitor.dispatcher.endpoints_of(one.task)]
    return documents.page([await _shown_model(visitor, one) for one in running])


@routes.get("/models/{owner}/{name}", tags=["models"])
async def get_model(owner: str, name: str, visitor: Admitted) -> ModelShape:
    """A model, and its newest version with the schema of its inputs and outputs."""
    return await _shown_model(visitor, _model(f"{owner}/{name}"))


@routes.get("/models/{owner}/{name}/versions", tags=["models"])
async def list_versions(owner: str, name: str, visitor: Admitted) -> Page[VersionShape]:
    """A model's versions: ours, and those that the original's clients may have in their code."""
    one = _model(f"{owner}/{name}")
    schema = running_schema(visitor.dispatcher, one)
    ids = [published_models.version_of(one), *one.versions]
    return documents.page(
        [documents.version(published_models.find(i) or one, i, schema) for i in ids]
    )


@routes.get("/models/{owner}/{name}/versions/{version_id}", tags=["models"])
async def get_version(owner: str, name: str, version_id: str, visitor: Admitted) -> VersionShape:
    """A version of a model."""
    one = published_models.find(version_id)
    if one is None or one.id != f"{owner}/{name}":
        raise Problem(404, f"{owner}/{name} has no version {version_id[:100]}")
    return documents.version(one, version_id, running_schema(visitor.dispatcher, one))


@routes.get("/account", tags=["account"])
async def get_account(visitor: Admitted) -> AccountShape:
    """Whose token it is."""
    return documents.account(visitor.token)


@routes.get("/webhooks/default/secret", tags=["webhooks"])
async def get_webhook_secret(visitor: Admitted) -> dict[str, str]:
    """What your webhooks are signed with."""
    return {"key": visitor.token.webhook_secret}


async def _create(
    visitor: Visitor, model: Model, reference: str, asked: Asked, prefer: str | None
) -> PredictionShape:
    dispatcher = visitor.dispatcher
    version = reference.rpartition(":")[2]
    events: list[str] = list(asked.webhook_events_filter or [])
    ask = Ask(
        token=visitor.token,
        model=model,
        version=published_models.version_of(model) if "/" in version else version,
        schema=running_schema(dispatcher, model),
        inputs=asked.input,
        base=visitor.view.base,
        hosts=visitor.view.hosts,
        webhook=asked.webhook or asked.webhook_completed,
        webhook_events=events if asked.webhook else ["completed"],
    )
    prediction = await accept(dispatcher, ask)
    wanted = re.search(r"\bwait(?:=(\d{1,4}))?\b", prefer or "")
    if wanted:
        seconds = min(max(int(wanted[1] or LONGEST_WAIT), 1), LONGEST_WAIT)
        prediction = await watch.finished(dispatcher, prediction, seconds - MARGIN)
    shown = await documents.shown(visitor.view, prediction)
    if shown["status"] is Status.PROCESSING:
        # Replicate says so too: its clients take anything else for the end.
        shown["status"] = Status.STARTING
    return shown


def _model(reference: str) -> Model:
    """A model by `owner/name`, with or without a version.

    Raises:
        Problem: when there is none.
    """
    found = published_models.find(reference)
    if found is None:
        names = ", ".join(sorted(one.id for one in MODELS))
        raise Problem(404, f"There is no model {reference[:100]}; there are {names}")
    return found


async def _shown_model(visitor: Visitor, one: Model) -> ModelShape:
    dispatcher = visitor.dispatcher
    count = await dispatcher.database.read(predictions.runs, one.id)
    return documents.model(one, visitor.view.base, running_schema(dispatcher, one), count)


async def _own(visitor: Visitor, prediction_id: str) -> Prediction:
    """The visitor's prediction, as it is now.

    Raises:
        Problem: when the visitor has none of the id.
    """
    dispatcher = visitor.dispatcher
    kept = await dispatcher.database.read(predictions.find, prediction_id, visitor.token.id)
    if kept is None:
        raise Problem(404, f"There is no prediction {prediction_id[:100]}")
    return await dispatcher.current(kept.id) or kept
