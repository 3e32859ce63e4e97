"""AUTOMATIC1111's HTTP API, as its public clients use it: what draws, and what is said of it.

Source: AUTOMATIC1111/stable-diffusion-webui, modules/api/api.py.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

from fastapi import APIRouter, Request

import infotext
from hosting.api import picture_file
from hosting.api.a1111 import documents, enlarging, models, translation
from hosting.api.a1111.documents import (
    EnlargedDocument,
    GeneratedDocument,
    PngInfoDocument,
    ProgressDocument,
)
from hosting.api.a1111.errors import NAMES, ROOT
from hosting.api.a1111.models import Served
from hosting.api.a1111.requests import ExtraSingleImage, ImageToImage, PngInfo, TextToImage
from hosting.api.auth import Admitted, Caller
from hosting.api.deadlines import CancelAfter, seconds_of
from hosting.api.problems import invalid
from hosting.api.results import Failed, ended, new_prediction, warnings
from hosting.prediction import Prediction
from hosting.published_models import Input
from hosting.queue.inputs import Fault, known_names
from hosting.states import Status
from hosting.storage.files import Files, file_of_prediction

API = "a1111"
TEXT = "parameters"
"""The keyword of the text in a PNG that says how it was made."""

routes = APIRouter(prefix=ROOT.rstrip("/"), tags=["AUTOMATIC1111"])


@routes.post("/txt2img")
async def txt2img(
    request: Request, asked: TextToImage, caller: Admitted, cancel_after: CancelAfter = None
) -> GeneratedDocument:
    """Draw images from a prompt. Whoever hangs up cancels it."""
    return await _generate(request, asked, caller, cancel_after)


@routes.post("/img2img")
async def img2img(
    request: Request, asked: ImageToImage, caller: Admitted, cancel_after: CancelAfter = None
) -> GeneratedDocument:
    """Draw images from an image and a prompt. Whoever hangs up cancels it."""
    return await _generate(request, asked, caller, cancel_after)


@routes.post("/extra-single-image")
async def extra_single_image(
    request: Request, asked: ExtraSingleImage, caller: Admitted, cancel_after: CancelAfter = None
) -> EnlargedDocument:
    """Enlarge an image: by the upscaler where it is served, by a network, or by a filter."""
    services = caller.services
    data = await asyncio.to_thread(_decoded, asked.image)
    drawing = models.of_task(services, models.DRAWING[0])
    installed = drawing.upscalers if drawing else ()
    plan = enlarging.plan(asked, data, models.of_task(services, models.UPSCALE), installed)
    served = plan.upscaler or drawing
    if served is None:
        raise models.none(services, "No model that could enlarge an image runs here")
    inputs = {**plan.inputs, "image": translation.as_url(asked.image)}
    seconds = seconds_of(cancel_after, asked.cancel_after)
    prediction = await _accept(caller, served, inputs, plan.warnings, seconds)
    prediction = await _finish(request, caller, prediction)
    images = await asyncio.to_thread(_pictures, services.files, prediction)
    said = [*plan.warnings, *warnings(prediction)]
    return {"html_info": " ".join(f"<p>{escape(one)}</p>" for one in said), "image": images[0]}


@routes.post("/png-info")
async def png_info(asked: PngInfo, _: Admitted) -> PngInfoDocument:
    """Return the text of a PNG that says how it was made."""
    found = picture_file.texts(await asyncio.to_thread(_decoded, asked.image))
    text = found.pop(TEXT, "")
    return {"info": text, "items": found, "parameters": infotext.read(text) if text else {}}


@routes.get("/progress")
async def progress(caller: Admitted) -> ProgressDocument:
    """Return the progress of your newest request. No unfinished image is ever shown."""
    return documents.progress(await caller.services.queue.newest(caller.token.id, API))


@routes.post("/interrupt")
async def interrupt(caller: Admitted) -> dict[str, str]:
    """End your newest request, between two steps if it runs."""
    await _end_newest(caller)
    return {}


@routes.post("/skip")
async def skip(caller: Admitted) -> None:
    """Do the same."""
    await _end_newest(caller)


async def _end_newest(caller: Caller) -> None:
    queue = caller.services.queue
    newest = await queue.newest(caller.token.id, API)
    if newest is not None:
        await queue.cancel(newest.id)


async def _generate(
    request: Request, asked: TextToImage, caller: Caller, cancel_after: str | None
) -> GeneratedDocument:
    services = caller.services
    usual = models.served(services)[0]
    name = asked.override_settings.get("sd_model_checkpoint") or usual.name
    found = models.chosen(services, name) if isinstance(name, str) else usual
    served = found or usual
    # Prompts may be long: others are served meanwhile.
    most_images = services.settings.most_images
    drawing = await asyncio.to_thread(
        translation.drawing, asked, most_images, served.upscalers, served.loras(caller)
    )
    if found is None:
        sentence = f"sd_model_checkpoint: there is no {str(name)[:100]} here; {usual.name} drew"
        drawing.warnings.append(sentence)
    for lacking in ("only_masked", "resize_mode", "refine_scale", "spacing"):
        if lacking in drawing.inputs.keys() - known_names(served.schema):
            sentence = f"{NAMES.get(lacking, lacking)}: has no effect, as {served.name} is served"
            drawing.warnings.append(sentence)
    seconds = seconds_of(cancel_after, asked.cancel_after)
    prediction = await _accept(caller, served, drawing.inputs, drawing.warnings, seconds)
    drawing.forget_images()
    if isinstance(asked, ImageToImage) and not asked.include_init_images:
        asked.init_images, asked.mask = [], ""
    prediction = await _finish(request, caller, prediction)
    texts = documents.infotexts(asked, drawing, prediction)
    images: list[str] = []
    if asked.send_images:
        images = await asyncio.to_thread(_pictures, services.files, prediction, texts)
    return documents.generated(asked, drawing, prediction, images, texts)


async def _accept(
    caller: Caller,
    served: Served,
    inputs: Mapping[str, Any],
    warnings: Sequence[str],
    cancel_after: int | None,
) -> Prediction:
    """Take a prediction into the queue.

    Args:
        warnings: that its logs begin with.
        cancel_after: seconds after which it is ended, if it is not over.

    Raises:
        Problem: when what serves it can't draw it.
        InvalidInputs, QueueFull, QuotaExceeded: as the queue does.
    """
    services = caller.services
    if "result_size" in inputs.keys() - known_names(served.schema):
        sentence = f"{served.name} draws multiples of 64 up to 1024 only, as it is served here"
        raise invalid([Fault("enum", "width", sentence), Fault("enum", "height", sentence)])
    most = {"num_images": Input("integer", 1, services.settings.most_images)}
    new = new_prediction(caller, replace(served.version, inputs=most), inputs)
    new = replace(new, api=API, notes=warnings, cancel_after=cancel_after)
    return await services.queue.accept(new)


async def _finish(request: Request, caller: Caller, prediction: Prediction) -> Prediction:
    """Return a prediction when it is over and has images. Whoever hangs up cancels it.

    Raises:
        Problem: when it has none.
    """
    prediction = await ended(request, caller.services, prediction)
    is_cut_short = prediction.status is Status.CANCELED and prediction.output
    if prediction.status is not Status.SUCCEEDED and not is_cut_short:
        raise Failed(prediction, NAMES)
    return prediction


def _pictures(files: Files, prediction: Prediction, texts: Sequence[str] = ()) -> list[str]:
    """Return a prediction's pictures as base64.

    Args:
        texts: for each, the text of its making that its file is to have.
    """
    pictures = []
    for index, name in enumerate(prediction.output):
        data = files.read(file_of_prediction(prediction.id, name))
        if index < len(texts):
            data = picture_file.with_text(data, TEXT, texts[index])
        pictures.append(base64.b64encode(data).decode())
    return pictures


def _decoded(picture: str) -> bytes:
    """Return the file in base64 or in a data URL.

    Raises:
        Problem: when it is neither.
    """
    data = translation.contents(picture)
    if data is None:
        sentence = "It must be a picture in base64, or as a data URL"
        raise invalid([Fault("format", "image", sentence)])
    return data
