"""Decoding: an untrusted file becomes an upright picture of 8 bits a channel, in sRGB."""

from __future__ import annotations

import io
import re
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from PIL import AvifImagePlugin, ExifTags, Image, ImageCms, UnidentifiedImageError

from stable_diffusion.request import InputError, quote

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each thread more takes memory of its own
LARGEST_PIXELS = 64_000_000
"""Pixels that a picture may have; a larger one is refused before any of it is decoded."""
LARGEST_FILE_BYTES = 256 * 2**20
"""Bytes of a file; the hosted front takes less (IMAGE_MEGABYTES)."""
MOST_SCANS = 100
"""Scans that a JPEG may have: a real one has ten, and a hostile one takes minutes to decode."""
MOST_CHUNKS = 200_000
"""Chunks that a PNG may have: one of 64 megapixels has some 20,000."""
LARGEST_PROFILE_BYTES = 4 * 2**20
"""Bytes of a colour profile; those of printing presses have up to 2 MiB."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF's orientation."""
_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}
"""The colour space of a profile that fits a mode."""
_SRGB = ImageCms.createProfile("sRGB")
_COLOUR_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
"""A JPEG's marker that ends the data of a scan: neither a stuffed byte nor a restart."""
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_BESIDE_PIXELS = {*range(0xE0, 0xF0), 0xFE}
"""A JPEG's segments for applications and comments."""
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""The brands of files that hold pictures encoded as HEVC."""
_STARTS = {
    "JPEG XL": (b"\xff\x0a", b"\0\0\0\x0cJXL "),
    "JPEG 2000": (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
    "PSD": (b"8BPS",),
    "PDF": (b"%PDF",),
    "SVG": (b"<svg", b"<?xml"),
}


@dataclass
class _Facts:
    """The facts of a file beside its pixels, as far as these need them."""

    profile: bytes = b""
    gamma: float | None = None
    """Of a PNG that names no colour space: the power that made its values of light."""
    transparent: tuple[int, ...] = ()
    """Of a PNG without a palette: the one value that is transparent, as deep as the file."""
    depth: int = 8
    """Bits of a channel."""
    exif: Image.Exif | None = None


def decode(
    name: str,
    source: object,
    largest_side: int | None = None,
    claim: Callable[[int], None] | None = None,
    as_numbers: bool = False,
) -> tuple[Image.Image, str]:
    """Read a picture from an uploaded file.

    Args:
        name: of the input, for faults.
        source: the path of the uploaded file. Cog hands on any text that is not a URL as it
            stands, so that a text is an attempt to read a file of the server, and refused.
        largest_side: width and height that it may have, in pixels; None: `LARGEST_PIXELS` alone.
        claim: is called with the number of pixels before they are decoded.
        as_numbers: whether its values are numbers and not colours, as a mask's: no profile is
            applied to them.

    Returns:
        The picture, upright, of mode L, RGB, LA, RGBA or CMYK; and the mode of its file.

    Raises:
        InputError: when it is no readable picture of the formats taken, or too large.
        OSError: when the file can't be read.
    """
    if not isinstance(source, Path):
        raise InputError(f"{name}: {quote(source)} is not an upload; give an http(s) or data URL")
    if source.stat().st_size > LARGEST_FILE_BYTES:
        raise InputError(
            f"{name}: the file has more than {LARGEST_FILE_BYTES // 2**20} MiB; give a smaller"
        )
    data = source.read_bytes()
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd metadata, which decides nothing
            return _decoded(name, data, largest_side, claim, as_numbers)
    except (InputError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise InputError(f"{name}: the picture is too large; {_most()}") from None
    except UnidentifiedImageError:
        taken = "give PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF"
        if kind := kind_of(data):
            raise InputError(f"{name}: the file is {kind}, which can't be read; {taken}") from None
        raise InputError(f"{name}: the file is not a picture that can be read; {taken}") from None
    except Exception as error:  # whatever a broken file makes one of Pillow's decoders trip over
        early = "truncated" in str(error).lower()
        fault = "ends too early" if early else "is damaged or of an unsupported kind"
        raise InputError(f"{name}: the picture can't be read, since its file {fault}") from None


def kind_of(data: bytes) -> str | None:
    """Return what a file is that is known, but not read; None for any other."""
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC:
        return "HEIC"
    return next((kind for kind, starts in _STARTS.items() if data.startswith(starts)), None)


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


def _decoded(
    name: str,
    data: bytes,
    largest_side: int | None,
    claim: Callable[[int], None] | None,
    as_numbers: bool,
) -> tuple[Image.Image, str]:
    facts = _Facts()
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        data, facts = _pixels_of_png(name, data)
    elif data.startswith(b"\xff\xd8\xff"):
        data, facts = _pixels_of_jpeg(name, data)
    size = size_of_webp(data)
    if size:  # to open one takes the memory for its pixels
        _check_size(name, size, largest_side)
        if claim:
            claim(size[0] * size[1])
    with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
        _check_size(name, picture.size, largest_side)
        extent = picture.tile[0][1] if picture.format == "GIF" and picture.tile else None
        mode = picture.mode
        if claim and not size:
            claim(picture.width * picture.height)
        picture.load()
        if picture.format not in ("PNG", "JPEG"):
            profile = picture.info.get("icc_profile") or b""
            facts.profile = profile if isinstance(profile, bytes) else b""
            with suppress(Exception):  # whatever is in it, it decides nothing but the orientation
                facts.exif = picture.getexif()
        flat = _with_alpha(_eight_bits(picture, facts), picture, facts, extent)
        if not as_numbers:
            flat = _in_srgb(flat, facts)
        return _upright(flat, facts), mode


def _check_size(name: str, size: tuple[int, int], largest_side: int | None) -> None:
    pixels = size[0] * size[1]
    has = f"{size[0]} × {size[1]} pixels"
    if pixels > LARGEST_PIXELS:
        has += f" ({pixels / 1e6:.1f} megapixels)"
        raise InputError(f"{name}: the picture of {has} is too large; {_most()}")
    if largest_side and max(size) > largest_side:
        most = f"give at most {largest_side} × {largest_side} pixels"
        raise InputError(f"{name}: the picture of {has} is too large; {most}")


def _most() -> str:
    return f"give at most {LARGEST_PIXELS // 1_000_000} megapixels"


def _pixels_of_png(name: str, data: bytes) -> tuple[bytes, _Facts]:
    """Return a PNG with nothing but what its pixels are made from, and the facts beside them.

    Texts, animations and whatever else is in it can refuse or slow down nothing.
    """
    facts, needed = _Facts(), [data[:8]]
    names_space = False
    colours = 0
    for kind, body, whole in _chunks(name, data):
        if kind in _COLOUR_CHUNKS:
            needed.append(whole)
        if kind == b"IHDR" and len(body) == 13:
            facts.depth, colours = body[8], body[9]
        elif kind == b"tRNS" and colours == 3:
            needed.append(whole)
        elif kind == b"tRNS":
            pairs = range(0, len(body) - 1, 2)
            facts.transparent = tuple(int.from_bytes(body[i : i + 2], "big") for i in pairs)
        elif kind == b"sRGB":
            names_space = True
        elif kind == b"gAMA" and len(body) == 4:
            facts.gamma = int.from_bytes(body, "big") / 100_000
        elif kind == b"iCCP":
            with suppress(zlib.error):
                packed = body.partition(b"\0")[2][1:]
                facts.profile = zlib.decompressobj().decompress(packed, LARGEST_PROFILE_BYTES)
        elif kind == b"eXIf":
            with suppress(Exception):
                facts.exif = Image.Exif()
                facts.exif.load(body)
    if names_space:
        facts.gamma = None
    return b"".join(needed), facts


def _pixels_of_jpeg(name: str, data: bytes) -> tuple[bytes, _Facts]:
    """Return a JPEG's first picture with nothing but what its pixels are made from, and its facts.

    What follows its end (further pictures, a film, raw data of the sensor) is no part of it.
    """
    facts, needed, profile = _Facts(), [data[:2]], dict[int, bytes]()
    scans, position = 0, 2
    while marker := _MARKER.search(data, position):
        kind, start = marker[1][0], marker.end()
        if kind == _END_OF_IMAGE:
            needed.append(data[position:start])
            break
        end = start + max(2, int.from_bytes(data[start : start + 2], "big"))
        body = data[start + 2 : end]
        is_needed = kind not in _BESIDE_PIXELS
        # These two say how colours are stored.
        is_needed |= kind == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 14
        is_needed |= kind == 0xEE and body.startswith(b"Adobe") and len(body) >= 12
        needed.append(data[position : end if is_needed else marker.start()])
        if kind == 0xE1 and body.startswith(b"Exif\0\0") and facts.exif is None:
            facts.exif = Image.Exif()
            with suppress(Exception):
                facts.exif.load(body)
        elif kind == 0xE2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
            profile[body[12]] = body[14:]
        scans += kind == _START_OF_SCAN
        if scans > MOST_SCANS:
            raise InputError(f"{name}: the JPEG file has more than {MOST_SCANS} scans")
        position = end
    else:
        needed.append(data[position:])
    facts.profile = b"".join(profile[number] for number in sorted(profile))
    return b"".join(needed), facts


def _chunks(name: str, data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield a PNG's chunks up to its end: kind, body, and all of it."""
    position = 8
    for _ in range(MOST_CHUNKS):
        length = int.from_bytes(data[position : position + 4], "big")
        kind, end = data[position + 4 : position + 8], position + 12 + length
        if len(kind) < 4:
            return
        yield kind, data[position + 8 : end - 4], data[position:end]
        if kind == b"IEND":
            return
        position = end
    raise InputError(f"{name}: the PNG file has more than {MOST_CHUNKS} chunks")


def _eight_bits(picture: Image.Image, facts: _Facts) -> Image.Image:
    """Return the picture with 8 bits a channel, a palette's colours in place of their numbers."""
    if picture.mode.startswith("I;16"):
        values = numpy.asarray(picture).astype(numpy.float32)
        tags: Any = getattr(picture, "tag_v2", {})
        bits = tags.get(ExifTags.Base.BitsPerSample, (16,))[0]
        scaled = values * (255 / (2**bits - 1))
        if tags.get(ExifTags.Base.PhotometricInterpretation) == 0:  # white is zero
            scaled = 255 - scaled
        grey = Image.fromarray(scaled.round().astype(numpy.uint8))
        if facts.transparent:
            hidden = values == facts.transparent[0]
            grey.putalpha(Image.fromarray(numpy.where(hidden, 0, 255).astype(numpy.uint8)))
        return grey
    if picture.mode in ("I", "F"):
        raise ValueError("32 bits a channel, of which nobody knows which value is white")
    if picture.mode in ("L", "RGB", "LA", "RGBA", "CMYK"):
        return picture
    if picture.mode == "1":
        return picture.convert("L")
    has_alpha = picture.has_transparency_data
    return picture.convert("RGBA" if has_alpha else "RGB")


def _with_alpha(
    eight: Image.Image,
    picture: Image.Image,
    facts: _Facts,
    extent: tuple[int, int, int, int] | None,
) -> Image.Image:
    """Return the picture with its transparency as an alpha channel, if it has any.

    Args:
        extent: the part of a GIF that its first frame covers.
    """
    if extent and extent != (0, 0, *picture.size):
        whole = Image.new("RGBA", picture.size)
        whole.paste(eight.crop(extent).convert("RGBA"), extent)
        return whole
    if facts.transparent and eight.mode in ("L", "RGB"):
        most = 2**facts.depth - 1
        hidden = [
            value >> 8 if facts.depth == 16 else value * 255 // most for value in facts.transparent
        ]
        if len(hidden) == len(eight.getbands()):
            values = numpy.asarray(eight).reshape(*eight.size[::-1], len(hidden))
            alpha = numpy.where((values == hidden).all(axis=2), 0, 255).astype(numpy.uint8)
            layered = eight.copy()
            layered.putalpha(Image.fromarray(alpha))
            return layered
    if eight.has_transparency_data and eight.mode in ("L", "RGB"):
        return eight.convert("RGBA")
    return eight


def _in_srgb(picture: Image.Image, facts: _Facts) -> Image.Image:
    """Return the picture in sRGB, by its profile or else its gamma; what is broken is ignored."""
    if facts.profile and (converted := _by_profile(picture, facts.profile)):
        return converted
    if not facts.gamma or not 0.1 < facts.gamma < 10 or abs(facts.gamma - 1 / 2.2) < 0.01:
        return picture
    power = 1 / (2.2 * facts.gamma)
    table = [round(255 * (value / 255) ** power) for value in range(256)]
    has_alpha = picture.mode in ("LA", "RGBA")
    tables = [table] * (len(picture.getbands()) - has_alpha) + [list(range(256))] * has_alpha
    return picture.point([value for each in tables for value in each])


def _by_profile(picture: Image.Image, data: bytes) -> Image.Image | None:
    """Return the picture in sRGB by an ICC profile; None by one that is broken or does not fit."""
    alpha = picture.getchannel("A") if picture.mode in ("LA", "RGBA") else None
    colours = picture.convert(picture.mode[:-1]) if alpha else picture
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        if profile.profile.xcolor_space == "RGB " and colours.mode == "L":
            colours = colours.convert("RGB")
        if profile.profile.xcolor_space != _SPACES[colours.mode]:
            return None
        transform = ImageCms.buildTransform(
            profile,
            _SRGB,
            colours.mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if colours.mode == "RGB" and _changes_nothing(transform):
            return picture
        converted = ImageCms.applyTransform(colours, transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, KeyError):
        return None
    if converted and alpha:
        converted.putalpha(alpha)
    return converted


def _changes_nothing(transform: Any) -> bool:
    """Return whether a transform is from sRGB itself: then a picture stays as it is."""
    steps = numpy.linspace(0, 255, 9).round().astype(numpy.uint8)
    grid = numpy.stack(numpy.meshgrid(steps, steps, steps), -1).reshape(27, 27, 3)
    converted = ImageCms.applyTransform(Image.fromarray(grid), transform)
    difference = numpy.asarray(converted).astype(int) - grid
    return bool(abs(difference).max() <= 1)


def _upright(picture: Image.Image, facts: _Facts) -> Image.Image:
    orientation: Any = None
    with suppress(Exception):
        orientation = facts.exif.get(ExifTags.Base.Orientation) if facts.exif else None
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return picture.transpose(method) if method is not None else picture
