"""The command line of scripts/train-lora."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cog_schema.schema import ROOT
from commands import adapter_files
from stable_diffusion import catalogue
from stable_diffusion.catalogue import SetupError, Weights
from train_demo.progress import TrainingError
from train_lora.settings import Settings

RESOLUTIONS = range(64, 1024 + 1, 64)
LARGEST_RANK = 512
LONGEST_TRIGGER = 100
DEMO = {
    "folder": ROOT / "training" / "blueprint",
    "name": "blueprint",
    "model": catalogue.DEMO,
    "trigger": "blueprint",
    "rank": 8,
    "steps": 1000,
    "rate": 2e-3,
    "batch": 4,
    "feed_forward": True,
}
"""The settings of `weights/loras/blueprint.safetensors`."""


def main() -> int:
    """Read the flags and train; return the exit status."""
    parser = _parser()
    options = parser.parse_args()
    for name, value in (DEMO if options.demo else {}).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.folder is None:
        parser.error("give the FOLDER of pictures to learn from, or --demo")
    try:
        train(options)
    except (TrainingError, SetupError) as error:
        print(f"scripts/train-lora: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nscripts/train-lora: stopped; no LoRA was written", file=sys.stderr)
        return 130
    return 0


def train(options: argparse.Namespace) -> None:
    """Train a LoRA as the flags say, and write its file.

    Raises:
        TrainingError, SetupError: saying what to do about it.
    """
    name = options.name or options.folder.resolve().name
    try:
        adapter_files.require_name(name)
    except ValueError as error:
        raise TrainingError(f"--name: {error}") from None
    if there := adapter_files.named(catalogue.LORAS, name):
        raise TrainingError(f"{there[0]} is there: give another --name, or move it away first")
    path = catalogue.folder_of(catalogue.LORAS) / f"{name}.safetensors"
    weights = catalogue.find(options.model or None)
    _require_plain(weights)
    from stable_diffusion import models
    from train_lora import blueprint, examples, lora_file, training

    if options.demo:
        blueprint.draw(options.folder, _log)
    trigger = options.trigger or ""
    found = examples.in_folder(options.folder, trigger)
    model = models.load(weights, "bfloat16" if _has_gpu() else "float32")
    settings = Settings(**_given(options), resolution=options.resolution or _side(model))
    _log(f"encodes {len(found)} pictures for {model}, at {settings.resolution} px")
    what = training.learned(model, found, settings.resolution, _log)
    tensors = training.train(model, what, settings, _log)
    metadata = lora_file.describe(model, settings, name, trigger, len(found))
    path.parent.mkdir(parents=True, exist_ok=True)
    lora_file.save(path, tensors, settings.alpha, metadata)
    _log(f"{path} is written: ask for it by -i loras={name}")


def _require_plain(weights: Weights) -> None:
    if weights.task != "img2img":
        raise TrainingError(
            f"{weights.name} is a model for {weights.task}: train on the model that it was made "
            "of, which draws from noise alone; what comes out fits both"
        )


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _side(model: Any) -> int:
    """Return the side that pictures are trained at by default: the model's own, or near it."""
    return min(RESOLUTIONS, key=lambda side: abs(side - model.weights.native_size))


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that were given; alpha is the rank unless it was."""
    names = ("rank", "alpha", "steps", "rate", "batch", "seed", "feed_forward", "captions_dropped")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    given.setdefault("alpha", given.get("rank", Settings.rank))
    return given


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/train-lora",
        description="Trains a LoRA of a model's UNet from a folder of pictures, NAME.png with its "
        "caption in NAME.txt, into weights/loras. See docs/training.md.",
    )
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="of the pictures")
    parser.add_argument(
        "--demo",
        action="store_true",
        help="train blueprint.safetensors again: draws its pictures from openly licensed "
        "pictograms, which npm fetches, into training/blueprint",
    )
    parser.add_argument("--name", help="of the LoRA (default: the folder's)")
    parser.add_argument(
        "--model", help="that it is for: as for scripts/predict (default: as there)"
    )
    parser.add_argument(
        "--trigger", type=_trigger, help="a word for it, put before captions without it"
    )
    parser.add_argument(
        "--rank",
        type=_whole(1, LARGEST_RANK),
        help=f"of the differences: how much it can learn (default: {Settings.rank})",
    )
    parser.add_argument("--alpha", type=_positive, help="its strength × rank (default: the rank)")
    parser.add_argument(
        "--steps", type=_whole(1, 10**6), help=f"of the training (default: {Settings.steps})"
    )
    parser.add_argument(
        "--rate", type=_positive, help=f"the learning rate (default: {Settings.rate:g})"
    )
    parser.add_argument(
        "--batch", type=_whole(1, 1024), help=f"pictures in a step (default: {Settings.batch})"
    )
    parser.add_argument(
        "--resolution",
        type=_resolution,
        help="side in pixels, a multiple of 64 (default: the model's own)",
    )
    parser.add_argument("--seed", type=_whole(0, 2**63 - 1), help="(default: 0)")
    parser.add_argument(
        "--feed-forward",
        action="store_true",
        default=None,
        help="train the layers between those of attention too: twice the numbers",
    )
    parser.add_argument(
        "--captions-dropped",
        type=_share,
        help="share of the pictures shown without their caption, from 0 to 1 "
        f"(default: {Settings.captions_dropped})",
    )
    return parser


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        digits = text.isascii() and text.isdecimal() and len(text) < 20
        if not (digits and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(
                f"{text[:50]!r}: give a whole number from {least} to {most}"
            )
        return int(text)

    return read


def _resolution(text: str) -> int:
    if text not in map(str, RESOLUTIONS):
        raise argparse.ArgumentTypeError(f"{text[:50]!r}: give a multiple of 64 from 64 to 1024")
    return int(text)


def _share(text: str) -> float:
    if text not in ("0", "0.0") and not 0 < _positive(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text[:50]!r}: give a number from 0 to 1")
    return float(text)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text[:50]!r}: give a number above 0")
    return number


def _trigger(text: str) -> str:
    if not text.strip() or len(text) > LONGEST_TRIGGER or not text.isprintable():
        raise argparse.ArgumentTypeError(
            f"{text[:50]!r}: give a word or some, of {LONGEST_TRIGGER} characters at most"
        )
    return text.strip()


def _log(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
