"""JPEG: what its pixels are made from, apart from the facts beside them."""

from __future__ import annotations

import io
import re
from contextlib import suppress
from itertools import product

from PIL import Image, ImageChops

from stable_diffusion.decoding.facts import Facts
from stable_diffusion.request import InputError

MOST_SCANS = 100
"""Scans that a JPEG may have: a real one has ten, and a hostile one takes minutes to decode."""

_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
"""A JPEG's marker that ends the data of a scan: neither a stuffed byte nor a restart."""
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_END = bytes((0xFF, _END_OF_IMAGE))
_RESTARTS = range(0xD0, 0xD8)
_NOISE = bytes(range(254, 0, -1))
"""What no decoder takes for nothing."""
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""The segments that list a picture's components."""
_COEFFICIENTS = range(64)
"""Of each component's blocks."""
_BESIDE_PIXELS = {*range(0xE0, 0xF0), 0xFE}
"""A JPEG's segments for applications and comments."""


def pixels_of_jpeg(name: str, data: bytes) -> tuple[bytes, Facts]:
    """Return a JPEG's first picture with nothing but what its pixels are made from, and its facts.

    What follows its end (further pictures, a film, raw data of the sensor) is no part of it.
    """
    facts, needed, profile = Facts(), [data[:2]], dict[int, bytes]()
    scans, position = 0, 2
    components, exact = b"", set[tuple[int, int]]()  # the coefficients known to their last bit
    while marker := _MARKER.search(data, position):
        kind, start = marker[1][0], marker.end()
        if kind == _END_OF_IMAGE:
            needed.append(data[position:start])
            break
        end = start + max(2, int.from_bytes(data[start : start + 2], "big"))
        body = data[start + 2 : end]
        is_needed = kind not in _BESIDE_PIXELS
        # These two say how colours are stored.
        is_needed |= kind == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 14
        is_needed |= kind == 0xEE and body.startswith(b"Adobe") and len(body) >= 12
        needed.append(data[position : end if is_needed else marker.start()])
        if kind == 0xE1 and body.startswith(b"Exif\0\0") and facts.exif is None:
            facts.exif = Image.Exif()
            with suppress(Exception):
                facts.exif.load(body)
        elif kind == 0xE2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
            profile[body[12]] = body[14:]
        elif kind in _FRAMES:
            components = body[6:18:3]
        elif kind == _START_OF_SCAN and len(body) > 4 and not body[-1] & 15:
            exact |= {*product(body[1:-3:2][:4], range(body[-3], body[-2] + 1))}
        scans += kind == _START_OF_SCAN
        if scans > MOST_SCANS:
            raise InputError(f"{name}: the JPEG file has more than {MOST_SCANS} scans")
        position = end
    else:
        if not exact.issuperset(product(components, _COEFFICIENTS)):
            raise OSError("The file is truncated: scans are missing")
        needed += data[position:].rstrip(b"\xff"), _END
        facts.lacks_end = True
    facts.profiles = [b"".join(profile[number] for number in sorted(profile))]
    return b"".join(needed), facts


def is_complete(data: bytes, picture: Image.Image) -> bool:
    """Return whether all pixels of a JPEG are in its file, which had no marker of its end.

    With noise before that end, a decoder that misses pixels makes others of it; one that has all
    does not look at it.

    Args:
        data: the file, with the marker.
        picture: of it, loaded.
    """
    position, last = max((data.rfind(bytes((0xFF, kind))), kind) for kind in _RESTARTS)
    restart = _RESTARTS[0] if position < 0 or last == _RESTARTS[-1] else last + 1
    noisy = data.removesuffix(_END) + _NOISE + bytes((0xFF, restart)) + _NOISE + _END
    with Image.open(io.BytesIO(noisy), formats=("JPEG",)) as other:
        return not ImageChops.difference(picture, other).getbbox()
