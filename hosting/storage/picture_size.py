"""The size of a picture, by the head of its file: for the three formats that results have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

HEAD_BYTES = 2**18
"""Bytes of a file that have its size: a JPEG may have metadata before it."""


def picture_size(head: bytes) -> tuple[int, int] | None:
    """Return the width and height in pixels; None where the head does not have them.

    Args:
        head: the first HEAD_BYTES of a file, or all of it.
    """
    if head[:8] == b"\x89PNG\r\n\x1a\n" and head[12:16] == b"IHDR" and len(head) >= 24:
        return _size(head[16:24], 4, "big")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP" and len(head) >= 30:
        return _size_of_webp(head)
    if head[:2] == b"\xff\xd8":
        return _size_of_jpeg(head)
    return None


def _size_of_webp(head: bytes) -> tuple[int, int] | None:
    """Source: RFC 9649."""
    match head[12:16]:
        case b"VP8X":
            width, height = _size(head[24:30], 3, "little")
            return width + 1, height + 1
        case b"VP8L":
            bits = int.from_bytes(head[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            width, height = _size(head[26:30], 2, "little")
            return width & 0x3FFF, height & 0x3FFF
    return None


def _size_of_jpeg(head: bytes) -> tuple[int, int] | None:
    """Source: ITU-T T.81, B.1 and B.2.2."""
    for marker, segment in _segments(head):
        # The frame's header; DHT, JPG and DAC have codes between.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and len(segment) >= 5:
            height, width = _size(segment[1:5], 2, "big")
            return width, height
    return None


def _segments(head: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the markers of a JPEG, and what is in their segments."""
    at = 2
    while len(head) >= at + 4 and head[at] == 0xFF:
        length = int.from_bytes(head[at + 2 : at + 4], "big")
        yield head[at + 1], head[at + 4 : at + 2 + length]
        at += 2 + length


def _size(data: bytes, width: int, order: Literal["little", "big"]) -> tuple[int, int]:
    """Return two numbers of so many bytes each."""
    return int.from_bytes(data[:width], order), int.from_bytes(data[width:], order)
