"""The pictures of `weights/loras/blueprint.safetensors`: pictograms as white lines on blue.

Lines are thick, and things paler than the paper: the demo model's autoencoder blurs what is finer.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from train_demo import pictograms
from train_demo.captions import COLOURS, noun, other_word, plain, with_article
from train_demo.progress import write
from train_demo.variants import WHITE, on
from train_demo.words import NAMES

PACKAGE = "@iconify-json/noto"
TRIGGER = "blueprint"
PAPER, INK = (24, 74, 156), (245, 248, 255)
"""Red, green, blue."""
BLUR_PIXELS = 2.2
STRENGTH, FAINTEST = 17, 0.4
"""How white an edge is by its steepness, and what is left out of that."""
COLOURED = 0.3
"""The share of captions with a colour, so that a prompt's makes no picture of another one."""
DARKEST, BRIGHTEST = 0.12, 0.42
"""How white a thing is between its edges, by its brightness."""


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
            name = other_word(pictogram.name, words) or plain(pictogram.name)
            if words.random() < COLOURED:
                name = f"{words.choice(COLOURS)} {noun(name)}"
            # At the end, where the demo model has learned to look for styles.
            caption = f"{with_article(name)}, {TRIGGER}\n"
            path.with_suffix(".txt").write_text(caption, encoding="utf-8")


def blueprint(rgba: np.ndarray) -> np.ndarray:
    """Return a picture in blue, with its edges as white lines.

    Args:
        rgba: (height, width, 4) uint8.

    Returns:
        (height, width, 3) uint8.
    """
    channels = np.moveaxis(on(rgba, WHITE).astype(np.float32) / 255, -1, 0)
    steep = np.max([ndimage.gaussian_gradient_magnitude(one, BLUR_PIXELS) for one in channels], 0)
    lines = np.clip(steep * STRENGTH - FAINTEST, 0, 1)
    within = DARKEST + (BRIGHTEST - DARKEST) * channels.mean(0)
    opacity = ndimage.gaussian_filter(rgba[..., 3].astype(np.float32) / 255, 1)
    white = np.maximum(lines, within * opacity)[..., None]
    drawn = np.array(PAPER) * (1 - white) + np.array(INK) * white
    return np.asarray(drawn.round(), np.uint8)
