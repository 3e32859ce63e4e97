"""The proof of an executor: its comparison with the plain one on the model that it is to serve."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch

from stable_diffusion import steps
from stable_diffusion.banks import Bank, Kind, Newcomer, Occupant
from stable_diffusion.executors.plain import PlainExecutor
from stable_diffusion.models import Model
from stable_diffusion.samplers import MEMORIES, NUMBERS, guided

TOLERANCES = {torch.float32: 2e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest distance from the plain executor's numbers, as a share of its largest, by precision."""
TOKENS = 77
"""Tokens of a prompt that fits into the text encoder."""


def trial_calls(
    executor: PlainExecutor, largest_side: int | None = None
) -> dict[str, Callable[[], torch.Tensor]]:
    """Return calls of all methods that an executor may override, on random inputs.

    Args:
        largest_side: see `trial`.
    """
    bank, occupants = trial(executor.model, largest_side=largest_side)
    batch = bank.gather(occupants)
    latents, pixels = trial_pictures(executor.model, largest_side)
    return {
        "unet": lambda: steps.take(executor.unet, batch),
        "decode": lambda: executor.decode(latents),
        "encode": lambda: executor.encode(pixels),
    }


def trial(
    model: Model, images: int = 1, largest_side: int | None = None
) -> tuple[Bank, list[Occupant]]:
    """Return a bank of random images of the native size, and the images for a guided step.

    Args:
        largest_side: of the latents, for models whose native ones are larger.
    """
    config = model.pipeline.unet.config
    side = _side(model, largest_side)
    generator = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(model.device)

    channels, values = config.in_channels - 4, 4 * side * side
    kind = Kind((side, side), TOKENS, channels, config.num_class_embeds is not None)
    label = torch.tensor([20], device=model.device) if kind.is_labelled else None
    texts = randn(2, TOKENS, config.cross_attention_dim).to(model.dtype)
    bank = Bank(kind, texts)
    occupants = []
    for _ in range(images):
        newcomer = Newcomer(
            latents=randn(values),
            noise=randn(values),
            mask=(randn(values) > 0).float(),
            picture=randn(values),
            texts=texts,
            condition=randn(channels, side, side) if channels else None,
            label=label,
        )
        occupants.append(Occupant(bank.join(newcomer), _numbers(), None, is_guided=True))
    return bank, occupants


def trial_pictures(
    model: Model, largest_side: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random latents and pixels of the native size, for the decoder and the encoder."""
    side, vae = _side(model, largest_side), model.pipeline.vae
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, side, side, generator=generator)
    pixels = torch.rand(1, 3, model.scale * side, model.scale * side, generator=generator) * 2 - 1
    return latents.to(vae.device, vae.dtype), pixels.to(vae.device, vae.dtype)


def _side(model: Model, largest: int | None) -> int:
    native = model.weights.native_size // model.scale
    return native if largest is None else min(native, largest)


def _numbers() -> torch.Tensor:
    """Return the numbers, (NUMBERS,), of a step that mixes all its inputs, mostly the output."""
    rows = 2 + MEMORIES
    matrix = torch.full((rows, 3 + MEMORIES), 0.1, dtype=torch.float64)
    matrix[:, 1 + MEMORIES] = 1
    head = torch.tensor([500.0, 1.0, 0.7, 0.7], dtype=torch.float64)
    numbers = torch.cat([head, guided(matrix, 7.5).flatten()]).float()
    assert len(numbers) == NUMBERS
    return numbers


def is_close(found: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> bool:
    """Return whether numbers are the plain executor's within the precision's tolerance."""
    if not torch.equal(found.isfinite(), expected.isfinite()):
        return False
    distance = (found - expected).nan_to_num(0, 0, 0).abs().max()
    return bool(distance <= TOLERANCES[dtype] * expected.nan_to_num(0, 0, 0).abs().max())


def left_out(name: str, reason: object) -> None:
    """Print a line that says what is left out, and for what reason."""
    text = " ".join(str(reason).split())[:300]
    print(f"{name} left out: {text}", file=sys.stderr, flush=True)
