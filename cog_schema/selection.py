"""The choice, by the command line, of a model and of the predictor that serves it."""

from __future__ import annotations

import argparse
import os
from typing import Any

from cog_schema import schema
from cog_schema.schema import PREDICTORS
from hosting.backends.servers import Launch
from stable_diffusion.catalogue import entries, find


def add_arguments(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Add `--model` and `--predictor` to a parser.

    Args:
        several: whether both may be given more than once, and are lists.
    """
    model = os.environ.get("MODEL") or None
    lists: dict[str, Any] = {"nargs": "+", "action": "extend"} if several else {}
    more = "; once for each model that is to run" if several else ""
    in_order = "; of several models one for each, in their order" if several else ""
    parser.add_argument(
        "--model",
        **(lists or {"default": model}),
        help="a name of weights/manifest.json, a folder in diffusers' layout, or an original "
        f"checkpoint (.ckpt or .safetensors){more}",
    )
    parser.add_argument(
        "--predictor",
        **lists,
        choices=PREDICTORS.values(),
        help=f"a class of predict.py, if not the one for what the model was trained for{in_order}",
    )


def predictor_of(model: str | None, predictor: str | None) -> str:
    """Return the name of the predictor that is to run; the model need not be downloaded yet.

    Args:
        model, predictor: what the command line has for them.

    Raises:
        WeightsError: when the model is no name and can't be read.
    """
    if predictor:
        return predictor
    if not model:
        return PREDICTORS["img2img"]
    task = entries().get(model, {}).get("task")
    return PREDICTORS[task if task in PREDICTORS else find(model).task]


def launch(model: str | None, predictor: str | None) -> Launch:
    """Return the launch of the Cog server that serves a model.

    Args:
        model, predictor: what the command line has for them.

    Raises:
        WeightsError: when the model is not there, or can't be read.
    """
    source = schema.PREDICT.read_text()
    predictor = predictor_of(model, predictor)
    task = {name: task for task, name in PREDICTORS.items()}[predictor]
    weights = find(model, task)
    # The worker runs in another folder.
    name = model if not model or model in entries() else str(weights.path.resolve())
    return Launch(
        name=weights.name,
        predict=schema.PREDICT,
        predictor=predictor,
        schema=schema.schema(source, predictor),
        task=task,
        slots=schema.concurrency(source),
        environment={"MODEL": name} if name else {},
    )
