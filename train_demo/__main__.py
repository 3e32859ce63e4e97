"""The command line of scripts/train-demo."""

import argparse
import dataclasses
import sys
from contextlib import suppress
from pathlib import Path

from cog_schema.schema import ROOT
from stable_diffusion.catalogue import WEIGHTS
from train_demo.settings import PRESETS
from train_demo.stopping import Stop, Stopped


def main() -> None:
    """Read the flags and train, until a signal stops it."""
    stop = Stop()
    stop.listen()
    try:
        train(stop)
    except Stopped as stopped:
        with suppress(OSError):  # the terminal was closed
            print("stopped: the same command goes on from its last checkpoint", file=sys.stderr)
        sys.exit(128 + stopped.number)


def train(stop: Stop) -> None:
    """Read the flags and train."""
    parser = argparse.ArgumentParser(
        prog="scripts/train-demo",
        description="Trains the demo model from openly licensed pictograms, fetched by npm. "
        "Stopped at any moment, it goes on from its last checkpoint when it is started again.",
    )
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument(
        "--preset", choices=("gpu", "cpu"), help="default: gpu where there is one, else cpu"
    )
    extent.add_argument("--smoke", action="store_true", help="a minute's run: does it work at all?")
    parser.add_argument(
        "--minutes", type=float, help="of the UNet's steps; what it waits doesn't count"
    )
    parser.add_argument(
        "--start", type=Path, metavar="FOLDER", help="train this model further: weights/demo"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        help="its working files, log and sample grids (default: one in training/)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where the trained model goes (default: weights/demo; with --smoke, in its folder)",
    )
    stages = parser.add_mutually_exclusive_group()
    stages.add_argument(
        "--prepare", action="store_true", help="only what needs the network: fetch and pack"
    )
    stages.add_argument(
        "--evaluate", action="store_true", help="only measure the model in the output's folder"
    )
    options = parser.parse_args()
    import torch
    import transformers

    from train_demo.progress import TrainingError
    from train_demo.training import Training

    transformers.utils.logging.disable_progress_bar()
    preset = options.preset or ("gpu" if torch.cuda.is_available() else "cpu")
    if options.smoke:
        preset = "smoke"
    further = f"-from-{options.start.resolve().name}" if options.start else ""
    folder = options.folder or ROOT / "training" / (preset + further)
    output = options.output or (folder / "demo" if options.smoke else WEIGHTS / "demo")
    if options.start and not (options.start / "model_index.json").exists():
        parser.error(f"--start: there is no model in {options.start}")
    if options.evaluate and not (output / "model_index.json").exists():
        parser.error(f"--evaluate: there is no model in {output}")
    settings = PRESETS[preset]
    if options.minutes is not None:
        settings = dataclasses.replace(settings, minutes=options.minutes)
    try:
        training = Training(settings, folder, output, options.start, stop)
        if options.prepare:
            training.prepare()
        elif options.evaluate:
            training.evaluate()
        else:
            training.run()
    except TrainingError as error:
        sys.exit(f"scripts/train-demo: {error}")


if __name__ == "__main__":
    main()
