"""Every picture and its variants through the autoencoder, once: what the UNet learns from."""

import pickle
import zipfile
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

from scripts.train_demo.captions import Subject, held_out
from scripts.train_demo.pictograms import Pictogram, pictograms
from scripts.train_demo.variants import WHITE, on, variant


@dataclass(frozen=True)
class Latents:
    """Latents by size in pixels, (pictures, 4, size/8, size/8) float16, and what they show."""

    of_size: dict[int, torch.Tensor]
    subjects: list[Subject]


def subject(picture: Pictogram) -> Subject:
    """What a pictogram shows."""
    return Subject(picture.name, picture.style, picture.keywords)


def learned(path: Path) -> list[Pictogram]:
    """The pictograms at `path` to train on: no unseen set, no pair of name and style held out."""
    return [
        each
        for each in pictograms(path)
        if each.is_learned and not held_out(each.name, style=each.package)
    ]


class Painter:
    """Makes the pictures of one pictogram in a worker process."""

    def __init__(self, path: Path, variants: int) -> None:
        self.path, self.variants = path, variants
        self.pictures = learned(path)

    def __call__(self, index: int) -> list[tuple[np.ndarray, Subject]]:
        """The pictogram itself on white, and its variants: (256, 256, 3) uint8 each."""
        rng = np.random.default_rng(index)
        picture = self.pictures[index]
        made = []
        with zipfile.ZipFile(self.path) as packed:
            rgba = picture.read(packed)
            made.append((on(rgba, WHITE), subject(picture)))
            for _ in range(self.variants):
                other = self.pictures[rng.integers(len(self.pictures))]
                company = (other.read(packed), other.name)
                made.append(variant(rgba, subject(picture), company, rng))
        return made


def encode(path: Path, vae: AutoencoderKL, sizes: list[int], variants: int, batch: int) -> Latents:
    """The latents of all that is learned from, at each of `sizes`.

    Args:
        path: the packed pictograms.
        vae: on the device that encodes.
        sizes: widths in pixels, 256 at most.
        variants: made of each pictogram besides itself.
        batch: pictures encoded at a time.
    """
    painter = Painter(path, variants)
    subjects: list[Subject] = []
    latents: dict[int, list[torch.Tensor]] = {size: [] for size in sizes}
    waiting: list[np.ndarray] = []

    def flush() -> None:
        for size in sizes:
            pictures = np.stack([resized(picture, size) for picture in waiting])
            latents[size].append(encoded(vae, pictures).half().cpu())
        waiting.clear()

    with Pool() as pool:
        for made in pool.imap(painter, range(len(painter.pictures)), 8):
            for picture, shown in made:
                waiting.append(picture)
                subjects.append(shown)
                if len(waiting) == batch:
                    flush()
    if waiting:
        flush()
    return Latents({size: torch.cat(each) for size, each in latents.items()}, subjects)


def resized(picture: np.ndarray, size: int) -> np.ndarray:
    """`picture`, (height, width, 3) uint8, at `size` × `size` pixels."""
    if len(picture) == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.LANCZOS))


@torch.no_grad()
def encoded(vae: AutoencoderKL, pictures: np.ndarray) -> torch.Tensor:
    """The scaled latents, float32, of `pictures`: (pictures, height, width, 3) uint8."""
    x = torch.from_numpy(pictures).to(vae.device).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.autocast(vae.device.type, torch.bfloat16):
        latents = vae.encode(x.contiguous(memory_format=torch.channels_last)).latent_dist.mean
    scaled: torch.Tensor = latents.float() * vae.config.scaling_factor
    return scaled


def save(latents: Latents, path: Path) -> None:
    """Write `latents` to `path`."""
    with path.open("wb") as file:
        pickle.dump(latents, file)


def load(path: Path) -> Latents:
    """Read what `save` wrote: a file of our own, in the folder of this training."""
    with path.open("rb") as file:
        loaded: Latents = pickle.load(file)
    return loaded
