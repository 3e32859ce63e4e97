"""The fields of OpenAI's requests become inputs of a model here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hosting.api import nearest
from hosting.api.bodies import merged
from hosting.api.problems import invalid
from hosting.queue import inputs
from hosting.queue.inputs import SIZE, Fault, quote

TEXTS = frozenset({"model", "prompt", "negative_prompt"})
IMAGES = ("image", "image[]")
FILES = frozenset({*IMAGES, "mask"})
LISTS = frozenset({"loras", "lora"})
RENAMED = {
    "num_images": "n",
    "num_inference_steps": "steps",
    "image": "image_url",
    "output_quality": "output_compression",
}
"""By our names for inputs, theirs: OpenAI's, and those that Together's client adds."""
FORMATS = {"url": ("url",), "b64_json": ("b64_json",), "base64": ("b64_json",)}
BOTH = ("url", "b64_json")
"""Where nothing is said: some clients read one without asking for it, some the other."""


@dataclass
class Asked:
    """A request, as it is understood.

    Args:
        model: any name.
        inputs: by our names, unchecked.
        names: what the client calls some of the inputs.
        formats: in which each picture is to be answered.
        size: width and height in px, which need not be among those that can be drawn.
        drawn_size: those that are drawn, as a text, where any are asked for.
        warnings: sentences on what is not as it was asked for.
    """

    model: str | None
    inputs: dict[str, Any]
    formats: Sequence[str]
    names: dict[str, str] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    drawn_size: str | None = None
    warnings: list[str] = field(default_factory=list)


def read(fields: Sequence[tuple[str, Any]]) -> Asked:
    """Return what a request asks for; fields that are not known are left to be ignored.

    Raises:
        Problem: naming what can't be had, and what is not understood.
    """
    present = [(name, value) for name, value in fields if value is not None]
    given = merged(present, LISTS)
    faults = []
    if str(given.pop("stream", False)).lower() not in ("false", "0", ""):
        faults.append(
            Fault("unsupported_parameter", "stream", "Pictures are not streamed; leave stream out")
        )
    model = given.pop("model", None)
    if model is not None and not isinstance(model, str):
        sentence = f"{quote(model)} is not allowed; give a model's name"
        faults.append(Fault("invalid_type", "model", sentence))
    wanted = given.pop("response_format", None)
    if wanted is not None and not (isinstance(wanted, str) and wanted in FORMATS):
        sentence = f"{quote(wanted)} is not allowed; give url or b64_json"
        faults.append(Fault("invalid_value", "response_format", sentence))
        wanted = None
    size = given.pop("size", None)
    if not (size is None or size == "auto" or size == "" or _sides(size)):
        sentence = f"{quote(size)} is not allowed; give auto, or width and height such as 1024x768"
        faults.append(Fault("invalid_value", "size", sentence))
    if faults:
        raise invalid(faults)

    asked = Asked(model, given, FORMATS[wanted] if wanted else BOTH, size=_sides(size))
    _read_images(asked, fields)
    for ours, theirs in RENAMED.items():
        if theirs in given:
            value = given.pop(theirs)
            if ours not in given:
                given[ours], asked.names[ours] = value, theirs
    if "mask" in given:
        # Nothing of what is to be edited stays, and transparency says what that is.
        given = {"strength": 1, "mask_source": "alpha", **given}
    asked.inputs = given
    return asked


def fit_size(asked: Asked, schema: Mapping[str, Any]) -> str | None:
    """Set the width and height that are drawn, and return them as a text; None if none are asked.

    Args:
        asked: is changed, and warned where the size is another.
        schema: the endpoint's OpenAPI document.
    """
    sides = [asked.inputs.get(name) for name in ("width", "height")]
    pair = _sides(f"{sides[0]}x{sides[1]}") if all(side is not None for side in sides) else None
    pair = pair or asked.size
    if pair is None:
        return None
    if "width" not in inputs.known_names(schema):
        asked.warnings.append("size: has no effect; this model's result has a size of its own")
        return None
    width, height = nearest.size(*pair, schema)
    asked.inputs |= {"width": width, "height": height}
    asked.warnings += nearest.said(pair, (width, height))
    return f"{width}x{height}"


def _read_images(asked: Asked, fields: Sequence[tuple[str, Any]]) -> None:
    """Take the first of the input images, which come as a list, or by one name several times."""
    images = []
    for name, value in fields:
        if name in IMAGES and value is not None:
            images += value if isinstance(value, list) else [value]
    for name in IMAGES:
        if asked.inputs.pop(name, None) is not None:
            asked.names["image"] = name
    if images:
        asked.inputs["image"] = images[0]
    if len(images) > 1:
        asked.warnings.append(
            f"image: of {len(images)} images the first is drawn from; the model takes no more"
        )


def _sides(size: object) -> tuple[int, int] | None:
    """Return the width and height that a text such as 1024x768 has; None if it is none."""
    match = SIZE.fullmatch(size) if isinstance(size, str) and len(size) <= 50 else None
    if not match or not all(map(int, match.groups())):
        return None
    return int(match[1]), int(match[2])
