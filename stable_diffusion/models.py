"""The catalogue of models, and their way from the disk to the device."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

WEIGHTS = Path(__file__).parent.parent / "weights"
PREFERRED, DEMO = "stable-diffusion-2-1", "demo"
COMPONENTS = ("scheduler", "tokenizer", "text_encoder", "unet", "vae")
"""The parts of a model's folder that are loaded."""


class WeightsError(Exception):
    """A model is not there, not whole or not readable; the message says what to do."""


@dataclass(frozen=True)
class Weights:
    """A model on the disk.

    name: of the manifest, or of the folder.
    folder: in the library's layout: `model_index.json` and a folder for each component.
    native_size: side in pixels of the square that the model was trained on.
    """

    name: str
    folder: Path
    native_size: int


@dataclass(frozen=True)
class Model:
    """A model on the device; `pipeline` is diffusers' `StableDiffusionImg2ImgPipeline`."""

    weights: Weights
    pipeline: Any

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.pipeline.device  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        """Its precision."""
        return self.pipeline.dtype  # type: ignore[no-any-return]

    def __str__(self) -> str:
        return f"{self.weights.name} ({self.weights.native_size} px) on {self.device}"


def catalogue() -> dict[str, dict[str, Any]]:
    """What `weights/manifest.json` says of each model, by name."""
    return json.loads((WEIGHTS / "manifest.json").read_text())  # type: ignore[no-any-return]


def locked() -> dict[str, dict[str, Any]]:
    """What `weights/lock.json` says was downloaded of each model, by name."""
    lock = WEIGHTS / "lock.json"
    return json.loads(lock.read_text()) if lock.exists() else {}


def find(model: str | None) -> Weights:
    """The weights of a model, checked for being there and whole.

    Args:
        model: a name of the manifest, or a folder in the library's layout. None takes
            Stable Diffusion 2.1 where its weights lie in `weights/`, else the demo model.

    Raises:
        WeightsError: with the command that gets them.
    """
    entries = catalogue()
    name = model or (PREFERRED if _is_complete(WEIGHTS / PREFERRED) else DEMO)
    if name not in entries:
        return _in_folder(Path(name))
    folder, lock = WEIGHTS / name, locked().get(name)
    command = f"run: scripts/download-weights {name}"
    if not _is_complete(folder):
        raise WeightsError(f"the weights of {name} are not in {folder}; {command}")
    for file, known in (lock or entries[name]).get("files", {}).items():
        path = folder / file
        if lock and not path.exists():
            raise WeightsError(f"{path} is missing; {command}")
        if path.exists() and path.stat().st_size != known.get("size", path.stat().st_size):
            raise WeightsError(f"{path} has not the size on record; {command}")
    return Weights(name, folder, entries[name]["native_size"])


def _is_complete(folder: Path) -> bool:
    return (folder / "model_index.json").exists()  # the file that is downloaded last


def _in_folder(folder: Path) -> Weights:
    config = folder / "unet" / "config.json"
    if not _is_complete(folder) or not config.exists():
        raise WeightsError(
            f"there is no model {str(folder)!r}: give a folder in the library's layout or one of "
            + ", ".join(catalogue())
        )
    return Weights(folder.resolve().name, folder, 8 * json.loads(config.read_text())["sample_size"])


def load(weights: Weights) -> Model:
    """Brings a model to the GPU in half precision, or to the CPU in float32 where there is none.

    Raises:
        WeightsError: when its files can't be read.
    """
    import diffusers
    import torch
    import transformers

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    gpu = torch.cuda.is_available()
    half = (weights.folder / "unet" / "diffusion_pytorch_model.fp16.safetensors").exists()
    try:
        pipeline = diffusers.StableDiffusionImg2ImgPipeline.from_pretrained(
            weights.folder,
            dtype=torch.float16 if gpu else torch.float32,
            variant="fp16" if half else None,
            local_files_only=True,
            use_safetensors=True,
            safety_checker=None,
            requires_safety_checker=False,
            feature_extractor=None,
            image_encoder=None,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"the model in {weights.folder} can't be read: {reason}") from error
    if gpu:
        pipeline.to("cuda")
        pipeline.unet.to(memory_format=torch.channels_last)
        pipeline.vae.to(memory_format=torch.channels_last)
    return Model(weights, pipeline)
