"""What AUTOMATIC1111's clients ask for becomes our inputs, and what differs is said."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hosting.api import picture_file
from hosting.api.a1111 import prompts, samplers
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
STEPS = (1, 512)
GUIDANCE = (1.0, 20.0)
STRENGTH = (0.0, 1.0)
MASK_BLUR = (0, 64)
KNOWN_SETTINGS = (
    *("sd_model_checkpoint", "CLIP_stop_at_last_layers", "samples_format"),
    "forge_additional_modules",
)
"""Of `override_settings`, those that are read, or have no effect there either."""


@dataclass(frozen=True)
class Drawing:
    """What is to be drawn.

    inputs: for the queue.
    strength: None where there is no image.
    warnings: sentences on what is done otherwise than asked.
    """

    inputs: dict[str, Any]
    sampler: Sampler
    width: int
    height: int
    steps: int
    cfg_scale: float
    strength: float | None
    warnings: list[str]

    def forget_images(self) -> None:
        """Give the images' memory back, once they are kept as files."""
        for name in ("image", "mask"):
            self.inputs.pop(name, None)


def drawing(asked: TextToImage, most_images: int) -> Drawing:
    """Return what is to be drawn.

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
    warnings += [warning for text in texts.values() for warning in text.warnings]
    warnings += sampler.warnings

    steps = _within("steps", asked.steps, STEPS, warnings)
    cfg_scale = _within("cfg_scale", asked.cfg_scale, GUIDANCE, warnings)
    inputs |= {"num_inference_steps": steps, "guidance_scale": cfg_scale}
    inputs |= {"scheduler": sampler.scheduler, "num_images": number, "output_format": "png"}
    if asked.seed != -1:
        inputs["seed"] = asked.seed % SEEDS
    strength = None
    if isinstance(asked, ImageToImage):
        strength = _within("denoising_strength", asked.denoising_strength, STRENGTH, warnings)
        inputs |= {"strength": strength, **_images(asked, warnings)}
    width, height = _size(asked, strength, warnings)
    if isinstance(asked, ImageToImage):
        warnings += _cropped(asked, width, height)
    inputs |= sized(width, height)
    return Drawing(inputs, sampler, width, height, steps, cfg_scale, strength, warnings)


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
    if asked.tiling:
        yield "tiling: has no effect"
    if asked.enable_hr:
        yield "enable_hr: there is no second pass; the image has the size of width and height"
    clip_skip = asked.override_settings.get("CLIP_stop_at_last_layers") or asked.clip_skip
    if clip_skip not in (0, 1):
        yield "clip_skip: the text encoder's last layer is read; it has no effect"
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
    if not asked.mask:
        return inputs
    if asked.inpaint_full_res:
        warnings.append("inpaint_full_res: all of the image is drawn, not the masked part alone")
    if asked.inpainting_fill != 1:
        warnings.append("inpainting_fill: it starts from what is under the mask, as 1 does")
    blur = _within("mask_blur", asked.mask_blur, MASK_BLUR, warnings)
    inputs |= {"mask": as_url(asked.mask), "mask_blur": round(blur)}
    return inputs | {"mask_source": "opacity", "invert_mask": asked.inpainting_mask_invert}


def _cropped(asked: ImageToImage, width: int, height: int) -> list[str]:
    """Return the sentence on an image that is cropped, as it is not in every `resize_mode`."""
    if asked.resize_mode == 1:  # so that what may be large is not decoded for nothing
        return []
    data = contents(asked.init_images[0])
    given = picture_file.size(data) if data else None
    if given and given[0] * height == given[1] * width:
        return []
    return ["resize_mode: the image is scaled and cropped to the size, as by 1"]


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
