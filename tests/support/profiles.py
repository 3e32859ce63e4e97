"""Colour profiles, made by hand from the ICC's specification: no file of anybody's is needed.

Source: https://www.color.org/specification/ICC.1-2001-04.pdf.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Mapping

import numpy

D50 = (0.9642, 1.0, 0.8249)
P3 = ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06))
"""The primaries of Display P3, as x and y."""
ADOBE = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
D65 = (0.3127, 0.329)
BRADFORD = numpy.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def rgb(primaries: tuple[tuple[float, float], ...], gamma: float = 2.2) -> bytes:
    """Return a profile of three primaries, with the white of D65."""
    white = _xyz(*D65)
    columns = numpy.array([_xyz(*each) for each in primaries]).T
    columns = columns * numpy.linalg.solve(columns, white)
    cone = (BRADFORD @ D50) / (BRADFORD @ white)
    adapted = numpy.linalg.inv(BRADFORD) @ numpy.diag(cone) @ BRADFORD @ columns
    curve = _curve(gamma)
    tags = {b"wtpt": _xyz_tag(D50), b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), adapted.T, strict=True):
        tags[name] = _xyz_tag(column)
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


def grey(gamma: float) -> bytes:
    """Return a profile of greys."""
    tags = {b"wtpt": _xyz_tag(D50), b"kTRC": _curve(gamma)}
    return _profile(b"mntr", b"GRAY", b"XYZ ", tags)


def press(inks: tuple[tuple[float, float, float], ...]) -> bytes:
    """Return a profile of a printing press, whose inks' Lab colours are given: C, M and Y.

    Inks that lie over each other mix as the mean of their differences from paper.
    """
    corners = bytearray()
    for c, m, y, k in itertools.product((0, 1), repeat=4):
        lab = numpy.array([100.0, 0.0, 0.0])
        for amount, ink in zip((c, m, y), inks, strict=True):
            lab += amount * (numpy.array(ink) - (100, 0, 0))
        lab = numpy.array([5.0, 0.0, 0.0]) if k else lab
        lightness = max(0.0, min(100.0, lab[0]))
        values = (lightness * 652.8, (lab[1] + 128) * 256, (lab[2] + 128) * 256)
        corners += struct.pack(">3H", *(int(max(0, min(65535, value))) for value in values))
    identity = struct.pack(">9I", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    ramp = struct.pack(">2H", 0, 65535)
    table = b"mft2\0\0\0\0" + bytes((4, 3, 2, 0)) + identity + struct.pack(">2H", 2, 2)
    table += 4 * ramp + bytes(corners) + 3 * ramp
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"wtpt": _xyz_tag(D50), b"A2B0": table})


def _xyz(x: float, y: float) -> numpy.ndarray:
    return numpy.array([x / y, 1.0, (1 - x - y) / y])


def _xyz_tag(values: object) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in values)  # type: ignore[attr-defined]


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"


def _profile(kind: bytes, space: bytes, connection: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"made\0" + bytes(79), **tags}
    tags[b"cprt"] = b"text\0\0\0\0none\0"
    offset, entries, bodies = 132 + 12 * len(tags), b"", b""
    for name, body in tags.items():
        padded = body + bytes(-len(body) % 4)
        entries += name + struct.pack(">2I", offset + len(bodies), len(body))
        bodies += padded
    head = struct.pack(
        ">I4sI4s4s4s", offset + len(bodies), b"none", 0x02400000, kind, space, connection
    )
    head += bytes(12) + b"acsp" + bytes(28)
    head += b"".join(struct.pack(">i", round(value * 65536)) for value in D50)
    head = head.ljust(128, b"\0")
    return head + struct.pack(">I", len(tags)) + entries + bodies
