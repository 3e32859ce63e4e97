"""Seamless tiling: what is beyond an edge of a picture is what is at the opposite one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy
import torch
from PIL import Image
from torch import nn

MARGIN_PIXELS = 64
"""Of the opposite edges that the encoder sees beyond each; a multiple of what a latent has."""

FADE = 32
"""Latent pixels over which a texture fades into its beginning, where it is not decoded at once."""


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


def decoded(
    latents: torch.Tensor, decode: Callable[[torch.Tensor], torch.Tensor], scale: int
) -> torch.Tensor:
    """Return the pixels of (n, 4, h, w) latents that wrap around, of a decoder that doesn't.

    What follows on the right and below is decoded too, and fades into the beginning, so that the
    last pixels are followed by the first, however different both were decoded.

    Args:
        scale: pixels per latent pixel.
    """
    margins = [min(FADE, side) for side in latents.shape[2:]]
    for axis, margin in enumerate(margins, 2):
        latents = torch.cat([latents, latents.narrow(axis, 0, margin)], axis)
    pixels = decode(latents)
    for axis, margin in enumerate(margins, 2):
        width = margin * scale
        lengths = [width, pixels.shape[axis] - 2 * width, width]
        beginning, rest, following = torch.split(pixels, lengths, axis)
        share = (torch.arange(width, device=pixels.device, dtype=pixels.dtype) + 0.5) / width
        share = share[:, None] if axis == 2 else share
        pixels = torch.cat([following + share * (beginning - following), rest], axis)
    return pixels


def _pads(convolution: nn.Conv2d) -> bool:
    return any(side != 0 for side in convolution.padding)
