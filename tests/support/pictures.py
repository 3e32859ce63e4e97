"""Pictures for tests, and how much two differ."""

from __future__ import annotations

from pathlib import Path

import numpy
from PIL import Image

from cog_schema.schema import ROOT

EXAMPLES = ROOT / "examples"


def opened(path: Path) -> Image.Image:
    """A picture from a file, which is closed again."""
    with Image.open(path) as picture:
        picture.load()
        return picture


def difference(one: Image.Image, other: Image.Image) -> tuple[float, float]:
    """The largest and the mean difference of two pictures' values, of 255."""
    pixels = [numpy.asarray(picture.convert("RGB")).astype(float) for picture in (one, other)]
    distance = abs(pixels[0] - pixels[1])
    return distance.max(), distance.mean()


def same(one: Image.Image, other: Image.Image) -> bool:
    """Whether two pictures are the same in the contract's sense (2.5), in float32."""
    largest, mean = difference(one, other)
    return largest <= 2 and mean <= 0.1


def picture_of(
    colours: str = "RGB", size: tuple[int, int] = (128, 128), seed: int = 0
) -> Image.Image:
    """A picture with something everywhere: a gradient with noise, so that no two places agree."""
    generator = numpy.random.default_rng(seed)
    ramp = numpy.linspace(0, 200, size[0] * size[1] * 3).reshape(size[1], size[0], 3)
    pixels = (ramp + generator.integers(0, 55, ramp.shape)).astype(numpy.uint8)
    return Image.fromarray(pixels).convert(colours)


def half_mask(size: tuple[int, int] = (128, 128)) -> Image.Image:
    """White on the right half."""
    mask = Image.new("L", size, 0)
    mask.paste(255, (size[0] // 2, 0, *size))
    return mask
