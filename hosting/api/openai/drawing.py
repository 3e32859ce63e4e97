"""What a request asks to be drawn, and the answer when it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hosting.api import picture_file
from hosting.api.auth import Caller
from hosting.api.openai import documents, fields
from hosting.api.openai.documents import ImagesDocument
from hosting.api.openai.fields import Asked
from hosting.api.problems import invalid
from hosting.api.results import contents, pictures, served, warnings
from hosting.api.view import View
from hosting.prediction import Prediction
from hosting.published_models import Version
from hosting.queue.inputs import Fault


def read(
    caller: Caller,
    given: Sequence[tuple[str, Any]],
    needs_image: bool = False,
    prompt: str | None = None,
) -> tuple[Version, Asked]:
    """Return the version that a request's fields mean, and what they ask of it.

    Args:
        needs_image: whether there is nothing to draw without one.
        prompt: where none is given.

    Raises:
        Problem: naming what can't be had, and what is not understood.
    """
    asked = fields.read(given)
    if needs_image and asked.inputs.get("image") is None:
        raise invalid([Fault("required", "image", "image is required")])
    if prompt is not None:
        asked.inputs.setdefault("prompt", prompt)
    tasks = ("inpainting", "img2img") if "mask" in asked.inputs else ("img2img", "depth")
    version = served(caller.services, asked.model, tasks)
    asked.drawn_size = fields.fit_size(asked, caller.schema(version.model))
    return version, asked


async def answer(
    view: View,
    prediction: Prediction,
    formats: Sequence[str],
    names: Mapping[str, str],
    size: str | None,
    said: Sequence[str],
) -> ImagesDocument:
    """Return the pictures of a prediction that has succeeded.

    Args:
        formats, names, size, said: those of `Asked`: its formats, names, drawn size and warnings.

    Raises:
        FileGone: when a file is not there any more.
    """
    found = pictures(prediction)
    files = [one.file for one in found] if "b64_json" in formats else []
    data = await contents(view.services, prediction, files)
    link = view.link if "url" in formats else None
    document = documents.images(prediction, found, data, link)
    if not size and data and (drawn_size := picture_file.size(data[0])):
        size = "{}x{}".format(*drawn_size)
    document["warnings"] = [*said, *warnings(prediction, names)]
    if size:
        document["size"] = size
    return document
