from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from hosting.storage.picture_size import picture_size
from tests.support.pictures import EXAMPLES

EXIF = Image.Exif()
EXIF[0x010E] = "a fox " * 5000


@pytest.mark.parametrize("size", [(1, 1), (320, 263), (300, 1025)])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"exif": EXIF, "progressive": True}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": EXIF}),
    ],
)
def test_it_is_read_from_the_head_of_what_results_are_saved_as(
    size: tuple[int, int], kind: str, options: dict[str, Any]
) -> None:
    file = io.BytesIO()
    Image.new("RGB", size, "teal").save(file, kind, **options)
    assert picture_size(file.getvalue()) == size


def test_what_is_cut_off_or_something_else_has_none() -> None:
    for whole in (EXAMPLES / "cat.png", EXAMPLES / "orange.jpg"):
        data = whole.read_bytes()
        for end in range(24):
            assert picture_size(data[:end]) is None
    for data in (b"", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8?" + bytes(20), b"\xff\xd8" + bytes(20)):
        assert picture_size(data) is None
