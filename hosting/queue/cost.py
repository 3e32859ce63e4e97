"""The cost of a prediction: what there is to do for it, in pixels × steps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hosting.queue.inputs import USUAL_SIDE_PIXELS

LARGEST_SIDE_PIXELS = 1024
"""Of what is drawn where its size follows the result's."""
STEP_PIXELS = 64
"""Of which the sides of what is drawn are multiples."""
SIZE = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)


def of(request: Mapping[str, Any], has_image: bool, native_size: int | None) -> float:
    """Return the pixels of all steps of all images of a request.

    Where its size follows its image, which nobody has looked at yet, the model's own is meant.

    Args:
        request: its inputs, by our names.
        native_size: the side in pixels of what is drawn where no size was asked for; None where
            nobody knows.
    """
    width, height = _size(request, native_size or USUAL_SIDE_PIXELS)
    steps = float(request.get("num_inference_steps", 25))
    first = steps * request.get("strength", 0.8) if has_image else steps
    scale = request.get("refine_scale", 1)
    second = (request.get("refine_steps") or steps) * request.get("refine_strength", 0.4)
    passes = first + (second * scale**2 if scale > 1 else 0)
    return float(request.get("num_images", 1) * width * height * max(1.0, passes))


def size_of_result(request: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the width and height in pixels that are drawn for a `result_size`; None without one.

    They are its sides, rounded up to what is drawn.
    """
    match = SIZE.fullmatch(request.get("result_size") or "")
    if match is None:
        return None
    sides = [-(-int(side) // STEP_PIXELS) * STEP_PIXELS for side in match.groups()]
    return min(sides[0], LARGEST_SIDE_PIXELS), min(sides[1], LARGEST_SIDE_PIXELS)


def _size(request: Mapping[str, Any], native_size: int) -> tuple[int, int]:
    """Return the width and height that are drawn, in pixels."""
    width, height = request.get("width"), request.get("height")
    own = (native_size, native_size)
    if not width and not height:
        own = size_of_result(request) or own
    return width or own[0], height or own[1]
