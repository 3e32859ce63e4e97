"""AVIF: the colour space that it names by numbers.

Sources: https://aomediacodec.github.io/av1-avif/, ISO/IEC 14496-12 (boxes), 23008-12 (items).
"""

from __future__ import annotations

from collections.abc import Iterator

from stable_diffusion.decoding import colour_spaces


def profile_of_avif(data: bytes) -> bytes:
    """Return a profile of the space that an AVIF file names in its box `colr`; else nothing."""
    meta = _box(data, b"meta")[4:]
    properties = _box(meta, b"iprp")
    boxes = list(_boxes(_box(properties, b"ipco")))
    for index in _primary_properties(_box(meta, b"pitm"), _box(properties, b"ipma")):
        kind, body = boxes[index] if index < len(boxes) else (b"", b"")
        if kind == b"colr" and body[:4] == b"nclx" and len(body) >= 8:
            primaries, transfer = (int.from_bytes(body[at : at + 2], "big") for at in (4, 6))
            return colour_spaces.coded(primaries, transfer) or b""
    return b""


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the body of each box."""
    position = 0
    while position + 8 <= len(data):
        start = position + 8
        length = int.from_bytes(data[position : position + 4], "big")
        if length == 1:
            start += 8
            length = int.from_bytes(data[position + 8 : start], "big")
        end = position + length if length else len(data)
        if end < start:
            return
        yield data[position + 4 : position + 8], data[start:end]
        position = end


def _box(data: bytes, kind: bytes) -> bytes:
    return next((body for each, body in _boxes(data) if each == kind), b"")


def _primary_properties(pitm: bytes, ipma: bytes) -> list[int]:
    """Return the places of the primary item's properties among all, counted from 0.

    Args:
        pitm: the body of the box that names the primary item.
        ipma: the body of the box that says which item has which properties.
    """
    primary = int.from_bytes(pitm[4:], "big")
    item_bytes, place_bytes = 2 if ipma[:1] == b"\0" else 4, 2 if ipma[3:4] == b"\1" else 1
    position = 8
    while position < len(ipma):
        start = position + item_bytes + 1
        item = int.from_bytes(ipma[position : start - 1], "big")
        position = start + int.from_bytes(ipma[start - 1 : start], "big") * place_bytes
        if item == primary:
            places = (ipma[i : i + place_bytes] for i in range(start, position, place_bytes))
            essential = 1 << (8 * place_bytes - 1)
            return [int.from_bytes(place, "big") % essential - 1 for place in places]
    return []
