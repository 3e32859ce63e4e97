"""DeepInfra's HTTP API, as its public clients use it.

Source: https://deepinfra.com/stabilityai/stable-diffusion-2-1/api and
https://deepinfra.com/docs/advanced/webhooks, and the packages `deepinfra` of PyPI and npm.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from fastapi import APIRouter, Request

from hosting.api.auth import Admitted
from hosting.api.bodies import fields_of, merged
from hosting.api.deadlines import CancelAfter, seconds_of
from hosting.api.deepinfra import documents, loras
from hosting.api.deepinfra.documents import InferenceDocument
from hosting.api.deepinfra.errors import ROOT
from hosting.api.problems import invalid
from hosting.api.results import finished, named, new_prediction
from hosting.api.schemas import running_schema
from hosting.published_models import RENAMED
from hosting.queue.inputs import Fault, file_inputs, list_inputs, text_inputs

_FIELDS = {
    "type": "object",
    "properties": {
        "prompt": {"type": "string"},
        "webhook": {
            "type": "string",
            "format": "uri",
            "description": "a URL that is told of the result; it is answered `queued` at once",
        },
        "lora": {"type": "string", "description": "names of LoRAs, with commas between them"},
        "lora_scale": {"type": "number", "description": "the weight of those that have none"},
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
    version = named(services, f"{owner}/{name}")
    schema = running_schema(services, version.model)
    files = file_inputs(schema)
    files |= {old for old, new in RENAMED.items() if new in files}
    fields = await fields_of(request, texts=text_inputs(schema), files=files)
    inputs = merged(fields, list_inputs(schema))
    webhook = inputs.pop("webhook", None) or None
    faults = []
    if webhook is not None and not isinstance(webhook, str):
        faults.append(Fault("invalid_type", "input.webhook", "Give a URL"))
    faults += loras.scale(inputs)
    if faults:
        raise invalid(faults)
    seconds = seconds_of(cancel_after, inputs.pop("cancel_after", None))
    new = replace(
        new_prediction(caller, version, inputs),
        api="deepinfra",
        webhook=webhook,
        webhook_events=["completed"],
        cancel_after=seconds,
    )
    prediction = await services.queue.accept(new)
    if webhook is None:
        prediction = await finished(request, services, prediction)
    names = prediction.output if prediction.status.is_over else []
    urls = await asyncio.to_thread(services.files.data_urls, prediction.id, names)
    return documents.inference(prediction, urls)
