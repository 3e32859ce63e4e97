"""DeepInfra's HTTP API, as its public clients use it.

Source: https://deepinfra.com/stabilityai/stable-diffusion-2-1/api and
https://deepinfra.com/docs/advanced/webhooks, and the packages `deepinfra` of PyPI and npm.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping, Set
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile

from hosting.api.auth import Admitted
from hosting.api.context import Services
from hosting.api.deadlines import CancelAfter, seconds_of
from hosting.api.deepinfra import documents
from hosting.api.deepinfra.documents import InferenceDocument
from hosting.api.deepinfra.errors import ROOT
from hosting.api.forms import FORM_TYPES, form_of, text_of
from hosting.api.problems import Problem, invalid
from hosting.api.schemas import running
from hosting.prediction import Prediction
from hosting.published_models import RENAMED, Version
from hosting.queue.inputs import Fault, file_inputs, text_inputs
from hosting.queue.intake import NewPrediction
from hosting.states import Status
from hosting.storage import mime

BYTES = "application/octet-stream"

_FIELDS = {
    "type": "object",
    "properties": {
        "prompt": {"type": "string"},
        "webhook": {
            "type": "string",
            "format": "uri",
            "description": "a URL that is told of the result; it is answered `queued` at once",
        },
        "cancel_after": {
            "type": "string",
            "description": "the same as the header Cancel-After, for who can't set headers",
        },
    },
    "required": ["prompt"],
    "description": "the model's inputs; files as data URLs, URLs or parts of the form",
}
_BODY = {
    "required": True,
    "content": {kind: {"schema": _FIELDS} for kind in ("application/json", "multipart/form-data")},
}

routes = APIRouter()


@routes.post(ROOT + "{owner}/{name}", tags=["DeepInfra"], openapi_extra={"requestBody": _BODY})
async def infer(
    owner: str, name: str, request: Request, caller: Admitted, cancel_after: CancelAfter = None
) -> InferenceDocument:
    """Run a model and answer with its pictures. Whoever hangs up cancels it.

    With a `webhook` it is answered at once, and the result is sent there.
    """
    services = caller.services
    version = _version(services, f"{owner}/{name}")
    endpoint, schema = running(services, version.model)
    inputs = await _inputs(request, schema)
    webhook = inputs.pop("webhook", None) or None
    faults = []
    if webhook is not None and not isinstance(webhook, str):
        faults.append(Fault("invalid_type", "input.webhook", "Give a URL"))
    if inputs.pop("lora", None):
        faults.append(Fault("not_supported", "input.lora", "There are no LoRAs here; leave it out"))
    if faults:
        raise invalid(faults)
    seconds = seconds_of(cancel_after, inputs.pop("cancel_after", None))
    new = NewPrediction(
        token=caller.token,
        version=version,
        schema=schema,
        native_size=endpoint.native_size,
        inputs=inputs,
        base=caller.view.base,
        hosts=caller.view.hosts,
        api="deepinfra",
        webhook=webhook,
        webhook_events=["completed"],
        cancel_after=seconds,
    )
    prediction = await services.queue.accept(new)
    if webhook is None:
        prediction = await services.queue.waited_for(prediction, request.is_disconnected)
        if services.queue.gives_up(prediction):
            raise Problem(503, "The server stops; ask again later", headers={"Retry-After": "5"})
    if prediction.status.is_over and prediction.status is not Status.SUCCEEDED:
        raise _failure(prediction)
    names = prediction.output if prediction.status.is_over else []
    urls = await asyncio.to_thread(services.files.data_urls, prediction.id, names)
    return documents.inference(prediction, urls)


def _version(services: Services, name: str) -> Version:
    """Return the newest version of a model.

    Raises:
        Problem: when there is none.
    """
    found = services.models.find(name)
    if found is None:
        raise Problem(404, f"There is no model {name[:200]}")
    return found


async def _inputs(request: Request, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs that were sent, by name; files as data URLs.

    What a part of a form is, the schema says and not how it travels: a text may come as a file, a
    file without a name, and what is left empty is left out, where it is no text.

    Raises:
        Problem: when it is neither a JSON object nor a form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in FORM_TYPES:
        limits = {"max_files": 20, "max_fields": 50, "max_part_size": 2**27}
        texts, files = text_inputs(schema), file_inputs(schema)
        named = files | {old for old, new in RENAMED.items() if new in files}
        async with form_of(request, **limits, files=named) as form:
            parts = {name: await _part(name, part, texts, files) for name, part in form.items()}
        return {name: part for name, part in parts.items() if part is not None}
    try:
        document = json.loads(await request.body())
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, Mapping):
        raise Problem(400, "Send the inputs as a JSON object or as a form")
    return dict(document)


async def _part(name: str, part: UploadFile | str, texts: Set[str], files: Set[str]) -> str | None:
    """Return a part of a form as the schema means it; None for one that was left empty.

    Args:
        texts, files: the names of the inputs that are such.

    Raises:
        Problem: when a file is given where a text belongs, and is none.
    """
    known_as = RENAMED.get(name, name)
    if isinstance(part, str):
        return part if part or known_as in texts else None
    data = await part.read()
    if known_as in files:
        kind = mime.picture_type(data)
        if not part.filename and kind is None:  # it may be a URL, or left empty
            with suppress(UnicodeDecodeError):
                return data.decode() or None
        return f"data:{kind or BYTES};base64,{base64.b64encode(data).decode()}"
    return text_of(data, name)


def _failure(prediction: Prediction) -> Problem:
    """Why there is no result."""
    if prediction.status is Status.ABORTED:
        return Problem(409, "Its deadline came before it could begin")
    if prediction.status is Status.CANCELED:
        return Problem(409, "It was canceled")
    is_the_clients = prediction.failure is not None and prediction.failure.is_the_clients
    status = HTTPStatus.BAD_REQUEST if is_the_clients else HTTPStatus.INTERNAL_SERVER_ERROR
    return Problem(status, prediction.error or "It failed")
