"""The fields of Stability AI's requests become inputs of a model here."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hosting.api import nearest, picture_file
from hosting.api.bodies import merged
from hosting.api.problems import invalid
from hosting.api.stability.prompts import joined
from hosting.queue import inputs
from hosting.queue.inputs import Fault, quote

FILES = frozenset({"init_image", "mask_image", "image"})
PROMPT_PART = re.compile(r"text_prompts\[(\d{1,3})\]\[(text|weight)\]", re.ASCII)
"""The name of a part of a form."""
NAMES = {
    "prompt": "text_prompts",
    "num_images": "samples",
    "num_inference_steps": "steps",
    "guidance_scale": "cfg_scale",
    "scheduler": "sampler",
    "image": "init_image",
    "mask": "mask_image",
}
"""By our names for inputs, theirs."""
NEAREST_SAMPLERS = {"K_DPMPP_2S_ANCESTRAL": "DPMSolverSinglestepSDE"}
"""By their names, the nearest of ours: of the same order, with new noise in each step."""
WITHOUT_EFFECT = ("style_preset", "clip_guidance_preset")
KEPT_SHARE = 0.35
"""Of the input image, unless `image_strength` or `step_schedule_start` says otherwise."""
OURS = (
    *("negative_prompt", "output_quality", "mask_blur", "mask_grow", "noise_level", "cancel_after"),
    *("only_masked", "only_masked_padding", "keep_size", "resize_mode", "crop"),
    *("extend_left", "extend_top", "extend_right", "extend_bottom"),
    *("refine_scale", "refine_strength", "refine_steps", "upscaler", "tiling"),
    *("spacing", "eta", "clip_skip", "result_size", "resample", "loras", "lora"),
)
"""Inputs of ours that may be given besides, by our names."""


class Reader:
    """Reads the fields of one request; what is wrong with them, and what is not as asked.

    Args:
        fields: as they were sent: values of JSON, or texts of a form.
        schema: the OpenAPI document of the endpoint that will draw.
    """

    def __init__(self, fields: Sequence[tuple[str, Any]], schema: Mapping[str, Any]) -> None:
        present = [(name, value) for name, value in fields if value is not None]
        self._given = merged(present, inputs.list_inputs(schema))
        self._schema = schema
        self._takes = inputs.known_names(schema)
        self._faults: list[Fault] = []
        self.names = dict(NAMES)
        """By our names for inputs, what the request calls them."""
        self.warnings: list[str] = []
        """Sentences on what is not as it was asked for."""

    def drawing(self, needs_prompt: bool = True) -> dict[str, Any]:
        """Return the inputs that all have, by our names."""
        given = self._given
        asked = {name: given[name] for name in OURS if name in given}
        for ours in ("num_images", "num_inference_steps"):
            if NAMES[ours] in given:
                asked[ours] = given[NAMES[ours]]
        if (scale := self._number("cfg_scale")) is not None:
            asked["guidance_scale"] = drawn = nearest.bound("guidance_scale", scale, self._schema)
            if drawn != scale:
                self.warnings.append(f"cfg_scale: {scale:g} is drawn as {drawn:g}")
        seed = given.get("seed")
        if seed not in (0, "0"):  # which is random there, and a seed here
            asked["seed"] = seed
        if (sampler := given.get("sampler")) is not None:
            asked |= self._sampler(sampler)
        asked |= self._prompts(needs_prompt)
        self.warnings += [f"{name}: has no effect here" for name in WITHOUT_EFFECT if name in given]
        return asked

    def size(self) -> dict[str, Any]:
        """Return width and height, by the nearest that are drawn."""
        pair = [self._number(name) for name in ("width", "height")]
        given = [side for side in pair if side is not None]
        if not given or "width" not in self._takes:
            return {}
        if not all(side >= 1 for side in given):
            self._faults.append(Fault("invalid_value", "width", "Give a number from 1 on"))
            return {}
        # One alone is a square there too, as both sides have one default.
        width, height = nearest.size(round(given[0]), round(given[-1]), self._schema)
        self.warnings += nearest.said((given[0], given[-1]), (width, height))
        return {"width": width, "height": height}

    def image(self) -> dict[str, Any]:
        """Return the image and the strength, of which they have the opposite."""
        mode = self._given.get("init_image_mode", "IMAGE_STRENGTH")
        if mode not in ("IMAGE_STRENGTH", "STEP_SCHEDULE"):
            sentence = f"{quote(mode)} is not allowed; give IMAGE_STRENGTH or STEP_SCHEDULE"
            self._faults.append(Fault("invalid_value", "init_image_mode", sentence))
        by_steps = mode == "STEP_SCHEDULE"
        name = "step_schedule_start" if by_steps else "image_strength"
        kept = self._number(name)
        if kept is not None and not 0 <= kept <= 1:
            sentence = f"{quote(kept)} is not allowed; give a number from 0 to 1"
            self._faults.append(Fault("invalid_value", name, sentence))
        if by_steps and self._number("step_schedule_end") not in (None, 1):
            self.warnings.append(
                "step_schedule_end: has no effect here; the last step is always run"
            )
        default = 1 - KEPT_SHARE if by_steps else KEPT_SHARE
        strength = round(1 - (default if kept is None else kept), 6)
        return {"image": self._file("init_image"), "strength": strength}

    def masking(self) -> dict[str, Any]:
        """Return the image and what of it is replaced, all of it."""
        source = self._given.get("mask_source")
        image = self._file("init_image")
        asked = {"image": image, "strength": 1}
        match source:
            case "INIT_IMAGE_ALPHA":
                self.names["mask"] = "init_image"
                if isinstance(image, str) and _is_opaque(image):
                    sentence = "It has no transparency to be its own mask; give a PNG that has"
                    self._faults.append(Fault("invalid_value", "init_image", sentence))
                return {**asked, "mask": image, "mask_source": "alpha"}
            case "MASK_IMAGE_WHITE":
                return {**asked, "mask": self._file("mask_image")}
            case "MASK_IMAGE_BLACK":
                return {**asked, "mask": self._file("mask_image"), "invert_mask": True}
        sentence = (
            f"{quote(source)} is not allowed; "
            "give MASK_IMAGE_WHITE, MASK_IMAGE_BLACK or INIT_IMAGE_ALPHA"
        )
        self._faults.append(Fault("invalid_value", "mask_source", sentence))
        return asked

    def upscaling(self) -> dict[str, Any]:
        """Return the image that is to be larger."""
        if {"width", "height"} & self._given.keys():
            self.warnings.append("size: has no effect here; the result is four times the image's")
        self.names["image"] = "image"
        return {"image": self._file("image")}

    def check(self) -> None:
        """Raise a Problem that names all that is wrong, if anything is."""
        if self._faults:
            raise invalid(self._faults)

    def _prompts(self, is_needed: bool) -> dict[str, Any]:
        prompts = self._texts()
        wanted = [(text, weight) for text, weight in prompts if weight > 0]
        unwanted = [(text, -weight) for text, weight in prompts if weight < 0]
        if is_needed and not wanted and not self._faults:
            sentence = "Give at least one text whose weight is above 0"
            self._faults.append(Fault("required", "text_prompts", sentence))
        use_compel = len(wanted) > 1 or len(unwanted) > 1
        asked: dict[str, Any] = {"prompt": joined(wanted, use_compel)}
        if unwanted:
            asked["negative_prompt"] = joined(unwanted, use_compel)
        return {**asked, "use_compel": True} if use_compel else asked

    def _texts(self) -> list[tuple[str, float]]:
        """Return the texts and their weights, 1 where none is given."""
        given = self._given.get("text_prompts", self._parts())
        if not isinstance(given, list):
            sentence = f"{quote(given)} is not allowed; give a list of objects with text and weight"
            self._faults.append(Fault("invalid_type", "text_prompts", sentence))
            return []
        found = []
        for place, part in enumerate(given):
            text = part.get("text") if isinstance(part, Mapping) else None
            if not isinstance(text, str):
                self._faults.append(
                    Fault("invalid_type", f"text_prompts[{place}][text]", "Give a text")
                )
                continue
            weight = _number(part.get("weight", 1))
            if weight is None or abs(weight) > 10:
                sentence = (
                    f"{quote(part.get('weight'))} is not allowed; give a number from -10 to 10"
                )
                self._faults.append(
                    Fault("invalid_value", f"text_prompts[{place}][weight]", sentence)
                )
            elif text.strip():
                found.append((text, weight))
        return found

    def _parts(self) -> list[dict[str, Any]]:
        """Return the prompts of a form, whose parts are named text_prompts[0][text] and so on."""
        found: dict[int, dict[str, Any]] = {}
        for name, value in self._given.items():
            if part := PROMPT_PART.fullmatch(name):
                found.setdefault(int(part[1]), {})[part[2]] = value
        return [found[place] for place in sorted(found)]

    def _sampler(self, sampler: object) -> dict[str, Any]:
        if sampler == "DDPM":  # which DDIM is with as much new noise as there can be
            return {"scheduler": "DDIM", "eta": 1}
        name = sampler if isinstance(sampler, str) else ""
        if name in NEAREST_SAMPLERS:
            self.warnings.append(f"sampler: {name} is drawn as {NEAREST_SAMPLERS[name]}")
            return {"scheduler": NEAREST_SAMPLERS[name]}
        return {"scheduler": sampler}

    def _file(self, name: str) -> Any:
        if name not in self._given:
            self._faults.append(Fault("required", name, f"{name} is required"))
        return self._given.get(name)

    def _number(self, name: str) -> float | None:
        """Return a number, if it is given."""
        if name not in self._given:
            return None
        number = _number(self._given[name])
        if number is None:
            sentence = f"{quote(self._given[name])} is not allowed; give a number"
            self._faults.append(Fault("invalid_type", name, sentence))
        return number


def _is_opaque(url: str) -> bool:
    """Return whether a picture, as a data URL, is of a kind without transparency."""
    head, _, text = url.partition(";base64,")
    return head.startswith("data:") and picture_file.is_opaque(base64.b64decode(text))


def _number(value: object) -> float | None:
    """Return a number that JSON or a form has; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
