from __future__ import annotations

import io
import re
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin, TiffTags

from stable_diffusion import images
from stable_diffusion.decoding import png as png_chunks
from stable_diffusion.decoding.webp import size_of_webp
from stable_diffusion.request import InputError
from tests.support import profiles
from tests.support.pictures import picture_of
from tools.attacks.pictures import chunk, png

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def read(folder: Path, data: bytes) -> Image.Image:
    (folder / "upload").write_bytes(data)
    return images.read_image(folder / "upload")


def refusal(folder: Path, data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        read(folder, data)
    return str(caught.value)


def saved(picture: Image.Image, file_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


def pixel(picture: Image.Image, place: tuple[int, int] = (0, 0)) -> numpy.ndarray:
    return numpy.asarray(picture.getpixel(place))


def from_srgb(colour: tuple[int, int, int], profile: bytes) -> tuple[int, int, int]:
    """The values that have a colour of sRGB's in a space of RGB."""
    space = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    there = ImageCms.profileToProfile(
        Image.new("RGB", (1, 1), colour),
        ImageCms.createProfile("sRGB"),
        space,
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    assert there is not None
    red, green, blue = numpy.asarray(there)[0, 0].tolist()
    return red, green, blue


# Colours


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("primaries", [profiles.P3, profiles.ADOBE])
def test_a_wide_space_becomes_srgb(tmp_path: Path, file_format: str, primaries: Any) -> None:
    profile, green = profiles.rgb(primaries), (60, 180, 90)
    stored = from_srgb(green, profile)
    assert max(abs(a - b) for a, b in zip(stored, green, strict=True)) > 8
    options = {"quality": 100, "subsampling": 0} if file_format == "JPEG" else {}
    options |= {"lossless": True} if file_format == "WEBP" else {}
    picture = Image.new("RGB", (32, 32), stored)
    data = saved(picture, file_format, icc_profile=profile, **options)
    assert numpy.allclose(pixel(read(tmp_path, data)), green, atol=3)


def test_what_only_the_wider_space_has_becomes_the_nearest(tmp_path: Path) -> None:
    data = saved(
        Image.new("RGB", (8, 8), (0, 255, 0)), "PNG", icc_profile=profiles.rgb(profiles.P3)
    )
    assert numpy.allclose(pixel(read(tmp_path, data)), (0, 255, 0), atol=3)


def test_a_picture_in_srgb_stays_as_it_is_to_the_last_bit(tmp_path: Path) -> None:
    noise = numpy.random.default_rng(1).integers(0, 256, (64, 64, 3), numpy.uint8)
    for options in ({}, {"icc_profile": SRGB}, {"icc_profile": images.SRGB_PROFILE}):
        data = saved(Image.fromarray(noise), "PNG", **options)
        assert (numpy.asarray(read(tmp_path, data)) == noise).all()


def test_greys_and_transparency_keep_their_alpha_through_a_profile(tmp_path: Path) -> None:
    linear = saved(Image.new("L", (4, 4), 55), "PNG", icc_profile=profiles.grey(1.0))
    assert numpy.allclose(pixel(read(tmp_path, linear)), 128, atol=3)
    layer = Image.new("LA", (4, 4), (55, 255))
    layer.putpixel((1, 1), (0, 0))
    picture = read(tmp_path, saved(layer, "PNG", icc_profile=profiles.grey(1.0)))
    assert numpy.allclose(pixel(picture), 128, atol=3)
    assert tuple(pixel(picture, (1, 1))) == (255, 255, 255)
    wide = Image.new("RGBA", (4, 4), (*from_srgb((60, 180, 90), profiles.rgb(profiles.P3)), 255))
    wide.putpixel((1, 1), (9, 9, 9, 0))
    picture = read(tmp_path, saved(wide, "PNG", icc_profile=profiles.rgb(profiles.P3)))
    assert numpy.allclose(pixel(picture), (60, 180, 90), atol=3)
    assert tuple(pixel(picture, (1, 1))) == (255, 255, 255)


def test_the_colours_of_a_palette_have_a_profile_too(tmp_path: Path) -> None:
    profile = profiles.rgb(profiles.P3)
    picture = Image.new("RGB", (4, 4), from_srgb((60, 180, 90), profile)).quantize(2)
    data = saved(picture, "PNG", icc_profile=profile)
    assert numpy.allclose(pixel(read(tmp_path, data)), (60, 180, 90), atol=3)


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_a_presss_inks_become_the_colours_that_they_print(tmp_path: Path, file_format: str) -> None:
    profile = profiles.press(((55.0, -37.0, -50.0), (48.0, 74.0, -3.0), (89.0, -5.0, 93.0)))
    cyan = Image.new("CMYK", (32, 32), (255, 0, 0, 0))
    options = {"quality": 100} if file_format == "JPEG" else {}
    with_profile = read(tmp_path, saved(cyan, file_format, icc_profile=profile, **options))
    assert numpy.allclose(pixel(with_profile), (0, 147, 217), atol=12)
    without = read(tmp_path, saved(cyan, file_format, **options))
    assert numpy.allclose(pixel(without), (0, 255, 255), atol=6)


@pytest.mark.parametrize(
    "profile",
    [b"x", b"\0" * 200, SRGB[:300], SRGB[:128] + b"\xff" * 400, profiles.grey(2.2), b"acsp" * 5000],
)
def test_a_broken_profile_or_one_of_another_kind_refuses_nothing(
    tmp_path: Path, profile: bytes
) -> None:
    for file_format in ("PNG", "JPEG", "TIFF", "WEBP"):
        picture = Image.new("RGB", (16, 16), (200, 100, 50))
        data = saved(picture, file_format, icc_profile=profile)
        assert numpy.allclose(pixel(read(tmp_path, data)), (200, 100, 50), atol=6)


def test_a_png_says_by_its_gamma_how_light_its_values_are(tmp_path: Path) -> None:
    rows = b"\0" + bytes((55, 55, 55))
    linear = png(1, 1, 8, 2, rows, chunk(b"gAMA", struct.pack(">I", 100_000)))
    assert numpy.allclose(pixel(read(tmp_path, linear)), 127, atol=3)
    usual = png(1, 1, 8, 2, rows, chunk(b"gAMA", struct.pack(">I", 45_455)))
    named = png(1, 1, 8, 2, rows, chunk(b"sRGB", b"\0"), chunk(b"gAMA", struct.pack(">I", 100_000)))
    for data in (usual, named):
        assert tuple(pixel(read(tmp_path, data))) == (55, 55, 55)


FROM_P3 = numpy.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]])
"""Light of Display P3 to that of sRGB, as CSS Color 4 gives it."""
FROM_BT2020 = numpy.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)
"""Likewise, as BT.2087 gives it."""
MUTED = (150, 120, 100)
SRGB_CODES, P3_CODES, BT2020_CODES = (1, 13), (12, 13), (9, 1)


def srgb_of(values: tuple[int, ...], matrix: numpy.ndarray, exponent: float = 0.0) -> Any:
    """Values of another space in sRGB: by sRGB's curve, or that of a power."""
    share = numpy.array(values) / 255
    light = numpy.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    light = (matrix @ (share**exponent if exponent else light)).clip(0, 1)
    encoded = numpy.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return 255 * encoded


def cicp(primaries: int, transfer: int) -> bytes:
    return chunk(b"cICP", bytes((primaries, transfer, 0, 1)))


def chrm(*places: float) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(100_000 * place) for place in places)))


def gama(value: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(100_000 * value)))


CHRM_P3 = chrm(0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
ICCP_ADOBE = chunk(b"iCCP", b"a\0\0" + zlib.compress(profiles.rgb(profiles.ADOBE)))
SRGB_CHUNK = chunk(b"sRGB", b"\0")


def of_chunks(folder: Path, *more: bytes) -> Any:
    return pixel(read(folder, png(1, 1, 8, 2, b"\0" + bytes(MUTED), *more)))


@pytest.mark.parametrize(
    ("codes", "matrix"), [(P3_CODES, FROM_P3), (BT2020_CODES, FROM_BT2020), ((9, 18), FROM_BT2020)]
)
def test_a_png_may_name_its_space_by_numbers(tmp_path: Path, codes: Any, matrix: Any) -> None:
    expected = srgb_of(MUTED, matrix)
    assert abs(expected - MUTED).max() > 4
    assert numpy.allclose(of_chunks(tmp_path, cicp(*codes)), expected, atol=1)
    for unknown in ((2, 2), (2, 13), (12, 2), (0, 0), (255, 255)):
        assert tuple(of_chunks(tmp_path, cicp(*unknown))) == MUTED


def test_a_png_may_name_its_space_by_primaries_and_gamma(tmp_path: Path) -> None:
    p3 = srgb_of(MUTED, FROM_P3)
    assert numpy.allclose(of_chunks(tmp_path, CHRM_P3), p3, atol=1)
    assert numpy.allclose(of_chunks(tmp_path, CHRM_P3, gama(0.45455)), p3, atol=1)
    linear = srgb_of(MUTED, FROM_P3, exponent=1)
    assert numpy.allclose(of_chunks(tmp_path, CHRM_P3, gama(1)), linear, atol=1)
    for odd in (
        chrm(*[0.0] * 8),
        chrm(*[0.3] * 8),
        chrm(*[42_000] * 8),
        chrm(0.9, 0.1, *[0.3] * 6),
    ):
        assert tuple(of_chunks(tmp_path, odd)) == MUTED


def test_of_a_pngs_spaces_the_one_counts_that_its_standard_puts_first(tmp_path: Path) -> None:
    by_adobe = of_chunks(tmp_path, ICCP_ADOBE)
    by_p3 = srgb_of(MUTED, FROM_P3)
    assert abs(by_adobe - by_p3).max() > 4
    least = (CHRM_P3, gama(1))
    assert numpy.allclose(of_chunks(tmp_path, *least, ICCP_ADOBE, cicp(12, 13)), by_p3, atol=1)
    assert tuple(of_chunks(tmp_path, *least, ICCP_ADOBE, cicp(*SRGB_CODES))) == MUTED
    assert (of_chunks(tmp_path, *least, SRGB_CHUNK, ICCP_ADOBE) == by_adobe).all()
    assert tuple(of_chunks(tmp_path, *least, SRGB_CHUNK)) == MUTED


def test_light_beyond_papers_is_pressed_into_what_there_is(tmp_path: Path) -> None:
    def grey(value: int) -> int:
        return int(pixel(read(tmp_path, png(1, 1, 8, 0, bytes((0, value)), cicp(9, 16))))[0])

    # PQ's values of 0, 203, 1000 and 10,000 cd/m², by ST 2084.
    assert (grey(0), grey(192), grey(255)) == (0, 255, 255)
    assert 180 < grey(148) < 200  # half of the light, as Chromium shows paper
    assert [grey(value) for value in range(0, 256, 16)] == sorted(map(grey, range(0, 256, 16)))


@pytest.mark.parametrize(("codes", "matrix"), [(P3_CODES, FROM_P3), (BT2020_CODES, FROM_BT2020)])
def test_an_avif_may_name_its_space_by_numbers(tmp_path: Path, codes: Any, matrix: Any) -> None:
    picture = Image.new("RGB", (64, 64), MUTED)
    data = saved(picture, "AVIF", quality=100, subsampling="4:4:4")
    named = struct.pack(">4s2H", b"nclx", *SRGB_CODES)
    assert data.count(named) == 1
    assert numpy.allclose(pixel(read(tmp_path, data)), MUTED, atol=2)
    wide = data.replace(named, struct.pack(">4s2H", b"nclx", *codes))
    assert numpy.allclose(pixel(read(tmp_path, wide)), srgb_of(MUTED, matrix), atol=3)
    for unknown in ((2, 2), (65535, 65535)):
        as_it_is = data.replace(named, struct.pack(">4s2H", b"nclx", *unknown))
        assert numpy.allclose(pixel(read(tmp_path, as_it_is)), MUTED, atol=2)


def test_an_avifs_profile_counts_before_its_numbers(tmp_path: Path) -> None:
    picture = Image.new("RGB", (64, 64), MUTED)
    profile = profiles.rgb(profiles.ADOBE)
    data = saved(picture, "AVIF", quality=100, subsampling="4:4:4", icc_profile=profile)
    position = data.index(b"nclx") + 4
    wide = data[:position] + struct.pack(">2H", *P3_CODES) + data[position + 4 :]
    assert (pixel(read(tmp_path, wide)) == pixel(read(tmp_path, data))).all()


def test_a_masks_values_are_numbers_and_no_colours(tmp_path: Path) -> None:
    mask = Image.new("L", (4, 4), 55)
    for options in ({}, {"icc_profile": profiles.grey(1.0)}):
        (tmp_path / "mask").write_bytes(saved(mask, "PNG", **options))
        assert images.read_picture("mask", tmp_path / "mask")[0].getpixel((0, 0)) == 55


@pytest.mark.parametrize("file_format", ["png", "webp", "jpg"])
def test_results_are_tagged_as_srgb(tmp_path: Path, file_format: str) -> None:
    path = tmp_path / f"out.{file_format}"
    images.save(picture_of(), path, file_format, 90, {"prompt": "fox"})
    with Image.open(path) as picture:
        picture.load()
        if file_format == "png":
            assert "srgb" in picture.info
        else:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
            assert "sRGB" in ImageCms.getProfileDescription(profile)
            assert len(picture.info["icc_profile"]) < 1000
    assert images.read_metadata(path) == {"prompt": "fox"}


# Metadata that decides nothing


def test_an_orientation_is_read_although_the_rest_of_exif_is_odd(tmp_path: Path) -> None:
    entries = struct.pack("<HHII", 0x0112, 3, 1, 6) + struct.pack("<HHII", 0x0128, 2, 1, 0x41)
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + struct.pack("<H", 2) + entries + bytes(4)
    wide = Image.new("RGB", (32, 16), "white")
    for data in (saved(wide, "JPEG", exif=exif), saved(wide, "WEBP", exif=exif)):
        assert read(tmp_path, data).size == (16, 32)


@pytest.mark.parametrize("value", [0, 9, 77, 65535])
def test_an_orientation_that_there_is_not_turns_nothing(tmp_path: Path, value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert read(tmp_path, saved(Image.new("RGB", (32, 16)), "JPEG", exif=exif)).size == (32, 16)


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"tEXt", b"workflow\0" + b"x" * (3 * 2**20)),
        chunk(b"zTXt", b"workflow\0\0" + zlib.compress(b"x" * (64 * 2**20))),
        chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(b"x" * (8 * 2**20))),
        chunk(b"iCCP", b"name\0\0" + zlib.compress(b"x" * (64 * 2**20))),
        chunk(b"iCCP", b"name\0\0no zlib at all"),
        chunk(b"iCCP", b""),
        chunk(b"eXIf", b"II*\0" + b"\xff" * 40),
        chunk(b"tIME", b"1"),
        chunk(b"acTL", b"\xff" * 8),
        chunk(b"pHYs", b""),
        chunk(b"cHRM", b"12"),
        chunk(b"gAMA", bytes(4)),
        chunk(b"gAMA", b"1"),
    ],
)
def test_nothing_in_a_png_beside_its_pixels_refuses_it(tmp_path: Path, extra: bytes) -> None:
    start = time.process_time()
    data = png(1, 1, 8, 2, b"\0" + bytes((200, 100, 50)), extra)
    assert tuple(pixel(read(tmp_path, data))) == (200, 100, 50)
    assert time.process_time() - start < 5


# Depths and transparency


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_grey_is_white_at_any_depth(tmp_path: Path, depth: int) -> None:
    most = 2**depth - 1
    value = most // 3 if depth > 1 else 0
    bits = f"{value:0{depth}b}{most:0{depth}b}".ljust(8, "0")
    row = b"\0" + int(bits, 2).to_bytes((len(bits) + 7) // 8, "big")
    data = png(2, 1, depth, 0, row, chunk(b"tRNS", struct.pack(">H", value)))
    picture = read(tmp_path, data)
    assert tuple(pixel(picture)) == (255, 255, 255)
    assert tuple(pixel(picture, (1, 0))) == (255, 255, 255)
    opaque = read(tmp_path, png(2, 1, depth, 0, row))
    assert abs(int(pixel(opaque)[0]) - 255 * value / most) <= 1
    (tmp_path / "mask").write_bytes(data)
    mask, _ = images.read_picture("mask", tmp_path / "mask")
    assert (mask.getpixel((0, 0)), mask.getpixel((1, 0))) == (0, 255)


@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_colour_is_white_at_any_depth(tmp_path: Path, depth: int) -> None:
    colours = (
        [10, 20, 30, 40, 50, 60] if depth == 8 else [257 * v for v in (10, 20, 30, 40, 50, 60)]
    )
    row = b"\0" + struct.pack(">6B" if depth == 8 else ">6H", *colours)
    data = png(2, 1, depth, 2, row, chunk(b"tRNS", struct.pack(">3H", *colours[:3])))
    picture = read(tmp_path, data)
    assert tuple(pixel(picture)) == (255, 255, 255)
    assert tuple(pixel(picture, (1, 0))) == (40, 50, 60)


@pytest.mark.parametrize("interlaced", [False, True])
def test_a_transparent_colour_is_compared_by_all_its_16_bits(
    tmp_path: Path, interlaced: bool
) -> None:
    hidden = (0x0A12, 0x1434, 0x1E56)
    row = b"\0" + struct.pack(">6H", *hidden, 0x0A13, 0x1434, 0x1E56)
    data = png(2, 1, 16, 2, row, chunk(b"tRNS", struct.pack(">3H", *hidden)))
    if interlaced:  # a pass each for the two
        rows = b"\0" + row[1:7] + b"\0" + row[7:]
        data = png(2, 1, 16, 2, rows, chunk(b"tRNS", struct.pack(">3H", *hidden)))
        header = data[16:28] + b"\1"
        data = data[:8] + chunk(b"IHDR", header) + data[33:]
    picture = read(tmp_path, data)
    assert tuple(pixel(picture)) == (255, 255, 255)
    assert tuple(pixel(picture, (1, 0))) == (10, 20, 30)


def test_a_transparent_grey_is_compared_by_all_its_16_bits(tmp_path: Path) -> None:
    row = b"\0" + struct.pack(">2H", 0x2012, 0x2013)
    picture = read(tmp_path, png(2, 1, 16, 0, row, chunk(b"tRNS", struct.pack(">H", 0x2012))))
    assert [int(pixel(picture, (x, 0))[0]) for x in range(2)] == [255, 32]


@pytest.mark.parametrize("header_bytes", [108, 124])
def test_a_bmp_without_any_opaque_pixel_is_opaque(tmp_path: Path, header_bytes: int) -> None:
    def bmp(*pixels: tuple[int, int, int, int]) -> bytes:
        masks = struct.pack("<4I4s", 0xFF0000, 0xFF00, 0xFF, 0xFF000000, b"BGRs")
        header = struct.pack("<IiiHHI20x", header_bytes, len(pixels), 1, 1, 32, 3) + masks
        body = b"".join(bytes((b, g, r, a)) for r, g, b, a in pixels)
        start = 14 + header_bytes
        head = b"BM" + struct.pack("<I4xI", start + len(body), start)
        return head + header.ljust(header_bytes, b"\0") + body

    picture = read(tmp_path, bmp((200, 100, 50, 0), (1, 2, 3, 0)))
    assert tuple(pixel(picture)) == (200, 100, 50)
    assert tuple(pixel(picture, (1, 0))) == (1, 2, 3)
    picture = read(tmp_path, bmp((200, 100, 50, 0), (1, 2, 3, 255)))
    assert tuple(pixel(picture)) == (255, 255, 255)
    assert tuple(pixel(picture, (1, 0))) == (1, 2, 3)


def tiff(values: bytes, bits: int, white_is_zero: bool, width: int = 2) -> bytes:
    """A TIFF of one row of greys."""
    tags = [(256, width), (257, 1), (258, bits), (259, 1), (262, 0 if white_is_zero else 1)]
    tags += [(273, 8), (277, 1), (278, 1), (279, len(values))]
    padded = values + bytes(-len(values) % 2)
    directory = struct.pack("<H", len(tags))
    for tag, value in tags:
        directory += struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value)
    return b"II*\0" + struct.pack("<I", 8 + len(padded)) + padded + directory + bytes(4)


@pytest.mark.parametrize("white_is_zero", [False, True])
def test_greys_of_a_tiff_are_as_deep_and_as_light_as_it_says(
    tmp_path: Path, white_is_zero: bool
) -> None:
    deep = struct.pack("<2H", 65535, 257 * 40)
    expected = (0, 215) if white_is_zero else (255, 40)
    picture = read(tmp_path, tiff(deep, 16, white_is_zero))
    assert [int(pixel(picture, (x, 0))[0]) for x in range(2)] == list(expected)
    if not white_is_zero:  # Pillow has no other of 12 bits
        twelve = bytes((0xFF, 0xF2, 0x80))  # 4095 and 640
        picture = read(tmp_path, tiff(twelve, 12, white_is_zero))
        assert [int(pixel(picture, (x, 0))[0]) for x in range(2)] == [255, 40]


@pytest.mark.parametrize(
    "segment",
    [
        b"\xff\xe2\0\x0eICC_PROFILE\0",
        b"\xff\xe2\0\x0fICC_PROFILE\0\1",
        b"\xff\xee\0\x07Adobe",
        b"\xff\xe0\0\x06JFIF",
        b"\xff\xed\0\x14Photoshop 3.0\x008BIM",
        b"\xff\xe1\0\x08Exif\0\0",
        b"\xff\xe1\0\x0aExif\0\0MM",
        b"\xff\xfe\0\x02",
    ],
)
def test_nothing_in_a_jpeg_beside_its_pixels_refuses_it(tmp_path: Path, segment: bytes) -> None:
    data = saved(picture_of(), "JPEG")
    (tmp_path / "plain.jpg").write_bytes(data)
    plain = images.read_image(tmp_path / "plain.jpg")
    with_segment = read(tmp_path, data[:2] + segment + data[2:])
    assert (numpy.asarray(with_segment) == numpy.asarray(plain)).all()


def test_a_grey_picture_may_have_a_profile_of_colours(tmp_path: Path) -> None:
    profile = profiles.rgb(profiles.ADOBE, gamma=1.8)
    grey = Image.new("L", (8, 8), 128)
    as_colours = saved(grey.convert("RGB"), "PNG", icc_profile=profile)
    expected = pixel(read(tmp_path, as_colours))
    assert tuple(pixel(read(tmp_path, saved(grey, "PNG", icc_profile=profile)))) == tuple(expected)
    assert expected[0] > 140


def test_of_several_colour_spaces_the_profile_counts_and_a_broken_one_leaves_the_others(
    tmp_path: Path,
) -> None:
    green = Image.new("RGB", (8, 8), (0, 200, 0))
    wide = saved(green, "PNG", icc_profile=profiles.rgb(profiles.P3))
    with_srgb = wide[:33] + chunk(b"sRGB", b"\0") + wide[33:]
    assert (pixel(read(tmp_path, with_srgb)) == pixel(read(tmp_path, wide))).all()
    grey = saved(Image.new("L", (8, 8), 128), "PNG")
    linear = chunk(b"gAMA", struct.pack(">I", 100_000))
    broken = chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile"))
    assert pixel(read(tmp_path, grey[:33] + broken + linear + grey[33:]))[0] > 180
    for odd in (0, 1, 1000, 2**32 - 1):
        absurd = chunk(b"gAMA", struct.pack(">I", odd))
        assert pixel(read(tmp_path, grey[:33] + absurd + grey[33:]))[0] == 128


def test_what_the_first_frame_of_a_gif_leaves_open_is_white(tmp_path: Path) -> None:
    whole = saved(Image.new("P", (2, 2), 1), "GIF", palette=[0, 0, 0, 200, 100, 50])
    data = whole[:6] + struct.pack("<2H", 4, 4) + whole[10:]
    picture = read(tmp_path, data)
    assert picture.size == (4, 4)
    assert tuple(pixel(picture, (1, 1))) == (200, 100, 50)
    assert tuple(pixel(picture, (3, 3))) == (255, 255, 255)


# Files that are made to take long, or are what they don't seem


def progressive(scans: int) -> bytes:
    data = saved(picture_of(), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * scans + data[-2:]


JPEGS = {
    "RGB": {},
    "fine": {"quality": 100, "subsampling": 0},
    "progressive": {"progressive": True},
    "with restarts": {"restart_marker_rows": 1},
    "with many restarts": {"restart_marker_blocks": 1},
    "optimized": {"optimize": True},
    "L": {},
    "CMYK": {},
}


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_may_lack_its_end_but_none_of_its_pixels(tmp_path: Path, kind: str) -> None:
    noise = numpy.random.default_rng(1).integers(0, 256, (72, 88, 3), numpy.uint8)
    picture = Image.fromarray(noise).convert(kind if kind in ("L", "CMYK") else "RGB")
    data = saved(picture, "JPEG", **JPEGS[kind])
    assert data.endswith(b"\xff\xd9")
    whole = numpy.asarray(read(tmp_path, data))
    for end in (data[:-2], data[:-1], data[:-2] + b"\0" * 9, data[:-2] + b"\xff\xff"):
        assert (numpy.asarray(read(tmp_path, end)) == whole).all()
    scans = [found.start() for found in re.finditer(rb"\xff[\xda\xd0-\xd7]", data)]
    for cut in (4, 5, 8, 20, 100, 500, len(data) // 2, *(len(data) - scan for scan in scans)):
        assert "ends too early" in refusal(tmp_path, data[:-cut])


def test_the_scans_of_a_cameras_jpeg_are_counted_too(tmp_path: Path) -> None:
    few, many = progressive(0), progressive(300)
    assert read(tmp_path, few).size == (128, 128)
    file = io.BytesIO()
    picture_of().save(file, "MPO", save_all=True, append_images=[picture_of()])
    mpo = file.getvalue()
    segment = mpo[2 : 4 + int.from_bytes(mpo[4:6], "big")]
    for data in (mpo, many[:2] + segment + many[2:]):
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.format in ("MPO", "JPEG")
    assert read(tmp_path, mpo).size == (128, 128)
    assert "more than 100 scans" in refusal(tmp_path, many[:2] + segment + many[2:])
    assert "more than 100 scans" in refusal(tmp_path, many)


def test_what_lies_behind_a_jpeg_is_no_scan_of_it(tmp_path: Path) -> None:
    data = saved(picture_of(), "JPEG")
    for behind in (b"\xff\xda\0\x04" * 1000, b"\0\0\0\x18ftypmp42" + b"\xff\xda" * 5000):
        assert read(tmp_path, data + behind).size == (128, 128)
    comment = b"\xff\xfe" + struct.pack(">H", 2002) + b"\xff\xda" * 1000
    assert read(tmp_path, data[:2] + comment + data[2:]).size == (128, 128)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "lossless"])
def test_the_size_of_a_webp_is_known_before_its_pixels_take_memory(
    tmp_path: Path, mode: str
) -> None:
    picture = picture_of("RGB" if mode == "lossless" else mode, (300, 200))
    data = saved(picture, "WEBP", lossless=mode == "lossless")
    assert size_of_webp(data) == (300, 200)
    assert read(tmp_path, data).size == (300, 200)
    header = b"VP8X" + struct.pack("<II", 10, 0) + b"\xff\x3f\0" * 2
    assert "16384 × 16384 pixels" in refusal(tmp_path, data[:12] + header + data[30:])


def test_an_avif_is_read_with_its_profile_transparency_and_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    layered = picture_of("RGBA", (300, 200))
    layered.putalpha(0)
    assert (numpy.asarray(read(tmp_path, saved(layered, "AVIF", quality=95))) == 255).all()
    data = saved(Image.new("RGB", (300, 200), (0, 200, 0)), "AVIF", quality=100, exif=exif)
    assert read(tmp_path, data).size == (200, 300)
    wide = saved(
        Image.new("RGB", (64, 64), (0, 200, 0)),
        "AVIF",
        quality=100,
        icc_profile=profiles.rgb(profiles.P3),
    )
    assert pixel(read(tmp_path, wide))[0] < 5
    assert pixel(read(tmp_path, wide))[1] > 195
    assert "can't be read" in refusal(tmp_path, data[:-20])


@pytest.mark.filterwarnings("error")
def test_odd_metadata_of_a_tiff_warns_nobody(tmp_path: Path) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[ExifTags.Base.Orientation] = 6
    tags.tagtype[ExifTags.IFD.Exif] = TiffTags.LONG
    tags[ExifTags.IFD.Exif] = 999_999
    data = saved(picture_of(size=(300, 200)), "TIFF", tiffinfo=tags)
    assert read(tmp_path, data).size == (200, 300)


def test_a_png_of_a_million_chunks_is_refused(tmp_path: Path) -> None:
    whole = png(1, 1, 8, 2, b"\0abc")
    data = whole[:33] + chunk(b"IDAT", b"") * (png_chunks.MOST_CHUNKS + 1) + whole[33:]
    assert "chunks" in refusal(tmp_path, data)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)),
        ("HEIC", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(100)),
        ("JPEG XL", b"\xff\x0a" + bytes(100)),
        ("PSD", b"8BPS\0\1" + bytes(100)),
        ("PDF", b"%PDF-1.7" + bytes(100)),
    ],
)
def test_a_known_format_that_is_not_read_is_named(tmp_path: Path, kind: str, data: bytes) -> None:
    assert f"the file is {kind}, which can't be read; give PNG, JPEG" in refusal(tmp_path, data)


def test_a_picture_that_is_just_too_large_is_told_how_large_it_is(tmp_path: Path) -> None:
    data = png(9248, 6936, 8, 2, b"")
    assert "9248 × 6936 pixels (64.1 megapixels)" in refusal(tmp_path, data)
