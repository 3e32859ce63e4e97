"""Colour spaces that a file names without a profile, as ICC profiles: primaries, white and curve.

Sources: https://www.itu.int/rec/T-REC-H.273 (numbers, primaries, curves),
https://www.color.org/specification/ICC.1-2001-04.pdf (profiles).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import numpy
from numpy.typing import NDArray

Chromaticity = tuple[float, float]
"""CIE 1931's x and y."""
Primaries = Sequence[Chromaticity]
"""Of red, green and blue."""
Curve = Callable[[NDArray[numpy.float64]], NDArray[numpy.float64]]
"""Values of a file, 0 to 1, to amounts of light, 0 to 1."""

D65 = (0.3127, 0.329)
BT709 = (0.64, 0.33), (0.3, 0.6), (0.15, 0.06)
SDR_WHITE_NITS = 203
"""The light of white paper in an HDR picture (BT.2408)."""
HDR_PEAK_NITS = 1000
"""The light in an HDR picture that becomes white; brighter is cut off."""

_C = (0.31, 0.316)
_BT601 = (0.63, 0.34), (0.31, 0.595), (0.155, 0.07)
_PRIMARIES: dict[int, tuple[Primaries, Chromaticity]] = {
    1: (BT709, D65),
    4: (((0.67, 0.33), (0.21, 0.71), (0.14, 0.08)), _C),
    5: (((0.64, 0.33), (0.29, 0.6), (0.15, 0.06)), D65),
    6: (_BT601, D65),
    7: (_BT601, D65),
    8: (((0.681, 0.319), (0.243, 0.692), (0.145, 0.049)), _C),
    9: (((0.708, 0.292), (0.17, 0.797), (0.131, 0.046)), D65),
    11: (((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)), (0.314, 0.351)),
    12: (((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)), D65),
    22: (((0.63, 0.34), (0.295, 0.605), (0.155, 0.077)), D65),
}
"""Primaries and white by H.273's ColourPrimaries."""
_D50 = numpy.array([0.9642, 1.0, 0.8249])
_BRADFORD = numpy.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def srgb_curve(values: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
    """Return the light of sRGB's values."""
    return numpy.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def power(exponent: float) -> Curve:
    """Return the curve of a power."""
    return lambda values: values**exponent


def _pq(values: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
    """Return the light of PQ's values, HDR's range pressed into that of paper.

    By Reinhard's extended operator, as Chromium does where a screen shows no HDR; channel by
    channel, so that very bright colours pale.
    """
    root = values ** (32 / 2523)
    light = (numpy.maximum(root - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * root)) ** (8192 / 1305)
    light = light * 10_000 / SDR_WHITE_NITS
    peak = HDR_PEAK_NITS / SDR_WHITE_NITS
    return numpy.minimum(light * (1 + light / peak**2) / (1 + light), 1)


_CURVES: dict[int, Curve] = {
    # Of video's curves browsers take sRGB's, for which pictures are made. HLG is made to look right
    # on a screen without HDR.
    **dict.fromkeys((1, 6, 7, 13, 14, 15, 18), srgb_curve),
    4: power(2.2),
    5: power(2.8),
    8: power(1),
    16: _pq,
}
"""By H.273's TransferCharacteristics."""


def coded(primaries: int, transfer: int) -> bytes | None:
    """Return the profile of H.273's numbers; None where one of them is unspecified or unknown."""
    if primaries not in _PRIMARIES or transfer not in _CURVES:
        return None
    return profile(*_PRIMARIES[primaries], _CURVES[transfer])


def profile(primaries: Primaries, white: Chromaticity, curve: Curve) -> bytes:
    """Return an ICC profile of a space of RGB.

    Raises:
        ValueError: when there is no such space, since the white is not between the primaries.
    """
    columns = numpy.array([_xyz(each) for each in primaries]).T
    amounts = numpy.linalg.solve(columns, _xyz(white))
    if not (amounts > 0).all():
        raise ValueError("The white is not between the primaries")
    cone = (_BRADFORD @ _D50) / (_BRADFORD @ _xyz(white))
    adapted = numpy.linalg.inv(_BRADFORD) @ numpy.diag(cone) @ _BRADFORD @ (columns * amounts)
    samples = (curve(numpy.linspace(0, 1, 4096)) * 65535).round().astype(">u2")
    light = b"curv" + struct.pack(">4xI", samples.size) + samples.tobytes()
    tags = {b"wtpt": _xyz_tag(_D50), b"rTRC": light, b"gTRC": light, b"bTRC": light}
    for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), adapted.T, strict=True):
        tags[name] = _xyz_tag(column)
    offset, entries, bodies = 132 + 12 * len(tags), b"", b""
    for name, body in tags.items():
        entries += name + struct.pack(">2I", offset + len(bodies), len(body))
        bodies += body + bytes(-len(body) % 4)
    size = offset + len(bodies)
    head = struct.pack(">I4xI12s12x4s", size, 0x02400000, b"mntrRGB XYZ ", b"acsp")
    head = head.ljust(68, b"\0") + _xyz_tag(_D50)[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + entries + bodies


def _xyz(place: Chromaticity) -> NDArray[numpy.float64]:
    x, y = place
    if y <= 0:
        raise ValueError("A chromaticity has no light")
    return numpy.array([x / y, 1, (1 - x - y) / y])


def _xyz_tag(values: NDArray[numpy.float64]) -> bytes:
    # A value beyond what the field holds is clipped; so odd a space decides nothing else.
    fixed = (values * 65536).clip(-(2**31), 2**31 - 1).round().astype(">i4")
    return b"XYZ \0\0\0\0" + fixed.tobytes()
