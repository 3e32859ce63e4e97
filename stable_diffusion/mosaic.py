"""Mosaics: large pictures that are drawn in overlapping pieces, of which one goes into the next."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy
from PIL import Image

LARGEST_PIECE_PIXELS = 512
"""The largest side of what is drawn in one piece, in latent pixels."""
OVERLAP_PIXELS = 64
"""The latent pixels that a piece at least has in common with the one beside it."""


@dataclass(frozen=True)
class Layout:
    """The places of a mosaic's pieces, in latent pixels; all pieces are of one size.

    size: width and height of the whole.
    piece: width and height of each piece.
    lefts, tops: where its columns and its rows begin.
    """

    size: tuple[int, int]
    piece: tuple[int, int]
    lefts: tuple[int, ...]
    tops: tuple[int, ...]

    @classmethod
    def of(cls, width: int, height: int, step: int) -> Layout:
        """Return the layout with the fewest pieces, and of those the one with the least overlap.

        Args:
            width, height: of the whole, in latent pixels; multiples of
            step: which the sides of the pieces are, too.
        """
        piece_width, lefts = _divided(width, step)
        piece_height, tops = _divided(height, step)
        return cls((width, height), (piece_width, piece_height), lefts, tops)

    def __len__(self) -> int:
        return len(self.lefts) * len(self.tops)

    def place(self, number: int) -> tuple[slice, slice]:
        """Return the rows and the columns of a piece; they are counted row by row."""
        row, column = divmod(number, len(self.lefts))
        top, left = self.tops[row], self.lefts[column]
        return slice(top, top + self.piece[1]), slice(left, left + self.piece[0])


class Mosaic:
    """A picture that comes in pieces, in the order of their numbers.

    Where two overlap, the earlier one fades into the later.

    Args:
        scale: pixels of the picture per latent pixel.
    """

    def __init__(self, layout: Layout, scale: int) -> None:
        self._lefts = [scale * left for left in layout.lefts]
        self._tops = [scale * top for top in layout.tops]
        width, height = layout.size
        self.picture = Image.new("RGB", (scale * width, scale * height))
        # Row by row: only so the corners, where four pieces overlap, have no edges.
        self._row = Image.new("RGB", (scale * width, scale * layout.piece[1]))
        self.number = 0
        """Of the piece that comes next."""

    def add(self, piece: Image.Image) -> None:
        """Put the next piece, RGB, to those before it."""
        row, column = divmod(self.number, len(self._lefts))
        self.number += 1
        _lay(piece, self._row, self._lefts, column, axis=0)
        if column == len(self._lefts) - 1:
            _lay(self._row, self.picture, self._tops, row, axis=1)


def _divided(side: int, step: int) -> tuple[int, tuple[int, ...]]:
    """Return the length of the pieces of a side, and where each begins."""
    count = max(1, math.ceil((side - OVERLAP_PIXELS) / (LARGEST_PIECE_PIXELS - OVERLAP_PIXELS)))
    length = math.ceil((side + (count - 1) * OVERLAP_PIXELS) / count / step) * step
    return length, tuple(round(one * (side - length) / max(1, count - 1)) for one in range(count))


def _lay(over: Image.Image, under: Image.Image, starts: list[int], number: int, axis: int) -> None:
    """Paste what begins at one of the starts along an axis, fading in where the one before ends."""
    place = (starts[number], 0) if axis == 0 else (0, starts[number])
    if number == 0:
        under.paste(over, place)
        return
    overlap = starts[number - 1] + over.size[axis] - starts[number]
    weights = numpy.full(over.size[axis], 255, numpy.uint8)
    weights[:overlap] = (numpy.arange(overlap) + 0.5) / overlap * 255
    mask = numpy.broadcast_to(weights if axis == 0 else weights[:, None], over.size[::-1])
    under.paste(over, place, Image.fromarray(numpy.ascontiguousarray(mask)))
