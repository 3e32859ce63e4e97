"""The catalogue of models, and their way from the disk to the device."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stable_diffusion import imports

if TYPE_CHECKING:
    import torch

WEIGHTS = Path(__file__).parent.parent / "weights"
PREFERRED, DEMO = "stable-diffusion-2-1", "demo"
COMPONENTS = ("scheduler", "tokenizer", "text_encoder", "unet", "vae")
"""The parts of a model's folder that are loaded."""
DTYPES = ("float32", "float16", "bfloat16")
"""The precisions that a model can be served in."""


class SetupError(Exception):
    """A model can't be served as asked; the message says what to do."""


class WeightsError(SetupError):
    """A model is not there, not whole or not readable."""


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

    @property
    def variant(self) -> str | None:
        """What the hub's names of its files have before their suffix: fp16 where it has those."""
        fp16 = self.folder / "unet" / "diffusion_pytorch_model.fp16.safetensors"
        return "fp16" if fp16.exists() else None

    def files(self) -> list[Path]:
        """Those that are loaded, of all components."""
        ending = f".{self.variant}.safetensors" if self.variant else ".safetensors"
        found = [path for name in COMPONENTS for path in self.folder.glob(f"{name}/*{ending}")]
        return [path for path in found if self.variant or ".fp16." not in path.name]


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
    # Each thread that computes has helpers of its own, and those of two are more than the
    # processor has cores: waiting for each other, they take nearly twice as long for every step.
    with ThreadPoolExecutor(1) as thread:
        pipeline = thread.submit(_load, weights, dtype).result()
    return Model(weights, pipeline)


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
        try:
            pipeline = diffusers.StableDiffusionImg2ImgPipeline.from_pretrained(
                weights.folder,
                dtype=getattr(torch, dtype or default_dtype()),
                variant=weights.variant,
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
    if torch.cuda.is_available():
        pipeline.to("cuda")
        pipeline.unet.to(memory_format=torch.channels_last)
        pipeline.vae.to(memory_format=torch.channels_last)
    return pipeline


def _read(weights: Weights) -> None:
    """Reads the weights for the system's cache, where they are mapped from, during the imports."""
    buffer = bytearray(2**24)
    for path in weights.files():
        # What can't be read is told by whoever needs it.
        with suppress(OSError), path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
