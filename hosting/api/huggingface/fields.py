"""What clients of Hugging Face's Inference API send becomes inputs of a model here."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, TypeGuard

from hosting.api import nearest
from hosting.api.bodies import data_url, json_object
from hosting.api.problems import invalid
from hosting.queue import inputs
from hosting.queue.inputs import FILE_SCHEMES, Fault, quote
from hosting.storage import mime

FORMATS = {"image/jpeg": "jpg", "image/jpg": "jpg", "image/webp": "webp"}
"""By the type that a client accepts, our `output_format`; PNG else."""
NUMBERS = ("num_images", "num_outputs", "num_images_per_prompt")
"""The names that a number of images may have."""
HEAD_CHARACTERS = 64
"""Of base64, enough to know a picture by."""


def read(body: bytes, accepts: str) -> dict[str, Any]:
    """Return the inputs, by our names: of a picture alone, or of JSON.

    `inputs` is the prompt, or a picture where it is one or where `parameters` have the prompt.

    Args:
        accepts: the header Accept.

    Raises:
        Problem: when it is neither, or its parts are not what they should be.
    """
    kind = accepts.partition(",")[0].partition(";")[0].strip().lower()
    chosen = {"output_format": FORMATS[kind]} if kind in FORMATS else {}
    if mime.picture_type(body):
        return {"prompt": "", "image": data_url(body), **chosen}
    document = json_object(body)
    parameters = document.get("parameters") or {}
    given = document.get("inputs")
    if not isinstance(given, str):
        sentence = f"{quote(given)} is not allowed; give the prompt, or a picture in base64"
        raise invalid([Fault("invalid_type", "inputs", sentence)])
    if not isinstance(parameters, Mapping):
        sentence = f"{quote(parameters)} is not allowed; give an object"
        raise invalid([Fault("invalid_type", "parameters", sentence)])
    asked = {name: value for name, value in parameters.items() if value is not None}
    size = asked.pop("target_size", None)
    if isinstance(size, Mapping):
        asked |= {name: size[name] for name in ("width", "height") if size.get(name) is not None}
    elif size is not None:
        sentence = f"{quote(size)} is not allowed; give an object of width and height"
        raise invalid([Fault("invalid_type", "target_size", sentence)])
    if any(asked.get(name, 1) != 1 for name in NUMBERS):
        sentence = "The answer is one picture; leave it out, and ask again for another"
        raise invalid([Fault("not_supported", "num_images", sentence)])
    if "prompt" in asked or _is_picture(given):
        return {"prompt": "", "image": _url(given), **chosen, **asked}
    return {"prompt": given, **chosen, **asked}


def fit_size(asked: dict[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """Bring width and height, where they are given, to the nearest; return what that changes.

    Args:
        asked: is changed.
        schema: the endpoint's OpenAPI document.
    """
    width, height = asked.get("width"), asked.get("height")
    if "width" not in inputs.known_names(schema) or not _is_side(width) or not _is_side(height):
        return []
    drawn = nearest.size(width, height, schema)
    asked["width"], asked["height"] = drawn
    return nearest.said((width, height), drawn)


def _is_side(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 < value < 100_000


def _is_picture(text: str) -> bool:
    if text.startswith("data:image/"):
        return True
    try:
        head = base64.b64decode(text[:HEAD_CHARACTERS], validate=True)
    except (binascii.Error, ValueError):
        return False
    return mime.picture_type(head) is not None


def _url(text: str) -> str:
    """Return a picture that came as a URL, or in base64 without one's beginning, as a URL."""
    is_url = text[:8].lower().startswith(FILE_SCHEMES)
    return text if is_url else f"data:application/octet-stream;base64,{text}"
