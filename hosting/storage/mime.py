"""The picture formats that are taken, known by a file's first bytes."""

from __future__ import annotations

TAKEN = "give PNG, JPEG, WebP, GIF, BMP or TIFF"


def picture_type(data: bytes) -> str | None:
    """Return the MIME type by a file's first bytes; None when it is none of the formats taken."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    for start, mime_type in (
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"BM", "image/bmp"),
        (b"II*\0", "image/tiff"),
        (b"MM\0*", "image/tiff"),
        (b"II+\0", "image/tiff"),  # of more than 4 GiB, or so its writer thought
        (b"MM\0+", "image/tiff"),
    ):
        if data.startswith(start):
            return mime_type
    return None
