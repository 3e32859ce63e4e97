"""A prediction of more images than an endpoint makes at once is run in parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hosting.queue.inputs import SEEDS

IMAGES = 4
"""Of a part, at most: the contract's `num_images`."""


def of(inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the inputs of each part of a prediction.

    A part's seed is the seed of its first image, so that all have those that they would have in
    one.

    Args:
        inputs: for Cog, with the `seed`, but with any `num_images`.
    """
    number = inputs.get("num_images", 1)
    if number <= IMAGES:
        return [dict(inputs)]
    return [
        {
            **inputs,
            "num_images": min(IMAGES, number - first),
            "seed": (inputs["seed"] + first) % SEEDS,
        }
        for first in range(0, number, IMAGES)
    ]
