from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy
import pytest
from imwatermark import WatermarkDecoder, WatermarkEncoder
from imwatermark.maxDct import EmbedMaxDct
from PIL import Image

from stable_diffusion import watermark
from stable_diffusion.watermark import MARK, MARK_2
from tests.support.pictures import EXAMPLES, difference, opened, picture_of
from tests.support.properties import given
from tests.support.properties import strategies as st


def bgr(picture: Image.Image) -> Any:
    """A picture as OpenCV has it, by way of a PNG file."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return numpy.array(Image.open(file))[:, :, ::-1].copy()


def decoded(picture: Image.Image, length: int = len(MARK)) -> bytes:
    """What the package reads."""
    message: bytes = WatermarkDecoder("bytes", 8 * length).decode(bgr(picture), "dwtDct")
    return message


def encoded(picture: Image.Image) -> Image.Image:
    """What the package writes."""
    encoder = WatermarkEncoder()
    encoder.set_watermark("bytes", MARK)
    return Image.fromarray(encoder.encode(bgr(picture), "dwtDct")[:, :, ::-1])


def bits_of_blocks(picture: Image.Image) -> Any:
    """(blocks,): the bit that the package reads from each, where the mark takes turns."""
    blocks = (picture.width // 8) * (picture.height // 8)
    return EmbedMaxDct(wmLen=blocks).decode(bgr(picture))


def bits_of_mark(picture: Image.Image) -> Any:
    blocks = (picture.width // 8) * (picture.height // 8)
    return numpy.resize(numpy.unpackbits(numpy.frombuffer(MARK, numpy.uint8)), blocks)


def colours(*colours: tuple[int, int, int], tile: int = 8) -> Callable[..., Image.Image]:
    """Draws random tiles of these colours."""

    def draw(width: int, height: int) -> Image.Image:
        shape = -(-height // tile), -(-width // tile)
        tiles = numpy.random.default_rng(0).choice(numpy.array(colours, numpy.uint8), shape)
        pixels = tiles.repeat(tile, 0).repeat(tile, 1)[:height, :width]
        return Image.fromarray(numpy.ascontiguousarray(pixels))

    return draw


def noise(width: int, height: int) -> Image.Image:
    generator = numpy.random.default_rng(0)
    return Image.fromarray(generator.integers(0, 256, (height, width, 3), numpy.uint8))


def photo(width: int, height: int) -> Image.Image:
    """Smooth colours with grain."""
    smooth = numpy.asarray(noise(9, 9).resize((width, height), Image.Resampling.BICUBIC))
    grain = numpy.random.default_rng(0).normal(0, 5, (height, width, 3))
    return Image.fromarray((smooth + grain).clip(0, 255).astype(numpy.uint8))


def gradient(width: int, height: int) -> Image.Image:
    across, down = numpy.linspace(0, 255, width), numpy.linspace(0, 255, height)[:, None]
    channels = numpy.broadcast_arrays(across, down, (across + down) / 2)
    return Image.fromarray(numpy.stack(channels, -1).astype(numpy.uint8))


EXTREMES = [(r, g, b) for r in (0, 255) for g in (0, 255) for b in (0, 255)]
KINDS: dict[str, Callable[[int, int], Image.Image]] = {
    "noise": noise,
    "photo": photo,
    "gradient": gradient,
    "all extremes": colours(*EXTREMES, tile=4),
    "black and white": colours((0, 0, 0), (255, 255, 255), tile=2),
    **{f"flat {colour}": colours(colour) for colour in EXTREMES},
    "flat grey": colours((127, 127, 127)),
    "flat skin": colours((224, 172, 130)),
}


@pytest.mark.parametrize("size", [(256, 256), (300, 260), (263, 271), (64, 1024), (384, 320)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_package_reads_the_mark_from_a_png(kind: str, size: tuple[int, int]) -> None:
    picture = KINDS[kind](*size)
    before = picture.tobytes()
    marked = watermark.lay(picture)
    assert (marked.size, marked.mode) == (size, "RGB")
    assert decoded(marked) == b"StableDiffusionV1"
    assert numpy.array_equal(bits_of_blocks(marked), bits_of_mark(marked))
    assert picture.tobytes() == before
    assert decoded(picture) != MARK


@pytest.mark.parametrize("size", [(768, 768), (1024, 768)])
@pytest.mark.parametrize("name", ["apple", "cat", "flower", "house"])
def test_the_package_reads_the_mark_from_drawings(name: str, size: tuple[int, int]) -> None:
    picture = opened(EXAMPLES / f"{name}.png").convert("RGB").resize(size)
    marked = watermark.lay(picture)
    assert decoded(marked) == MARK
    assert numpy.array_equal(bits_of_blocks(marked), bits_of_mark(marked))


colour = st.tuples(*[st.one_of(st.sampled_from([0, 1, 254, 255]), st.integers(0, 255))] * 3)


@given(
    st.lists(colour, min_size=1, max_size=4),
    st.sampled_from([1, 2, 3, 4, 8]),
    st.integers(256, 290),
    st.integers(256, 290),
)
def test_every_block_of_any_colours_says_its_bit(
    chosen: list[tuple[int, int, int]], tile: int, width: int, height: int
) -> None:
    marked = watermark.lay(colours(*chosen, tile=tile)(width, height))
    assert numpy.array_equal(bits_of_blocks(marked), bits_of_mark(marked))


@pytest.mark.parametrize("kind", KINDS)
def test_the_mark_is_hardly_seen(kind: str) -> None:
    picture = KINDS[kind](300, 260)
    largest, mean = difference(picture, watermark.lay(picture))
    assert largest <= 60
    assert mean <= 2.5


def test_white_stays_nearly_white() -> None:
    picture = Image.new("RGB", (256, 256), "white")
    largest, mean = difference(picture, watermark.lay(picture))
    assert largest <= 7
    assert mean <= 1.3


def test_what_is_outside_of_whole_blocks_stays() -> None:
    picture = photo(271, 263)
    changed = numpy.asarray(picture) != numpy.asarray(watermark.lay(picture))
    assert changed[:256, :264].any()
    assert not changed[256:].any()
    assert not changed[:, 264:].any()


def u_of_squares(picture: Image.Image) -> Any:
    """(height / 2, width / 2): the means of U that the bits are in."""
    import cv2

    u = cv2.cvtColor(bgr(picture), cv2.COLOR_BGR2YUV)[:, :, 1].astype(float)
    return (u[::2, ::2] + u[1::2, ::2] + u[::2, 1::2] + u[1::2, 1::2]) / 4


def test_the_mark_is_that_of_the_package() -> None:
    """Where the package's own is read, in colours that need no clipping."""
    calm = photo(512, 512).point(lambda value: 64 + value // 2)
    theirs, ours = encoded(calm), watermark.lay(calm)
    right = bits_of_blocks(theirs) == bits_of_mark(theirs)
    assert right.mean() > 0.7
    squares = right.reshape(64, 64).repeat(4, 0).repeat(4, 1)
    distance = abs(u_of_squares(theirs) - u_of_squares(ours))[squares]
    # The package cuts off what is behind U's point where we round, and rounds all pixels twice.
    assert distance.mean() < 0.75
    assert (distance < 2).mean() > 0.99
    # It also confuses horizontal details with vertical ones, and turns every pixel to YUV and back.
    assert difference(calm, ours)[1] < difference(calm, theirs)[1]


@pytest.mark.parametrize("size", [(255, 257), (64, 64), (1, 1)])
def test_a_picture_too_small_for_the_package_stays(size: tuple[int, int]) -> None:
    picture = picture_of(size=size)
    assert watermark.lay(picture).tobytes() == picture.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_each_mark_is_read_and_told_from_the_other_and_from_none(kind: str) -> None:
    picture = KINDS[kind](300, 260)
    assert watermark.read(picture) is None
    assert watermark.read(watermark.lay(picture)) == "StableDiffusionV1"
    second = watermark.lay(picture, mark=MARK_2)
    assert watermark.read(second) == "SDV2"
    assert decoded(second, 4) == b"SDV2"


@pytest.mark.parametrize("size", [(264, 1036), (1100, 517), (8200, 40)])
def test_a_mark_is_read_in_a_picture_of_several_bands(size: tuple[int, int]) -> None:
    picture = picture_of(size=size)
    assert watermark.read(picture) is None
    for mark in (MARK, MARK_2):
        assert watermark.read(watermark.lay(picture, mark=mark)) == mark.decode()


def test_what_the_package_writes_is_read() -> None:
    theirs = encoded(photo(512, 512))
    assert decoded(theirs) != MARK  # some of its bits are wrong
    assert watermark.read(theirs) == "StableDiffusionV1"


@pytest.mark.parametrize("size", [(255, 257), (4, 70_000)])
def test_nothing_is_read_of_a_picture_that_carries_none(size: tuple[int, int]) -> None:
    assert watermark.read(picture_of(size=size)) is None
