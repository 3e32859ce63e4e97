"""Models: the loading of weights from the disk as a pipeline on the device."""

from __future__ import annotations

import dataclasses
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from stable_diffusion import checkpoints
from stable_diffusion.catalogue import TASKS, SetupError, Weights, WeightsError
from stable_diffusion.checkpoints import CheckpointError
from stable_diffusion.imports import lean_imports

if TYPE_CHECKING:
    import torch

Result = TypeVar("Result")

LARGEST_LATENTS_SIDE = 128
"""Largest side of latents that are decoded without tiles: 1024 px of most models."""
NOT_USED = "neck.fusion_stage.layers.0.residual_layer1."
"""The beginning of the names of depth estimator weights that no file has and nothing uses."""
DTYPES = ("float32", "float16", "bfloat16")
"""The precisions that a model can be served in."""


@dataclass(frozen=True)
class Model:
    """A model on the device; `pipeline` is diffusers', of its task's class."""

    weights: Weights
    pipeline: Any

    # The library looks for both in its modules, which takes milliseconds.
    @cached_property
    def device(self) -> torch.device:
        """The device that it computes on."""
        return self.pipeline.device  # type: ignore[no-any-return]

    @cached_property
    def dtype(self) -> torch.dtype:
        """Its UNet's precision."""
        return self.pipeline.unet.dtype  # type: ignore[no-any-return]

    @property
    def scale(self) -> int:
        """Pixels of the output per latent pixel, in width and in height."""
        return self.pipeline.vae_scale_factor  # type: ignore[no-any-return]

    def __str__(self) -> str:
        return f"{self.weights.name} ({self.weights.native_size} px) on {self.device}"


def load(weights: Weights, dtype: str | None = None) -> Model:
    """Load a model onto the GPU, or onto the CPU where there is none.

    It imports the libraries, quickly where nothing else has imported them.

    Args:
        dtype: one of `DTYPES`. None takes half precision on a GPU and float32 on a CPU.

    Raises:
        WeightsError: when its files can't be read.
        SetupError: when the precision is none of those.
    """
    if dtype not in (None, *DTYPES):
        raise SetupError(f"the precision {dtype!r} is not known; give one of {', '.join(DTYPES)}")
    threading.Thread(target=_read, args=(weights,), daemon=True).start()
    pipeline = in_fresh_thread(_load, weights, dtype)
    native_size = (
        weights.native_size or pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    )
    return Model(dataclasses.replace(weights, native_size=native_size), pipeline)


def in_fresh_thread(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function in a thread of its own, which then ends; return the result.

    Each thread that computes has helpers of its own, and those of two are more than the processor
    has cores: waiting for each other, they take nearly twice as long for every step.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(function, *arguments).result()


def default_dtype() -> str:
    """Return the precision that a model is served in by default."""
    import torch

    return "float16" if torch.cuda.is_available() else "float32"


def _load(weights: Weights, dtype: str | None) -> Any:
    with lean_imports():
        import diffusers
        import torch
        import transformers

        diffusers.utils.logging.disable_progress_bar()
        transformers.utils.logging.disable_progress_bar()
        precision = getattr(torch, dtype or default_dtype())
        device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            if weights.path.is_file():
                pipeline = checkpoints.load(weights.path, precision, device)
            else:
                pipeline = _load_folder(weights, precision)
        except CheckpointError as error:
            raise WeightsError(str(error)) from error
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise WeightsError(f"the model in {weights.path} can't be read: {reason}") from error
    vae = pipeline.vae
    if "vae" in TASKS[weights.task].in_full:
        vae.float()
    vae.enable_tiling()
    vae.tile_latent_min_size = LARGEST_LATENTS_SIDE
    vae.tile_sample_min_size = LARGEST_LATENTS_SIDE * pipeline.vae_scale_factor
    if device == "cuda":
        pipeline.to(device)
        pipeline.unet.to(memory_format=torch.channels_last)
        vae.to(memory_format=torch.channels_last)
    return pipeline


def _load_folder(weights: Weights, precision: torch.dtype) -> Any:
    import diffusers
    import torch
    import transformers

    task = TASKS[weights.task]
    kind = getattr(diffusers, task.pipeline)
    parts: dict[str, Any] = {
        "text_encoder": _load_whole(transformers.CLIPTextModel, weights, "text_encoder", precision),
        "safety_checker": None,
        "requires_safety_checker": False,
        "feature_extractor": None,
        "image_encoder": None,
        "watermarker": None,
    }
    if "depth_estimator" in task.in_full:
        estimator = transformers.DPTForDepthEstimation  # its batch norms don't bear half precision
        parts["depth_estimator"] = _load_whole(estimator, weights, "depth_estimator", torch.float32)
    pipeline = kind.from_pretrained(
        weights.path,
        dtype=precision,
        variant=weights.variant,
        local_files_only=True,
        use_safetensors=True,
        **{name: parts[name] for name in parts.keys() & inspect.signature(kind).parameters},
    )
    for name in ("unet", "vae"):
        lacking = [
            key for key, value in getattr(pipeline, name).named_parameters() if value.is_meta
        ]
        _refuse_lacking(weights, name, lacking)
    if "feature_extractor" in task.extra_components:
        # By name: the class that `model_index.json` names is no more.
        extractor = transformers.DPTImageProcessorPil.from_pretrained(
            weights.path / "feature_extractor"
        )
        pipeline.register_modules(feature_extractor=extractor)
    return pipeline


def _load_whole(kind: Any, weights: Weights, name: str, dtype: torch.dtype) -> Any:
    """Load a transformers model; raise where weights are missing, which it would make up."""
    model, report = kind.from_pretrained(
        weights.path / name,
        dtype=dtype,
        variant=weights.variant,
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
    )
    lacking = [key for key in report["missing_keys"] if not key.startswith(NOT_USED)]
    _refuse_lacking(weights, name, lacking)
    return model


def _refuse_lacking(weights: Weights, name: str, lacking: list[str]) -> None:
    if lacking:
        names = ", ".join(sorted(lacking)[:5])
        raise WeightsError(
            f"{weights.path / name} lacks {len(lacking)} of its weights ({names}): "
            "download it again"
        )


def _read(weights: Weights) -> None:
    """Read the weights into the system's cache, where they are mapped from, during the imports."""
    buffer = bytearray(2**24)
    for path in weights.files():
        # What can't be read is told by whoever needs it.
        with suppress(OSError), path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
