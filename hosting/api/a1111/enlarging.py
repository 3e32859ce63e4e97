"""How an image is enlarged for AUTOMATIC1111's clients: by our upscaler, a network, or a filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hosting.api import picture_file
from hosting.api.a1111 import upscalers
from hosting.api.a1111.models import Served
from hosting.api.a1111.requests import ExtraSingleImage
from hosting.api.a1111.translation import (
    LARGEST_FITTED_SIDE_PIXELS,
    LEAST_SIDE_PIXELS,
    MOST_REFINED_PIXELS,
    REFINE_SCALE,
)
from hosting.api.problems import invalid
from hosting.queue.inputs import Fault

FILTERS = {"None": "lanczos", "Lanczos": "lanczos", "Nearest": "nearest"}
"""Its upscalers that are filters, and the choices of our input `resample` that they are."""
NETWORKS = ("ESRGAN_4x", "R-ESRGAN", "LDSR", "BSRGAN", "ScuNET", "SwinIR", "DAT", "RealESRGAN")
"""How the names of its other upscalers begin."""
UPSCALER_FACTOR = 4
UPSCALER_LARGEST_SIDE_PIXELS = 2000
"""Of what the upscaler takes."""

Size = tuple[int, int]


@dataclass(frozen=True)
class Plan:
    """How an image is enlarged.

    inputs: for the queue, but for the image.
    upscaler: what does it; None where it is image to image at strength 0.
    """

    inputs: Mapping[str, Any]
    upscaler: Served | None
    warnings: list[str]


def plan(
    asked: ExtraSingleImage, data: bytes, upscaler: Served | None, installed: Sequence[str]
) -> Plan:
    """Return how an image is to be enlarged.

    Args:
        data: the image's file.
        upscaler: the one that runs here, if any.
        installed: the names of the networks that enlarge here.

    Raises:
        Problem: naming the field that makes it impossible.
    """
    warnings = []
    if max(asked.gfpgan_visibility, asked.codeformer_visibility) > 0:
        warnings.append("gfpgan_visibility, codeformer_visibility: there is no restorer of faces")
    if asked.extras_upscaler_2_visibility > 0:
        warnings.append("extras_upscaler_2_visibility: there is no second upscaler")
    name, given = asked.upscaler_1, picture_file.size(data)
    if name in FILTERS:
        return Plan(_scaled(asked, given, FILTERS[name]), None, warnings)
    if network := upscalers.find(name, installed):
        return Plan(_by_network(asked, given, network, warnings), None, warnings)
    is_ours = upscaler is not None and name == upscaler.name
    if not is_ours and not name.startswith(NETWORKS):
        known = ", ".join([*FILTERS, *installed, *([upscaler.name] if upscaler else [])])
        sentence = f"There is no upscaler {name[:100]!r}; give one of {known}"
        raise invalid([Fault("enum", "upscaler_1", sentence)])
    reasons = [] if is_ours else [f"{name[:100]} is not here"]
    if upscaler and given and max(given) > UPSCALER_LARGEST_SIDE_PIXELS:
        reasons.append(
            f"{upscaler.name} takes {UPSCALER_LARGEST_SIDE_PIXELS} px a side, and the image has "
            f"{given[0]} × {given[1]}"
        )
        upscaler = None
    if reasons:
        used = f"{upscaler.name if upscaler else 'Lanczos'} was used"
        warnings.append(f"upscaler_1: {'; '.join([*reasons, used])}")
    if upscaler is None:
        return Plan(_scaled(asked, given), None, warnings)
    if asked.resize_mode or asked.upscaling_resize != UPSCALER_FACTOR:
        warnings.append(f"upscaling_resize: {upscaler.name} makes it four times as large")
    return Plan({"prompt": "", "output_format": "png"}, upscaler, warnings)


def _by_network(
    asked: ExtraSingleImage, given: Size | None, network: str, warnings: list[str]
) -> dict[str, Any]:
    """Return the inputs by which a network enlarges an image as far as it can, and Lanczos on."""
    inputs = _scaled(asked, given)
    if given is None:
        warnings.append(
            f"upscaler_1: the size of the image can't be told, as it is no PNG or JPEG; Lanczos "
            f"was used, and not {network}"
        )
        return inputs
    size = _size(asked, given)
    factor = max(wanted / side for wanted, side in zip(size, given, strict=True))
    factor = min(factor, REFINE_SCALE[1])
    if factor <= 1:
        warnings.append(f"upscaler_1: {network} makes nothing smaller; Lanczos was used")
        return inputs
    enlarged = [round(side * factor) for side in given]
    if enlarged[0] * enlarged[1] > MOST_REFINED_PIXELS:
        warnings.append(
            f"upscaler_1: {network} makes up to 2048 × 2048 px, and not {enlarged[0]} × "
            f"{enlarged[1]}; Lanczos was used"
        )
        return inputs
    return inputs | {"refine_scale": factor, "refine_strength": 0.0, "upscaler": network}


def _scaled(
    asked: ExtraSingleImage, given: Size | None, resample: str = "lanczos"
) -> dict[str, Any]:
    """Return the inputs by which a filter scales an image to the size that is asked for."""
    width, height = _size(asked, given)
    return {
        "prompt": "",
        "strength": 0.0,
        "result_size": f"{width}x{height}",
        "resample": resample,
        "output_format": "png",
    }


def _size(asked: ExtraSingleImage, given: Size | None) -> Size:
    """Return the width and height that are asked for, in pixels.

    Args:
        given: those of the image; None where they can't be told.
    """
    field = "upscaling_resize_w" if asked.resize_mode else "upscaling_resize"
    size = asked.upscaling_resize_w, asked.upscaling_resize_h
    if not asked.resize_mode or not asked.upscaling_crop:
        if given is None:
            sentence = (
                "The size of the image can't be told, as it is no PNG or JPEG; give resize_mode 1, "
                "upscaling_resize_w and upscaling_resize_h"
            )
            raise invalid([Fault("format", "image", sentence)])
        factor = asked.upscaling_resize
        if asked.resize_mode:
            factor = max(wanted / side for wanted, side in zip(size, given, strict=True))
        size = round(given[0] * factor), round(given[1] * factor)
    if min(size) < LEAST_SIDE_PIXELS or max(size) > LARGEST_FITTED_SIDE_PIXELS:
        sentence = (
            f"The image would have {size[0]:,} × {size[1]:,} pixels; "
            f"a side may have {LEAST_SIDE_PIXELS} to {LARGEST_FITTED_SIDE_PIXELS}"
        )
        raise invalid([Fault("size", field, sentence)])
    return size
