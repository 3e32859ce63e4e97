"""What AUTOMATIC1111's clients ask for becomes our inputs, and what differs is said."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from hosting.api import nearest
from hosting.api.a1111 import loras, prompts, samplers, upscalers
from hosting.api.a1111.requests import LARGEST, ImageToImage, TextToImage
from hosting.api.a1111.samplers import Sampler
from hosting.api.problems import Problem, invalid
from hosting.queue.inputs import SEEDS, Fault
from hosting.queue.intake import LARGEST_INPUT_BYTES

SIDES_PIXELS = range(64, 1025, 64)
"""What our inputs `width` and `height` take."""
LEAST_SIDE_PIXELS = 8
LARGEST_SIDE_PIXELS = 1536
LARGEST_FITTED_SIDE_PIXELS = 4096
"""Of a `result_size`; the last at strength 0."""
MOST_REFINED_PIXELS = 2048 * 2048
"""Of what a second pass draws, or a network enlarges to."""
GUIDANCE = (1.0, 20.0)
STRENGTH = (0.0, 1.0)
REFINE_SCALE = (1.0, 4.0)
"""The second is lowered to what `MOST_REFINED_PIXELS` allow."""
MASK_BLUR = (0, 64)
PADDING = (0, 256)
RESIZE_MODES = ("stretch", "crop", "pad", "stretch")
"""What our input of that name is for each of its own; the last scales the latents there."""
ETA = (0.0, 1.0)
CLIP_SKIP = (1, 12)
SAME = ("", "Use same sampler", "Use same scheduler", "Use same checkpoint")
"""What `hr_` fields hold where the second pass is not to differ from the first."""
KNOWN_SETTINGS = (
    *("sd_model_checkpoint", "CLIP_stop_at_last_layers", "samples_format"),
    *("eta_ddim", "forge_additional_modules"),
)
"""Of `override_settings`, those that are read, or have no effect there either."""


@dataclass(frozen=True)
class Drawing:
    """What is to be drawn.

    inputs: for the queue.
    width, height: of the result, in pixels.
    first_size: width and height of the first of two passes, in pixels; of one, those of the result.
    strength: None where there is no image.
    warnings: sentences on what is done otherwise than asked.
    """

    inputs: dict[str, Any]
    sampler: Sampler
    width: int
    height: int
    first_size: tuple[int, int]
    steps: int
    cfg_scale: float
    strength: float | None
    warnings: list[str]

    def forget_images(self) -> None:
        """Give the images' memory back, once they are kept as files."""
        for name in ("image", "mask"):
            self.inputs.pop(name, None)


def drawing(
    asked: TextToImage,
    most_images: int,
    installed: Sequence[str],
    known_loras: Mapping[str, str | None] | None = MappingProxyType({}),
) -> Drawing:
    """Return what is to be drawn.

    Args:
        installed: the names of the networks that enlarge here.
        known_loras: see `loras.read`.

    Raises:
        Problem: where something is asked for that can't be left out in silence.
    """
    sampler = samplers.find(asked.sampler_name or asked.sampler_index, asked.scheduler)
    if sampler is None:
        raise Problem(404, "Sampler not found")  # the words that AI Render looks for
    _refuse_scripts(asked)
    if len(asked.prompt) + len(asked.negative_prompt) > LARGEST_INPUT_BYTES:
        sentence = "The prompts have more than 1 MiB"
        raise invalid([Fault("too_large", "prompt", sentence)])
    number = asked.batch_size * asked.n_iter
    if number > most_images:
        sentence = f"batch_size × n_iter is {number:,}; give at most {most_images} images"
        raise invalid([Fault("number_lte", "batch_size", sentence)])

    warnings = list(_without_effect(asked))
    texts = {
        name: prompts.read(name, text)
        for name, text in (("prompt", asked.prompt), ("negative_prompt", asked.negative_prompt))
    }
    use_compel = any(text.needs_compel for text in texts.values())
    inputs: dict[str, Any] = {
        name: prompts.compel(text) if use_compel else text.plain for name, text in texts.items()
    }
    inputs["use_compel"] = use_compel
    if asked.tiling:
        inputs["tiling"] = True
    tags = [(name, tag) for name, text in texts.items() for tag in text.loras]
    if entries := loras.read(tags, known_loras, warnings):
        inputs["loras"] = entries
    warnings += [warning for text in texts.values() for warning in text.warnings]
    warnings += sampler.warnings

    steps = _within("steps", asked.steps, sampler.steps, warnings)
    cfg_scale = _within("cfg_scale", asked.cfg_scale, GUIDANCE, warnings)
    inputs |= {"num_inference_steps": steps, "guidance_scale": cfg_scale}
    inputs |= {"scheduler": sampler.scheduler, "num_images": number, "output_format": "png"}
    inputs |= _of_sampler(asked, sampler, warnings)
    if asked.seed != -1:
        inputs["seed"] = asked.seed % SEEDS
    strength = None
    if isinstance(asked, ImageToImage):
        strength = _within("denoising_strength", asked.denoising_strength, STRENGTH, warnings)
        inputs |= {"strength": strength, **_images(asked, warnings)}
    width, height = first_size = _size(asked, strength, warnings)
    if "only_masked" in inputs:
        wanted = width, height
        width, height = nearest.among(width, height, SIDES_PIXELS, SIDES_PIXELS)
        warnings += nearest.said(wanted, (width, height))
        inputs |= {"width": width, "height": height}
    elif asked.enable_hr and not isinstance(asked, ImageToImage):
        enlarging, (width, height) = _enlarging(asked, width, height, warnings)
        inputs |= enlarging
        if "refine_scale" in enlarging:
            inputs |= _refining(asked, sampler, installed, warnings)
            warnings += _differing(asked, sampler)
    else:
        inputs |= sized(width, height)
    if "refine_scale" not in inputs:
        first_size = width, height
    return Drawing(inputs, sampler, width, height, first_size, steps, cfg_scale, strength, warnings)


def _enlarging(
    asked: TextToImage, width: int, height: int, warnings: list[str]
) -> tuple[dict[str, Any], tuple[int, int]]:
    """Return the inputs of sizes of two passes, and the result's width and height in pixels.

    Where the second is no larger, there is none, and no `refine_scale`.

    Args:
        width, height: in pixels, of what the first draws.
    """
    # What is drawn is of sides that we draw, and the result what was asked for.
    drawn = width, height
    if not (width in SIDES_PIXELS and height in SIDES_PIXELS):
        drawn = nearest.among(width, height, SIDES_PIXELS, SIDES_PIXELS)
    least, most = REFINE_SCALE[0], min(REFINE_SCALE[1], _largest_scale(*drawn))
    across, down = asked.hr_resize_x, asked.hr_resize_y
    if across or down:
        name = "hr_resize_x, hr_resize_y"
        wanted = max(across / width, down / height)  # at which the image covers both
        scale, factor = min(max(wanted, least), most), min(1.0, most / wanted)
        wanted_size = across or round(width * wanted), down or round(height * wanted)
    else:
        name, factor = "hr_scale", 1.0
        scale = _within(name, asked.hr_scale, (least, most), warnings)
        wanted_size = round(width * scale), round(height * scale)

    inputs: dict[str, Any] = {"width": drawn[0], "height": drawn[1]}
    size, refined = _scaled(wanted_size, factor), _scaled(drawn, scale)
    is_close = all(abs(one - other) <= 1 for one, other in zip(size, refined, strict=True))
    if size == refined or (is_close and max(size) > LARGEST_SIDE_PIXELS):
        size = refined
    else:
        size = _scaled(wanted_size, min(factor, LARGEST_SIDE_PIXELS / max(wanted_size)))
        inputs["result_size"] = f"{size[0]}x{size[1]}"
    if size != wanted_size:
        wanted_px, px = ("{} × {} px".format(*one) for one in (wanted_size, size))
        warnings.append(f"{name}: {wanted_px} was brought to {px}, the nearest there is here")
    if scale > least:
        inputs["refine_scale"] = scale
    else:
        warnings.append(
            f"{name}: what was drawn is made no larger by it, so that there is no second pass"
        )
    return inputs, size


def _scaled(size: tuple[int, int], factor: float) -> tuple[int, int]:
    """Return a size in pixels, times a factor."""
    width, height = (max(LEAST_SIDE_PIXELS, round(side * factor)) for side in size)
    return width, height


def _largest_scale(width: int, height: int) -> float:
    """Return how many times as large a second pass may make an image, to a whole width in pixels.

    Args:
        width, height: of the image, in pixels.
    """
    widest = math.isqrt(MOST_REFINED_PIXELS * width // height)
    while widest * round(height * widest / width) > MOST_REFINED_PIXELS:
        widest -= 1
    return widest / width


def _refining(
    asked: TextToImage, sampler: Sampler, installed: Sequence[str], warnings: list[str]
) -> dict[str, Any]:
    """Return the inputs of a second pass beside its size."""
    strength = _within("denoising_strength", asked.denoising_strength, STRENGTH, warnings)
    inputs: dict[str, Any] = {"refine_strength": strength}
    if asked.hr_second_pass_steps > 0:
        given = asked.hr_second_pass_steps
        steps = _within("hr_second_pass_steps", given, sampler.steps, warnings)
        inputs["refine_steps"] = steps
    if upscaler := upscalers.find(asked.hr_upscaler, installed):
        inputs["upscaler"] = upscaler
    elif asked.hr_upscaler not in ("", "Lanczos"):
        warnings.append(f"hr_upscaler: {asked.hr_upscaler[:100]} is not here; Lanczos was used")
    return inputs


def _differing(asked: TextToImage, sampler: Sampler) -> Iterator[str]:
    """Yield a sentence for each field by which the second pass was to differ from the first.

    Args:
        sampler: the first's.
    """
    named = samplers.find(asked.hr_sampler_name, sampler.spacing)
    spaced = samplers.find(sampler.name, asked.hr_scheduler)
    differing = {
        "hr_sampler_name": asked.hr_sampler_name not in SAME
        and (
            named is None
            or (named.scheduler, named.spacing) != (sampler.scheduler, sampler.spacing)
        ),
        "hr_scheduler": asked.hr_scheduler not in SAME
        and (spaced is None or spaced.spacing != sampler.spacing),
        "hr_checkpoint_name": asked.hr_checkpoint_name not in SAME,
        "hr_prompt": asked.hr_prompt not in ("", asked.prompt),
        "hr_negative_prompt": asked.hr_negative_prompt not in ("", asked.negative_prompt),
        "hr_cfg": asked.hr_cfg not in (None, asked.cfg_scale),
    }
    for name in (name for name, differs in differing.items() if differs):
        yield f"{name}: the second pass has what the first has; it has no effect"


def sized(width: int, height: int) -> dict[str, Any]:
    """Return the inputs for a result of a size in pixels."""
    if width in SIDES_PIXELS and height in SIDES_PIXELS:
        return {"width": width, "height": height}
    return {"result_size": f"{width}x{height}"}


def as_url(picture: str) -> str:
    """Return a picture as our inputs take it: what is no URL is base64."""
    is_url = picture[:8].lower().startswith(("http://", "https://", "data:"))
    return picture if is_url else f"data:application/octet-stream;base64,{picture}"


def contents(picture: str) -> bytes | None:
    """Return the file in base64 or in a data URL; None where it is neither."""
    text = picture.partition(",")[2] if picture[:5].lower() == "data:" else picture
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        return None


def _of_sampler(asked: TextToImage, sampler: Sampler, warnings: list[str]) -> dict[str, Any]:
    """Return the inputs that go with a sampler, and how much of the text encoder is read."""
    inputs: dict[str, Any] = {}
    if sampler.spacing != "default":
        inputs["spacing"] = sampler.spacing
    eta = asked.override_settings.get("eta_ddim") if asked.eta is None else asked.eta
    if eta and _is_number(eta):
        if sampler.scheduler == "DDIM":
            inputs["eta"] = _within("eta", eta, ETA, warnings)
        elif eta != 1:  # which is what the others have, if any
            warnings.append("eta: only DDIM has it here; it has no effect")
    clip_skip = asked.override_settings.get("CLIP_stop_at_last_layers") or asked.clip_skip
    if _is_number(clip_skip) and clip_skip > 1:
        inputs["clip_skip"] = round(_within("clip_skip", clip_skip, CLIP_SKIP, warnings)) - 1
    return inputs


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refuse_scripts(asked: TextToImage) -> None:
    if asked.script_name:
        raise Problem(422, f"Script '{asked.script_name[:100]}' not found")
    if asked.alwayson_scripts:
        name = next(iter(asked.alwayson_scripts))
        raise Problem(422, f"always on script {name[:100]} not found")


def _without_effect(asked: TextToImage) -> Iterator[str]:
    """Yield a sentence for each field that was given and is not heeded."""
    if asked.styles:
        yield "styles: there are none; leave them out"
    if asked.subseed_strength > 0:
        yield "subseed_strength: seeds are not mixed here; it has no effect"
    if asked.restore_faces:
        yield "restore_faces: there is no restorer of faces; it has no effect"
    if asked.enable_hr and isinstance(asked, ImageToImage):
        yield "enable_hr: images that are given are not drawn twice; it has no effect"
    others = [
        name[:50]
        for name, value in asked.override_settings.items()
        if name not in KNOWN_SETTINGS and value is not None
    ]
    if others:
        yield f"override_settings: {', '.join(others[:5])} had no effect"


def _within(name: str, value: float, limits: tuple[float, float], warnings: list[str]) -> Any:
    """Return a value, or the end of its range that it is beyond; say so then."""
    least, most = limits
    within = min(max(value, least), most)
    if within != value:
        given = f"{value:g}" if abs(value) < LARGEST else "what was given"
        warnings.append(
            f"{name}: {given} was brought to {within:g}; here it is {least:g} to {most:g}"
        )
    return within


def _images(asked: ImageToImage, warnings: list[str]) -> dict[str, Any]:
    """Return the inputs that are images, and what belongs to them."""
    if not asked.init_images or not asked.init_images[0]:
        raise Problem(404, "Init image not found")
    if len(asked.init_images) > 1:
        sentence = f"{len(asked.init_images)} images were given; give one, and ask for each"
        raise invalid([Fault("too_many", "init_images", sentence)])
    inputs: dict[str, Any] = {"image": as_url(asked.init_images[0])}
    if not (asked.mask and asked.inpaint_full_res):
        inputs["resize_mode"] = RESIZE_MODES[asked.resize_mode]
    if not asked.mask:
        return inputs
    if asked.inpaint_full_res:
        padding = _within(
            "inpaint_full_res_padding", asked.inpaint_full_res_padding, PADDING, warnings
        )
        inputs |= {"only_masked": True, "only_masked_padding": padding}
    if asked.inpainting_fill != 1:
        warnings.append("inpainting_fill: it starts from what is under the mask, as 1 does")
    blur = _within("mask_blur", asked.mask_blur, MASK_BLUR, warnings)
    inputs |= {"mask": as_url(asked.mask), "mask_blur": round(blur)}
    return inputs | {"mask_source": "opacity", "invert_mask": asked.inpainting_mask_invert}


def _size(asked: TextToImage, strength: float | None, warnings: list[str]) -> tuple[int, int]:
    """Return the result's width and height, which are brought to what is allowed in their shape."""
    largest = LARGEST_FITTED_SIDE_PIXELS if strength == 0 else LARGEST_SIDE_PIXELS
    factor = min(1.0, largest / max(asked.width, asked.height))
    width, height = (
        max(LEAST_SIDE_PIXELS, round(side * factor)) for side in (asked.width, asked.height)
    )
    if (width, height) != (asked.width, asked.height):
        warnings.append(
            f"width, height: {asked.width} × {asked.height} was brought to {width} × {height}; "
            f"here a side has {LEAST_SIDE_PIXELS} to {largest} pixels"
        )
    return width, height
