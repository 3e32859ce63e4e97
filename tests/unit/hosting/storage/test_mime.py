from __future__ import annotations

import pytest

from hosting.storage import mime


@pytest.mark.parametrize(
    ("start", "mime_type"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"RIFF\x24\x01\x00\x00WEBP", "image/webp"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"BM", "image/bmp"),
        (b"II*\x00", "image/tiff"),
        (b"MM\x00*", "image/tiff"),
        (b"II+\x00", "image/tiff"),
        (b"MM\x00+", "image/tiff"),
        (b"\x00\x00\x00\x1cftypavif", "image/avif"),
    ],
)
def test_a_picture_is_known_by_its_first_bytes(start: bytes, mime_type: str) -> None:
    assert mime.picture_type(start + b"rest") == mime_type
    assert mime.picture_type(start[:-1]) is None
    assert mime.picture_type(b" " + start) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<html>",
        b"%PDF-1.7",
        b"RIFF\x24\x01\x00\x00WAVE",
        b"\x00\x00\x01\x00",
        b"\x00\x00\x00\x18ftypheic",
        b"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00mp42",
        b"\xff\xff\xff\xffftyp",
    ],
)
def test_what_is_no_picture_that_is_taken(data: bytes) -> None:
    assert mime.picture_type(data) is None


def test_a_picture_of_an_iphone_is_named() -> None:
    for start in (b"\0\0\0\x18ftypheic", b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic"):
        assert "is HEIC, which can't be read; give PNG" in (mime.fault_of(start) or "")
    assert "is not a picture; give PNG" in (mime.fault_of(b"hello") or "")
    assert "is PDF, which can't be read; give PNG" in (mime.fault_of(b"%PDF-1.7") or "")
    assert mime.picture_type(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif") == "image/avif"
    assert mime.fault_of(b"\xff\xd8\xff") is None
