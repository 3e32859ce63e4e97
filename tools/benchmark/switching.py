"""The cost of two models that are asked in turn: on a device with room for both, or for one."""

from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

import torch

from stable_diffusion import models
from stable_diffusion.catalogue import Weights
from stable_diffusion.engine import Engine
from stable_diffusion.models import Model
from stable_diffusion.request import Request
from stable_diffusion.residency import Residency
from tools.benchmark.latency import PROMPT, answer, timed
from tools.benchmark.machine import precision
from tools.benchmark.statistics import interleaved, ratios, spread

NOISE = 1e-3
"""By which the second model's UNet differs from the first one's."""


@torch.inference_mode()
def measure(weights: Weights, steps: int, rounds: int) -> dict[str, Any]:
    """Return the seconds of two predictions of text to image, one after the other.

    Both are of one model, or one of each of two models, which have all but the UNet in common.
    """
    first, second = models.load(weights, precision()), _another(weights)
    size = sum(parameter.nbytes for parameter in first.pipeline.unet.parameters())
    residency = Residency(first.device, 2**62)
    moves = list[float]()
    with ExitStack() as stack:
        engines = [
            stack.enter_context(closing(Engine(model, executor="plain", residency=residency)))
            for model in (first, second)
        ]
        request = Request.of({"prompt": PROMPT, "num_inference_steps": steps, "seed": 1})
        room = residency.bytes_here

        def answers(numbers: tuple[int, int]) -> None:
            for number in numbers:
                answer(engines[number], request)

        def pair(numbers: tuple[int, int], budget: int) -> Callable[[], float]:
            def run() -> float:
                residency.budget = budget
                residency.make_room(0)
                answers((1 - numbers[0], numbers[0]))  # so that the first of them is there
                before = residency.moves
                taken = timed(answers, numbers)
                if residency.moves > before:
                    moves.append(residency.move_seconds)
                return taken

            return run

        seconds = interleaved(
            rounds,
            **{
                "one model": pair((0, 0), room),
                "two, with room for both": pair((0, 1), room),
                "two, with room for one": pair((1, 0), room - size),
            },
        )
    return {
        "steps": steps,
        "bytes": size,
        "move_seconds": spread(moves),
        "pairs": {
            name: {**spread(each), "ratio": ratios(each, seconds["one model"])}
            for name, each in seconds.items()
        },
    }


def _another(weights: Weights) -> Model:
    """Return a model with another UNet."""
    model = models.load(weights, precision())
    torch.manual_seed(0)
    for parameter in model.pipeline.unet.parameters():
        parameter.data = parameter + NOISE * torch.randn_like(parameter)
    return model
