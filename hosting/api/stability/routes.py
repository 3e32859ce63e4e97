"""Stability AI's REST API, version 1, as its examples use it.

Source: https://platform.stability.ai/docs/api-reference, and
https://github.com/Stability-AI/rest-api-support.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import JSONResponse, Response

from hosting.api.auth import Admitted, Caller
from hosting.api.bodies import fields_of
from hosting.api.deadlines import CancelAfter
from hosting.api.problems import Problem, invalid
from hosting.api.results import contents, drawn, in_header, pictures, served, warnings
from hosting.api.stability import documents
from hosting.api.stability.documents import (
    AccountDocument,
    ArtifactsDocument,
    BalanceDocument,
    EngineDocument,
)
from hosting.api.stability.fields import FILES, Reader
from hosting.queue.inputs import Fault

PNG = "image/png"
_COMMON: dict[str, Any] = {
    "cfg_scale": {"type": "number", "minimum": 0, "maximum": 35},
    "samples": {"type": "integer", "minimum": 1},
    "steps": {"type": "integer", "minimum": 1},
    "seed": {"type": "integer", "description": "0 is random"},
    "sampler": {"type": "string"},
}
_PROMPTS = {
    "text_prompts": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"text": {"type": "string"}, "weight": {"type": "number"}},
            "required": ["text"],
        },
        "description": "what has a weight below 0 is the negative prompt",
    }
}
_FORM_PROMPTS = {
    "text_prompts[0][text]": {"type": "string"},
    "text_prompts[0][weight]": {"type": "number"},
}
_SIDES = {name: {"type": "integer", "minimum": 1} for name in ("width", "height")}
_FILE = {"type": "string", "format": "binary"}


def _body(kind: str, properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """Return how a body is documented."""
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema}}}}


_TEXT_TO_IMAGE = _body("application/json", {**_PROMPTS, **_SIDES, **_COMMON}, "text_prompts")
_IMAGE_TO_IMAGE = _body(
    "multipart/form-data",
    {
        **_FORM_PROMPTS,
        **_COMMON,
        "init_image": _FILE,
        "init_image_mode": {"enum": ["IMAGE_STRENGTH", "STEP_SCHEDULE"]},
        "image_strength": {"type": "number", "minimum": 0, "maximum": 1},
        "step_schedule_start": {"type": "number", "minimum": 0, "maximum": 1},
    },
    "init_image",
)
_MASKING = _body(
    "multipart/form-data",
    {
        **_FORM_PROMPTS,
        **_COMMON,
        "init_image": _FILE,
        "mask_image": _FILE,
        "mask_source": {"enum": ["MASK_IMAGE_WHITE", "MASK_IMAGE_BLACK", "INIT_IMAGE_ALPHA"]},
    },
    "init_image",
    "mask_source",
)
_UPSCALING = _body(
    "multipart/form-data", {**_FORM_PROMPTS, **_COMMON, **_SIDES, "image": _FILE}, "image"
)
_ANSWER: dict[str, Any] = {
    "response_model": None,
    "responses": {200: {"model": ArtifactsDocument, "content": {PNG: {}}}},
}
JSON = "application/json"
Accept = Annotated[str, Header(description="`image/png` for the picture itself; JSON else")]


@dataclass(frozen=True)
class _Terms:
    """What a request says beside its body.

    Args:
        engine: any name; one that is known here chooses the model.
    """

    engine: str
    accept: str
    cancel_after: str | None


def _terms(engine: str, accept: Accept = JSON, cancel_after: CancelAfter = None) -> _Terms:
    return _Terms(engine, accept, cancel_after)


Asked = Annotated[_Terms, Depends(_terms)]

routes = APIRouter(prefix="/v1", tags=["Stability AI"])
generation = APIRouter(prefix="/generation/{engine}")


@generation.post("/text-to-image", openapi_extra=_TEXT_TO_IMAGE, **_ANSWER)
async def text_to_image(request: Request, caller: Admitted, terms: Asked) -> Response:
    """Draw pictures from prompts. Whoever hangs up cancels it."""
    tasks = ("img2img",)
    return await _draw(
        request, caller, terms, tasks, lambda read: {**read.drawing(), **read.size()}
    )


@generation.post("/image-to-image", openapi_extra=_IMAGE_TO_IMAGE, **_ANSWER)
async def image_to_image(request: Request, caller: Admitted, terms: Asked) -> Response:
    """Draw pictures from an image and prompts; `image_strength` is how much of the image stays."""
    tasks = ("img2img", "depth")
    return await _draw(
        request, caller, terms, tasks, lambda read: {**read.drawing(), **read.image()}
    )


@generation.post("/image-to-image/masking", openapi_extra=_MASKING, **_ANSWER)
async def mask(request: Request, caller: Admitted, terms: Asked) -> Response:
    """Replace what a mask has white or black, or what is transparent in the image."""
    tasks = ("inpainting", "img2img")
    return await _draw(
        request, caller, terms, tasks, lambda read: {**read.drawing(), **read.masking()}
    )


@generation.post("/image-to-image/upscale", openapi_extra=_UPSCALING, **_ANSWER)
async def upscale(request: Request, caller: Admitted, terms: Asked) -> Response:
    """Make an image four times as wide and as high."""
    tasks = ("upscale",)
    return await _draw(
        request,
        caller,
        terms,
        tasks,
        lambda read: {**read.drawing(needs_prompt=False), **read.upscaling()},
    )


routes.include_router(generation)


@routes.get("/engines/list")
async def list_engines(caller: Admitted) -> list[EngineDocument]:
    """Return the models that run here."""
    models = caller.services.models.models
    return [documents.engine(one) for one in models if caller.may_use(one)]


@routes.get("/user/account")
async def get_account(caller: Admitted) -> AccountDocument:
    """Return whose token it is."""
    return documents.account(caller.token)


@routes.get("/user/balance")
async def get_balance(_: Admitted) -> BalanceDocument:
    """Return the credits that a token has: always the same, as nothing costs anything."""
    return {"credits": documents.CREDITS}


async def _draw(
    request: Request,
    caller: Caller,
    terms: _Terms,
    tasks: Sequence[str],
    read: Callable[[Reader], dict[str, Any]],
) -> Response:
    """Draw what a request asks for, and answer as it accepts.

    Args:
        tasks: of models that would do, the best first.
        read: returns the inputs, by our names.
    """
    services = caller.services
    version = served(services, terms.engine, tasks)
    if version.model.task not in tasks:
        raise Problem(404, f"{terms.engine[:200]} does not do this; see /v1/engines/list")
    fields = await fields_of(request, texts=frozenset(), files=FILES)
    reader = Reader(fields, caller.schema(version.model))
    asked = read(reader)
    is_png = PNG in terms.accept
    if is_png and asked.get("num_images", 1) not in (1, "1"):
        sentence = "The answer is one picture where image/png is accepted; give 1, or accept JSON"
        raise invalid([Fault("invalid_value", "samples", sentence)])
    reader.check()
    prediction = await drawn(request, caller, version, asked, terms.cancel_after, reader.names)

    found = pictures(prediction)
    data = await contents(services, prediction, [one.file for one in found])
    said = [*reader.warnings, *warnings(prediction, reader.names)]
    if is_png:
        headers = {
            "finish-reason": "SUCCESS",
            "seed": str(found[0].seed),
            "x-warnings": in_header(said),
        }
        return Response(data[0], media_type=PNG, headers=headers)
    document: ArtifactsDocument = {
        "artifacts": documents.artifacts(found, data),
        "warnings": said,
    }
    return JSONResponse(document)
