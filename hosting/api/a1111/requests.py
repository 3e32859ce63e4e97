"""The bodies of AUTOMATIC1111's API: those of their fields that are read here.

Source: AUTOMATIC1111/stable-diffusion-webui, modules/api/models.py and modules/processing.py.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hosting.api.deadlines import CancelAfterField
from hosting.api.problems import invalid
from hosting.queue.inputs import HALF_CHARACTER, MOST_LEVELS, Fault, is_too_deep

LARGEST = 10**6
"""Of the numbers that are counted or drawn by, whatever is done with them then."""


class _Body(BaseModel):
    """A body whose other fields are ignored; null is the default."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        known = {
            name: value
            for name, value in given.items()
            if value is not None and name in cls.model_fields
        }
        faults = [
            Fault("format", name, sentence)
            for name, value in known.items()
            if (sentence := _fault_of(value))
        ]
        if faults:
            raise invalid(faults)
        return known


def _fault_of(value: object) -> str | None:
    """Return what keeps a value from being written as JSON again."""
    if is_too_deep(value):
        return f"Lists and objects are nested more than {MOST_LEVELS} levels deep"
    return "A part of it is half a character" if _has_halves(value) else None


def _has_halves(value: object) -> bool:
    if isinstance(value, str):
        return not value.isascii() and HALF_CHARACTER.search(value) is not None
    if isinstance(value, dict):
        return any(map(_has_halves, [*value, *value.values()]))
    return isinstance(value, list) and any(map(_has_halves, value))


class TextToImage(_Body):
    """What is drawn from a prompt."""

    prompt: str = Field("", description="text, in which `(red:1.3)`, `((red))` and `[red]` weigh")
    negative_prompt: str = Field("", description="text of what is not wanted, likewise")
    seed: int = Field(-1, description="of the first image; -1 is random")
    steps: int = Field(50, description="brought to 1 – 512; LCM and TCD: 1 – 50")
    cfg_scale: float = Field(7.0, description="brought to 1 – 20")
    width: int = Field(512, ge=1, le=LARGEST, description="in px")
    height: int = Field(512, ge=1, le=LARGEST, description="in px")
    batch_size: int = Field(1, ge=1, le=LARGEST, description="images; times `n_iter`")
    n_iter: int = Field(1, ge=1, le=LARGEST)
    sampler_name: str = Field("", description="one of `/sdapi/v1/samplers`, or the nearest of them")
    sampler_index: str = Field("Euler", description="the same, where `sampler_name` is empty")
    scheduler: str = Field(
        "", description="Karras or Exponential, where the sampler has it; others are spaced evenly"
    )
    eta: float | None = Field(None, description="of DDIM; brought to 0 – 1")
    override_settings: dict[str, Any] = Field(
        default_factory=dict, description="`sd_model_checkpoint` names a model that runs here"
    )
    clip_skip: int = Field(
        1,
        description="which of the text encoder's layers is read, from the last; brought to 1 – 12",
    )
    subseed_strength: float = Field(0.0, description="has no effect")
    styles: list[str] = Field(default_factory=list, description="has no effect")
    restore_faces: bool = Field(False, description="has no effect")
    tiling: bool = Field(False, description="whether the edges continue at the opposite ones")
    enable_hr: bool = Field(False, description="whether a second pass refines the image, enlarged")
    hr_scale: float = Field(
        2.0,
        description="how many times as large it is then; brought to 1 – 4, and to 2048 × 2048 px",
    )
    hr_resize_x: int = Field(
        0, ge=0, le=LARGEST, description="its width in px instead; 0 is by the shape"
    )
    hr_resize_y: int = Field(
        0, ge=0, le=LARGEST, description="its height likewise; with both it is cropped to them"
    )
    hr_second_pass_steps: int = Field(0, description="of the second pass; 0 is as many as `steps`")
    hr_upscaler: str = Field(
        "", description="a network of `/sdapi/v1/upscalers`; else Lanczos enlarges"
    )
    hr_sampler_name: str = Field("", description="has no effect: both passes have one sampler")
    hr_scheduler: str = Field("", description="has no effect likewise")
    hr_checkpoint_name: str = Field("", description="has no effect: both passes are one model's")
    hr_prompt: str = Field("", description="has no effect: both passes have one prompt")
    hr_negative_prompt: str = Field("", description="has no effect likewise")
    hr_cfg: float | None = Field(None, description="has no effect: `cfg_scale` is of both passes")
    denoising_strength: float = Field(
        0.75, description="of the second pass, or of the image; brought to 0 – 1"
    )
    script_name: str = Field("", description="refused: there are no scripts")
    alwayson_scripts: dict[str, Any] = Field(default_factory=dict, description="refused likewise")
    cancel_after: CancelAfterField = None
    send_images: bool = Field(True, description="whether the answer has the images")


class ImageToImage(TextToImage):
    """What is drawn from an image and a prompt."""

    init_images: list[str] = Field(
        default_factory=list, description="the image, as base64, data URL or URL"
    )
    mask: str = Field("", description="as the image; white is repainted")
    mask_blur: float = Field(4.0, description="px of the mask; brought to 0 – 64")
    inpainting_mask_invert: bool = Field(False, description="repaint what is black")
    inpainting_fill: int = Field(0, description="has no effect: 1, the original, is what is there")
    inpaint_full_res: bool = Field(
        True, description="draw the part around the mask alone; the image keeps its size"
    )
    inpaint_full_res_padding: int = Field(
        0, description="px of the image around the mask that are drawn too; brought to 0 – 256"
    )
    resize_mode: int = Field(
        0, ge=0, le=3, description="0 and 3 stretch the image, 1 crops it, 2 repeats its edges"
    )
    include_init_images: bool = Field(False, description="whether `parameters` has the image")


class ExtraSingleImage(_Body):
    """An image to be enlarged."""

    image: str = Field("", description="as base64 or data URL")
    upscaler_1: str = Field("None", description="one of `/sdapi/v1/upscalers`")
    resize_mode: int = Field(
        0, ge=0, le=1, description="0: by `upscaling_resize`; 1: to the width and height"
    )
    upscaling_resize: float = Field(2.0, gt=0, le=LARGEST, description="the factor")
    upscaling_resize_w: int = Field(512, ge=1, le=LARGEST, description="in px")
    upscaling_resize_h: int = Field(512, ge=1, le=LARGEST, description="in px")
    upscaling_crop: bool = Field(True, description="whether what is beyond that is cropped")
    extras_upscaler_2_visibility: float = Field(0.0, description="has no effect")
    gfpgan_visibility: float = Field(0.0, description="has no effect")
    codeformer_visibility: float = Field(0.0, description="has no effect")
    cancel_after: CancelAfterField = None


class PngInfo(_Body):
    """A file whose text is read."""

    image: str = Field("", description="PNG, as base64 or data URL")


class Options(_Body):
    """Settings, of which there are none to be changed."""

    sd_model_checkpoint: str = Field("", description="the model that is served")
