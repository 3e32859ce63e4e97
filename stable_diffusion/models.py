"""Models: the loading of weights from the disk as a pipeline on the device."""

from __future__ import annotations

import dataclasses
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from stable_diffusion import checkpoints, weight_files
from stable_diffusion.catalogue import TASKS, SetupError, Weights, WeightsError, check_folder
from stable_diffusion.imports import lean_imports
from stable_diffusion.json_files import FileError, error_text
from stable_diffusion.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import torch

Result = TypeVar("Result")

LARGEST_LATENTS_SIDE = 128
"""Largest side of latents that are decoded without tiles: 1024 px of most models."""
SECOND_TEXT_WIDTH = 1024
"""Of what Stable Diffusion 2's text encoder gives for each token; 1's has 768."""
NOT_USED = "neck.fusion_stage.layers.0.residual_layer1."
"""The beginning of the names of depth estimator weights that no file has and nothing uses."""
DTYPES = ("float32", "float16", "bfloat16")
"""The precisions that a model can be served in."""


@dataclass(frozen=True)
class Model:
    """A model on the device; `pipeline` is diffusers', of its task's class.

    vocabulary: what it draws; None where that has no bounds that anyone has written down.
    """

    weights: Weights
    pipeline: Any
    vocabulary: Vocabulary | None = None

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

    @property
    def is_second(self) -> bool:
        """Whether it is of Stable Diffusion 2's family, by its text encoder's width."""
        return self.pipeline.text_encoder.config.hidden_size >= SECOND_TEXT_WIDTH  # type: ignore[no-any-return]

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
    vocabulary = None
    if weights.path.is_dir():
        with reading(f"the model in {weights.path}"):
            check_folder(weights.path, weights.task)
            vocabulary = Vocabulary.beside(weights.path)
    threading.Thread(target=_read, args=(weights,), daemon=True).start()
    pipeline = in_fresh_thread(_load, weights, dtype)
    native_size = (
        weights.native_size or pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    )
    return Model(dataclasses.replace(weights, native_size=native_size), pipeline, vocabulary)


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
        with reading(f"the model in {weights.path}"):
            if weights.path.is_file():
                pipeline = checkpoints.load(weights.path, precision, device)
            else:
                pipeline = _load_folder(weights, precision)
            _require_tokens(weights, pipeline)
            # It may be left out, or say anything, and texts are cut and padded to it.
            pipeline.tokenizer.model_max_length = (
                pipeline.text_encoder.config.max_position_embeddings
            )
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


def _require_tokens(weights: Weights, pipeline: Any) -> None:
    """Check that the tokenizer has a token for each byte, and none that its encoder lacks."""
    tokenizer, tokens = pipeline.tokenizer, pipeline.text_encoder.config.vocab_size
    if tokenizer.vocab_size < 256 or max(tokenizer.get_vocab().values()) >= tokens:
        raise WeightsError(f"the tokenizer in {weights.path} is not that of its text encoder")


def _load_folder(weights: Weights, precision: torch.dtype) -> Any:
    import diffusers
    import torch
    import transformers

    task = TASKS[weights.task]
    kind = getattr(diffusers, task.pipeline)
    parts: dict[str, Any] = {
        "text_encoder": _load_whole(transformers.CLIPTextModel, weights, "text_encoder", precision),
        "unet": _load_whole(diffusers.UNet2DConditionModel, weights, "unet", precision),
        "vae": _load_whole(diffusers.AutoencoderKL, weights, "vae", precision),
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
        local_files_only=True,
        **{name: parts[name] for name in parts.keys() & inspect.signature(kind).parameters},
    )
    if "feature_extractor" in task.extra_components:
        # By name: the class that `model_index.json` names is no more.
        extractor = transformers.DPTImageProcessorPil.from_pretrained(
            weights.path / "feature_extractor"
        )
        pipeline.register_modules(feature_extractor=extractor)
    return pipeline


def _load_whole(kind: Any, weights: Weights, name: str, dtype: torch.dtype) -> Any:
    """Load a component; raise where weights are missing, which transformers would make up."""
    files = [path for path in weights.files() if path.parent.name == name]
    with within_files(weights.path / name, files):
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
    if name in ("unet", "vae") and report["unexpected_keys"]:
        names = ", ".join(sorted(report["unexpected_keys"])[:5])
        raise WeightsError(
            f"{weights.path / name / 'config.json'} has no place for some of the weights beside it "
            f"({names}): download both again"
        )
    return model


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn what is raised for files that can't be read into a `WeightsError`."""
    try:
        yield
    except SetupError:
        raise
    except Exception as error:  # The libraries raise whatever comes, tokenizers this class itself.
        raise WeightsError(f"{what} can't be read: {error_text(error)}") from error


@contextmanager
def within_files(folder: Path, files: Iterable[Path]) -> Iterator[None]:
    """Let no model be built in the block that has more than twice the weights of its files.

    Raises:
        FileError: when the configuration in the folder asks for more, or a file can't be read.
    """
    from torch.nn.modules.module import register_module_parameter_registration_hook

    stored = [
        tensor for path in files for tensor in weight_files.require_safetensors(path).values()
    ]
    left = {"tensors": 2 * len(stored), "numbers": 2 * sum(tensor.numel for tensor in stored)}

    def count(module: torch.nn.Module, name: str, parameter: torch.nn.Parameter | None) -> None:
        if parameter is not None and name not in module._parameters:
            left["tensors"] -= 1
            left["numbers"] -= parameter.numel()
        if min(left.values()) < 0:
            raise FileError(
                f"{folder / 'config.json'} describes a larger model than the weights beside it "
                "are for: download both again"
            )

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


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
