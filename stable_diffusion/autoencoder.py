"""Pictures become latents, and latents pictures."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from PIL import Image

from stable_diffusion.models import Model

ENCODINGS = 16
"""Latents of pictures that are kept for when they come again."""


class Autoencoder:
    """The VAE of a model.

    Args:
        encode: gives (n, 4, h, w), the posterior's mean of (n, 3, height, width) pixels.
        decode: gives (n, 3, height, width) pixels of (n, 4, h, w) latents.
    """

    def __init__(
        self,
        model: Model,
        encode: Callable[[torch.Tensor], torch.Tensor],
        decode: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        self._vae = model.pipeline.vae
        self._processor = model.pipeline.image_processor
        self._device = model.device
        self._encode, self._decode = encode, decode
        self._encodings: OrderedDict[bytes, torch.Tensor] = OrderedDict()

    def pixels(self, picture: Image.Image) -> torch.Tensor:
        """Return (1, 3, height, width), float32, from -1 to 1, on the CPU."""
        pixels: torch.Tensor = self._processor.preprocess(picture)
        return pixels

    def latents(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (1, 4, h, w), float32, on the device, of (1, 3, height, width) pixels.

        They are the posterior's mean: the same picture gives the same latents, whatever the seed.
        A picture that comes again is not encoded again.
        """
        digest = hashlib.blake2b(str(tuple(pixels.shape)).encode(), digest_size=32)
        digest.update(pixels.contiguous().numpy().data)
        key = digest.digest()
        if key not in self._encodings:
            mean = self._encode(pixels.to(self._device, self._vae.dtype))
            self._encodings[key] = mean.float() * self._vae.config.scaling_factor
            if len(self._encodings) > ENCODINGS:
                self._encodings.popitem(last=False)
        self._encodings.move_to_end(key)
        return self._encodings[key]

    def pictures(self, latents: Sequence[torch.Tensor]) -> list[Image.Image | None]:
        """Return a picture, RGB, for each of (1, 4, h, w) latents of one shape, in one call.

        Where numbers have overflowed there is no picture, but None. Half precision overflows in
        some models' decoders although the latents are sound: these are decoded in full.
        """
        batch = torch.cat(list(latents)) / self._vae.config.scaling_factor
        pixels = self._decode(batch.to(self._vae.dtype)).float()
        broken = ~pixels.isfinite().flatten(1).all(1) & batch.isfinite().flatten(1).all(1)
        if self._vae.dtype == torch.float16 and broken.any():
            pixels[broken] = self._decoded_in_full(batch[broken])
        found = pixels.isfinite().flatten(1).all(1).tolist()
        drawn = self._processor.postprocess(pixels.nan_to_num(0, 0, 0))
        return [picture if good else None for picture, good in zip(drawn, found, strict=True)]

    def _decoded_in_full(self, latents: torch.Tensor) -> torch.Tensor:
        self._vae.float()
        try:
            pixels: torch.Tensor = self._vae.decode(latents, return_dict=False)[0]
        finally:
            self._vae.half()
        return pixels
