"""What a client asks for and no model here does is brought to the nearest that one does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hosting.queue import inputs


def size(width: int, height: int, schema: Mapping[str, Any]) -> tuple[int, int]:
    """Return the size nearest to another among those that an endpoint draws, in px.

    Args:
        width, height: from 1 on.
        schema: the endpoint's OpenAPI document, whose `width` and `height` have choices.
    """
    widths, heights = (inputs.choices(schema, name) for name in ("width", "height"))
    return among(width, height, widths, heights)


def among(
    width: int, height: int, widths: Sequence[int], heights: Sequence[int]
) -> tuple[int, int]:
    """Return the size nearest to another by its sides, in px.

    A size that is too large or too small is first scaled, in its shape, to the sides there are.
    The nearest side is the one of the smallest ratio to it.

    Args:
        width, height: from 1 on.
        widths, heights: the sides there are.
    """
    smaller = min(1.0, max(widths) / width, max(heights) / height)
    larger = min(min(widths) / width, min(heights) / height)
    scale = max(smaller, larger)

    def side(wanted: float, sides: Sequence[int]) -> int:
        return min(sides, key=lambda one: abs(math.log(one / wanted)))

    return side(width * scale, widths), side(height * scale, heights)


def said(wanted: tuple[float, float], drawn: tuple[int, int]) -> list[str]:
    """Return the sentence on a size that is drawn as another, if it is another."""
    if wanted == drawn:
        return []
    sizes = [f"{width:g}x{height:g}" for width, height in (wanted, drawn)]
    return [f"size: {sizes[0]} is drawn as {sizes[1]}, the nearest there is here"]


def bound(name: str, value: float, schema: Mapping[str, Any]) -> float:
    """Return the nearest number that an input takes.

    Args:
        schema: the endpoint's OpenAPI document, by which the input has both ends.
    """
    least, most = inputs.ends(schema, name)
    return min(max(value, least), most)
