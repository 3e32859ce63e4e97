"""The documents of AUTOMATIC1111's API."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

# Pydantic, which documents these, takes no other before Python 3.12.
from typing_extensions import TypedDict

import infotext
from hosting.api import results
from hosting.api.a1111.errors import NAMES
from hosting.api.a1111.requests import TextToImage
from hosting.api.a1111.translation import Drawing
from hosting.prediction import Prediction
from hosting.states import Status


class GeneratedDocument(TypedDict):
    """Images as base64, what was asked for, and JSON as a text on how they were made."""

    images: list[str]
    parameters: dict[str, Any]
    info: str


class EnlargedDocument(TypedDict):
    """An enlarged image as base64, and what is to be said of it."""

    html_info: str
    image: str


class PngInfoDocument(TypedDict):
    """The text of an image's making, the file's other texts, and the fields of the first."""

    info: str
    items: dict[str, str]
    parameters: dict[str, str]


class StateDocument(TypedDict):
    """The state of the newest request."""

    skipped: bool
    interrupted: bool
    stopping_generation: bool
    job: str
    job_count: int
    job_timestamp: str
    job_no: int
    sampling_step: int
    sampling_steps: int


class ProgressDocument(TypedDict):
    """The progress of the newest request, from 0 to 1, and the seconds that are left."""

    progress: float
    eta_relative: float
    state: StateDocument
    current_image: str | None
    textinfo: str | None


class SamplerDocument(TypedDict):
    """A sampler."""

    name: str
    aliases: list[str]
    options: dict[str, str]


class SchedulerDocument(TypedDict):
    """A way to space the timesteps."""

    name: str
    label: str
    aliases: list[str] | None
    default_rho: float
    need_inner_model: bool


class ModelDocument(TypedDict):
    """A model that runs here."""

    title: str
    model_name: str
    hash: str | None
    sha256: str | None
    filename: str
    config: str | None


class LoraDocument(TypedDict):
    """A LoRA that is installed here and can be used."""

    name: str
    alias: str
    path: str
    metadata: dict[str, str]


class EmbeddingDocument(TypedDict):
    """An embedding. What is null, nobody knows here."""

    step: int | None
    sd_checkpoint: str | None
    sd_checkpoint_name: str | None
    shape: int | None
    vectors: int | None


class EmbeddingsDocument(TypedDict):
    """The embeddings that are installed here, by their names in prompts."""

    loaded: dict[str, EmbeddingDocument]
    skipped: dict[str, EmbeddingDocument]


class UpscalerDocument(TypedDict):
    """A way to enlarge an image."""

    name: str
    model_name: str | None
    model_path: str | None
    model_url: str | None
    scale: float


class OptionsDocument(TypedDict):
    """The settings, as far as there are any."""

    sd_model_checkpoint: str
    sd_checkpoint_hash: str
    sd_vae: str
    samples_format: str
    CLIP_stop_at_last_layers: int


def infotexts(asked: TextToImage, drawing: Drawing, prediction: Prediction) -> list[str]:
    """Return the text of each image's making that was not left out, as the client asked for it."""
    inputs = {
        **drawing.inputs,
        "prompt": asked.prompt,
        "negative_prompt": asked.negative_prompt,
        "strength": drawing.strength,
        "loras": None,  # they are in the prompt, as it was asked for
    }
    size, model = drawing.first_size, _model(prediction)
    return [infotext.write(inputs, size, seed, model) for seed in _seeds(prediction)]


def generated(
    asked: TextToImage,
    drawing: Drawing,
    prediction: Prediction,
    images: list[str],
    texts: list[str],
) -> GeneratedDocument:
    """Return a prediction that is over.

    Args:
        images: as base64.
        texts: of each image's making.
    """
    left_out = {"init_images": None, "mask": None}
    if getattr(asked, "include_init_images", False):
        left_out = {}
    shown = asked.model_dump(exclude=set(left_out))
    if hasattr(asked, "init_images"):
        shown |= left_out
    info = _info(asked, drawing, prediction, texts)
    return {"images": images, "parameters": shown, "info": json.dumps(info)}


def progress(prediction: Prediction | None) -> ProgressDocument:
    """Return the progress of a request; of none, that nothing is done."""
    metric: Mapping[str, Any] = prediction.metrics.get("progress", {}) if prediction else {}
    step, steps = int(metric.get("step", 0)), int(metric.get("steps", 0))
    begun_at = time.localtime(prediction.created_at if prediction else None)
    waits = prediction is not None and prediction.status is Status.STARTING
    return {
        "progress": step / steps if steps else 0.0,
        "eta_relative": float(metric.get("seconds_left", 0.0)),
        "state": {
            "skipped": False,
            "interrupted": prediction is not None and prediction.canceling,
            "stopping_generation": False,
            "job": prediction.id if prediction else "",
            "job_count": 1 if prediction else 0,
            "job_timestamp": time.strftime("%Y%m%d%H%M%S", begun_at),
            "job_no": 0,
            "sampling_step": step,
            "sampling_steps": steps,
        },
        "current_image": None,
        "textinfo": "It waits in the queue" if waits else None,
    }


def _info(
    asked: TextToImage, drawing: Drawing, prediction: Prediction, texts: Sequence[str]
) -> dict[str, Any]:
    seeds = _seeds(prediction)
    first: int = prediction.request["seed"]
    warnings = [*drawing.warnings, *results.warnings(prediction, NAMES)]
    if prediction.status is not Status.SUCCEEDED:
        warnings.append("It was interrupted; these are the images that were finished")
    return {
        "prompt": asked.prompt,
        "all_prompts": [asked.prompt] * len(seeds),
        "negative_prompt": asked.negative_prompt,
        "all_negative_prompts": [asked.negative_prompt] * len(seeds),
        "seed": first,
        "all_seeds": seeds,
        "subseed": first,
        "all_subseeds": seeds,
        "subseed_strength": 0,
        "width": drawing.width,
        "height": drawing.height,
        "sampler_name": drawing.sampler.name,
        "cfg_scale": drawing.cfg_scale,
        "steps": drawing.steps,
        "batch_size": asked.batch_size,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": _model(prediction),
        "sd_model_hash": None,
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": drawing.strength,
        "extra_generation_params": {},
        "index_of_first_image": 0,
        "infotexts": list(texts),
        "styles": [],
        "job_timestamp": time.strftime("%Y%m%d%H%M%S", time.localtime(prediction.created_at)),
        "clip_skip": drawing.inputs.get("clip_skip", 0) + 1,
        "is_using_inpainting_conditioning": False,
        "warnings": warnings,
    }


def _seeds(prediction: Prediction) -> list[int]:
    """Return the seeds of the images that are there."""
    made = sorted(prediction.metrics.get("images", []), key=lambda image: int(image["index"]))
    return [int(image["seed"]) for image in made if image.get("file")]


def _model(prediction: Prediction) -> str:
    return prediction.model.rpartition("/")[2]
