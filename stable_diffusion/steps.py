"""A step of all images of a batch, in one turn, as one function of tensors.

Nothing in it depends on who is in the batch, so that it can be captured once and replayed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Protocol

import torch

from stable_diffusion.samplers import GUIDED, MEMORIES

MASK, PICTURE, FIRST_NOISE = range(3)
"""The planes of `Batch.fixed`."""


class Unet(Protocol):
    """The UNet as a function, which predicts noise, picture or v.

    Args:
        sample: (rows, channels, h, w), in its precision.
        timesteps: (rows,), float32.
        texts: (rows, tokens, features), in its precision.
        labels: (rows,), int64, for the upscaler; None for the others.
        adapters: (rows,), int64, the slots of the rows' LoRAs (see `adapters`); None where no row
            has any.

    Returns:
        (rows, 4, h, w).
    """

    def __call__(  # noqa: D102
        self,
        sample: torch.Tensor,
        timesteps: torch.Tensor,
        texts: torch.Tensor,
        labels: torch.Tensor | None,
        adapters: torch.Tensor | None = None,
    ) -> torch.Tensor: ...


@dataclass(frozen=True)
class Batch:
    """Images of one kind before a step; `values` is 4 × height × width of the latents.

    numbers: (images, NUMBERS), float32: see `samplers.Table.numbers`.
    state: (images, 1 + MEMORIES, values), float32: latents, and what their samplers remember.
    fixed: (images, 3, values), float32: the mask, 1 where it is repainted; the latents of the
        picture that is preserved; the noise that the image began with.
    noise: (images, values), float32: fresh, 0 where none is drawn.
    texts: (rows, tokens, features), in the UNet's precision.
    condition: (images, channels, height, width), float32, that the UNet sees beside the latents.
    labels: (images,), int64.
    image_of_row: (rows,), int64: whose latents the UNet sees in each row.
    unconditional, conditional: (images,), int64: in which row each image's outputs are; the same
        row where guidance is off.
    adapters: (rows,), int64: the slots of their LoRAs; None where no row has any.
    size: height and width of the latents.
    """

    numbers: torch.Tensor
    state: torch.Tensor
    fixed: torch.Tensor
    noise: torch.Tensor
    texts: torch.Tensor
    condition: torch.Tensor | None
    labels: torch.Tensor | None
    image_of_row: torch.Tensor
    unconditional: torch.Tensor
    conditional: torch.Tensor
    adapters: torch.Tensor | None
    size: tuple[int, int]

    @property
    def rows(self) -> int:
        """The number of rows of the UNet call."""
        return len(self.texts)

    def clone(self) -> Batch:
        """Return a batch whose tensors are its own."""
        tensors = {name: tensor.clone() for name, tensor in self.tensors().items()}
        return replace(self, **tensors)  # type: ignore[arg-type]

    def copy_(self, other: Batch) -> None:
        """Take over the values of a batch of the same shapes."""
        theirs = other.tensors()
        for name, tensor in self.tensors().items():
            tensor.copy_(theirs[name], non_blocking=True)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the tensors by their names; those that are None are left out."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}


def take(unet: Unet, batch: Batch, most_rows: int | None = None) -> torch.Tensor:
    """Take one step with every image.

    Args:
        most_rows: of one call of the UNet; more are called one after the other.

    Returns:
        (images, 2 + MEMORIES, values), float32: the latents, what the samplers remember, and the
        estimate of the finished latents.
    """
    images, height, width = len(batch.state), *batch.size
    timesteps, scales, of_picture, of_noise = batch.numbers[:, :4].unsqueeze(2).unbind(1)
    latents = batch.state[:, 0]
    sample = (latents * scales).view(images, -1, height, width)
    if batch.condition is not None:
        sample = torch.cat([sample, batch.condition], dim=1)
    rows = batch.image_of_row
    sample, labels = sample[rows].to(batch.texts.dtype), None
    if batch.labels is not None:
        labels = batch.labels[rows]
    inputs = sample, timesteps[:, 0][rows], batch.texts, labels, batch.adapters
    output = _called(unet, most_rows, *inputs)
    output = output.float().flatten(1)[:, None]
    before = torch.cat(
        [batch.state, output[batch.unconditional], output[batch.conditional], batch.noise[:, None]],
        dim=1,
    )
    after = torch.bmm(batch.numbers[:, 4:].reshape(images, *GUIDED), before)
    preserved = of_picture * batch.fixed[:, PICTURE] + of_noise * batch.fixed[:, FIRST_NOISE]
    repainted = torch.where(batch.fixed[:, MASK] > 0, after[:, 0], preserved)
    return torch.cat([repainted[:, None], after[:, 1:]], dim=1)


def _called(
    unet: Unet,
    most_rows: int | None,
    sample: torch.Tensor,
    timesteps: torch.Tensor,
    texts: torch.Tensor,
    *others: torch.Tensor | None,
) -> torch.Tensor:
    if most_rows is None or most_rows >= len(sample):
        return unet(sample, timesteps, texts, *others)
    parts = [slice(start, start + most_rows) for start in range(0, len(sample), most_rows)]
    return torch.cat(
        [
            unet(
                sample[part],
                timesteps[part],
                texts[part],
                *(None if each is None else each[part] for each in others),
            )
            for part in parts
        ]
    )


def state_of(after: torch.Tensor) -> torch.Tensor:
    """Return what the next step needs of `take`'s result: (images, 1 + MEMORIES, values)."""
    return after[:, : 1 + MEMORIES]
