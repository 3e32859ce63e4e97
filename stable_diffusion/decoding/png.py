"""PNG: what its pixels are made from, apart from the facts beside them."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress

import numpy
from PIL import Image

from stable_diffusion.decoding import colour_spaces
from stable_diffusion.decoding.facts import Facts
from stable_diffusion.request import InputError

MOST_CHUNKS = 200_000
"""Chunks that a PNG may have: one of 64 megapixels has some 20,000."""
LARGEST_PROFILE_BYTES = 4 * 2**20
"""Bytes of a colour profile; those of printing presses have up to 2 MiB."""

_SPACES = {b"cICP": 4, b"sRGB": 1, b"cHRM": 32, b"gAMA": 4, b"iCCP": None}
"""The bytes of chunks for a colour space, where they are always as many.

Source: https://www.w3.org/TR/png-3/.
"""
_COLOUR_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")


def pixels_of_png(name: str, data: bytes) -> tuple[bytes, Facts]:
    """Return a PNG with nothing but what its pixels are made from, and the facts beside them.

    Texts, animations and whatever else is in it can refuse or slow down nothing.
    """
    facts, needed = Facts(), [data[:8]]
    spaces = dict[bytes, bytes]()
    colours = 0
    for kind, body, whole in _chunks(name, data):
        if kind in _COLOUR_CHUNKS:
            needed.append(whole)
        if kind == b"IHDR" and len(body) == 13:
            facts.depth, colours = body[8], body[9]
        elif kind == b"tRNS" and colours == 3:
            needed.append(whole)
        elif kind == b"tRNS":
            pairs = range(0, len(body) - 1, 2)
            facts.transparent = tuple(int.from_bytes(body[i : i + 2], "big") for i in pairs)
        elif kind in _SPACES and _SPACES[kind] in (len(body), None):
            spaces[kind] = body
        elif kind == b"eXIf":
            with suppress(Exception):
                facts.exif = Image.Exif()
                facts.exif.load(body)
    facts.profiles = list(_profiles(spaces))
    return b"".join(needed), facts


def transparency(data: bytes, picture: Image.Image, facts: Facts) -> Image.Image | None:
    """Return the alpha channel of a PNG whose header names one value as transparent.

    Args:
        data: the file.
        picture: of it, loaded.
    """
    most = 2**facts.depth - 1
    hidden = [value & most for value in facts.transparent]
    if not hidden or picture.mode not in ("1", "L", "I;16", "RGB"):
        return None
    if len(hidden) != len(picture.getbands()):
        return None
    values = numpy.asarray(picture.convert("L") if picture.mode == "1" else picture)
    if facts.depth < 8:  # Pillow has scaled them
        hidden = [value * 255 // most for value in hidden]
    elif picture.mode == "RGB" and facts.depth == 16:
        values = values.astype(numpy.uint16) << 8 | _lower_bytes(data)
    is_hidden = (values.reshape(*values.shape[:2], -1) == hidden).all(axis=2)
    return Image.fromarray(numpy.where(is_hidden, 0, 255).astype(numpy.uint8))


def _lower_bytes(data: bytes) -> numpy.ndarray:
    """Return the lower byte of each value of a PNG of 16 bits in RGB: Pillow reads the upper."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
        picture.tile = [tile._replace(args="RGB;16L") for tile in picture.tile]
        picture.load()
        return numpy.asarray(picture)


def _profiles(spaces: dict[bytes, bytes]) -> Iterator[bytes]:
    """Yield the profiles of the colour spaces that a PNG names, the one that counts first.

    Args:
        spaces: the bodies of its chunks for them.
    """
    if coded := spaces.get(b"cICP"):
        yield colour_spaces.coded(coded[0], coded[1]) or b""
    with suppress(zlib.error):
        packed = spaces.get(b"iCCP", b"").partition(b"\0")[2][1:]
        yield zlib.decompressobj().decompress(packed, LARGEST_PROFILE_BYTES)
    if b"sRGB" in spaces or not spaces.keys() & {b"cHRM", b"gAMA"}:
        return
    places = (*colour_spaces.D65, *itertools.chain(*colour_spaces.BT709))
    if b"cHRM" in spaces:
        places = tuple(value / 100_000 for value in struct.unpack(">8I", spaces[b"cHRM"]))
    gamma = int.from_bytes(spaces.get(b"gAMA", b""), "big") / 100_000
    curve: colour_spaces.Curve = colour_spaces.srgb_curve
    if 0.1 < gamma < 10 and abs(gamma - 1 / 2.2) >= 0.01:
        curve = colour_spaces.power(1 / gamma)
    white, *primaries = zip(places[::2], places[1::2], strict=True)
    with suppress(ValueError):
        yield colour_spaces.profile(primaries, white, curve)


def _chunks(name: str, data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield a PNG's chunks up to its end: kind, body, and all of it."""
    position = 8
    for _ in range(MOST_CHUNKS):
        length = int.from_bytes(data[position : position + 4], "big")
        kind, end = data[position + 4 : position + 8], position + 12 + length
        if len(kind) < 4:
            return
        yield kind, data[position + 8 : end - 4], data[position:end]
        if kind == b"IEND":
            return
        position = end
    raise InputError(f"{name}: the PNG file has more than {MOST_CHUNKS} chunks")
