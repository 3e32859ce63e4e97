"""PNG: what its pixels are made from, apart from the facts beside them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import suppress

from PIL import Image

from stable_diffusion.decoding.facts import Facts
from stable_diffusion.request import InputError

MOST_CHUNKS = 200_000
"""Chunks that a PNG may have: one of 64 megapixels has some 20,000."""
LARGEST_PROFILE_BYTES = 4 * 2**20
"""Bytes of a colour profile; those of printing presses have up to 2 MiB."""

_COLOUR_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")


def pixels_of_png(name: str, data: bytes) -> tuple[bytes, Facts]:
    """Return a PNG with nothing but what its pixels are made from, and the facts beside them.

    Texts, animations and whatever else is in it can refuse or slow down nothing.
    """
    facts, needed = Facts(), [data[:8]]
    names_space = False
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
        elif kind == b"sRGB":
            names_space = True
        elif kind == b"gAMA" and len(body) == 4:
            facts.gamma = int.from_bytes(body, "big") / 100_000
        elif kind == b"iCCP":
            with suppress(zlib.error):
                packed = body.partition(b"\0")[2][1:]
                facts.profile = zlib.decompressobj().decompress(packed, LARGEST_PROFILE_BYTES)
        elif kind == b"eXIf":
            with suppress(Exception):
                facts.exif = Image.Exif()
                facts.exif.load(body)
    if names_space:
        facts.gamma = None
    return b"".join(needed), facts


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
