"""Hugging Face's Inference API, as its clients use it for text to image and image to image.

Source: https://huggingface.co/docs/inference-providers, and the package `huggingface_hub`
(inference/_providers/hf_inference.py).
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response

from hosting.api.auth import Admitted
from hosting.api.deadlines import CancelAfter
from hosting.api.huggingface import fields
from hosting.api.huggingface.errors import ROOT
from hosting.api.results import contents, drawn, in_header, named, warnings
from hosting.storage import mime

_PARAMETERS = {
    "prompt": {"type": "string", "description": "where `inputs` is a picture"},
    "negative_prompt": {"type": "string"},
    "width": {"type": "integer"},
    "height": {"type": "integer"},
    "target_size": {"type": "object", "description": "instead: of `width` and `height`"},
    "num_inference_steps": {"type": "integer"},
    "guidance_scale": {"type": "number"},
    "strength": {"type": "number"},
    "scheduler": {"type": "string"},
    "seed": {"type": "integer"},
}
_JSON = {
    "type": "object",
    "properties": {
        "inputs": {"type": "string", "description": "the prompt, or a picture in base64"},
        "parameters": {"type": "object", "properties": _PARAMETERS},
    },
    "required": ["inputs"],
}
_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": _JSON},
        "image/*": {"schema": {"type": "string", "format": "binary"}},
    },
}
_PICTURES: dict[int | str, dict[str, Any]] = {
    200: {"content": {kind: {} for kind in ("image/png", "image/jpeg", "image/webp")}}
}
Accept = Annotated[str, Header(description="`image/jpeg` or `image/webp`; PNG else")]

routes = APIRouter(tags=["Hugging Face"])


@routes.post(
    ROOT + "{owner}/{name}",
    response_class=Response,
    responses=_PICTURES,
    openapi_extra={"requestBody": _BODY},
)
async def infer(
    owner: str,
    name: str,
    request: Request,
    caller: Admitted,
    accept: Accept = "*/*",
    cancel_after: CancelAfter = None,
) -> Response:
    """Draw a picture from a prompt, or from a picture, and answer with it.

    Whoever hangs up cancels it. The header `X-Seed` has the seed, and
    `X-Warnings`, as JSON, a sentence for each thing that was asked for and is otherwise.
    """
    version = named(caller.services, f"{owner}/{name}")
    schema = caller.schema(version.model)
    asked = fields.read(await request.body(), accept)
    said = fields.fit_size(asked, schema)
    names = {"image" if asked.get("image") else "prompt": "inputs"}
    prediction = await drawn(request, caller, version, asked, cancel_after, names)
    data, *_ = await contents(caller.services, prediction, prediction.output)
    headers = {
        "x-seed": str(prediction.request["seed"]),
        "x-warnings": in_header([*said, *warnings(prediction, names)]),
        "x-request-id": prediction.id,
    }
    return Response(data, media_type=mime.picture_type(data), headers=headers)
