"""Pictures: fitted to a size, and saved with their metadata."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import numpy
from PIL import ExifTags, Image, ImageChops, ImageCms, ImageFilter, PngImagePlugin, TiffTags

from stable_diffusion.decoding import FORMATS, decode
from stable_diffusion.request import AUTOMATIC_SIZES, SIZES, Request


def _srgb_profile() -> bytes:
    """Return the bytes of a profile, without the time at which it was made."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + bytes(12) + profile[36:]


SRGB_PROFILE = _srgb_profile()
"""Tags JPEG and WebP files, so that they look the same everywhere."""
LARGEST_EXIF_BYTES = 30_000
"""Bytes of each of two texts in an EXIF block, which ends at 65,535 in a JPEG file."""
LARGEST_TEXT = 2**22
"""Characters of a text in a file that are read; the longest prompts are 3 MB of JSON in ASCII."""
USER_COMMENT_CODE = b"UNICODE\0"
"""The first bytes of a user comment in EXIF, which say how its text is encoded."""
# Pillow has no type for it, and takes one that EXIF's readers don't expect.
TiffTags.TAGS_V2_GROUPS[ExifTags.IFD.Exif][ExifTags.Base.UserComment] = TiffTags.TagInfo(
    ExifTags.Base.UserComment, "UserComment", TiffTags.UNDEFINED
)


def read_picture(
    name: str,
    source: object,
    largest_side: int | None = None,
    mask_source: str = "brightness",
    claim: Callable[[int], None] | None = None,
) -> tuple[Image.Image, list[str]]:
    """Read the input `image` or `mask` from an uploaded file, upright.

    An image is RGB in sRGB, its transparency laid on white. A mask is greyscale, its transparency
    laid on black; or by its alpha channel, if anything of it is transparent.

    Args:
        name, source, largest_side, claim: as those of `decode`.
        mask_source: what of a mask is read: one of `MASK_SOURCES`. By alpha it is white where it is
            transparent, by opacity white where it is opaque.

    Raises: as `decode`.

    Returns:
        The picture, and sentences for the client where a mask's file has more than greys, or
        nothing transparent to be read by.
    """
    is_mask = name == "mask"
    picture, mode = decode(name, source, largest_side, claim, as_numbers=is_mask)
    if not is_mask:
        return _flattened(picture, "white").convert("RGB"), []
    notes = []
    if mask_source != "brightness":
        if _has_transparency(picture):
            alpha = picture.getchannel("A")
            return ImageChops.invert(alpha) if mask_source == "alpha" else alpha, []
        if mask_source == "alpha":
            notes.append(
                "mask: nothing of it is transparent; by its brightness, white is repainted"
            )
    if _has_more_than_greys(picture):
        notes.append(f"mask: its mode {mode} was read as greyscale, its transparent parts as black")
    return _flattened(picture, "black").convert("L"), notes


def read_image(source: object) -> Image.Image:
    """Read a picture as `read_picture` reads an image."""
    return read_picture("image", source)[0]


def _has_more_than_greys(picture: Image.Image) -> bool:
    """Return whether greyscale loses something of a picture: colours, or transparency."""
    if picture.mode == "L":
        return False
    if _has_transparency(picture):
        return True
    red, green, blue = picture.convert("RGB").split()
    return any(ImageChops.difference(red, other).getbbox() for other in (green, blue))


def _has_transparency(picture: Image.Image) -> bool:
    return picture.mode in ("LA", "RGBA") and picture.getchannel("A").getextrema() != (255, 255)


def _flattened(picture: Image.Image, background: str) -> Image.Image:
    if picture.mode not in ("LA", "RGBA"):
        return picture
    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, background), layer)


def adjusted_mask(request: Request) -> Image.Image | None:
    """Return a request's mask, inverted, grown and blurred as it asks for; None without a mask."""
    mask = request.mask
    if mask and request.invert_mask and request.mask_source != "alpha":
        mask = ImageChops.invert(mask)
    if mask and request.mask_grow:
        mask = _grown(mask, request.mask_grow)
    if mask and request.mask_blur:
        mask = mask.filter(ImageFilter.GaussianBlur(request.mask_blur))
    return mask


def _grown(mask: Image.Image, pixels: int) -> Image.Image:
    """Return a mask whose white has grown by so many pixels across and down, or shrunk."""
    from scipy import ndimage  # few masks are grown, and it takes a while to import

    filtered = ndimage.maximum_filter if pixels > 0 else ndimage.minimum_filter
    grown = filtered(numpy.asarray(mask), size=2 * abs(pixels) + 1, mode="nearest")
    return Image.fromarray(grown)


def choose_size(
    width: int | None,
    height: int | None,
    shape: tuple[int, int] | None,
    native: int,
    result: tuple[int, int] | None = None,
) -> tuple[int, int]:
    """Choose the size in pixels at which a picture is drawn (contract, 2.1).

    Args:
        width, height: what was asked for; None where it is left to the picture's shape.
        shape: the input picture's width and height in any unit; None without a picture.
        native: the side in pixels of the square that the model was trained on.
        result: the size in pixels that the drawn picture will be scaled to; None where it stays.
    """
    if result and not (width or height):
        # The result's shape, at its size or as large as can be drawn, with sides rounded up.
        step, largest = SIZES[0], SIZES[-1]
        longest = max(*result, largest)
        wide, high = (step * -(-side * largest // (longest * step)) for side in result)
        return wide, high
    shape = result or shape
    if shape is None:
        return width or native, height or native
    if width and height:
        return width, height
    ratio = Fraction(*shape)
    sizes = product([width] if width else AUTOMATIC_SIZES, [height] if height else AUTOMATIC_SIZES)

    def distance(size: tuple[int, int]) -> tuple[Fraction, int, int]:
        quotient = Fraction(*size) / ratio  # exact, so that ties are ties
        area = abs(size[0] * size[1] - native**2)
        return max(quotient, 1 / quotient), area, -size[0]

    if width or height:
        return min(sizes, key=distance)
    return min((s for s in sizes if native**2 <= 2 * s[0] * s[1] <= 4 * native**2), key=distance)


def fit(
    picture: Image.Image,
    size: tuple[int, int],
    resample: str = "lanczos",
    within: tuple[int, int] | None = None,
    mode: str = "crop",
) -> Image.Image:
    """Crop the picture around its centre to the shape of `size`, and scale it to that size.

    Args:
        size: width and height in pixels.
        resample: one of `FILTERS`.
        mode: one of `RESIZE_MODES`: crop; or pad, which shows all of the picture in the middle and
            repeats its edges around it; or stretch, which shows all of it distorted.
        within: another shape. What is seen of the picture in that shape is then seen whole, as
            large as there is room for, with what is around it; where the picture ends, its edges
            are repeated. So `fit(fit(picture, size, within=other), other)` shows the same part as
            `fit(picture, other)`.
    """
    width, height = within or size
    across, down = width / picture.width, height / picture.height
    if mode != "stretch":
        across = down = max(across, down) if mode == "crop" else min(across, down)
    scale = min(size[0] / width, size[1] / height)
    left, right, beside = _extent(size[0], picture.width, across * scale)
    top, bottom, above = _extent(size[1], picture.height, down * scale)
    inner = size[0] - 2 * beside, size[1] - 2 * above
    box = left, top, right, bottom
    fitted = picture.resize(inner, Image.Resampling[resample.upper()], box=box)
    if beside or above:
        fitted = with_margins(fitted, (beside, above, beside, above))
    fitted.info = {}
    return fitted


def with_margins(picture: Image.Image, margins: tuple[int, int, int, int]) -> Image.Image:
    """Return the picture with its edges repeated around it.

    Args:
        margins: pixels on the left, at the top, on the right and at the bottom.
    """
    left, top, right, bottom = margins
    widths = [(top, bottom), (left, right), (0, 0)]
    pixels = numpy.asarray(picture)
    return Image.fromarray(numpy.pad(pixels, widths[: pixels.ndim], mode="edge"))


def _extent(side: int, whole: int, scale: float) -> tuple[float, float, int]:
    """Return where what is seen of a picture starts and ends, in its own pixels, along one axis.

    Args:
        side: pixels of the result.
        whole: pixels of the picture.
        scale: pixels of the result for one of the picture.

    Returns:
        The start, the end, and the margin on each side, in pixels of the result, where there is
        nothing to be seen.
    """
    # Rounding must neither make a margin nor push an end over the edge by a hair.
    margin = max(0, math.ceil((side - whole * scale) / 2 - 1e-6))
    margin = min(margin, (side - 1) // 2)
    length = (side - 2 * margin) / scale
    return max((whole - length) / 2, 0), min((whole + length) / 2, whole), margin


def save(
    picture: Image.Image,
    path: Path,
    file_format: str,
    quality: int,
    metadata: Mapping[str, Any],
    infotext: str = "",
    sign: Callable[[bytes], bytes] | None = None,
) -> None:
    """Write the picture to a file with its metadata: completely, or not at all.

    The metadata is ASCII JSON: the text chunk `Description` in PNG, `ImageDescription` (270) in the
    EXIF block of the others. The infotext is the text chunk `parameters`, and `UserComment` (37510)
    in big-endian UTF-16, as AUTOMATIC1111 has it. In EXIF, overlong prompts are cut.

    Args:
        file_format: png, webp or jpg.
        quality: 1 to 100, for webp and jpg.
        metadata: what the picture was made from, by name.
        infotext: the same for image browsers; empty for none.
        sign: returns the file that is written, of the one that it would be.
    """
    options: dict[str, Any] = {}
    if file_format == "png":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add(b"sRGB", b"\0")  # perceptual
        options["pnginfo"].add_text("Description", json.dumps(metadata))
        if infotext:
            options["pnginfo"].add_text("parameters", infotext)
    else:
        exif = Image.Exif()
        exif[ExifTags.Base.ImageDescription] = _cut_to_exif(metadata)
        if infotext:
            comment = USER_COMMENT_CODE + _cut_prompts(infotext)
            exif[ExifTags.IFD.Exif] = {ExifTags.Base.UserComment: comment}
        options |= {"exif": exif, "quality": quality, "icc_profile": SRGB_PROFILE}
    encoded = io.BytesIO()
    picture.save(encoded, {"jpg": "JPEG"}.get(file_format, file_format), **options)
    part = path.with_suffix(".part")
    part.write_bytes(sign(encoded.getvalue()) if sign else encoded.getbuffer())
    part.rename(path)


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a file that `save` has written; of any other, an empty one.

    Raises:
        Exception: whatever Pillow trips over in a broken file.
    """
    with Image.open(path, formats=FORMATS) as picture:
        text = picture.info.get("Description") or picture.getexif().get(
            ExifTags.Base.ImageDescription
        )
    try:
        metadata = json.loads(text[:LARGEST_TEXT] if isinstance(text, str) else "")
        json.dumps(metadata, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return {}
    return metadata if isinstance(metadata, dict) else {}


def read_infotext(path: Path) -> str:
    """Return the infotext of a file of any origin; an empty text where it has none.

    Raises: as `read_metadata`.
    """
    with Image.open(path, formats=FORMATS) as picture:
        text = picture.info.get("parameters")
        comment = picture.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    if isinstance(text, str):
        return text[:LARGEST_TEXT]
    if isinstance(comment, bytes) and comment.startswith(USER_COMMENT_CODE):
        return comment[len(USER_COMMENT_CODE) :].decode("utf-16-be", errors="replace")
    return ""


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


def _cut_prompts(infotext: str) -> bytes:
    """Return an infotext in UTF-16, big-endian, cut before its last line if it is too long."""
    whole = infotext.encode("utf-16-be")
    if len(whole) <= LARGEST_EXIF_BYTES:
        return whole
    *_, fields = infotext.split("\n")
    end = f"…\n{fields}".encode("utf-16-be")
    start = whole[: LARGEST_EXIF_BYTES - len(end)].decode("utf-16-be", errors="ignore")
    return start.encode("utf-16-be") + end
