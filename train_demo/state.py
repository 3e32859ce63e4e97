"""The state of a training: all tensors that a step changes."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW


class State:
    """The weights of modules, and what their optimizer remembers.

    The tensors stay the same ones, so that a captured step finds them, but for `load`.

    Args:
        modules: by name.
        optimizer: of `adamw`.
    """

    def __init__(self, modules: Mapping[str, nn.Module], optimizer: AdamW) -> None:
        self.modules, self.optimizer = modules, optimizer

    def tensors(self) -> list[torch.Tensor]:
        """Return the tensors themselves."""
        weights = [each for m in self.modules.values() for each in m.state_dict().values()]
        return weights + [each for s in self.optimizer.state.values() for each in s.values()]

    def copy(self) -> list[torch.Tensor]:
        """Return a copy, for `restore`."""
        return [each.clone() for each in self.tensors()]

    def restore(self, copy: list[torch.Tensor]) -> None:
        """Put back what `copy` returned."""
        with torch.no_grad():
            for tensor, saved in zip(self.tensors(), copy, strict=True):
                tensor.copy_(saved)

    def is_finite(self) -> bool:
        """Return whether all numbers are."""
        return bool(torch.stack([each.isfinite().all() for each in self.tensors()]).all())

    def set_rate(self, rate: float) -> None:
        """Set the learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"].fill_(rate)

    def to_save(self) -> dict[str, Any]:
        """Return it for a checkpoint."""
        modules = {name: module.state_dict() for name, module in self.modules.items()}
        return {"modules": modules, "optimizer": self.optimizer.state_dict()}

    def load(self, saved: Mapping[str, Any]) -> None:
        """Load it from a checkpoint."""
        for name, module in self.modules.items():
            module.load_state_dict(saved["modules"][name])
        self.optimizer.load_state_dict(saved["optimizer"])


def adamw(
    parameters: Iterable[nn.Parameter], betas: tuple[float, float], weight_decay: float
) -> AdamW:
    """Return an optimizer whose step a CUDA graph can capture, at a rate of 0 so far.

    Its rate is a tensor, and what it remembers is there before its first step.
    """
    trained = list(parameters)
    optimizer = AdamW(
        trained,
        lr=torch.zeros((), device=trained[0].device),
        betas=betas,
        weight_decay=weight_decay,
        fused=True,
        capturable=True,
    )
    for each in trained:
        each.grad = torch.zeros_like(each)
    optimizer.step()  # moves nothing at this rate
    for remembered in optimizer.state.values():
        remembered["step"].zero_()
    optimizer.zero_grad()
    return optimizer
