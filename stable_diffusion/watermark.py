"""The invisible watermark that CompVis's and Stability AI's scripts put into their pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[numpy.uint8]
    Ints = NDArray[numpy.int32]
    Reals = NDArray[numpy.float32]

MARK = b"StableDiffusionV1"
"""The text of the watermark of CompVis's `scripts/txt2img.py`, for Stable Diffusion 1."""
MARK_2 = b"SDV2"
"""That of Stability AI's scripts, for Stable Diffusion 2."""
SMALLEST_PIXELS = 256 * 256
"""Pixels from which on a picture is marked; `invisible-watermark` reads no smaller one."""
STEP = 72
"""The step of coefficients' scale: those in the lower half of a step encode 0, the others 1."""
BAND_PIXELS = 512
"""Rows that are read at once, since each pixel takes some 30 bytes meanwhile."""
MARGIN = 4
"""The distance of coefficients from those that encode the opposite; rounding may take half."""
BLUER = numpy.array([0, -0.395, 2.032], numpy.float32)
"""The change of R, G and B for one more in OpenCV's U."""
LUMINANCE = numpy.array([0.299, 0.587, 0.114], numpy.float32)
"""The weights of R, G and B in what is seen as light."""


def lay(
    picture: Image.Image, generated: Image.Image | None = None, mark: bytes = MARK
) -> Image.Image:
    """Return the picture with a watermark; a small one stays as it is.

    The package `invisible-watermark` reads it from every picture of 256 × 256 pixels or more, as
    long as no pixel changes. It is that package's method `dwtDct` (imwatermark/maxDct.py): in each
    block of 8 × 8 pixels, the largest of fifteen coefficients is set to the middle of the half step
    that says the block's bit; the bits of the mark take turns. Two things differ. No other pixels
    change, where the package turns all of them to YUV and back. And a block that would be read
    wrong is corrected: its colours were clipped, or another coefficient is the largest now.

    Args:
        picture: RGB, with at least eight pixels on each side.
        generated: in its size, greyscale: where it is 0, pixels stay as they are. None marks all.
        mark: the watermark's text.
    """
    if picture.width * picture.height < SMALLEST_PIXELS:
        return picture
    pixels = numpy.array(picture)
    blocks = _blocks(pixels)
    bits = _bits(mark, len(blocks))

    values = _coefficients(blocks)
    every, largest = numpy.arange(len(blocks)), 1 + values[:, 1:].argmax(1)
    value = values[every, largest]
    wanted = value // STEP * STEP + STEP // 4 + STEP // 2 * bits
    squares = _clipped(_shifted(blocks[every, largest], wanted - value))
    marked = blocks.copy()
    marked[every, largest], values[every, largest] = squares, _coefficients(squares)

    wrong = ~_says(values, bits)
    marked[wrong] = _corrected(blocks[wrong], bits[wrong])
    rows, columns = picture.height // 8, picture.width // 8
    marked = marked.reshape(rows, columns, 4, 4, 2, 2, 3).transpose(0, 2, 4, 1, 3, 5, 6)
    pixels[: rows * 8, : columns * 8] = marked.reshape(rows * 8, columns * 8, 3)
    whole = Image.fromarray(pixels)
    return (
        Image.composite(whole, picture, generated.point([0] + [255] * 255)) if generated else whole
    )


def read(picture: Image.Image) -> str | None:
    """Return the text of the watermark that a picture carries; None where it carries none of ours.

    It is read as `invisible-watermark` reads it, and may have one wrong bit in eight, as the marks
    that the package writes often have. By chance one picture in a hundred thousand has one.

    Args:
        picture: RGB.
    """
    if picture.width * picture.height < SMALLEST_PIXELS or min(picture.size) < 8:
        return None
    bands = (
        picture.crop((0, top, picture.width, min(top + BAND_PIXELS, picture.height)))
        for top in range(0, picture.height - 7, BAND_PIXELS)
    )
    values = [_coefficients(_blocks(numpy.array(band)))[:, 1:].max(1) for band in bands]
    says = numpy.concatenate(values) % STEP > STEP // 2
    for mark in (MARK, MARK_2):
        turns = numpy.arange(len(says)) % (8 * len(mark))
        share = numpy.bincount(turns, says) / numpy.bincount(turns)
        if ((share > 0.5) == _bits(mark, 8 * len(mark))).mean() >= 7 / 8:
            return mark.decode()
    return None


def _bits(mark: bytes, number: int) -> Ints:
    """Return that many bits of a text, again and again, (number,)."""
    bits = numpy.unpackbits(numpy.frombuffer(mark, numpy.uint8)).astype(numpy.int32)
    return numpy.resize(bits, number)


def _blocks(pixels: Bytes) -> Bytes:
    """Return the squares of 2 × 2 pixels in each block of 8 × 8, (blocks, 16, 2, 2, 3)."""
    rows, columns = pixels.shape[0] // 8, pixels.shape[1] // 8
    grid = pixels[: rows * 8, : columns * 8].reshape(rows, 4, 2, columns, 4, 2, 3)
    return grid.transpose(0, 3, 1, 4, 2, 5, 6).reshape(-1, 16, 2, 2, 3)


def _coefficients(squares: Bytes) -> Ints:
    """Return four times the mean U of squares, (…, 2, 2, 3): twice the Haar wavelet's result.

    U is that of OpenCV's `COLOR_BGR2YUV`, to the bit (modules/imgproc/src/color_yuv.simd.hpp).
    """
    red, green, blue = numpy.moveaxis(squares, -1, 0).astype(numpy.int32)
    luminance = (4899 * red + 9617 * green + 1868 * blue + 2**13) >> 14
    u = ((blue - luminance) * 8061 + (128 << 14) + 2**13) >> 14
    values: Ints = u.sum((-1, -2), dtype=numpy.int32)
    return values


def _says(values: Ints, bits: Ints) -> NDArray[numpy.bool_]:
    """Return whether the package's decoder is sure to read each block's bit, (blocks,).

    Args:
        values: (blocks, 16), of which it leaves out the first.
    """
    phase = (values[:, 1:].max(1) - STEP // 2 * bits) % STEP
    says: NDArray[numpy.bool_] = abs(phase - STEP // 4) <= STEP // 4 - MARGIN // 2
    return says


def _shifted(squares: Bytes, more: Ints) -> Reals:
    """Return squares, (…, 2, 2, 3), with coefficients larger by `more`, (…); Y and V stay."""
    return squares + (more / numpy.float32(4)).astype(numpy.float32)[..., None, None, None] * BLUER


def _clipped(squares: Reals) -> Bytes:
    return squares.round().clip(0, 255).astype(numpy.uint8)


def _corrected(blocks: Bytes, bits: Ints) -> Bytes:
    """Return blocks, changed so that they encode their bits.

    The largest coefficient is made larger until they do, or all the large ones are made smaller,
    whichever is seen less.
    """
    values = _coefficients(blocks)
    largest = 1 + values[:, 1:].argmax(1)[:, None]
    value = numpy.take_along_axis(values, largest, 1)
    room = STEP // 2 - 2 * MARGIN
    above = (value - MARGIN - STEP // 2 * bits[:, None]) % STEP
    higher = value + numpy.where(above > room, STEP - above, 0)
    lower = value - numpy.where(above > room, above - room, 0)
    raised, lowered = values.copy(), numpy.minimum(values, lower)
    numpy.put_along_axis(raised, largest, higher, 1)
    lowered[:, 0] = values[:, 0]  # which nobody reads

    candidates = [_steered(blocks, values, wanted) for wanted in (raised, lowered)]
    change = [
        (numpy.square(candidate.astype(numpy.float32) - blocks) @ LUMINANCE).sum((1, 2, 3))
        + numpy.where(_says(_coefficients(candidate), bits), 0, numpy.inf)
        for candidate in candidates
    ]
    return numpy.where((change[0] <= change[1])[:, None, None, None, None], *candidates)


def _steered(blocks: Bytes, values: Ints, wanted: Ints) -> Bytes:
    """Return blocks with coefficients near those wanted, and Y changed where colours need it."""
    blocks, missing = blocks.copy(), wanted - values
    for _ in range(8):  # as no colour is as blue or yellow as some would have to be
        off = abs(missing) > MARGIN // 2
        if not off.any():
            break
        squares = _shifted(blocks[off], missing[off])
        squares -= (squares.max(-1, keepdims=True) - 255).clip(0)
        squares -= squares.min(-1, keepdims=True).clip(None, 0)
        blocks[off] = _clipped(squares)
        missing[off] = wanted[off] - _coefficients(blocks[off])
    return blocks
