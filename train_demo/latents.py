"""Latents of every picture and its variants, encoded once, for the UNet to learn from."""

import pickle
import zipfile
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from train_demo.autoencoder import pixels
from train_demo.captions import Subject, held_out
from train_demo.pictograms import Pictogram, pictograms, resized
from train_demo.variants import WHITE, on, variant


@dataclass(frozen=True)
class Latents:
    """Latents by size in pixels, (pictures, 4, size/8, size/8) float16, and what they show."""

    of_size: dict[int, torch.Tensor]
    subjects: list[Subject]


def subject(picture: Pictogram) -> Subject:
    """Return the subject of a pictogram."""
    return Subject(picture.name, picture.style, picture.keywords)


def trained_on(path: Path) -> list[Pictogram]:
    """Return the pictograms at `path` but for unseen ones and held-out pairs of name and style."""
    return [
        each
        for each in pictograms(path)
        if each.is_learned and not held_out(each.name, style=each.package)
    ]


class Painter:
    """A maker of the pictures of one pictogram, in a process of its own.

    Args:
        path: the packed pictograms.
        variants: made of each besides itself.
        sizes: in pixels.
    """

    def __init__(self, path: Path, variants: int, sizes: list[int]) -> None:
        self.packed = zipfile.ZipFile(path)
        self.variants, self.sizes = variants, sizes
        self.pictures = trained_on(path)

    def paint(self, index: int) -> tuple[dict[int, np.ndarray], list[Subject]]:
        """Return a pictogram on white and its variants, by size, and what they show.

        Returns:
            (pictures, size, size, 3) uint8 of each size, and the subjects.
        """
        rng = np.random.default_rng(index)
        picture = self.pictures[index]
        alike = [each for each in self.pictures if each.package == picture.package]
        rgba = picture.read(self.packed)
        pairs = [(on(rgba, WHITE), subject(picture))]
        for _ in range(self.variants):
            other = alike[rng.integers(len(alike))]
            company = (other.read(self.packed), other.name)
            pairs.append(variant(rgba, subject(picture), company, rng))
        of_size = {
            size: np.stack([resized(each, size) for each, _ in pairs]) for size in self.sizes
        }
        return of_size, [shown for _, shown in pairs]


_painter: Painter


def _start(*arguments: object) -> None:
    """Give a process of the pool its painter."""
    global _painter
    _painter = Painter(*arguments)  # type: ignore[arg-type]


def _paint(index: int) -> tuple[dict[int, np.ndarray], list[Subject]]:
    return _painter.paint(index)


def encode(path: Path, vae: AutoencoderKL, sizes: list[int], variants: int) -> Latents:
    """Encode all that is trained on, at each of `sizes`; return the latents.

    Args:
        path: the packed pictograms.
        vae: on the device that encodes.
        sizes: in pixels, 256 at most.
        variants: made of each pictogram besides itself.
    """
    subjects: list[Subject] = []
    latents: dict[int, list[torch.Tensor]] = {size: [] for size in sizes}
    count = len(trained_on(path))
    with Pool(initializer=_start, initargs=(path, variants, sizes)) as pool:
        # By parts, since a pool paints on without waiting for who takes the pictures.
        for start in range(0, count, 256):
            for of_size, shown in pool.imap(_paint, range(start, min(start + 256, count)), 4):
                subjects += shown
                for size in sizes:
                    latents[size].append(encoded(vae, of_size[size]).half().cpu())
    return Latents({size: torch.cat(each) for size, each in latents.items()}, subjects)


@torch.no_grad()
def encoded(vae: AutoencoderKL, pictures: np.ndarray) -> torch.Tensor:
    """Return the scaled latents, float32, of `pictures`: (pictures, height, width, 3) uint8."""
    x = pixels(pictures, vae.device)
    with torch.autocast(vae.device.type, torch.bfloat16):
        latents = vae.encode(x.contiguous(memory_format=torch.channels_last)).latent_dist.mean
    scaled: torch.Tensor = latents.float() * vae.config.scaling_factor
    return scaled


def save(latents: Latents, path: Path) -> None:
    """Write `latents` to `path`."""
    with path.open("wb") as file:
        pickle.dump(latents, file)


def load(path: Path) -> Latents:
    """Read the latents that `save` wrote: a file of our own, in the folder of this training."""
    with path.open("rb") as file:
        loaded: Latents = pickle.load(file)
    return loaded
