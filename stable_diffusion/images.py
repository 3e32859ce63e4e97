"""Pictures: read from untrusted files, fitted to a size, and saved with their metadata."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import numpy
from PIL import ExifTags, Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from stable_diffusion.request import SIZES, InputError, quote

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
LARGEST_PIXELS = 64_000_000
"""Pixels that an image may have; a larger one is refused before any of it is decoded."""
START_OF_SCAN = b"\xff\xda"
MOST_SCANS = 100
"""Scans that a JPEG may have: a real one has ten, and a hostile one takes minutes to decode."""
LARGEST_EXIF_BYTES = 60_000
"""Bytes of metadata in an EXIF block, which ends at 65,535 in a JPEG file."""

_decoding = threading.Lock()  # a picture of 64 megapixels takes a gigabyte while it is decoded


def read_image(source: object, largest_side: int | None = None) -> Image.Image:
    """Read a picture from an uploaded file: upright, RGB, transparency laid on white.

    Args:
        source: the path of the uploaded file. Cog hands on any text that is not a URL as it
            stands, so that a text is an attempt to read a file of the server, and refused.
        largest_side: width and height that it may have, in pixels; None: `LARGEST_PIXELS` alone.

    Raises:
        InputError: when it is no readable picture of the formats taken, or too large.
    """
    return _read("image", source, "RGB", "white", largest_side)[0]


def read_mask(source: object, notes: list[str]) -> Image.Image:
    """Read a mask from an uploaded file: upright, greyscale, transparency laid on black.

    Args:
        source: as that of an image.
        notes: takes a sentence where the file is not greyscale.

    Raises:
        InputError: when it is no readable picture of the formats taken.
    """
    picture, mode = _read("mask", source, "L", "black")
    if mode not in ("1", "L"):
        notes.append(f"mask: its mode {mode} was read as greyscale, its transparent parts as black")
    return picture


def _read(
    name: str, source: object, mode: str, background: str, largest_side: int | None = None
) -> tuple[Image.Image, str]:
    """Read a picture; return it, and the mode that it has in its file."""
    if not isinstance(source, Path):
        raise InputError(f"{name}: {quote(source)} is not an upload; give an http(s) or data URL")
    most = f"give at most {LARGEST_PIXELS // 1_000_000} megapixels"
    try:
        with _decoding, Image.open(source, formats=FORMATS) as picture:
            size = f"{picture.width} × {picture.height} pixels"
            if picture.width * picture.height > LARGEST_PIXELS:
                raise InputError(f"{name}: the picture of {size} is too large; {most}")
            if largest_side and max(picture.size) > largest_side:
                most = f"give at most {largest_side} × {largest_side} pixels"
                raise InputError(f"{name}: the picture of {size} is too large; {most}")
            if picture.format == "JPEG" and source.read_bytes().count(START_OF_SCAN) > MOST_SCANS:
                raise InputError(f"{name}: the JPEG file has more than {MOST_SCANS} scans")
            picture.load()
            upright = ImageOps.exif_transpose(picture)
            return _flattened(_eight_bits(upright), background).convert(mode), picture.mode
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(f"{name}: the picture is too large; {most}") from None
    except UnidentifiedImageError:
        raise InputError(
            f"{name}: the file is not a picture that can be read; "
            "give PNG, JPEG, WebP, GIF, BMP or TIFF"
        ) from None
    except Exception as error:  # whatever a broken file makes one of Pillow's decoders trip over
        early = "truncated" in str(error).lower()
        fault = "ends too early" if early else "is damaged or of an unsupported kind"
        raise InputError(f"{name}: the picture can't be read, since its file {fault}") from None


def _eight_bits(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):
        deep = numpy.asarray(picture).astype(numpy.float32)
        return Image.fromarray((deep / 257).round().astype(numpy.uint8))
    if picture.mode in ("I", "F"):
        raise ValueError("32 bits a channel, of which nobody knows which value is white")
    return picture


def _flattened(picture: Image.Image, background: str) -> Image.Image:
    if not picture.has_transparency_data:
        return picture
    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, background), layer)


def choose_size(
    width: int | None, height: int | None, shape: tuple[int, int] | None, native: int
) -> tuple[int, int]:
    """Choose the output's size in pixels (contract, 2.1).

    Args:
        width, height: what was asked for; None where it is left to the picture's shape.
        shape: the input picture's width and height in any unit; None without a picture.
        native: the side in pixels of the square that the model was trained on.
    """
    if shape is None:
        return width or native, height or native
    if width and height:
        return width, height
    ratio = Fraction(*shape)
    sizes = product([width] if width else SIZES, [height] if height else SIZES)

    def distance(size: tuple[int, int]) -> tuple[Fraction, int, int]:
        quotient = Fraction(*size) / ratio  # exact, so that ties are ties
        area = abs(size[0] * size[1] - native**2)
        return max(quotient, 1 / quotient), area, -size[0]

    if width or height:
        return min(sizes, key=distance)
    return min((s for s in sizes if native**2 <= 2 * s[0] * s[1] <= 4 * native**2), key=distance)


def fit(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Crop the picture around its centre to the shape of `size`, and scale it to that size."""
    scale = max(size[0] / picture.width, size[1] / picture.height)
    width, height = size[0] / scale, size[1] / scale
    left, top = (picture.width - width) / 2, (picture.height - height) / 2
    # Rounding must not push the box over the edge by a hair.
    box = (
        max(left, 0),
        max(top, 0),
        min(left + width, picture.width),
        min(top + height, picture.height),
    )
    fitted = picture.resize(size, Image.Resampling.LANCZOS, box=box)
    fitted.info = {}
    return fitted


def save(
    picture: Image.Image, path: Path, file_format: str, quality: int, metadata: Mapping[str, Any]
) -> None:
    """Write the picture to a file with its metadata: completely, or not at all.

    The metadata is ASCII JSON: the text chunk `Description` in PNG, `ImageDescription` (270) in the
    EXIF block of the others, where overlong prompts are cut.

    Args:
        file_format: png, webp or jpg.
        quality: 1 to 100, for webp and jpg.
        metadata: what the picture was made from, by name.
    """
    options: dict[str, Any] = {}
    if file_format == "png":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_text("Description", json.dumps(metadata))
    else:
        exif = Image.Exif()
        exif[ExifTags.Base.ImageDescription] = _cut_to_exif(metadata)
        options |= {"exif": exif, "quality": quality}
    part = path.with_suffix(".part")
    picture.save(part, {"jpg": "JPEG"}.get(file_format, file_format), **options)
    part.rename(path)


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a file that `save` has written."""
    with Image.open(path) as picture:
        text = picture.info.get("Description") or picture.getexif()[ExifTags.Base.ImageDescription]
    metadata: dict[str, Any] = json.loads(text)
    return metadata


def _cut_to_exif(metadata: Mapping[str, Any]) -> str:
    text = json.dumps(metadata)
    longest = LARGEST_EXIF_BYTES
    while len(text) > LARGEST_EXIF_BYTES:  # an escaped character is up to twelve bytes long
        longest //= 2
        cut = {
            k: v[:longest] + "…" if isinstance(v, str) and len(v) > longest else v
            for k, v in metadata.items()
        }
        text = json.dumps(cut)
    return text
