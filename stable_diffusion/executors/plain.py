"""The plain executor: torch runs the model as it was loaded. The others are compared with it."""

from __future__ import annotations

from functools import partial

import torch

from stable_diffusion import steps, tiling
from stable_diffusion.adapters import Adapters
from stable_diffusion.banks import Bank, Occupant
from stable_diffusion.models import LARGEST_LATENTS_SIDE, Model


class PlainExecutor:
    """The executor that takes the steps of banks, and runs the VAE, in plain torch.

    Others inherit from it what they don't do in another way.

    Args:
        by_index: see `adapters.Adapters`; None where nothing computes on a CPU.
    """

    mixes_adapters = True
    """Whether images with adapters and without share calls at no cost to the latter."""

    def __init__(self, model: Model, by_index: bool | None = None) -> None:
        self.model = model
        self.replays = 0
        """The calls so far that a captured graph has replayed."""
        self.captures = 0
        """The graphs captured so far."""
        if by_index is None:
            by_index = model.device.type != "cpu"
        self.adapters = Adapters(model.pipeline.unet, by_index)

    @property
    def is_warming(self) -> bool:
        """Whether a faster way is being made ready."""
        return False

    @property
    def has_work(self) -> bool:
        """Whether `work` has something to do."""
        return False

    def work(self) -> None:
        """Do the next thing that makes a faster way ready; called between turns."""

    def step(
        self,
        bank: Bank,
        occupants: list[Occupant],
        most_rows: int,
        calls_ahead: int,  # noqa: ARG002 for those that prepare themselves
    ) -> torch.Tensor:
        """Take one step with some images of a bank.

        Args:
            most_rows: of one call of the UNet.
            calls_ahead: how many more such calls are sure to come.

        Returns:
            As `steps.take`; rows past the occupants' are to be dropped. The bank is as it was.
        """
        return steps.take(self.unet, bank.gather(occupants), most_rows)

    def step_of_tiles(self, bank: Bank, occupants: list[Occupant], most_rows: int) -> torch.Tensor:
        """Take one step as `step` does, with images that wrap around."""
        call = partial(PlainExecutor.unet, self)
        with tiling.wrapped(self.model.pipeline.unet):
            return steps.take(call, bank.gather(occupants), most_rows)

    def decode_tiles(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode as `decode` does, latents that wrap around."""
        if max(latents.shape[-2:]) > LARGEST_LATENTS_SIDE:
            # The library decodes it part by part, of which none may wrap around.
            decode = partial(PlainExecutor.decode, self)
            return tiling.decoded(latents, decode, self.model.scale)
        with tiling.wrapped(self.model.pipeline.vae):
            return PlainExecutor.decode(self, latents)

    def unet(
        self,
        sample: torch.Tensor,
        timesteps: torch.Tensor,
        texts: torch.Tensor,
        labels: torch.Tensor | None,
        adapters: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Call the UNet (see `steps.Unet`)."""
        if adapters is not None:
            with self.adapters.at_work(adapters):
                return PlainExecutor.unet(self, sample, timesteps, texts, labels)
        output: torch.Tensor = self.model.pipeline.unet(
            sample,
            timesteps,
            encoder_hidden_states=texts,
            class_labels=labels,
            return_dict=False,
        )[0]
        return output

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the posterior's mean, (n, 4, h, w), of (n, 3, height, width) pixels."""
        mean: torch.Tensor = self.model.pipeline.vae.encode(pixels).latent_dist.mean
        return mean

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return (n, 3, height, width) pixels, from -1 to 1, of (n, 4, h, w) latents."""
        pixels: torch.Tensor = self.model.pipeline.vae.decode(latents, return_dict=False)[0]
        return pixels

    def release(self) -> None:
        """Free memory that only makes it faster; also called before weights are moved."""

    def close(self) -> None:
        """End what runs in the background."""
