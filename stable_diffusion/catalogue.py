"""The catalogue: which models there are, their tasks, and where their weights come from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stable_diffusion import checkpoints, json_files, textual_inversion
from stable_diffusion.installed import Check, Folder
from stable_diffusion.json_files import FileError

WEIGHTS = Path(__file__).parent.parent / "weights"
DEMO, CHECKER = "demo", "safety-checker"
UPSCALERS = "upscalers"
"""The folder in `WEIGHTS` of pixel upscalers, each a file."""
UPSCALER_SUFFIXES = (".pth", ".safetensors")
LORAS, EMBEDDINGS, MODELS = "loras", "embeddings", "models"
"""The folders in `WEIGHTS` of LoRAs and of textual inversions, each a file."""
LORA_SUFFIXES = (".safetensors",)
EMBEDDING_SUFFIXES = (".safetensors", ".pt", ".bin")
"""The suffixes that are read; of two files of one name, the one whose suffix is first."""
FILE_TYPES = {"size": int | None, "sha256": str | None}
"""The types of what is on record of a file."""
MOST_PIXELS = 2**13
"""The largest side of the square that a model can have been trained on."""
LIBRARIES = ("diffusers", "transformers", "stable_diffusion")
"""Where the classes of components may be from, by the names in `model_index.json`."""
CONFIGURATIONS = ("config.json", "scheduler_config.json", "preprocessor_config.json")
"""The files that say how components are built."""


@dataclass(frozen=True)
class Task:
    """A task that a model was trained for.

    channels: of its UNet's input: the four of the latents, and beside them those of the mask and
        the masked image, of the depth, or of the small image.
    pipeline: diffusers' class, whose parts are used.
    preferred: the model that is taken where its weights are there and no other is named.
    extra_components: the components that it has beside those of all models.
    also_serves: tasks whose models can do this one too.
    in_full: components that don't bear half precision, and are kept in float32.
    amount: the input that says how much is changed.
    """

    channels: int
    pipeline: str
    preferred: str
    extra_components: tuple[str, ...] = ()
    also_serves: tuple[str, ...] = ()
    in_full: tuple[str, ...] = ()
    amount: str = "strength"


TASKS = {
    "img2img": Task(4, "StableDiffusionImg2ImgPipeline", "stable-diffusion-2-1"),
    "inpainting": Task(
        9,
        "StableDiffusionInpaintPipeline",
        "stable-diffusion-2-inpainting",
        also_serves=("img2img",),
    ),
    "depth": Task(
        5,
        "StableDiffusionDepth2ImgPipeline",
        "stable-diffusion-2-depth",
        ("depth_estimator", "feature_extractor"),
        in_full=("depth_estimator",),
    ),
    "upscale": Task(
        7,
        "StableDiffusionUpscalePipeline",
        "stable-diffusion-x4-upscaler",
        ("low_res_scheduler",),
        in_full=("vae",),
        amount="noise_level",
    ),
}


class SetupError(Exception):
    """A model can't be served as configured; the message says what to do."""


class WeightsError(SetupError):
    """A model's files are missing, incomplete, unreadable, or for another task."""


@dataclass(frozen=True)
class Weights:
    """A model on the disk.

    name: of the manifest, or of the folder or file.
    path: a folder in diffusers' layout, with `model_index.json` and a folder for each
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
        """The variant of its files, as diffusers calls it: fp16 where it has those, else None."""
        fp16 = self.path / "unet" / "diffusion_pytorch_model.fp16.safetensors"
        return "fp16" if fp16.exists() else None

    def files(self) -> list[Path]:
        """Return the files of weights that are loaded, of all components."""
        if self.path.is_file():
            return [self.path]
        ending = f".{self.variant}.safetensors" if self.variant else ".safetensors"
        names = components(self.task)
        found = [path for name in names for path in self.path.glob(f"{name}/*{ending}")]
        return [path for path in found if self.variant or ".fp16." not in path.name]


def entries() -> dict[str, dict[str, Any]]:
    """Return the entries of `weights/manifest.json` by the models' names.

    Raises:
        WeightsError: when it can't be read.
    """
    return _records(WEIGHTS / "manifest.json", {"task": str, "native_size": int})


def locked() -> dict[str, dict[str, Any]]:
    """Return the entries of `weights/lock.json`, what was downloaded, by the models' names.

    Raises:
        WeightsError: when it can't be read.
    """
    lock = WEIGHTS / "lock.json"
    return _records(lock, {}) if lock.exists() else {}


def _records(path: Path, required: dict[str, type]) -> dict[str, dict[str, Any]]:
    """Read what is on record of models; check the types of what is used of it."""
    try:
        records = json_files.read(path)
    except FileError as error:
        raise WeightsError(str(error)) from error
    types = {"repository": str, "revision": str, "licence": str, "files": dict, **required}
    for name, entry in records.items():
        sound = isinstance(entry, dict) and required.keys() <= entry.keys()
        if not sound or not _has_types(entry, types):
            raise WeightsError(f"{path} is broken at {name!r}: restore it from where you have it")
        for file, known in entry.get("files", {}).items():
            safe = not Path(file).is_absolute() and ".." not in Path(file).parts
            if not safe or not isinstance(known, dict) or not _has_types(known, FILE_TYPES):
                raise WeightsError(
                    f"{path} is broken at {file!r} of {name!r}: restore it from where you have it"
                )
    return records


def _has_types(entry: dict[str, Any], types: Mapping[str, Any]) -> bool:
    return all(isinstance(entry[key], types[key]) for key in types.keys() & entry.keys())


def components(task: str) -> tuple[str, ...]:
    """Return the components that are loaded for a task; for `safety`, the NSFW checker's."""
    if task == "safety":
        return "safety_checker", "feature_extractor"
    return ("scheduler", "tokenizer", "text_encoder", "unet", "vae", *TASKS[task].extra_components)


def names(setting: str | None) -> list[str]:
    """Return the models that the setting MODEL names, with commas between them."""
    return [name for each in (setting or "").split(",") if (name := each.strip())]


def find(model: str | None, task: str | None = None) -> Weights:
    """Find a model's weights, and check that they are present and complete.

    Args:
        model: a name of the manifest, a folder in diffusers' layout, or an original checkpoint
            (.ckpt or .safetensors). None takes the task's preferred one where its weights lie in
            `weights/`, else the demo model, which can do image to image and inpainting.
        task: what for. None takes any model, and image to image where none is named.

    Raises:
        WeightsError: with the command that gets them, or when they are for something else.
    """
    if not model:
        wanted = TASKS[task or "img2img"]
        can_be_demo = task in (None, "img2img") or "img2img" in wanted.also_serves
        here = _is_complete(WEIGHTS / wanted.preferred)
        model = DEMO if can_be_demo and not here else wanted.preferred
    weights = _find(model)
    if task and weights.task not in (task, *TASKS[task].also_serves):
        raise WeightsError(f"{weights.name} is a model for {weights.task}, and not for {task}")
    return weights


def _find(model: str) -> Weights:
    entry = entries().get(model, {})
    if entry.get("task") in TASKS:
        return Weights(model, _whole(model), entry["native_size"], entry["task"])
    path = Path(model)
    in_file = path.suffix.lower() in checkpoints.SUFFIXES
    return _in_file(path) if in_file else _in_folder(path)


def find_checker() -> Path | None:
    """Return the folder of the NSFW checker's weights; None where they were not downloaded.

    Raises:
        WeightsError: when they are not whole.
    """
    return _whole(CHECKER) if _is_complete(WEIGHTS / CHECKER) else None


def upscalers() -> dict[str, Path]:
    """Return the files of pixel upscalers by their names, which are the files' without the suffix.

    Of two files of one name, it is the one in safetensors' format. None is read yet, and those of
    names that can't be printed are passed over.
    """
    folder = WEIGHTS / UPSCALERS
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return {
        path.stem: path
        for path in found
        if path.suffix.lower() in UPSCALER_SUFFIXES and path.stem.isprintable()
    }


def loras(check: Check) -> Folder:
    """Return the folder of LoRAs, of which each is checked when it is seen."""
    return Folder(folder_of(LORAS), LORA_SUFFIXES, check)


def embeddings(check: Check) -> Folder:
    """Return the folder of textual inversions, of which each is checked when it is seen."""
    return Folder(folder_of(EMBEDDINGS), EMBEDDING_SUFFIXES, check, textual_inversion.MOST_BYTES)


def folder_of(name: str) -> Path:
    """Return where LoRAs, embeddings or models lie: where the environment says, else in `WEIGHTS`.

    Args:
        name: `LORAS`, `EMBEDDINGS` or `MODELS`, whose upper case is the setting.

    Raises:
        SetupError: when the environment names no folder.
    """
    given = os.environ.get(name.upper())
    folder = Path(given).expanduser() if given else WEIGHTS / name
    if given and not folder.is_dir():
        raise SetupError(f"{name.upper()} is {given!r}, which is no folder")
    return folder


def _whole(name: str) -> Path:
    """Check that a manifest model is complete and of the sizes on record; return its folder."""
    folder, entry, lock = WEIGHTS / name, entries()[name], locked().get(name)
    command = f"run: scripts/download-weights {name}"
    if not _is_complete(folder):
        raise WeightsError(f"the weights of {name} are not in {folder}; {command}")
    for file, known in (lock or entry).get("files", {}).items():
        path = folder / file
        if lock and not path.exists():
            raise WeightsError(f"{path} is missing; {command}")
        if path.exists() and path.stat().st_size != known.get("size", path.stat().st_size):
            raise WeightsError(f"{path} doesn't have the size on record; {command}")
    return folder


def _is_complete(folder: Path) -> bool:
    return (folder / "model_index.json").exists()  # the file that is downloaded last


def _in_folder(folder: Path) -> Weights:
    config = folder / "unet" / "config.json"
    try:
        there = _is_complete(folder) and config.exists()
    except OSError:  # of a name that is too long, or a folder that is closed
        there = False
    if not there:
        names = [name for name, entry in entries().items() if entry["task"] in TASKS]
        raise WeightsError(
            f"there is no model {str(folder)[:200]!r}: give a folder in diffusers' layout, an "
            f"original checkpoint ({' or '.join(checkpoints.SUFFIXES)}) or one of "
            + ", ".join(names)
        )
    try:
        unet = json_files.read_configuration(config)
        vae = json_files.read_configuration(folder / "vae" / "config.json")
        native_size = unet["sample_size"] * 2 ** (len(vae["block_out_channels"]) - 1)
        if type(unet["sample_size"]) is not int or not 0 < native_size <= MOST_PIXELS:
            raise ValueError(f"sample_size is {unet['sample_size']!r}")
        return Weights(folder.resolve().name, folder, native_size, task_of(unet["in_channels"]))
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError) as error:
        reason = error if isinstance(error, FileError) else repr(error)
        raise WeightsError(f"the configuration of {folder} can't be read ({reason})") from error


def _in_file(path: Path) -> Weights:
    try:
        channels = checkpoints.examine(path).channels
    except FileError as error:
        raise WeightsError(str(error)) from error
    return Weights(path.stem, path, 0, task_of(channels))


def check_folder(folder: Path, task: str) -> None:
    """Check the files of a folder before libraries read them: that none is a pipe, their JSON.

    Raises:
        FileError: when something is not what the libraries can be given.
    """
    index = json_files.read(folder / "model_index.json")
    for name in components(task):
        match index.get(name):
            case [library, str()] if library in LIBRARIES:
                pass
            case _:
                raise FileError(
                    f"{folder / 'model_index.json'} names no known class for {name}: "
                    "download it again"
                )
    check_components(folder, components(task))


def check_components(folder: Path, names: Iterable[str]) -> None:
    """Check the files of components, as `check_folder` does.

    Raises:
        FileError: when something is not what the libraries can be given.
    """
    for path in sorted(path for name in names for path in (folder / name).glob("*")):
        if path.is_dir() and not path.suffix:
            continue
        json_files.require_regular(path)
        if path.name in CONFIGURATIONS:
            json_files.read_configuration(path)
        elif path.name == "merges.txt":
            json_files.require_merges(path)
        elif path.suffix == ".json":
            shards = json_files.read(path).get("weight_map", {})
            if not isinstance(shards, dict) or not all(map(_is_name, shards.values())):
                raise FileError(f"{path} names files outside its folder: download it again")


def _is_name(shard: Any) -> bool:
    return isinstance(shard, str) and Path(shard).name == shard


def task_of(channels: int) -> str:
    """Return the task of a model whose UNet takes this number of channels.

    Raises:
        WeightsError: when it is nothing that can be served.
    """
    for name, task in TASKS.items():
        if task.channels == channels:
            return name
    raise WeightsError(f"no task is known for a UNet that takes {channels} channels")
