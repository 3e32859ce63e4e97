from __future__ import annotations

from itertools import pairwise, product

import numpy
import pytest
from PIL import Image

from stable_diffusion.mosaic import LARGEST_PIECE_PIXELS, OVERLAP_PIXELS, Layout, Mosaic
from tests.support.pictures import difference, picture_of


@pytest.mark.parametrize("side", [8, 512, 520, 600, 960, 968, 1024, 1504, 2000])
def test_pieces_cover_a_side_and_overlap(side: int) -> None:
    layout = Layout.of(side, 8, 8)
    (width, height), lefts = layout.piece, layout.lefts
    assert (width % 8, height) == (0, 8)
    assert width <= LARGEST_PIECE_PIXELS
    assert (lefts[0], lefts[-1] + width) == (0, side)
    # A pixel may be lost where the pieces don't lie evenly.
    assert all(
        left + width - following >= OVERLAP_PIXELS - 1 for left, following in pairwise(lefts)
    )
    fewer = len(lefts) - 1  # would not do
    assert (
        fewer * (LARGEST_PIECE_PIXELS - OVERLAP_PIXELS) + OVERLAP_PIXELS < side or len(lefts) == 1
    )


def test_pieces_are_counted_row_by_row() -> None:
    layout = Layout.of(1000, 600, 8)
    assert (len(layout), len(layout.lefts), len(layout.tops)) == (6, 3, 2)
    (rows, columns), (width, height) = layout.place(4), layout.piece
    assert (rows.start, rows.stop) == (600 - height, 600)
    assert columns.stop - columns.start == width
    assert abs((columns.start + columns.stop) / 2 - 500) <= 1


@pytest.mark.parametrize(("width", "height"), [(520, 8), (8, 976), (1000, 600)])
def test_pieces_of_a_picture_give_that_picture(width: int, height: int) -> None:
    whole = picture_of(size=(2 * width, 2 * height))
    layout = Layout.of(width, height, 8)
    mosaic = Mosaic(layout, 2)
    for number in range(len(layout)):
        rows, columns = layout.place(number)
        box = columns.start, rows.start, columns.stop, rows.stop
        mosaic.add(whole.crop(tuple(2 * side for side in box)))
    assert difference(mosaic.picture, whole) == (0, 0)


def test_pieces_that_differ_fade_into_each_other_without_an_edge() -> None:
    layout = Layout.of(1000, 600, 8)
    mosaic = Mosaic(layout, 1)
    colours = [0, 240, 0, 240, 0, 240]
    for colour in colours:
        mosaic.add(Image.new("RGB", layout.piece, (colour,) * 3))
    pixels = numpy.asarray(mosaic.picture).astype(int)[..., 0]
    steepest = max(numpy.abs(numpy.diff(pixels, axis=axis)).max() for axis in (0, 1))
    assert steepest <= 240 / (OVERLAP_PIXELS - 1) + 1
    # Beside the overlaps, each is as it came.
    inside = [
        (pixels[y, x], row * 3 + column)
        for (row, y), (column, x) in product(enumerate((20, 580)), enumerate((20, 500, 980)))
    ]
    assert [value for value, _ in inside] == [colours[number] for _, number in inside]
