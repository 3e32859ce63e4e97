"""Decoding: an untrusted file becomes an upright picture of 8 bits a channel, in sRGB."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy
from PIL import AvifImagePlugin, ExifTags, Image, UnidentifiedImageError

from stable_diffusion.decoding.avif import profile_of_avif
from stable_diffusion.decoding.colour import in_srgb
from stable_diffusion.decoding.facts import Facts
from stable_diffusion.decoding.jpeg import is_complete, pixels_of_jpeg
from stable_diffusion.decoding.png import pixels_of_png, transparency
from stable_diffusion.decoding.tiff import DeepTiff, is_cut_off, open_deep
from stable_diffusion.decoding.webp import size_of_webp
from stable_diffusion.request import InputError, quote

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each thread more takes memory of its own
LARGEST_PIXELS = 64_000_000
"""Pixels that a picture may have; a larger one is refused before any of it is decoded."""
Image.MAX_IMAGE_PIXELS = None  # Pillow's own bound, which this takes the place of
LARGEST_FILE_BYTES = 256 * 2**20
"""Bytes of a file; the hosted front takes less (IMAGE_MEGABYTES)."""

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
_ODD_BMP = "Unsupported BMP "
"""How Pillow begins to say of which kind a file is that it does not read."""
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""The brands of files that hold pictures encoded as HEVC."""
_STARTS = {
    "JPEG XL": (b"\xff\x0a", b"\0\0\0\x0cJXL "),
    "JPEG 2000": (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
    "PSD": (b"8BPS",),
    "PDF": (b"%PDF",),
    "SVG": (b"<svg", b"<?xml"),
}


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
    except UnidentifiedImageError:
        taken = "give PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF"
        if kind := kind_of(data):
            raise InputError(f"{name}: the file is {kind}, which can't be read; {taken}") from None
        raise InputError(f"{name}: the file is not a picture that can be read; {taken}") from None
    except Exception as error:  # whatever a broken file makes one of Pillow's decoders trip over
        if str(error).startswith(_ODD_BMP):
            kind = str(error).removeprefix(_ODD_BMP)
            raise InputError(
                f"{name}: the file is a BMP of a kind that can't be read ({kind}); save it as PNG"
            ) from None
        early = "truncated" in str(error).lower() or is_cut_off(data)
        fault = "ends too early" if early else "is damaged or of an unsupported kind"
        raise InputError(f"{name}: the picture can't be read, since its file {fault}") from None


def kind_of(data: bytes) -> str | None:
    """Return what a file is that is known, but not read; None for any other."""
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC:
        return "HEIC"
    return next((kind for kind, starts in _STARTS.items() if data.startswith(starts)), None)


def _decoded(
    name: str,
    data: bytes,
    largest_side: int | None,
    claim: Callable[[int], None] | None,
    as_numbers: bool,
) -> tuple[Image.Image, str]:
    facts = Facts()
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        data, facts = pixels_of_png(name, data)
    elif data.startswith(b"\xff\xd8\xff"):
        data, facts = pixels_of_jpeg(name, data)
    elif deep := open_deep(name, data):
        return _decoded_deep(name, deep, largest_side, claim, as_numbers)
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
        if facts.lacks_end and not is_complete(data, picture):
            raise OSError("The file is truncated")
        if picture.format not in ("PNG", "JPEG"):
            profile = picture.info.get("icc_profile")
            facts.profiles = [profile] if isinstance(profile, bytes) else []
            if picture.format == "AVIF":
                facts.profiles.append(profile_of_avif(data))
            with suppress(Exception):  # whatever is in it, it decides nothing but the orientation
                facts.exif = picture.getexif()
        flat = _with_alpha(_eight_bits(picture), picture, extent)
        if alpha := transparency(data, picture, facts):
            flat.putalpha(alpha)
        if not as_numbers:
            flat = in_srgb(flat, facts.profiles)
        orientation: Any = None
        with suppress(Exception):
            orientation = facts.exif.get(ExifTags.Base.Orientation) if facts.exif else None
        return _upright(flat, orientation), mode


def _decoded_deep(
    name: str,
    tiff: DeepTiff,
    largest_side: int | None,
    claim: Callable[[int], None] | None,
    as_numbers: bool,
) -> tuple[Image.Image, str]:
    _check_size(name, tiff.size, largest_side)
    if claim:
        claim(tiff.size[0] * tiff.size[1])
    picture, alpha = tiff.pixels(name)
    if not as_numbers:
        picture = in_srgb(picture, tiff.profiles)
    if alpha:
        picture = picture if picture.mode == "L" else picture.convert("RGB")
        picture.putalpha(alpha)
    return _upright(picture, tiff.orientation), picture.mode


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


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Return the picture with 8 bits a channel, a palette's colours in place of their numbers."""
    if picture.mode.startswith("I;16"):
        scaled = numpy.asarray(picture).astype(numpy.float32) / 257
        return Image.fromarray(scaled.round().astype(numpy.uint8))
    if picture.format == "BMP" and picture.mode == "RGBA":
        is_unused = picture.getchannel("A").getextrema() == (0, 0)
        return picture.convert("RGB") if is_unused else picture
    if picture.mode in ("L", "RGB", "LA", "RGBA", "CMYK"):
        return picture
    if picture.mode == "1":
        return picture.convert("L")
    has_alpha = picture.has_transparency_data
    return picture.convert("RGBA" if has_alpha else "RGB")


def _with_alpha(
    eight: Image.Image, picture: Image.Image, extent: tuple[int, int, int, int] | None
) -> Image.Image:
    """Return the picture with its transparency as an alpha channel, if it has any.

    Args:
        extent: the part of a GIF that its first frame covers.
    """
    if extent and extent != (0, 0, *picture.size):
        whole = Image.new("RGBA", picture.size)
        whole.paste(eight.crop(extent).convert("RGBA"), extent)
        return whole
    if eight.has_transparency_data and eight.mode in ("L", "RGB"):
        return eight.convert("RGBA")
    return eight


def _upright(picture: Image.Image, orientation: object) -> Image.Image:
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return picture.transpose(method) if method is not None else picture
