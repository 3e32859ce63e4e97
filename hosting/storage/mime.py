"""The picture formats that are taken, known by a file's first bytes."""

from __future__ import annotations

TAKEN = "give PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF"
HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
"""The brands of the files that iPhones make."""

OTHERS = {
    "JPEG XL": (b"\xff\x0a", b"\0\0\0\x0cJXL "),
    "JPEG 2000": (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
    "PSD": (b"8BPS",),
    "PDF": (b"%PDF",),
    "SVG": (b"<svg", b"<?xml"),
}
"""The first bytes of other files that people have, by their names."""


def picture_type(data: bytes) -> str | None:
    """Return the MIME type by a file's first bytes; None when it is none of the formats taken."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if _brands(data) & {b"avif", b"avis"}:
        return "image/avif"
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


def fault_of(data: bytes) -> str | None:
    """Return what is wrong with a file that is none of the pictures taken; None of one that is."""
    if picture_type(data):
        return None
    if _brands(data) & HEIC:
        return f"is HEIC, which can't be read; {TAKEN}"
    named = next((kind for kind, starts in OTHERS.items() if data.startswith(starts)), None)
    return f"is {named}, which can't be read; {TAKEN}" if named else f"is not a picture; {TAKEN}"


def _brands(data: bytes) -> set[bytes]:
    """Return the brands by which a file of ISO's media format names what is in it."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), 256)
    return {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}
