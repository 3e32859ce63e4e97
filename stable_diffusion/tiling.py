"""Seamless tiling: what is beyond an edge of a picture is what is at the opposite one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy
from PIL import Image
from torch import nn

MARGIN_PIXELS = 64
"""Of the opposite edges that the encoder sees beyond each; a multiple of what a latent has."""


@contextmanager
def wrapped(model: nn.Module) -> Iterator[None]:
    """Have the convolutions of a model pad with the opposite edges, for the time of a block.

    Nothing else may call the model then.
    """
    convolutions = [one for one in model.modules() if isinstance(one, nn.Conv2d) and _pads(one)]
    for one in convolutions:
        one.padding_mode = "circular"
    try:
        yield
    finally:
        for one in convolutions:
            one.padding_mode = "zeros"


def with_margin(picture: Image.Image) -> Image.Image:
    """Return a picture with a margin of its opposite edges all around, MARGIN_PIXELS wide."""
    margins = (MARGIN_PIXELS, MARGIN_PIXELS), (MARGIN_PIXELS, MARGIN_PIXELS), (0, 0)
    return Image.fromarray(numpy.pad(numpy.asarray(picture), margins, mode="wrap"))


def _pads(convolution: nn.Conv2d) -> bool:
    return any(side != 0 for side in convolution.padding)
