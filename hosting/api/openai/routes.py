"""OpenAI's API of images, as its clients use it, at its own place and at DeepInfra's.

Source: https://platform.openai.com/docs/api-reference/images, https://deepinfra.com/docs/image, and
the packages `openai` of PyPI and npm.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from hosting.api.auth import Admitted, Caller
from hosting.api.bodies import fields_of
from hosting.api.deadlines import CancelAfter
from hosting.api.model_entries import ModelEntry, entry
from hosting.api.openai import documents, drawing
from hosting.api.openai.documents import ImagesDocument, ModelsDocument
from hosting.api.openai.errors import ROOTS
from hosting.api.openai.fields import FILES, TEXTS
from hosting.api.problems import Problem
from hosting.api.results import drawn
from hosting.api.schemas import running_schema

_TEXT: dict[str, Any] = {
    "prompt": {"type": "string"},
    "model": {
        "type": "string",
        "description": "any name; one that is known here chooses the model",
    },
    "n": {"type": "integer", "minimum": 1, "description": "images; to MOST_IMAGES, 10 unless set"},
    "size": {
        "type": "string",
        "description": "`auto`, or such as `1024x768`: the nearest is drawn",
    },
    "response_format": {"enum": ["url", "b64_json"], "description": "both unless given"},
    "output_format": {"enum": ["png", "jpeg", "webp"]},
    "output_compression": {"type": "integer", "minimum": 0, "maximum": 100},
    "negative_prompt": {"type": "string"},
    "num_inference_steps": {"type": "integer"},
    "guidance_scale": {"type": "number"},
    "strength": {"type": "number", "description": "0.8 unless given; with a mask 1"},
    "seed": {"type": "integer"},
    "scheduler": {"type": "string"},
}
_FILES = {
    "image": {"type": "string", "format": "binary", "description": "to draw from"},
    "mask": {
        "type": "string",
        "format": "binary",
        "description": "what is transparent is edited; without transparency, what is white",
    },
}


def _body(properties: dict[str, Any], *required: str, kind: str) -> dict[str, Any]:
    """Return how a body is documented."""
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "description": "and every other input of the model; what is not known is ignored",
    }
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema}}}}


_GENERATION = _body(_TEXT, "prompt", kind="application/json")
_EDIT = _body({**_TEXT, **_FILES}, "image", "prompt", kind="multipart/form-data")
_VARIATION = _body({**_TEXT, "image": _FILES["image"]}, "image", kind="multipart/form-data")

images = APIRouter(tags=["OpenAI"])


@images.post("/images/generations", openapi_extra=_GENERATION)
async def generate(
    request: Request, response: Response, caller: Admitted, cancel_after: CancelAfter = None
) -> ImagesDocument:
    """Draw pictures from a prompt. Whoever hangs up cancels it."""
    return await _draw(request, response, caller, cancel_after)


@images.post("/images/edits", openapi_extra=_EDIT)
async def edit(
    request: Request, response: Response, caller: Admitted, cancel_after: CancelAfter = None
) -> ImagesDocument:
    """Draw pictures from an image and a prompt; with a mask, repaint what is transparent in it."""
    return await _draw(request, response, caller, cancel_after, needs_image=True)


@images.post("/images/variations", openapi_extra=_VARIATION)
async def vary(
    request: Request, response: Response, caller: Admitted, cancel_after: CancelAfter = None
) -> ImagesDocument:
    """Draw pictures from an image alone."""
    return await _draw(request, response, caller, cancel_after, needs_image=True, prompt="")


routes = APIRouter()
for root in ROOTS:
    routes.include_router(images, prefix=root)


@routes.get("/v1/openai/models", tags=["OpenAI"])
async def list_models(caller: Admitted) -> ModelsDocument:
    """Return the models that run here; `/v1/models` has them too."""
    models = caller.services.models.models
    return documents.models([one.id for one in models if caller.may_use(one)])


@routes.get("/v1/models/{model}", tags=["OpenAI"])
@routes.get("/v1/openai/models/{model:path}", tags=["OpenAI"])
async def get_model(model: str, caller: Admitted) -> ModelEntry:
    """Return a model, by its name or by that of the weights that are served."""
    found = caller.services.models.find(model)
    if found is not None:
        running_schema(caller.services, found.model)
        return entry(found.model.id)
    if model not in {one.model for one in caller.services.served}:
        raise Problem(404, f"There is no model {model[:200]}")
    return entry(model)


async def _draw(
    request: Request,
    response: Response,
    caller: Caller,
    cancel_after: str | None,
    needs_image: bool = False,
    prompt: str | None = None,
) -> ImagesDocument:
    """Draw what a request asks for.

    Args:
        needs_image: whether there is nothing to draw without one.
        prompt: where none is given.
    """
    given = await fields_of(request, texts=TEXTS, files=FILES)
    version, asked = drawing.read(caller, given, needs_image, prompt)
    prediction = await drawn(request, caller, version, asked.inputs, cancel_after, asked.names)
    response.headers["x-request-id"] = prediction.id
    return await drawing.answer(
        caller.view, prediction, asked.formats, asked.names, asked.drawn_size, asked.warnings
    )
