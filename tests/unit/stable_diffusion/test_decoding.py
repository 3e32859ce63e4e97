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
from tests.support.tiffs import tiff
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


RGBA_MASKS = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def bmp(header_bytes: int, bits: int, masks: tuple[int, ...], *pixels: tuple[int, ...]) -> bytes:
    """A BMP of one row, of the 4th or 5th version."""
    header = struct.pack("<IiiHHI20x", header_bytes, len(pixels), 1, 1, bits, 3)
    header += struct.pack("<4I4s", *masks, b"BGRs")
    start = 14 + header_bytes
    body = b"".join(bytes((b, g, r, a)) for r, g, b, a in pixels)
    head = b"BM" + struct.pack("<I4xI", start + len(body), start)
    return head + header.ljust(header_bytes, b"\0") + body


@pytest.mark.parametrize("header_bytes", [108, 124])
def test_a_bmp_without_any_opaque_pixel_is_opaque(tmp_path: Path, header_bytes: int) -> None:
    def of(*pixels: tuple[int, ...]) -> bytes:
        return bmp(header_bytes, 32, RGBA_MASKS, *pixels)

    picture = read(tmp_path, of((200, 100, 50, 0), (1, 2, 3, 0)))
    assert tuple(pixel(picture)) == (200, 100, 50)
    assert tuple(pixel(picture, (1, 0))) == (1, 2, 3)
    picture = read(tmp_path, of((200, 100, 50, 0), (1, 2, 3, 255)))
    assert tuple(pixel(picture)) == (255, 255, 255)
    assert tuple(pixel(picture, (1, 0))) == (1, 2, 3)


@pytest.mark.parametrize(
    ("bits", "masks", "kind"),
    [
        (16, (0xF00, 0xF0, 0xF, 0), "bitfields layout"),
        (32, (0x3FF00000, 0xFFC00, 0x3FF, 0), "bitfields layout"),
        (2, (0, 0, 0, 0), "pixel depth (2)"),
    ],
)
def test_a_bmp_that_is_not_read_is_told_why(
    tmp_path: Path, bits: int, masks: tuple[int, ...], kind: str
) -> None:
    expected = f"image: the file is a BMP of a kind that can't be read ({kind}); save it as PNG"
    assert refusal(tmp_path, bmp(124, bits, masks, (1, 2, 3, 4))) == expected


WHITE_IS_ZERO, GREY, RGB, PALETTE, CMYK, YCBCR, LAB, ICC_LAB = 0, 1, 2, 3, 5, 6, 8, 9
ASSOCIATED, UNASSOCIATED, JPEG = {338: (1,)}, {338: (2,)}, {259: (7,)}
SRGB_TO_XYZ = numpy.array(
    [[0.43607, 0.38506, 0.14308], [0.2225, 0.71688, 0.06062], [0.01393, 0.0971, 0.71417]]
)
"""For the white of D50."""
LAYOUTS: list[dict[str, Any]] = [
    {},
    {"is_planar": True},
    {"tile": 16},
    {"is_deflated": True},
    {"is_deflated": True, "is_planar": True, "tile": 16},
]


def deep(bits: int, channels: int) -> numpy.ndarray:
    kind = numpy.uint32 if bits == 32 else numpy.uint16
    return numpy.random.default_rng(bits).integers(0, 2**bits, (21, 19, channels), kind)


def colours_of(folder: Path, data: bytes) -> Any:
    return numpy.asarray(read(folder, data)).astype(int)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("bits", "colours"),
    [(bits, colours) for bits in (10, 12, 14, 16, 32) for colours in (WHITE_IS_ZERO, GREY, RGB)],
)
def test_a_tiff_may_be_of_any_depth(
    tmp_path: Path, bits: int, colours: int, order: str, layout: Any
) -> None:
    values = deep(bits, 3 if colours == RGB else 1)
    expected = values / (2**bits - 1) * 255
    if colours == WHITE_IS_ZERO:
        expected = 255 - expected
    data = tiff(values, bits, colours, order=order, **layout)
    assert abs(colours_of(tmp_path, data) - expected).max() <= 1


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("bits", "channels"), [(16, 1), (32, 1), (32, 3), (64, 3)])
def test_a_tiffs_floating_point_values_are_white_at_1(
    tmp_path: Path, bits: int, channels: int, order: str, layout: Any
) -> None:
    values = numpy.random.default_rng(1).random((21, 19, channels)).astype(f"f{bits // 8}")
    values[0, :4, 0] = -1, 2, numpy.nan, numpy.inf
    expected = 255 * numpy.nan_to_num(values, posinf=1).astype(float).clip(0, 1)
    colours = RGB if channels == 3 else GREY
    for predictor in (1, 3):
        data = tiff(values, bits, colours, order=order, predictor=predictor, **layout)
        if layout.get("is_deflated") or predictor == 1:
            assert abs(colours_of(tmp_path, data) - expected).max() <= 1
    brighter = refusal(tmp_path, tiff(100 * values[1:], bits, colours, order=order, **layout))
    assert "1 is white; save it as PNG" in brighter


@pytest.mark.parametrize("tile", [None, 16])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("bits", "channels"), [(16, 2), (32, 3)])
def test_a_tiff_may_have_differences_of_values(
    tmp_path: Path, bits: int, channels: int, order: str, tile: int | None
) -> None:
    values = deep(bits, channels)
    data = tiff(
        values,
        bits,
        RGB if channels == 3 else GREY,
        order=order,
        is_deflated=True,
        predictor=2,
        tile=tile,
        more=UNASSOCIATED if channels == 2 else {},
    )
    share = values / (2**bits - 1)
    expected = 255 * (1 - share[..., 1:] + share[..., :1] * share[..., 1:])
    expected = 255 * share if channels == 3 else expected
    assert abs(colours_of(tmp_path, data) - expected).max() <= 2


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("is_planar", [False, True])
@pytest.mark.parametrize("colours", [WHITE_IS_ZERO, GREY, RGB, CMYK])
@pytest.mark.parametrize("alpha", [ASSOCIATED, UNASSOCIATED])
def test_a_tiffs_alpha_is_laid_on_white(
    tmp_path: Path, bits: int, is_planar: bool, colours: int, alpha: Any
) -> None:
    channels = {RGB: 3, CMYK: 4}.get(colours, 1)
    most = 2**bits - 1
    # Half transparent, opaque and transparent.
    shares = numpy.array([[[0.3] * channels + [0.5], [0.3] * channels + [1], [0] * channels + [0]]])
    shares[0, :, 0] *= 2
    stored = shares.copy()
    if alpha == ASSOCIATED:
        stored[..., :-1] *= shares[..., -1:]
    data = tiff(
        (stored * most).round().astype(numpy.uint16 if bits > 8 else numpy.uint8),
        bits,
        colours,
        is_planar=is_planar,
        more=alpha,
    )
    own = shares[..., :-1]
    if colours == WHITE_IS_ZERO:
        own = 1 - own
    if colours == CMYK:
        own = (1 - own[..., :3]) * (1 - own[..., 3:])
    expected = 255 * (1 - shares[..., -1:] + own * shares[..., -1:])
    assert abs(colours_of(tmp_path, data) - expected).max() <= 3


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("colours", [LAB, ICC_LAB])
def test_a_tiff_may_be_in_lab(tmp_path: Path, bits: int, colours: int) -> None:
    shown = numpy.array([(200, 100, 50), (90, 120, 180), (60, 160, 90), (255, 255, 255), (0, 0, 0)])
    share = shown / 255
    light = numpy.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    f = numpy.cbrt(light @ SRGB_TO_XYZ.T / (0.96422, 1, 0.82521))
    f = numpy.where(f > 6 / 29, f, f * 0 + 4 / 29)  # black alone is that dark
    lab = numpy.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)
    scale = 2 ** (bits - 8)
    whole = 2**bits - 1 if colours == LAB else 255 * scale
    stored = lab * (whole / 100, scale, scale)
    stored[:, 1:] += 128 * scale if colours == ICC_LAB else 0
    values = stored.round().astype(int).astype(f"u{bits // 8}")
    data = tiff(values[None], bits, colours)
    assert abs(colours_of(tmp_path, data)[0] - shown).max() <= 5


def test_a_tiffs_palette_may_have_16_bits(tmp_path: Path) -> None:
    table = numpy.zeros((3, 65536), int)
    table[:, 40_000] = 257 * 200, 257 * 100, 257 * 50
    values = numpy.array([[[40_000], [3]]], numpy.uint16)
    data = tiff(values, 16, PALETTE, more={320: tuple(table.reshape(-1).tolist())})
    assert colours_of(tmp_path, data).tolist() == [[[200, 100, 50], [0, 0, 0]]]
    short = tiff(values, 16, PALETTE, more={320: (1, 2, 3)})
    assert "can't be read" in refusal(tmp_path, short)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("is_deflated", [False, True])
def test_a_tiff_of_16_bits_may_be_in_planes(
    tmp_path: Path, order: str, alpha: bool, is_deflated: bool
) -> None:
    values = deep(16, 3)
    stored = numpy.concatenate([values, numpy.full_like(values[..., :1], 65535)], 2)
    data = tiff(
        stored if alpha else values,
        16,
        RGB,
        order=order,
        is_planar=True,
        is_deflated=is_deflated,
        more=UNASSOCIATED if alpha else {},
    )
    assert abs(colours_of(tmp_path, data) - values / 257).max() <= 1


@pytest.mark.parametrize("is_deflated", [False, True])
def test_a_tiffs_colours_may_be_coarser_than_its_light(tmp_path: Path, is_deflated: bool) -> None:
    # Of each square of four pixels: its light, and its two colours.
    units = [*[150, 150, 150, 150, 100, 180], *[60, 60, 60, 60, 160, 90]]
    shape = {256: (4,), 257: (2,), 258: (8, 8, 8), 277: (3,), 339: (1, 1, 1), 530: (2, 2)}
    values = numpy.array(units, numpy.uint8).reshape(1, -1, 1)
    data = tiff(values, 8, YCBCR, is_deflated=is_deflated, more=shape)
    picture = colours_of(tmp_path, data)
    assert picture.shape == (2, 4, 3)
    expected = [(150 + 1.402 * 52, 150 + 0.344 * 28 - 0.714 * 52, 150 - 1.772 * 28)]
    expected += [(60 - 1.402 * 38, 60 - 0.344 * 32 + 0.714 * 38, 60 + 1.772 * 32)]
    assert abs(picture[:, :2] - expected[0]).max() <= 2
    assert abs(picture[:, 2:] - numpy.clip(expected[1], 0, 255)).max() <= 2


def test_a_deep_tiff_has_a_profile_and_an_orientation(tmp_path: Path) -> None:
    profile = profiles.rgb(profiles.P3)
    green = (60, 180, 90)
    stored = numpy.array(from_srgb(green, profile), numpy.uint16) * 16
    values = numpy.broadcast_to(stored, (2, 4, 3))
    more = {274: (6,), 34675: struct.unpack(f"<{len(profile) // 4}I", profile)}
    data = tiff(values, 12, RGB, more=more)
    entry = data.index(struct.pack("<HHI", 34675, 4, len(profile) // 4))
    as_bytes = struct.pack("<HHI", 34675, 7, len(profile))
    picture = read(tmp_path, data[:entry] + as_bytes + data[entry + 8 :])
    assert picture.size == (2, 4)
    assert numpy.allclose(pixel(picture), green, atol=3)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("greys with 16 signed bits a channel", tiff(deep(16, 1), 16, GREY, more={339: (2,)})),
        ("YCbCr with 16 bits a channel", tiff(deep(16, 3), 16, YCBCR)),
        ("RGB with 12 bits a channel, compressed by JPEG", tiff(deep(12, 3), 12, RGB, more=JPEG)),
        ("a camera's raw data with 14 bits a channel", tiff(deep(14, 1), 14, 32803)),
    ],
)
def test_a_tiff_that_is_not_read_is_named(tmp_path: Path, kind: str, data: bytes) -> None:
    expected = f"image: the file is a TIFF of {kind}, which can't be read; save it as PNG"
    assert refusal(tmp_path, data) == expected


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_tiff_that_ends_too_early_is_refused_as_such(tmp_path: Path, bits: int) -> None:
    values = (deep(16, 3) >> (16 - bits)).astype(numpy.uint8 if bits == 8 else numpy.uint16)
    more = {273: tuple(8 + 2**20 * i for i in range(11))}
    assert "ends too early" in refusal(tmp_path, tiff(values, bits, RGB, more=more))


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


JPEGS: dict[str, dict[str, Any]] = {
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
