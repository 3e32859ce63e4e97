"""What of a token's limits no schema can say: its models, and the size of what is drawn."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from hosting.limits import TokenLimits
from hosting.published_models import Model
from hosting.queue import cost, inputs
from hosting.queue.inputs import (
    AUTOMATIC_SIDES_PIXELS,
    USUAL_SIDE_PIXELS,
    Fault,
    InvalidInputs,
)
from hosting.settings import LEAST_SIDE_PIXELS
from hosting.storage.picture_size import HEAD_BYTES, picture_size

OWN_SHAPES = (
    "keep_size",
    "crop",
    "only_masked",
    "extend_left",
    "extend_top",
    "extend_right",
    "extend_bottom",
)
"""Inputs by which an empty size follows something else than the image's own shape."""


def faults_of_model(limits: TokenLimits, model: Model, weights: str | None) -> Iterator[Fault]:
    """Yield what is wrong with a token's choice of a model.

    Args:
        weights: the name of what serves it.
    """
    if not limits.allow(model, weights):
        names = ", ".join(sorted(limits.models or ())) or "none"
        sentence = f"{model.id} is not among the models that your token may use: {names}"
        yield Fault("enum", "model", sentence)


def fit(
    values: Mapping[str, Any],
    limits: TokenLimits,
    has_image: bool,
    picture: bytes | None,
    native_size: int | None,
) -> dict[str, int]:
    """Return width and height where they are empty, and what the model chose would be too large.

    Args:
        values: the inputs of a model that has a width and a height, by our names.
        picture: its image, where that is here.
        native_size: the side in pixels of the square that the model was trained on.

    Raises:
        InvalidInputs: when what is drawn would be too large.
    """
    most, native = limits.side, native_size or USUAL_SIDE_PIXELS
    if most is None or (has_image and values.get("strength") == 0):  # nothing is drawn
        return {}
    size: dict[str, int] = {}
    largest = _largest_side(values, has_image, native)
    if largest > most and not (values.get("width") and values.get("height")):
        fitted = _fitted(values, most, has_image, picture, native)
        if fitted is None:
            sentence = (
                f"Without width and height, more than {most} px a side may be drawn, the limit of "
                "your token; give both"
            )
            raise InvalidInputs(Fault("required", "input.width", sentence))
        size, largest = dict(zip(("width", "height"), fitted, strict=True)), max(fitted)
    scale = values.get("refine_scale", 1)
    if largest * scale > most:
        sentence = (
            f"{scale:g} times {largest} px is more than {most} px a side, the limit of your token; "
            f"give at most {math.floor(100 * most / largest) / 100:g}, or a smaller size"
        )
        raise InvalidInputs(Fault("number_lte", "input.refine_scale", sentence))
    return size


def _largest_side(values: Mapping[str, Any], has_image: bool, native_size: int) -> int:
    """Return the longest side in pixels that may be drawn, as far as the inputs tell."""
    width: int | None = values.get("width")
    height: int | None = values.get("height")
    if width and height:
        return max(width, height)
    result = cost.size_of_result(values)
    if any(values.get(name) for name in OWN_SHAPES) or (result and (width or height)):
        return cost.LARGEST_SIDE_PIXELS
    if result:
        return max(result)
    if not has_image:
        return max(width or native_size, height or native_size)
    if width or height:
        return max(AUTOMATIC_SIDES_PIXELS)
    sides = itertools.product(AUTOMATIC_SIDES_PIXELS, AUTOMATIC_SIDES_PIXELS)
    return max(max(pair) for pair in sides if math.prod(pair) <= 2 * native_size**2)


def _fitted(
    values: Mapping[str, Any], most: int, has_image: bool, picture: bytes | None, native_size: int
) -> tuple[int, int] | None:
    """Return the size that the model would choose if it had no larger sides; None if none knows."""
    if any(values.get(name) for name in (*OWN_SHAPES, "result_size")):
        return None
    width, height = values.get("width"), values.get("height")
    sides = [side for side in AUTOMATIC_SIDES_PIXELS if side <= most] or [LEAST_SIDE_PIXELS]
    if not has_image:
        side = min(native_size, max(sides))
        return width or side, height or side
    shape = _shape(picture) if picture else None
    if shape is None:
        return None
    widths, heights = ([side] if side else sides for side in (width, height))
    return inputs.size_of_shape(shape, native_size, widths, heights)


def _shape(picture: bytes) -> float | None:
    """Return width over height; None where that is not known, or EXIF may turn it."""
    head = picture[:HEAD_BYTES]
    size = None if b"Exif" in head else picture_size(head)
    return size[0] / size[1] if size and all(size) else None
