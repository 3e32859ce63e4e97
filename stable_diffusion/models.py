"""The catalogue of models, and their way from the disk to the device."""

from __future__ import annotations

import dataclasses
import inspect
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stable_diffusion import checkpoints, imports
from stable_diffusion.checkpoints import CheckpointError

if TYPE_CHECKING:
    import torch

Result = TypeVar("Result")

WEIGHTS = Path(__file__).parent.parent / "weights"
DEMO, CHECKER = "demo", "safety-checker"
LARGEST_LATENTS = 128
"""Side up to which latents are decoded at once, larger ones in tiles: 1024 px of most models."""
DTYPES = ("float32", "float16", "bfloat16")
"""The precisions that a model can be served in."""


@dataclass(frozen=True)
class Task:
    """What a model was trained for.

    channels: of its UNet's input: the four of the latents, and beside them those of the mask and
        the masked image, of the depth, or of the small image.
    pipeline: the library's class, whose parts are used.
    preferred: the model that is taken where its weights are there and no other is named.
    further: the components that it has beside those of all models.
    """

    channels: int
    pipeline: str
    preferred: str
    further: tuple[str, ...] = ()


TASKS = {
    "img2img": Task(4, "StableDiffusionImg2ImgPipeline", "stable-diffusion-2-1"),
    "inpainting": Task(9, "StableDiffusionInpaintPipeline", "stable-diffusion-2-inpainting"),
    "depth": Task(
        5,
        "StableDiffusionDepth2ImgPipeline",
        "stable-diffusion-2-depth",
        ("depth_estimator", "feature_extractor"),
    ),
    "upscale": Task(
        7, "StableDiffusionUpscalePipeline", "stable-diffusion-x4-upscaler", ("low_res_scheduler",)
    ),
}


class SetupError(Exception):
    """A model can't be served as asked; the message says what to do."""


class WeightsError(SetupError):
    """A model is not there, not whole or not readable."""


@dataclass(frozen=True)
class Weights:
    """A model on the disk.

    name: of the manifest, or of the folder or file.
    path: a folder in the library's layout, with `model_index.json` and a folder for each
        component; or an original checkpoint.
    native_size: side in pixels of the square that the model was trained on; of an original
        checkpoint it is 0 until it is loaded.
    task: what it was trained for, of `TASKS`.
    """

    name: str
    path: Path
    native_size: int
    task: str = "img2img"

    @property
    def variant(self) -> str | None:
        """What the hub's names of its files have before their suffix: fp16 where it has those."""
        fp16 = self.path / "unet" / "diffusion_pytorch_model.fp16.safetensors"
        return "fp16" if fp16.exists() else None

    def files(self) -> list[Path]:
        """Those that are loaded, of all components."""
        if self.path.is_file():
            return [self.path]
        ending = f".{self.variant}.safetensors" if self.variant else ".safetensors"
        names = components(self.task)
        found = [path for name in names for path in self.path.glob(f"{name}/*{ending}")]
        return [path for path in found if self.variant or ".fp16." not in path.name]


@dataclass(frozen=True)
class Model:
    """A model on the device; `pipeline` is diffusers', of its task's class."""

    weights: Weights
    pipeline: Any

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.pipeline.device  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        """Its UNet's precision."""
        return self.pipeline.unet.dtype  # type: ignore[no-any-return]

    @property
    def scale(self) -> int:
        """Pixels of the result to one of the latents, in width and height."""
        return self.pipeline.vae_scale_factor  # type: ignore[no-any-return]

    def __str__(self) -> str:
        return f"{self.weights.name} ({self.weights.native_size} px) on {self.device}"


def catalogue() -> dict[str, dict[str, Any]]:
    """What `weights/manifest.json` says of each model, by name."""
    return json.loads((WEIGHTS / "manifest.json").read_text())  # type: ignore[no-any-return]


def locked() -> dict[str, dict[str, Any]]:
    """What `weights/lock.json` says was downloaded of each model, by name."""
    lock = WEIGHTS / "lock.json"
    return json.loads(lock.read_text()) if lock.exists() else {}


def components(task: str) -> tuple[str, ...]:
    """The parts of a model's folder that are loaded; of the task `safety`, the NSFW checker's."""
    if task == "safety":
        return "safety_checker", "feature_extractor"
    return ("scheduler", "tokenizer", "text_encoder", "unet", "vae", *TASKS[task].further)


def find(model: str | None, task: str = "img2img") -> Weights:
    """The weights of a model, checked for being there and whole.

    Args:
        model: a name of the manifest, a folder in the library's layout, or an original checkpoint
            (.ckpt or .safetensors). None takes the task's preferred one where its weights lie in
            `weights/`, else the demo model, which can do image to image and inpainting.
        task: what for, where no model is named.

    Raises:
        WeightsError: with the command that gets them.
    """
    entries = catalogue()
    preferred = TASKS[task].preferred
    if not model and task in ("img2img", "inpainting") and not _is_complete(WEIGHTS / preferred):
        preferred = DEMO
    name = model or preferred
    if entries.get(name, {}).get("task") not in TASKS:
        path = Path(name)
        return _in_file(path) if path.suffix.lower() in checkpoints.SUFFIXES else _in_folder(path)
    return Weights(name, _whole(name), entries[name]["native_size"], entries[name]["task"])


def find_checker() -> Path | None:
    """The folder of the NSFW checker's weights; None where they were not downloaded.

    Raises:
        WeightsError: when they are not whole.
    """
    return _whole(CHECKER) if _is_complete(WEIGHTS / CHECKER) else None


def _whole(name: str) -> Path:
    """The folder of a model of the manifest, where all is there and of the size on record."""
    folder, entry, lock = WEIGHTS / name, catalogue()[name], locked().get(name)
    command = f"run: scripts/download-weights {name}"
    if not _is_complete(folder):
        raise WeightsError(f"the weights of {name} are not in {folder}; {command}")
    for file, known in (lock or entry).get("files", {}).items():
        path = folder / file
        if lock and not path.exists():
            raise WeightsError(f"{path} is missing; {command}")
        if path.exists() and path.stat().st_size != known.get("size", path.stat().st_size):
            raise WeightsError(f"{path} has not the size on record; {command}")
    return folder


def _is_complete(folder: Path) -> bool:
    return (folder / "model_index.json").exists()  # the file that is downloaded last


def _in_folder(folder: Path) -> Weights:
    config = folder / "unet" / "config.json"
    if not _is_complete(folder) or not config.exists():
        names = [name for name, entry in catalogue().items() if entry["task"] in TASKS]
        raise WeightsError(
            f"there is no model {str(folder)!r}: give a folder in the library's layout, an "
            f"original checkpoint ({' or '.join(checkpoints.SUFFIXES)}) or one of "
            + ", ".join(names)
        )
    unet = json.loads(config.read_text())
    vae = json.loads((folder / "vae" / "config.json").read_text())
    task = task_of(unet["in_channels"])
    native_size = unet["sample_size"] * 2 ** (len(vae["block_out_channels"]) - 1)
    return Weights(folder.resolve().name, folder, native_size, task)


def _in_file(path: Path) -> Weights:
    try:
        channels = checkpoints.examine(path).channels
    except CheckpointError as error:
        raise WeightsError(str(error)) from error
    return Weights(path.stem, path, 0, task_of(channels))


def task_of(channels: int) -> str:
    """What a model was trained for whose UNet takes so many channels.

    Raises:
        WeightsError: when it is nothing that can be served.
    """
    for name, task in TASKS.items():
        if task.channels == channels:
            return name
    raise WeightsError(f"no task is known for a UNet that takes {channels} channels")


def load(weights: Weights, dtype: str | None = None) -> Model:
    """Brings a model to the GPU, or to the CPU where there is none.

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
    pipeline = apart(_load, weights, dtype)
    native_size = (
        weights.native_size or pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    )
    return Model(dataclasses.replace(weights, native_size=native_size), pipeline)


def apart(function: Callable[..., Result], *arguments: Any) -> Result:
    """What a function returns that computes in a thread of its own, which then ends.

    Each thread that computes has helpers of its own, and those of two are more than the processor
    has cores: waiting for each other, they take nearly twice as long for every step.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(function, *arguments).result()


def default_dtype() -> str:
    """The precision that a model is served in unless told otherwise."""
    import torch

    return "float16" if torch.cuda.is_available() else "float32"


def _load(weights: Weights, dtype: str | None) -> Any:
    with imports.quick():
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
    if weights.task == "depth":
        pipeline.depth_estimator.float()  # its batch norms don't bear half precision
    if weights.task == "upscale":
        vae.float()  # it overflows in half precision, as the library knows too
    vae.enable_tiling()
    vae.tile_latent_min_size = LARGEST_LATENTS
    vae.tile_sample_min_size = LARGEST_LATENTS * pipeline.vae_scale_factor
    if device == "cuda":
        pipeline.to(device)
        pipeline.unet.to(memory_format=torch.channels_last)
        vae.to(memory_format=torch.channels_last)
    return pipeline


def _load_folder(weights: Weights, precision: torch.dtype) -> Any:
    import diffusers
    import transformers

    kind = getattr(diffusers, TASKS[weights.task].pipeline)
    left_out = {
        "safety_checker": None,
        "requires_safety_checker": False,
        "feature_extractor": None,
        "image_encoder": None,
        "watermarker": None,
    }
    pipeline = kind.from_pretrained(
        weights.path,
        dtype=precision,
        variant=weights.variant,
        local_files_only=True,
        use_safetensors=True,
        **{name: left_out[name] for name in left_out.keys() & inspect.signature(kind).parameters},
    )
    if weights.task == "depth":
        # By name: the class that `model_index.json` names is no more.
        extractor = transformers.DPTImageProcessorPil.from_pretrained(
            weights.path / "feature_extractor"
        )
        pipeline.register_modules(feature_extractor=extractor)
    return pipeline


def _read(weights: Weights) -> None:
    """Reads the weights for the system's cache, where they are mapped from, during the imports."""
    buffer = bytearray(2**24)
    for path in weights.files():
        # What can't be read is told by whoever needs it.
        with suppress(OSError), path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
