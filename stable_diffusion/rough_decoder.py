"""The rough decoder: small pictures of latents by a matrix, for a thousandth of the VAE's work.

A VAE's latents are nearly a small picture themselves: a block of pixels is a linear function of the
latent pixel there and those around it, fitted once to the model's own VAE.
"""

from __future__ import annotations

import hashlib
import io
import json
from contextlib import suppress
from dataclasses import dataclass

import numpy
import torch
from PIL import Image, ImageDraw

from stable_diffusion.cache import cache_folder, write_whole
from stable_diffusion.models import Model, in_fresh_thread

BLOCK = 4
"""Pixels a side that a latent pixel gives at the most."""
WINDOW = 3
"""Latent pixels a side of which they are made: it, and those around it."""
FITTED_PICTURES, FITTED_PIXELS = 6, 96
"""The pictures that it is fitted to, and their sides: on a CPU, encoding more takes long."""
EDGE = 2
"""Latent pixels at their edges that are left out: a VAE sees black beyond a picture."""
RIDGE = 1e-3
"""Of the mean of the squares, added to them: no weight grows without need."""
HASHED_NUMBERS = 256
"""Of each tensor of a VAE, those by which it is told from others."""


@dataclass(frozen=True)
class RoughDecoder:
    """A linear decoder of one model's latents.

    weights: (BLOCK, BLOCK, 3, 4 × WINDOW² + 1), float32: for each pixel of a block, row by row, and
        each of its colours, from 0 to 255, the factor of each latent in the window, and a constant.
    """

    weights: numpy.ndarray

    @classmethod
    def of(cls, model: Model) -> RoughDecoder:
        """Return the rough decoder of a model, from the cache or fitted now."""
        file = cache_folder("previews") / f"{_fingerprint(model)}.npy"
        with suppress(OSError, ValueError, EOFError):
            weights = numpy.load(file, allow_pickle=False)
            if weights.shape == _shape(model) and weights.dtype == numpy.float32:
                return cls(weights)
        weights = in_fresh_thread(_fit, model)
        written = io.BytesIO()
        numpy.save(written, weights)
        with suppress(OSError):
            write_whole(file, written.getvalue())
        return cls(weights)

    def picture(self, latents: numpy.ndarray, most_pixels: int) -> Image.Image:
        """Return the picture of latents, RGB: of up to 4 pixels a side for each.

        Args:
            latents: (4, h, w), float32.
            most_pixels: of its longer side.
        """
        height, width = latents.shape[1:]
        if (longer := max(height, width)) > most_pixels:
            height, width = (max(1, round(side * most_pixels / longer)) for side in (height, width))
            latents = _resized(latents, (width, height))
        block = BLOCK
        while block * max(height, width) > most_pixels:
            block //= 2
        apart = BLOCK // block
        weights = self.weights.reshape(block, apart, block, apart, 3, -1).mean(axis=(1, 3))
        # Not by BLAS, whose threads would compete with those that take the steps.
        pixels = numpy.einsum("yxcf,fn->yxcn", weights, _windows(latents))
        pixels = pixels.reshape(block, block, 3, height, width).transpose(3, 0, 4, 1, 2)
        pixels = pixels.reshape(height * block, width * block, 3)
        return Image.fromarray(numpy.nan_to_num(pixels).clip(0, 255).astype(numpy.uint8))


def _resized(latents: numpy.ndarray, size: tuple[int, int]) -> numpy.ndarray:
    planes = [Image.fromarray(plane).resize(size, Image.Resampling.BOX) for plane in latents]
    return numpy.stack([numpy.asarray(plane) for plane in planes])


def _shape(model: Model) -> tuple[int, ...]:
    channels: int = model.pipeline.vae.config.latent_channels
    return BLOCK, BLOCK, 3, channels * WINDOW**2 + 1


def _windows(latents: numpy.ndarray) -> numpy.ndarray:
    """Return what the pixels of each block are made of, (channels × WINDOW² + 1, h × w)."""
    channels, height, width = latents.shape
    edge = WINDOW // 2
    padded = numpy.pad(latents, [(0, 0), (edge, edge), (edge, edge)], mode="edge")
    windows = numpy.lib.stride_tricks.sliding_window_view(padded, (WINDOW, WINDOW), axis=(1, 2))
    values = windows.transpose(0, 3, 4, 1, 2).reshape(channels * WINDOW**2, height * width)
    return numpy.concatenate([values, numpy.ones((1, height * width), numpy.float32)])


@torch.inference_mode()
def _fit(model: Model) -> numpy.ndarray:
    """Return the weights by least squares, on pictures that the VAE encodes."""
    vae, pictures = model.pipeline.vae, _made_pictures()
    means = vae.encode(torch.from_numpy(pictures).to(vae.device, vae.dtype)).latent_dist.mean
    latents = (means.float() * vae.config.scaling_factor).cpu().numpy()
    height, width = latents.shape[2:]
    blocks = torch.nn.functional.adaptive_avg_pool2d(
        torch.from_numpy(pictures), (BLOCK * height, BLOCK * width)
    )
    colours = 127.5 * (blocks.numpy() + 1).reshape(-1, 3, height, BLOCK, width, BLOCK)
    inner = slice(EDGE, -EDGE), slice(EDGE, -EDGE)
    wanted = colours.transpose(3, 5, 1, 0, 2, 4)[..., *inner].reshape(BLOCK**2 * 3, -1)
    windows = [_windows(each).reshape(-1, height, width)[:, *inner] for each in latents]
    given = numpy.stack(windows, axis=1).reshape(len(windows[0]), -1).astype(numpy.float64)
    squares = given @ given.T
    ridge = RIDGE * squares.trace() / len(squares) * numpy.eye(len(squares))
    weights = numpy.linalg.solve(squares + ridge, given @ wanted.T).T
    return weights.reshape(_shape(model)).astype(numpy.float32)


def _made_pictures() -> numpy.ndarray:
    """Return pictures in all colours, (n, 3, height, width), float32, -1 to 1.

    One half has flat shapes on a plain ground, as drawings do, the other clouds with details of all
    sizes, of which the larger have more contrast, as photographs do.
    """
    generator = numpy.random.default_rng(0)
    side = FITTED_PIXELS
    pictures = numpy.zeros((FITTED_PICTURES, side, side, 3), numpy.float32)
    for number, picture in enumerate(pictures):
        if number % 2:
            for cells in (2, 4, 8, 16, 32):
                plane = generator.normal(0, 1 / cells**0.7, (cells, cells, 3))
                for channel in range(3):
                    cloud = Image.fromarray(plane[..., channel].astype(numpy.float32))
                    larger = cloud.resize((side, side), Image.Resampling.BICUBIC)
                    picture[..., channel] += numpy.asarray(larger)
            continue
        ground = generator.choice([1, 1, -1, generator.uniform(-1, 1)], replace=False)
        drawing = Image.new("RGB", (side, side), tuple(_byte(ground) for _ in range(3)))
        draw = ImageDraw.Draw(drawing)
        for _ in range(14):
            left, top, width, height = generator.uniform([-20, -20, 6, 6], [120, 120, 60, 60])
            colour = tuple(_byte(value) for value in generator.uniform(-1.4, 1.4, 3))
            shape = draw.ellipse if generator.uniform() < 0.5 else draw.rectangle
            shape((left, top, left + width, top + height), fill=colour)
        picture[:] = numpy.asarray(drawing, numpy.float32) / 127.5 - 1
    return pictures.clip(-1, 1).transpose(0, 3, 1, 2).copy()


def _byte(value: float) -> int:
    return int(min(max(127.5 * (value + 1), 0), 255))


def _fingerprint(model: Model) -> str:
    """Return what tells a model's VAE from others: a hash of its shape and of some weights."""
    vae = model.pipeline.vae
    config = {name: str(value) for name, value in vae.config.items()}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, tensor in vae.state_dict().items():
        numbers = tensor.reshape(-1)[:HASHED_NUMBERS].float().cpu().numpy()
        digest.update(name.encode() + numbers.tobytes())
    return digest.hexdigest()[:32]
