"""The choice, by the command line, of a model and of the predictor that serves it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

from cog_schema import schema
from cog_schema.schema import PREDICTORS
from hosting.backends.servers import Launch
from stable_diffusion.catalogue import WeightsError, entries, find, names


def add_arguments(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Add `--model` and `--predictor` to a parser.

    Args:
        several: whether both may be given more than once, and are lists.
    """
    model = os.environ.get("MODEL") or None
    lists: dict[str, Any] = {"nargs": "+", "action": "extend"} if several else {}
    more = (
        "; several may be named, of which those of one predictor share its server"
        if several
        else ""
    )
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
        model, predictor: what the command line has for them; of several models the first counts.

    Raises:
        WeightsError: when the model is no name and can't be read.
    """
    if predictor:
        return predictor
    if not (named := names(model)):
        return PREDICTORS["img2img"]
    task = entries().get(named[0], {}).get("task")
    return PREDICTORS[task if task in PREDICTORS else find(named[0]).task]


def launch(models: Sequence[str | None], predictor: str | None) -> Launch:
    """Return the launch of the Cog server that serves one or more models.

    Args:
        models, predictor: what the command line has for them; the usual model first.

    Raises:
        WeightsError: when a model is not there, or can't be read, or the predictor is not for it.
    """
    source = schema.PREDICT.read_text()
    predictor = predictor_of(models[0], predictor)
    task = {name: task for task, name in PREDICTORS.items()}[predictor]
    found = [find(model, task) for model in models]
    weights_names = [weights.name for weights in found]
    for twice in {name for name in weights_names if weights_names.count(name) > 1}:
        raise WeightsError(f"{twice} is named twice as a model; name it once")
    # The worker runs in another folder.
    names = [
        model if model in entries() else str(weights.path.resolve())
        for model, weights in zip(models, found, strict=True)
        if model
    ]
    return Launch(
        name=found[0].name,
        predict=schema.PREDICT,
        predictor=predictor,
        schema=schema.schema(source, predictor),
        task=task,
        slots=schema.concurrency(source),
        environment={"MODEL": ",".join(names)} if names else {},
    )
