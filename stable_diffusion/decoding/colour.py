"""Colour: pictures become sRGB by their profile."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import numpy
from PIL import Image, ImageCms

_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}
"""The colour space of a profile that fits a mode."""
_SRGB = ImageCms.createProfile("sRGB")


def in_srgb(picture: Image.Image, profiles: Iterable[bytes]) -> Image.Image:
    """Return the picture in sRGB, by the first profile that is sound and fits; else as it is."""
    return next(filter(None, (_by_profile(picture, each) for each in profiles)), picture)


def srgb_of_lab(picture: Image.Image) -> Image.Image:
    """Return a picture of mode LAB, whose white is D50, in sRGB."""
    lab = ImageCms.createProfile("LAB")
    converted = ImageCms.profileToProfile(picture, lab, _SRGB, outputMode="RGB")
    assert converted is not None
    return converted


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
