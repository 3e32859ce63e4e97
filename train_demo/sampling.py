"""Random batches of what the UNet learns from, drawn on the device that trains."""

import random
from dataclasses import dataclass

import torch

from train_demo.latents import Latents
from train_demo.settings import Settings

PLAIN_WEIGHT = 8.0  # how much oftener a pictogram itself is drawn than one of its variants
TIMESTEPS = 1000


@dataclass(frozen=True)
class Batch:
    """Pictures of one size to learn from, on the device.

    latents: (pictures, 4, size/8, size/8), float32.
    noise: of the same shape.
    tokens: of their captions, (pictures, 77), int64.
    timesteps: (pictures,), int64.
    """

    latents: torch.Tensor
    noise: torch.Tensor
    tokens: torch.Tensor
    timesteps: torch.Tensor

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Return its tensors."""
        return self.latents, self.noise, self.tokens, self.timesteps

    def clone(self) -> "Batch":
        """Return a copy."""
        return Batch(*(each.clone() for each in self.tensors()))

    def copy_(self, other: "Batch") -> None:
        """Take over the numbers of another batch of this size."""
        for mine, its in zip(self.tensors(), other.tensors(), strict=True):
            mine.copy_(its)


class Sampler:
    """A source of random batches. Nothing of them leaves the device.

    Args:
        learned: what is learned from.
        settings: batches, shares of sizes, and how many captions are dropped.
        device: that trains.
        seed: of all draws.
    """

    def __init__(
        self, learned: Latents, settings: Settings, device: torch.device, seed: int
    ) -> None:
        self.settings, self.device = settings, device
        self.of_size = {size: each.to(device) for size, each in learned.of_size.items()}
        self.tokens, self.no_tokens = learned.tokens.to(device), learned.no_tokens.to(device)
        self.weights = torch.where(learned.is_plain, PLAIN_WEIGHT, 1.0).to(device)
        self.generator = torch.Generator(device).manual_seed(seed)
        self.random = random.Random(seed)

    def size(self, share: float) -> int:
        """Draw the size of the next batch in pixels, when `share` of the training is done."""
        shares = self.settings.shares[share >= 0.5]
        return self.random.choices(list(shares), list(shares.values()))[0]

    def batch(self, size: int) -> Batch:
        """Draw a batch of pictures of a size."""
        count = self.settings.batch[size]
        pictures = torch.multinomial(self.weights, count, True, generator=self.generator)
        captions = (self._rand(count) * self.tokens.shape[1]).long()
        dropped = self._rand(count, 1) < self.settings.captions_dropped
        tokens = torch.where(dropped, self.no_tokens, self.tokens[pictures, captions])
        latents = self.of_size[size][pictures].float()
        noise = torch.randn(latents.shape, generator=self.generator, device=self.device)
        return Batch(latents, noise, tokens.long(), self._timesteps(count, size))

    def _timesteps(self, count: int, size: int) -> torch.Tensor:
        """Draw a timestep from each of `count` equal parts of the range.

        Larger pictures, whose neighbouring latents agree more, are noised more (as in SD 3,
        arXiv 2403.03206).
        """
        part = torch.randperm(count, generator=self.generator, device=self.device)
        drawn = (part + self._rand(count)) / count
        shift = size / min(self.settings.batch)
        drawn = shift * drawn / (1 + (shift - 1) * drawn)
        return (drawn * TIMESTEPS).long().clamp(max=TIMESTEPS - 1)

    def _rand(self, *shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=self.generator, device=self.device)
