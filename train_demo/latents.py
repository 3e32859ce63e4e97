"""Latents and captions of every picture and its variants, made once, for the UNet to learn from."""

import itertools
import os
import random
import zipfile
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn import functional
from transformers import CLIPTokenizer

from train_demo.autoencoder import pixels
from train_demo.captions import Subject, caption, held_out
from train_demo.pictograms import SIZE_PIXELS, Pictogram, pictograms
from train_demo.progress import write
from train_demo.settings import Settings
from train_demo.tokenizer import tokens
from train_demo.variants import WHITE, on, variant

PICTURES_AT_ONCE = {"cuda": 256, "cpu": 16}
"""Pictures that are encoded at once, at most, by device: they take some 10 MB of memory each."""
PARTS_AHEAD = 64
"""Parts of that many that are painted before they are encoded, at most."""


@dataclass(frozen=True)
class Latents:
    """What is learned from.

    of_size: latents by size in pixels, (pictures, 4, size/8, size/8) float16.
    tokens: of several captions of each picture, (pictures, captions, 77) int32.
    no_tokens: of the empty caption, (77,) int32.
    is_plain: whether a picture is a pictogram itself, not a variant, (pictures,) bool.
    """

    of_size: dict[int, torch.Tensor]
    tokens: torch.Tensor
    no_tokens: torch.Tensor
    is_plain: torch.Tensor

    def save(self, path: Path) -> None:
        """Write them to `path`, whole or not at all."""
        write(path, lambda file: torch.save(vars(self), file))

    @classmethod
    def load(cls, path: Path) -> "Latents":
        """Read what `save` wrote."""
        return cls(**torch.load(path, weights_only=True))


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
    """A maker of the pictures and captions of one pictogram, in a process of its own.

    Args:
        path: the packed pictograms.
        variants: made of each besides itself.
        captions: of each picture.
        tokenizer: the folder of a tokenizer.
    """

    def __init__(self, path: Path, variants: int, captions: int, tokenizer: Path) -> None:
        self.packed = zipfile.ZipFile(path)
        self.variants, self.captions = variants, captions
        self.pictures = trained_on(path)
        self.tokenizer = CLIPTokenizer.from_pretrained(tokenizer)

    def paint(self, index: int) -> tuple[np.ndarray, np.ndarray, list[bool]]:
        """Return a pictogram on white and its variants, their captions, and which are plain.

        Returns:
            pictures, (pictures, SIZE_PIXELS, SIZE_PIXELS, 3) uint8; tokens, (pictures, captions,
            77) int32.
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
        words = random.Random(index)
        texts = [caption(shown, words) for _, shown in pairs for _ in range(self.captions)]
        shape = (len(pairs), self.captions, -1)
        return (
            np.stack([rgb for rgb, _ in pairs]),
            tokens(self.tokenizer, texts).reshape(shape),
            [shown.is_plain for _, shown in pairs],
        )


_painter: Painter


def _start(*arguments: object) -> None:
    """Give a process of the pool its painter."""
    global _painter
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # there is a process for each core already
    _painter = Painter(*arguments)  # type: ignore[arg-type]


def _paint(part: range) -> tuple[np.ndarray, np.ndarray, list[bool]]:
    """Return what `Painter.paint` does of several pictograms, in one."""
    pictures, tokens_of, plain = zip(*(_painter.paint(index) for index in part), strict=True)
    return np.concatenate(pictures), np.concatenate(tokens_of), [*itertools.chain(*plain)]


def encode(path: Path, vae: AutoencoderKL, tokenizer: Path, settings: Settings) -> Latents:
    """Encode all that is trained on, at each size of `settings.batch`; return the latents.

    Args:
        path: the packed pictograms.
        vae: on the device that encodes.
        tokenizer: the folder of a tokenizer.
        settings: how many variants and captions.
    """
    count = len(trained_on(path))
    in_part = max(1, PICTURES_AT_ONCE[vae.device.type] // (1 + settings.variants))
    parts = [range(start, min(start + in_part, count)) for start in range(0, count, in_part)]
    of_size: dict[int, list[torch.Tensor]] = {size: [] for size in settings.batch}
    captions: list[np.ndarray] = []
    are_plain: list[bool] = []
    arguments = (path, settings.variants, settings.captions, tokenizer)
    with Pool(initializer=_start, initargs=arguments) as pool:
        # Some at once, since a pool paints on without waiting for who takes the pictures.
        for start in range(0, len(parts), PARTS_AHEAD):
            for rgb, tokens_of, plain in pool.imap(_paint, parts[start : start + PARTS_AHEAD]):
                for size, each in of_size.items():
                    each.append(encoded(vae, rgb, size).half().cpu())
                captions.append(tokens_of)
                are_plain += plain
    no_tokens = tokens(CLIPTokenizer.from_pretrained(tokenizer), [""])[0]
    return Latents(
        {size: torch.cat(each) for size, each in of_size.items()},
        torch.from_numpy(np.concatenate(captions)),
        torch.from_numpy(no_tokens),
        torch.tensor(are_plain),
    )


@torch.no_grad()
def encoded(vae: AutoencoderKL, pictures: np.ndarray, size: int) -> torch.Tensor:
    """Return the scaled latents, float32, of pictures at a size in pixels.

    Args:
        vae: on the device that scales and encodes.
        pictures: (pictures, SIZE_PIXELS, SIZE_PIXELS, 3) uint8.
        size: SIZE_PIXELS at most.
    """
    x = pixels(pictures, vae.device)
    if size != SIZE_PIXELS:
        x = functional.interpolate(x, (size, size), mode="bicubic", antialias=True).clamp(-1, 1)
    with torch.autocast(vae.device.type, torch.bfloat16):
        latents = vae.encode(x.contiguous(memory_format=torch.channels_last)).latent_dist.mean
    scaled: torch.Tensor = latents.float() * vae.config.scaling_factor
    return scaled
