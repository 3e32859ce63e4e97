"""WebP: its size, known before it is opened."""

from __future__ import annotations


def size_of_webp(data: bytes) -> tuple[int, int] | None:
    """Return the width and height in a WebP file's header; None for any other file.

    Source: https://developers.google.com/speed/webp/docs/riff_container.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return None
    match data[12:16]:
        case b"VP8X":
            width, height = (int.from_bytes(data[i : i + 3], "little") for i in (24, 27))
            return 1 + width, 1 + height
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case _:
            width, height = (int.from_bytes(data[i : i + 2], "little") for i in (26, 28))
            return width & 0x3FFF, height & 0x3FFF
