"""A prediction's inputs, validated; all bad inputs are reported at once."""

from __future__ import annotations

import difflib
import json
import math
import re
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from infotext import loras
from infotext.samplers import EVEN_SCHEDULERS, MOST_STEPS

if TYPE_CHECKING:
    from PIL.Image import Image

SIZES = tuple(range(64, 1024 + 1, 64))
"""Widths and heights in pixels that may be asked for."""
AUTOMATIC_SIZES = (128, 256, 384, 448, 512, 576, 640, 704, 768, 832, 896, 960, 1024)
"""Those that are chosen from where one is left empty."""
SCHEDULERS = (
    *("DDIM", "DPMSolverMultistep", "K_EULER", "K_EULER_ANCESTRAL", "KLMS", "PNDM"),
    *("K_HEUN", "K_DPM_2", "K_DPM_2_ANCESTRAL", "DPMSolverMultistepSDE", "DPMSolverSinglestepSDE"),
    *("UniPCMultistep", "DEISMultistep", "SASolver", "LCM", "TCD"),
)
SPACINGS = ("default", "karras", "exponential", "sgm_uniform")
EVEN_SPACINGS = ("default", "sgm_uniform")
"""Those that all samplers have."""
MOST_SKIPPED_LAYERS = 11
"""Of Stable Diffusion 1's text encoder, which has 12; a model with fewer refuses it itself."""
FORMATS = ("png", "webp", "jpg")
MASK_SOURCES = ("brightness", "alpha", "opacity")
RESULT_SIZE = re.compile(r"\s*(\d{1,5})\s*[x×]\s*(\d{1,5})\s*", re.ASCII | re.IGNORECASE)
SMALLEST_RESULT = 8
"""The least width and height in pixels that a result is scaled to: that of a latent."""
LARGEST_RESULT = 1536
"""The largest, where something is drawn."""
LARGEST_FITTED = 4096
"""The largest at strength 0, where an image is only scaled."""
FILTERS = ("lanczos", "nearest")
RESIZE_MODES = ("crop", "pad", "stretch")
CROP = re.compile(r"\s*(\d{1,5})" + r"\s*,\s*(\d{1,5})" * 3 + r"\s*", re.ASCII)
EXTENSIONS = ("extend_left", "extend_top", "extend_right", "extend_bottom")
EXTENSION_STEP = 8
"""Pixels that an extension is a multiple of: those of a latent."""
LARGEST_EXTENSION = LARGEST_RESULT - SIZES[0]
"""Pixels of the extensions along one axis: with the smallest image, the largest result."""
MOST_REFINED_PIXELS = 2048 * 2048
"""Of what a second pass draws."""
MOST_NEAREST = 5
"""Names of upscalers, or LoRAs, that the refusal of another has."""
SEEDS = 2**53
"""Number of seeds, from 0 on: the whole numbers that JSON carries exactly."""
LONGEST_PROMPT_CHARACTERS = 100_000
"""Characters, fifteen thousand words: a limit so that a hostile prompt can't fill the memory."""


@dataclass(frozen=True)
class UsedLora:
    """A LoRA that a prediction uses.

    name: of its file, without the suffix.
    hash: the SHA-256 of its file, in hexadecimal digits.
    weight: from -2 to 2.
    """

    name: str
    hash: str
    weight: float

    def __str__(self) -> str:
        """Return it as the input has it, with the digits by which it is pinned."""
        weight = loras.number(self.weight)
        return loras.Lora(self.name, self.hash[: loras.PINNED_DIGITS], weight).entry


class InstalledLora(Protocol):
    """A LoRA that may be asked for.

    hash: as that of `UsedLora`.
    reason: why this model can't use it, as a sentence; None where it can.
    """

    @property
    def hash(self) -> str: ...  # noqa: D102

    @property
    def reason(self) -> str | None: ...  # noqa: D102


class InputError(ValueError):
    """Some inputs can't be used; `faults` has one sentence for each, which starts with its name."""

    def __init__(self, *faults: str) -> None:
        super().__init__(*faults)
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(self.faults)


@dataclass(frozen=True, kw_only=True)
class Request:
    """One prediction's inputs, named as in `contract.md`; made by `Request.of`.

    `image` and `mask` are upright pictures of any size, in mode RGB and L; `mask` is white where
    `mask_source` has it repainted, neither inverted nor blurred yet.
    `width` and `height` are in pixels; None leaves them to the image and the model.
    `result_size` is a width and a height in pixels; None leaves the result as it was drawn.
    `crop` is what of the image is used: left, top, width and height in its pixels; None is all.
    `noise_level` is the upscaler's. `tiling` has the result continue at its opposite edges.
    `refine_scale` is 1 where there is no second pass; `refine_steps` is None where it has as many
    steps as the first. `upscaler` is None where Lanczos enlarges for it. `notes` are no input:
    sentences on how the others were read.
    """

    prompt: str
    negative_prompt: str
    image: Image | None
    num_images: int
    num_inference_steps: int
    guidance_scale: float
    strength: float
    width: int | None
    height: int | None
    seed: int
    use_compel: bool
    mask: Image | None
    scheduler: str
    output_format: str
    output_quality: int
    mask_source: str
    invert_mask: bool
    mask_blur: int
    result_size: tuple[int, int] | None
    resample: str
    mask_grow: int
    only_masked: bool
    only_masked_padding: int
    extend_left: int
    extend_top: int
    extend_right: int
    extend_bottom: int
    keep_size: bool
    resize_mode: str
    crop: tuple[int, int, int, int] | None
    tiling: bool
    refine_scale: float
    refine_strength: float
    refine_steps: int | None
    upscaler: str | None
    spacing: str
    eta: float
    clip_skip: int
    loras: tuple[UsedLora, ...]
    noise_level: int
    notes: tuple[str, ...] = ()

    @property
    def extensions(self) -> tuple[int, int, int, int]:
        """The pixels that are added on the left, at the top, on the right and at the bottom."""
        return self.extend_left, self.extend_top, self.extend_right, self.extend_bottom

    @property
    def is_enlarged_alone(self) -> bool:
        """Whether an image is made larger, and nothing is drawn on it."""
        is_drawn = self.image is None or self.strength > 0 or self.refine_strength > 0
        return self.refine_scale > 1 and not is_drawn

    def seed_of(self, index: int) -> int:
        """Return the seed of image `index`; a single image with this seed comes out the same."""
        return (self.seed + index) % SEEDS

    @classmethod
    def of(
        cls,
        inputs: Mapping[str, Any],
        faults: Sequence[str] = (),
        notes: Sequence[str] = (),
        upscalers: Collection[str] = (),
        installed_loras: Mapping[str, InstalledLora] = MappingProxyType({}),
    ) -> Request:
        """Check all inputs by the contract's table; those left out take the defaults.

        Nothing is assumed of the values: Cog's schema lets through what it can't say, and the
        command line has no schema before it.

        Args:
            inputs: values by the names of the fields; `image` and `mask` as pictures.
            faults: those that were already found in the same inputs, to be reported with the rest.
            notes: sentences for the client on how the inputs were read.
            upscalers: the names of those that are installed.
            installed_loras: those that may be asked for, by their names.

        Raises:
            InputError: with a sentence for each bad input, `faults` first.
        """
        reader = _Reader(inputs, list(faults))
        values: dict[str, Any] = {
            "prompt": reader.text("prompt"),
            "negative_prompt": reader.text("negative_prompt", ""),
            "image": inputs.get("image"),
            "num_images": reader.whole("num_images", 1, 4, 1),
            "num_inference_steps": reader.whole("num_inference_steps", 1, 512, 25),
            "guidance_scale": reader.number("guidance_scale", 1, 20, 7.5),
            "strength": reader.number("strength", 0, 1, 0.8),
            "width": reader.choice("width", SIZES, None),
            "height": reader.choice("height", SIZES, None),
            "seed": reader.whole("seed", 0, SEEDS - 1, None),
            "use_compel": reader.flag("use_compel", False),
            "mask": inputs.get("mask"),
            "scheduler": reader.choice("scheduler", SCHEDULERS, "DPMSolverMultistep"),
            "output_format": reader.choice("output_format", FORMATS, "png"),
            "output_quality": reader.whole("output_quality", 1, 100, 90),
            "mask_source": reader.choice("mask_source", MASK_SOURCES, "brightness"),
            "invert_mask": reader.flag("invert_mask", False),
            "mask_blur": reader.whole("mask_blur", 0, 64, 0),
            "resample": reader.choice("resample", FILTERS, "lanczos"),
            "mask_grow": reader.whole("mask_grow", -256, 256, 0),
            "only_masked": reader.flag("only_masked", False),
            "only_masked_padding": reader.whole("only_masked_padding", 0, 256, 32),
            **{name: reader.extension(name) for name in EXTENSIONS},
            "keep_size": reader.flag("keep_size", False),
            "resize_mode": reader.choice("resize_mode", RESIZE_MODES, "crop"),
            "crop": reader.crop("crop", inputs.get("image")),
            "tiling": reader.flag("tiling", False),
            "refine_scale": reader.number("refine_scale", 1, 4, 1),
            "refine_strength": reader.number("refine_strength", 0, 1, 0.4),
            "refine_steps": reader.whole("refine_steps", 1, 512, None),
            "upscaler": reader.upscaler("upscaler", upscalers),
            "spacing": reader.choice("spacing", SPACINGS, "default"),
            "eta": reader.number("eta", 0, 1, 0),
            "clip_skip": reader.whole("clip_skip", 0, MOST_SKIPPED_LAYERS, 0),
            "loras": reader.loras("loras", installed_loras),
            "noise_level": reader.whole("noise_level", 0, 350, 20),
        }
        reader.check_sampler(values)
        is_drawn = values["strength"] != 0 or inputs.get("image") is None
        values["result_size"] = reader.size(
            "result_size", LARGEST_RESULT if is_drawn else LARGEST_FITTED
        )
        for name in inputs.keys() - values.keys():
            reader.faults.append(f"{name}: there is no such input")
        reader.faults += _conflicts(values, reader.lacks)
        if reader.faults:
            raise InputError(*reader.faults)
        if values["seed"] is None:
            values["seed"] = secrets.randbits(32)
        return cls(**values, notes=tuple(notes))


_REQUIRED: Any = object()
_JSON = json.JSONEncoder(ensure_ascii=False, default=str)


class _Reader:
    """A reader of typed values from untyped inputs, which collects their faults.

    An input that is left out takes its default; a default of None also allows None.
    What is returned for a value at fault is never used.
    """

    def __init__(self, inputs: Mapping[str, Any], faults: list[str]) -> None:
        self.inputs = inputs
        self.faults = faults

    def text(self, name: str, default: str = _REQUIRED) -> Any:
        value = self.inputs.get(name, default)
        if value is _REQUIRED:
            self.faults.append(f"{name}: is required")
        elif not isinstance(value, str):
            self._fault(name, value, "give a text")
        elif len(value) > LONGEST_PROMPT_CHARACTERS:
            self._fault(
                name,
                value,
                f"give at most {LONGEST_PROMPT_CHARACTERS} characters, not {len(value)}",
            )
        elif any("\ud800" <= character <= "\udfff" for character in value):
            self._fault(name, value, "give valid Unicode: a part of it is half a character")
        return value

    def whole(self, name: str, low: int, high: int, default: int | None) -> Any:
        value = self.inputs.get(name, default)
        if value is None and default is None:
            return None
        if not _is_number(value) or not low <= value <= high or value != int(value):
            return self._fault(name, value, f"give a whole number from {low} to {high}")
        return int(value)

    def number(self, name: str, low: float, high: float, default: float) -> Any:
        value = self.inputs.get(name, default)
        if not _is_number(value) or not low <= value <= high:
            return self._fault(name, value, f"give a number from {low} to {high}")
        return float(value)

    def choice(self, name: str, choices: Sequence[int | str], default: int | str | None) -> Any:
        value = self.inputs.get(name, default)
        if value is None and default is None:
            return None
        for choice in choices:
            if value == choice and not isinstance(value, bool):
                return choice
        return self._fault(name, value, "give one of " + ", ".join(map(str, choices)))

    def optional_text(self, name: str) -> Any:
        """Return a value as it was given; None where it is the empty text, or left out."""
        value = self.inputs.get(name)
        return None if value == "" else value

    def size(self, name: str, largest: int) -> Any:
        value = self.optional_text(name)
        if value is None:
            return None
        found = RESULT_SIZE.fullmatch(value) if isinstance(value, str) else None
        size = tuple(map(int, found.groups())) if found else ()
        if not (size and all(SMALLEST_RESULT <= side <= largest for side in size)):
            return self._fault(
                name,
                value,
                f"give width x height, such as 520x776: {SMALLEST_RESULT} to {LARGEST_RESULT} px "
                f"a side, and to {LARGEST_FITTED} for an image at strength 0",
            )
        return size

    def extension(self, name: str) -> Any:
        value = self.whole(name, 0, LARGEST_EXTENSION, 0)
        if value and value % EXTENSION_STEP:
            return self._fault(name, value, f"give a multiple of {EXTENSION_STEP}")
        return value

    def crop(self, name: str, image: Image | None) -> Any:
        value = self.optional_text(name)
        if value is None:
            return None
        found = CROP.fullmatch(value) if isinstance(value, str) else None
        left, top, width, height = map(int, found.groups()) if found else (0, 0, 0, 0)
        if not (width and height):
            return self._fault(
                name, value, "give x,y,width,height in px of the image, such as 0,40,512,512"
            )
        if image and (left + width > image.width or top + height > image.height):
            return self._fault(
                name,
                value,
                f"give a part of the image, which has {image.width} × {image.height} px",
            )
        return left, top, width, height

    def upscaler(self, name: str, installed: Collection[str]) -> Any:
        value = self.optional_text(name)
        if value is None or (isinstance(value, str) and value in installed):
            return value
        if not installed:
            folder = "weights/upscalers"
            return self._fault(name, value, f"no upscaler is installed; put one into {folder}")
        if not isinstance(value, str):
            return self._fault(name, value, "give the name of an upscaler, as a text")
        return self._fault(name, value, f"give {nearest(value, installed)}")

    def loras(self, name: str, installed: Mapping[str, InstalledLora]) -> Any:
        values = self.inputs.get(name)
        if values is None:
            return ()
        if not isinstance(values, Sequence) or isinstance(values, str):
            return self._fault(name, values, 'give a list, such as ["NAME:0.8"]')
        if len(values) > loras.MOST:
            return self._fault(name, values, f"give at most {loras.MOST}, not {len(values)}")
        used = [self._lora(name, value, installed) for value in values]
        names = [lora.name for lora in used if lora]
        for twice in dict.fromkeys(each for each in names if names.count(each) > 1):
            self.faults.append(f"{name}: {quote(twice)} is there twice; give it once")
        return tuple(used)

    def _lora(self, name: str, value: object, installed: Mapping[str, InstalledLora]) -> Any:
        try:
            asked = loras.read(value if isinstance(value, str) else "")
        except loras.LoraError as error:
            return self._fault(name, value, str(error))
        lora = installed.get(asked.name)
        if not lora and asked.hash:  # it was there; which others are is not for everyone
            return self._fault(name, asked.name, "its file is not there any more")
        if not lora:
            usable = [each for each, other in installed.items() if not other.reason]
            if not usable:
                where = "no LoRA for this model is installed; put one into weights/loras"
                return self._fault(name, asked.name, where)
            return self._fault(name, asked.name, f"give {nearest(asked.name, usable)}")
        if not lora.hash.startswith((asked.hash or "").lower()):
            return self._fault(
                name, value, "its file has become another one; ask again for the one that is there"
            )
        if lora.reason:
            return self._fault(name, asked.name, lora.reason)
        return UsedLora(asked.name, lora.hash, float(asked.weight or 1))

    def check_sampler(self, values: Mapping[str, Any]) -> None:
        """Refuse what the chosen sampler doesn't have.

        Args:
            values: those of all inputs; None where they are at fault, which is passed over.
        """
        scheduler, spacing, eta = (values[name] for name in ("scheduler", "spacing", "eta"))
        if scheduler in EVEN_SCHEDULERS and spacing in set(SPACINGS) - set(EVEN_SPACINGS):
            allowed = " or ".join(EVEN_SPACINGS)
            self._fault(
                "spacing", spacing, f"give {allowed}: the scheduler {scheduler} has no other"
            )
        if scheduler != "DDIM" and scheduler in SCHEDULERS and _is_number(eta) and 0 < eta <= 1:
            self._fault("eta", eta, f"give 0: only DDIM has it, and the scheduler is {scheduler}")
        most = MOST_STEPS.get(scheduler, math.inf)
        for name in ("num_inference_steps", "refine_steps"):
            if values[name] and values[name] > most:
                has = f"the scheduler {scheduler} has no more"
                self._fault(name, values[name], f"give at most {most}: {has}")

    def flag(self, name: str, default: bool) -> Any:
        value = self.inputs.get(name, default)
        if not isinstance(value, bool):
            return self._fault(name, value, "give true or false")
        return value

    def lacks(self, name: str) -> bool:
        """Return whether an input is left out; one at fault is not."""
        return self.inputs.get(name) is None and not any(
            fault.startswith(f"{name}: ") for fault in self.faults
        )

    def _fault(self, name: str, value: object, allowed: str) -> None:
        self.faults.append(f"{name}: {quote(value)} is not allowed; {allowed}")


def nearest(wanted: str, installed: Collection[str]) -> str:
    """Return which names may be given instead of one that there is not."""
    by_lower = {one.lower(): one for one in installed}
    near = difflib.get_close_matches(wanted.lower()[:100], by_lower, MOST_NEAREST, cutoff=0)
    known = ", ".join(by_lower[one] for one in near)
    return f"{'one of' if len(near) == len(installed) else 'the name of one, such as'} {known}"


def _conflicts(values: Mapping[str, Any], lacks: Callable[[str], bool]) -> Iterator[str]:
    """Yield a sentence for each input that makes no sense beside the others.

    Args:
        values: those of all inputs; None where they are at fault.
        lacks: whether an input is left out.
    """
    scale = values["refine_scale"] or 1
    strengths = values["strength"], values["refine_strength"]
    is_enlarged_alone = scale > 1 and strengths == (0, 0) and not lacks("image")
    if values["width"] and values["height"]:
        drawn = values["width"], values["height"]
        if scale * drawn[0] * scale * drawn[1] > MOST_REFINED_PIXELS:
            yield too_large_to_refine(drawn, scale)
    if values["tiling"] and values["only_masked"]:
        yield "tiling: a part of an image has no edges that could meet; leave only_masked out"
    if is_enlarged_alone:
        for name in ("keep_size", "only_masked"):
            if values[name]:
                yield f"{name}: at strength 0 the image is only enlarged, and would be as it was"
    if values["crop"] and lacks("image"):
        yield "crop: there is no image that it is a part of; give one as image"
    if values["only_masked"]:
        if lacks("mask"):
            yield "only_masked: there is no mask to draw around; give one as mask, or leave it out"
        if values["result_size"]:
            yield "only_masked: the result has the image's own size; leave result_size out"
    if values["keep_size"]:
        if lacks("image"):
            yield "keep_size: there is no image whose size could be kept; give one as image"
        if values["result_size"]:
            yield "keep_size: result_size is another size; leave one of them out"
    extending = [name for name in EXTENSIONS if values[name]]
    if not extending:
        return
    if values["refine_scale"] and values["refine_scale"] > 1:
        yield f"{extending[0]}: what is extended is not refined; leave refine_scale out"
    if values["tiling"]:
        yield f"{extending[0]}: a texture goes on at its own edges; leave tiling out"
    if lacks("image"):
        yield f"{extending[0]}: there is no image to extend; give one as image"
    if values["strength"] == 0:
        yield f"{extending[0]}: at strength 0 nothing is drawn; give more strength"
    if values["only_masked"]:
        yield f"{extending[0]}: only_masked draws nothing beyond the image; leave one of them out"
    if values["result_size"]:
        yield (
            f"{extending[0]}: the result has the image's size and what is added; leave result_size "
            "out, or give width and height, or keep_size"
        )
    for side, names in (("width", EXTENSIONS[::2]), ("height", EXTENSIONS[1::2])):
        added = sum(values[name] or 0 for name in names)
        fixed = 0 if values["keep_size"] else values[side] or 0
        if fixed + added > (LARGEST_RESULT if fixed else LARGEST_EXTENSION):
            name = next(name for name in names if values[name])
            yield too_large(name, side, fixed, added)


def too_large(name: str, side: str, drawn: int, added: int) -> str:
    """Return the sentence on a result that would be larger than what is drawn.

    Args:
        name: an input that extends the side.
        side: width or height.
        drawn, added: px of the image, and of what extends it.
    """
    least = drawn or SIZES[0]
    return (
        f"{name}: the image's {side} of {least} px and {added} px beyond it are more than "
        f"{LARGEST_RESULT}; extend it less{', or give a smaller ' + side if drawn else ''}"
    )


def too_large_to_refine(drawn: tuple[int, int], scale: float) -> str:
    """Return the sentence on a second pass that would be larger than one may be.

    Args:
        drawn: width and height of the first in pixels.
    """
    width, height = (round(side * scale) for side in drawn)
    return (
        f"refine_scale: {drawn[0]} × {drawn[1]} px become {width} × {height}; "
        "a second pass has up to 2048 × 2048"
    )


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def quote(value: object, longest: int = 80) -> str:
    """Return `value`, however deeply it is nested, as JSON cut to what fits into a sentence."""
    text = ""
    try:
        for part in _JSON.iterencode(value):  # no further than it is shown
            text += part
            if len(text) > longest:
                return text[: longest - 1] + "…"
    except ValueError:
        return "a number with that many digits"
    return text
