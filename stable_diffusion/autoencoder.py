"""The conversion of pictures to latents and back."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import numpy
import torch
from PIL import Image

from stable_diffusion import tiling
from stable_diffusion.models import Model

ENCODINGS = 16
"""Pictures whose latents are kept, in case the same picture comes again."""


class Autoencoder:
    """The VAE of a model.

    Args:
        encode: gives (n, 4, h, w), the posterior's mean of (n, 3, height, width) pixels.
        decode: gives (n, 3, height, width) pixels of (n, 4, h, w) latents.
        decode_tiles: the same, of latents that wrap around.
    """

    def __init__(
        self,
        model: Model,
        encode: Callable[[torch.Tensor], torch.Tensor],
        decode: Callable[[torch.Tensor], torch.Tensor],
        decode_tiles: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        self._vae = model.pipeline.vae
        self._scale = model.scale
        self._device = model.device
        self._encode, self._decode, self._decode_tiles = encode, decode, decode_tiles
        self._encodings: OrderedDict[bytes, torch.Tensor] = OrderedDict()

    def pixels(self, picture: Image.Image) -> torch.Tensor:
        """Return a picture's pixels, (1, 3, height, width), float32 from -1 to 1, on the device."""
        values = torch.from_numpy(numpy.array(picture)).to(self._device)
        return values.permute(2, 0, 1)[None].float() / 255 * 2 - 1

    def latents(self, picture: Image.Image, hidden: torch.Tensor | None = None) -> torch.Tensor:
        """Return the latents of an RGB picture, (1, 4, h, w), float32, on the device.

        They are the posterior's mean: the same picture gives the same latents, whatever the seed.
        A picture that comes again is not encoded again.

        Args:
            hidden: (1, 1, height, width), bool, on the CPU: what is made grey before.
        """
        digest = hashlib.blake2b(f"{picture.size} {hidden is not None}".encode())
        digest.update(picture.tobytes())
        if hidden is not None:
            digest.update(hidden.contiguous().numpy().data)
        key = digest.digest()
        if key not in self._encodings:
            pixels = self.pixels(picture)
            if hidden is not None:
                pixels = pixels.masked_fill(hidden.to(self._device), 0)
            mean = self._encode(pixels.to(self._vae.dtype))
            self._encodings[key] = mean.float() * self._vae.config.scaling_factor
            if len(self._encodings) > ENCODINGS:
                self._encodings.popitem(last=False)
        self._encodings.move_to_end(key)
        return self._encodings[key]

    def latents_of_tile(self, picture: Image.Image) -> torch.Tensor:
        """Return the latents of an RGB picture that wraps around, as `latents` does."""
        margin = tiling.MARGIN_PIXELS // self._scale
        return self.latents(tiling.with_margin(picture))[..., margin:-margin, margin:-margin]

    def pictures(
        self, latents: Sequence[torch.Tensor], are_tiles: bool = False
    ) -> list[Image.Image | None]:
        """Decode (1, 4, h, w) latents of one shape in one call; return an RGB picture for each.

        Where numbers have overflowed there is no picture, but None. Half precision overflows in
        some models' decoders although the latents are sound: these are decoded in full.
        """
        batch = torch.cat(list(latents)) / self._vae.config.scaling_factor
        decode = self._decode_tiles if are_tiles else self._decode
        pixels = decode(batch.to(self._vae.dtype)).float()
        found = _are_finite(pixels)
        if self._vae.dtype == torch.float16 and not all(found):
            broken = [
                not is_found and is_sound
                for is_found, is_sound in zip(found, _are_finite(batch), strict=True)
            ]
            if any(broken):
                with tiling.wrapped(self._vae) if are_tiles else nullcontext():
                    pixels[broken] = self._decoded_in_full(batch[broken])
                found = _are_finite(pixels)
        values = (pixels.nan_to_num(0, 0, 0) / 2 + 0.5).clamp(0, 1) * 255
        values = values.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu()
        return [
            Image.fromarray(picture) if is_found else None
            for picture, is_found in zip(values.numpy(), found, strict=True)
        ]

    def _decoded_in_full(self, latents: torch.Tensor) -> torch.Tensor:
        self._vae.float()
        try:
            pixels: torch.Tensor = self._vae.decode(latents, return_dict=False)[0]
        finally:
            self._vae.half()
        return pixels


def _are_finite(tensor: torch.Tensor) -> list[bool]:
    """Return whether all numbers are finite, for each index of the first dimension."""
    finite: list[bool] = tensor.isfinite().flatten(1).all(1).tolist()
    return finite
