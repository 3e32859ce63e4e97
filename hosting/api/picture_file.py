"""What a picture's file says of itself: a PNG's texts, its size, whether it is opaque.

Source: https://www.w3.org/TR/png-3/, section 11.3.3; https://www.w3.org/Graphics/JPEG/itu-t81.pdf,
annex B; https://spec.c2pa.org/specifications/specifications/2.2/specs/C2PA_Specification.html.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import islice

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LARGEST_TEXT_BYTES = 2**20
"""Of a file's texts together; what is more is left out."""
MOST_CHUNKS = 10_000
"""Of a file that is read."""
CONTENT_CREDENTIALS = b"caBX"
"""The kind of the chunk with a C2PA manifest."""
ORIENTATION = 0x112
"""The tag of EXIF that says how a picture is turned; from 5 on, width and height are swapped."""


def texts(data: bytes) -> dict[str, str]:
    """Return the texts in a PNG file, by their keywords; none of what is no PNG."""
    found, left = dict[str, str](), LARGEST_TEXT_BYTES
    for kind, start, end in islice(_chunks(data), MOST_CHUNKS):
        if kind in (b"tEXt", b"zTXt", b"iTXt") and left > 0:
            key, _, rest = data[start : min(end, start + left)].partition(b"\0")
            text = _text(kind, rest, left)
            if text is not None:
                found[key.decode("latin-1")] = text
                left -= len(key) + len(text)
    return found


def with_text(data: bytes, key: str, text: str) -> bytes:
    """Return a PNG file in which a text takes the place of those of its keyword.

    What is no PNG is returned as it is, and so is one that is signed: a change would make its
    Content Credentials invalid.
    """
    parts, name = [], key.encode("latin-1")
    for kind, start, end in _chunks(data):
        if kind == CONTENT_CREDENTIALS:
            return data
        is_old = kind in (b"tEXt", b"zTXt", b"iTXt") and data[start:end].startswith(name + b"\0")
        if not is_old:
            parts.append(data[start - 8 : end + 4])
        if kind == b"IHDR":
            body = name + b"\0\0\0\0\0" + text.encode("utf-8", "replace")
            parts.append(_chunk(b"iTXt", body))
    return SIGNATURE + b"".join(parts) if parts else data


def size(data: bytes) -> tuple[int, int] | None:
    """Return the width and height of an upright PNG or JPEG in pixels; None where they aren't said.

    The file is not decoded: whether it is whole, and what it says true, nobody knows.
    """
    found, exif = None, b""
    if data.startswith(SIGNATURE):
        for kind, start, end in islice(_chunks(data), MOST_CHUNKS):
            if kind == b"IHDR" and end - start == 13:
                found = _number(data, start, 4), _number(data, start + 4, 4)
            elif kind == b"eXIf":
                exif = data[start:end]
    else:
        for marker, start, end in _segments(data):
            # Frames: C0 to CF, but for the tables of Huffman and arithmetic coding.
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and end - start > 5:
                found = _number(data, start + 3, 2), _number(data, start + 1, 2)
            elif marker == 0xE1 and data[start:end].startswith(b"Exif\0\0"):
                exif = data[start + 6 : end]
    if found is None or 0 in found:
        return None
    return (found[1], found[0]) if _orientation(exif) >= 5 else found


def is_opaque(data: bytes) -> bool:
    """Return whether a file is a JPEG, or a PNG of a kind that has no transparency."""
    if not data.startswith(SIGNATURE):
        return data.startswith(b"\xff\xd8")
    has_alpha = data[25:26] in (b"\4", b"\6")
    kinds = (kind for kind, _, _ in islice(_chunks(data), MOST_CHUNKS))
    return not has_alpha and b"tRNS" not in kinds


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind of each whole chunk, and where what it holds begins and ends."""
    place = len(SIGNATURE)
    while data.startswith(SIGNATURE) and place + 12 <= len(data):
        end = place + 8 + _number(data, place, 4)
        if end + 4 > len(data):
            return
        yield data[place + 4 : place + 8], place + 8, end
        place = end + 4


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(kind + body).to_bytes(4, "big")
    return len(body).to_bytes(4, "big") + kind + body + checksum


def _text(kind: bytes, rest: bytes, most_bytes: int) -> str | None:
    """Return the text of a chunk after its keyword, cut to a length; None where it is broken."""
    encoding, is_compressed = "latin-1", kind == b"zTXt"
    if kind == b"zTXt":
        rest = rest[1:]
    elif kind == b"iTXt":
        encoding, is_compressed = "utf-8", rest[:1] == b"\1"
        rest = b"\0".join(rest[2:].split(b"\0", 2)[2:])
    if is_compressed:
        try:
            rest = zlib.decompressobj().decompress(rest, most_bytes)
        except zlib.error:
            return None
    return rest.decode(encoding, "replace")


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the marker of each segment of a JPEG before its scan, and where it begins and ends."""
    place = 2
    while data.startswith(b"\xff\xd8") and data[place : place + 1] == b"\xff":
        marker = _number(data, place + 1, 1)
        if marker == 0xFF:  # fills
            place += 1
            continue
        end = place + 2 + _number(data, place + 2, 2)
        if marker == 0xDA or end < place + 4 or end > len(data):
            return
        yield marker, place + 4, end
        place = end


def _orientation(exif: bytes) -> int:
    """Return the orientation in EXIF's first directory; 1, upright, where it has none."""
    order = "little" if exif.startswith(b"II") else "big"

    def number(place: int, length: int) -> int:
        return int.from_bytes(exif[place : place + length], order)  # type: ignore[arg-type]

    directory = number(4, 4)
    for index in range(min(number(directory, 2), 1000)):
        entry = directory + 2 + 12 * index
        if number(entry, 2) == ORIENTATION:
            return number(entry + 8, 2)
    return 1


def _number(data: bytes, place: int, length: int) -> int:
    return int.from_bytes(data[place : place + length], "big")
