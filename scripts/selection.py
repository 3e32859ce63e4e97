"""Which model the command line names, and which predictor serves it."""

from __future__ import annotations

import argparse
import os

from scripts.schema import PREDICTORS
from stable_diffusion.catalogue import entries, find


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--model` and `--predictor`."""
    parser.add_argument(
        "--model",
        default=os.environ.get("MODEL"),
        help="a name of weights/manifest.json, a folder in the library's layout, or an original "
        "checkpoint (.ckpt or .safetensors)",
    )
    parser.add_argument(
        "--predictor",
        choices=PREDICTORS.values(),
        help="a class of predict.py, where it is not the one that the model was trained for",
    )


def predictor_of(arguments: argparse.Namespace) -> str:
    """The class of predict.py that is to run. The model need not be downloaded yet.

    Raises:
        WeightsError: when the model is no name and can't be read.
    """
    if arguments.predictor:
        return str(arguments.predictor)
    if not arguments.model:
        return PREDICTORS["img2img"]
    task = entries().get(arguments.model, {}).get("task")
    return PREDICTORS[task if task in PREDICTORS else find(arguments.model).task]
