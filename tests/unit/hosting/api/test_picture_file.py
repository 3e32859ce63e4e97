from __future__ import annotations

import io

import pytest
from PIL import Image, PngImagePlugin

from hosting.api import picture_file
from tests.support.properties import given
from tests.support.properties import strategies as st
from tools.attacks.pictures import pictures


def picture(kind: str, size: tuple[int, int] = (3, 2), **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize("text", ["a fox", "ein Füchslein", "狐\nSteps: 20"])
def test_what_others_have_written_is_read(text: str, is_compressed: bool) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", text, zip=is_compressed)
    info.add_itxt("Title", "x", zip=is_compressed)
    assert picture_file.texts(picture("PNG", pnginfo=info)) == {"parameters": text, "Title": "x"}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_text_takes_the_place_of_another_and_the_picture_stays(text: str) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "old")
    info.add_text("Description", "kept")
    changed = picture_file.with_text(picture("PNG", pnginfo=info), "parameters", text)
    assert picture_file.texts(changed) == {"parameters": text, "Description": "kept"}
    with Image.open(io.BytesIO(changed)) as image:
        image.load()
        assert image.info["Description"] == "kept"
        assert image.info["parameters"] == text
        assert image.getpixel((0, 0)) == (255, 0, 0)


def test_a_file_of_many_large_texts_takes_no_more_memory() -> None:
    info = PngImagePlugin.PngInfo()
    for number in range(300):
        info.add_text(f"text {number}", "x" * 2**20, zip=True)
    found = picture_file.texts(picture("PNG", pnginfo=info))
    assert sum(map(len, found.values())) <= picture_file.LARGEST_TEXT_BYTES


def test_what_is_no_png_stays_as_it_is() -> None:
    data = picture("JPEG")
    assert picture_file.with_text(data, "parameters", "x") == data
    assert picture_file.texts(data) == {}


def test_a_signed_file_stays_as_it_is() -> None:
    info = PngImagePlugin.PngInfo()
    info.add(b"caBX", b"manifest")
    info.add_text("parameters", "fox")
    data = picture("PNG", pnginfo=info)
    assert picture_file.with_text(data, "parameters", "owl") == data
    assert picture_file.texts(data)["parameters"] == "fox"


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_the_size_is_that_of_the_upright_picture(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[picture_file.ORIENTATION] = orientation
    data = picture(kind, (30, 20), exif=exif)
    assert picture_file.size(data) == ((20, 30) if orientation == 6 else (30, 20))
    assert picture_file.size(picture(kind, (30, 20))) == (30, 20)


def test_of_other_formats_no_size_is_told() -> None:
    assert picture_file.size(picture("WEBP")) is None
    assert picture_file.size(b"") is None


@given(
    st.sampled_from([picture("PNG"), picture("JPEG")]),
    st.integers(0, 400),
    st.binary(max_size=8),
    st.integers(0, 700),
)
def test_no_broken_file_breaks_it(data: bytes, place: int, change: bytes, end: int) -> None:
    broken = (data[:place] + change + data[place + len(change) :])[:end]
    picture_file.texts(broken)
    picture_file.size(broken)
    picture_file.with_text(broken, "parameters", "x")


@pytest.mark.parametrize(
    ("mode", "kind", "expected"),
    [
        *(("RGB", "PNG", True), ("L", "PNG", True), ("RGB", "JPEG", True)),
        *(("RGBA", "PNG", False), ("LA", "PNG", False), ("RGBA", "WEBP", False)),
    ],
)
def test_whether_a_picture_is_of_an_opaque_kind(mode: str, kind: str, expected: bool) -> None:
    file = io.BytesIO()
    Image.new(mode, (3, 2)).save(file, kind)
    assert picture_file.is_opaque(file.getvalue()) is expected


def test_a_colour_may_be_transparent_in_a_png() -> None:
    assert not picture_file.is_opaque(picture("PNG", transparency=(255, 0, 0)))


def test_no_hostile_file_breaks_it() -> None:
    for _, data in pictures():
        picture_file.is_opaque(data)
        picture_file.size(data)
        assert sum(map(len, picture_file.texts(data).values())) <= picture_file.LARGEST_TEXT_BYTES
        changed = picture_file.with_text(data, "parameters", "fox")
        assert changed == data or picture_file.texts(changed)["parameters"] == "fox"
