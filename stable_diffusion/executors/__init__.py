"""How a step is made: plainly by torch, replayed from CUDA graphs, or by OpenVINO."""

from __future__ import annotations

from collections.abc import Callable

from stable_diffusion.catalogue import SetupError
from stable_diffusion.executors.plain import PlainExecutor
from stable_diffusion.models import Model

NAMES = ("plain", "cuda-graphs", "openvino")
"""What the setting EXECUTOR may be."""


def choose(name: str | None, model: Model, wake: Callable[[], None]) -> PlainExecutor:
    """Return the executor of a name, or the one that suits the model's device.

    Args:
        name: one of `NAMES`; None for the one that suits.
        wake: called from another thread when the executor has work to do between turns.

    Raises:
        SetupError: where it can't be had.
    """
    if name not in (None, *NAMES):
        raise SetupError(f"EXECUTOR is {name!r}; give one of {', '.join(NAMES)}, or nothing")
    return PlainExecutor(model)
