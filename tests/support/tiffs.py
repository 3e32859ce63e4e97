"""TIFF files of kinds that Pillow does not write, made by the specification."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy

ROWS = 2
"""Of a strip."""


def tiff(
    pixels: Any,
    bits: int,
    colours: int,
    *,
    order: str = "<",
    is_planar: bool = False,
    is_deflated: bool = False,
    predictor: int = 1,
    tile: int | None = None,
    more: Mapping[int, tuple[int, ...]] = {},
) -> bytes:
    """Return a TIFF file.

    Args:
        pixels: numbers of the shape (rows, columns, channels); floating-point ones are written so.
        bits: of a channel.
        colours: PhotometricInterpretation.
        order: < or >, the order of bytes.
        predictor: 2 for differences of whole numbers, 3 for those of bytes of others.
        tile: the side of a tile, in pixels; None for strips of two rows.
        more: further tags, all of type LONG.
    """
    pixels = numpy.asarray(pixels)
    height, width, samples = pixels.shape
    planes = [pixels[..., i : i + 1] for i in range(samples)] if is_planar else [pixels]
    parts = []
    for plane in planes:
        for top in range(0, height, tile or ROWS):
            for left in range(0, width, tile or width):
                part = plane[top : top + (tile or ROWS), left : left + (tile or width)]
                if tile:
                    missing = [(0, tile - part.shape[0]), (0, tile - part.shape[1]), (0, 0)]
                    part = numpy.pad(part, missing, mode="edge")
                rows = b"".join(_row(row, bits, order, predictor) for row in part)
                parts.append(zlib.compress(rows) if is_deflated else rows)
    is_float = pixels.dtype.kind == "f"
    tags = {256: (width,), 257: (height,), 258: (bits,) * samples, 259: (8 if is_deflated else 1,)}
    tags |= {262: (colours,), 277: (samples,), 284: (2 if is_planar else 1,), 317: (predictor,)}
    tags |= {339: ((3 if is_float else 1),) * samples}
    offsets = [8 + sum(map(len, parts[:i])) for i in range(len(parts))]
    places = (322, 323, 324, 325) if tile else (0, 278, 273, 279)
    sizes = (tile or 0,), (tile or ROWS,), tuple(offsets), tuple(map(len, parts))
    tags |= {tag: value for tag, value in zip(places, sizes, strict=True) if tag} | dict(more)
    body = b"".join(parts)
    body += bytes(len(body) % 2)
    entries, behind = b"", b""
    at = 8 + len(body) + 2 + 12 * len(tags) + 4
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            packed, behind = struct.pack(f"{order}I", at + len(behind)), behind + packed
        entries += struct.pack(f"{order}HHI", tag, 4, len(values)) + packed
    head = b"II" if order == "<" else b"MM"
    start = struct.pack(f"{order}HI", 42, 8 + len(body))
    return head + start + body + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + behind


def _row(row: numpy.ndarray, bits: int, order: str, predictor: int) -> bytes:
    if predictor == 2:
        row = numpy.diff(row, axis=0, prepend=numpy.zeros_like(row[:1]))
    values = row.reshape(-1)
    if predictor == 3:
        columns = values.astype(f">f{bits // 8}").view(numpy.uint8).reshape(-1, bits // 8)
        planes = columns.T.reshape(-1, row.shape[1])
        return numpy.diff(planes, axis=0, prepend=numpy.zeros_like(planes[:1])).tobytes()
    if bits in (8, 16, 32, 64):
        return values.astype(f"{order}{values.dtype.kind}{bits // 8}").tobytes()
    text = "".join(f"{int(value):0{bits}b}" for value in values)
    return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")
