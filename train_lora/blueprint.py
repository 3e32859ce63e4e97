"""The pictures of `weights/loras/blueprint.safetensors`: pictograms as white lines on blue."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from train_demo import pictograms
from train_demo.captions import noun, other_word, with_article
from train_demo.progress import write
from train_demo.variants import WHITE, on
from train_demo.words import NAMES

PACKAGE = "@iconify-json/noto"
PAPER, INK = (24, 74, 156), (245, 248, 255)
"""Red, green, blue."""
BLUR_PIXELS = 1.6
STRENGTH, FAINTEST = 14, 0.15
"""How white an edge is by its steepness, and what is left out of that."""


def draw(folder: Path, log: Callable[[str], None]) -> None:
    """Write the pictures and their captions into `folder`; fetch the pictograms beside it.

    Raises:
        TrainingError: when they can't be fetched.
    """
    packages = folder.with_name(f"{folder.name}-npm")
    if not packages.exists():
        log("fetches the pictograms")
        packages.parent.mkdir(parents=True, exist_ok=True)
        write(packages, pictograms.fetch)
    log(f"draws the pictures into {folder}")
    folder.mkdir(exist_ok=True)
    words = random.Random(0)
    for pictogram, drawing in pictograms.collect(packages / "node_modules", NAMES):
        if pictogram.package == PACKAGE:
            with Image.open(io.BytesIO(pictograms.render(drawing))) as rendered:
                lines = blueprint(np.asarray(rendered.convert("RGBA")))
            path = folder / f"{pictogram.name.replace(' ', '-')}.png"
            Image.fromarray(lines).save(path)
            name = other_word(pictogram.name, words) or noun(pictogram.name)
            path.with_suffix(".txt").write_text(with_article(name) + "\n", encoding="utf-8")


def blueprint(rgba: np.ndarray) -> np.ndarray:
    """Return the edges of a picture as white lines on blue.

    Args:
        rgba: (height, width, 4) uint8.

    Returns:
        (height, width, 3) uint8.
    """
    channels = np.moveaxis(on(rgba, WHITE).astype(np.float32) / 255, -1, 0)
    steep = np.max([ndimage.gaussian_gradient_magnitude(one, BLUR_PIXELS) for one in channels], 0)
    white = np.clip(steep * STRENGTH - FAINTEST, 0, 1)[..., None]
    return (np.array(PAPER) * (1 - white) + np.array(INK) * white).round().astype(np.uint8)
