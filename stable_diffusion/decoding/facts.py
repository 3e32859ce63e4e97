"""The facts of a picture's file beside its pixels."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image


@dataclass
class Facts:
    """The facts of a file beside its pixels, as far as these need them."""

    profiles: list[bytes] = field(default_factory=list)
    """ICC profiles; the first counts, and those after it where it is broken."""
    transparent: tuple[int, ...] = ()
    """Of a PNG without a palette: the one value that is transparent, as deep as the file."""
    depth: int = 8
    """Of a PNG: bits of a channel."""
    lacks_end: bool = False
    """Of a JPEG: whether nothing in it says that it is all."""
    exif: Image.Exif | None = None
