"""Variants of a pictogram that teach colours, backgrounds, numbers and pairs of things."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from train_demo.captions import COLOURS, NUMBERS, Subject, held_out, noun
from train_demo.pictograms import SIZE_PIXELS

# Hue, in turns, of a thing that is given a colour.
HUES = dict(zip(COLOURS, (0.0, 0.08, 0.15, 0.33, 0.6, 0.77, 0.92), strict=True))
# Red, green, blue of backgrounds, 0 to 1.
BACKGROUNDS = {
    "red": (0.85, 0.15, 0.15),
    "orange": (0.98, 0.6, 0.15),
    "yellow": (1, 0.87, 0.3),
    "green": (0.35, 0.7, 0.35),
    "blue": (0.3, 0.55, 0.9),
    "purple": (0.55, 0.35, 0.8),
    "pink": (1, 0.7, 0.8),
    "brown": (0.5, 0.33, 0.2),
    "black": (0.06, 0.06, 0.06),
    "gray": (0.6, 0.6, 0.6),
}
WHITE = (1.0, 1.0, 1.0)


def on(rgba: np.ndarray, background: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return `rgba`, (height, width, 4) uint8, on a background of one colour: (…, 3) uint8."""
    picture = rgba.astype(np.float32) / 255
    opacity = picture[..., 3:]
    flat = picture[..., :3] * opacity + np.asarray(background, np.float32) * (1 - opacity)
    return (flat * 255).round().astype(np.uint8)


def variant(
    rgba: np.ndarray, subject: Subject, company: tuple[np.ndarray, str], rng: np.random.Generator
) -> tuple[np.ndarray, Subject]:
    """Return another picture with the same thing in it, and what it shows.

    Args:
        rgba: the pictogram, (SIZE_PIXELS, SIZE_PIXELS, 4) uint8.
        subject: what it shows.
        company: a second pictogram and its name, for a picture of both.
        rng: draws which kind of picture it is.

    Returns:
        (SIZE_PIXELS, SIZE_PIXELS, 3) uint8, and its subject.
    """
    kind = rng.random()
    style, name, keywords = subject.style, subject.name, subject.keywords
    if kind < 0.5:
        colours = [c for c in COLOURS if not held_out(name, colour=c)]
        colour = str(rng.choice(colours))
        recoloured = with_hue(rgba, HUES[colour], pale=colour == "pink")
        if recoloured is not None:
            return on(recoloured, WHITE), Subject(name, style, keywords, colour=colour)
    if kind < 0.85:
        colour = str(rng.choice(list(BACKGROUNDS)))
        background = np.clip(np.asarray(BACKGROUNDS[colour]) + rng.normal(0, 0.04, 3), 0, 1)
        placed = place([rgba], rng.uniform(0.75, 1), rng)
        return on(placed, background), Subject(name, style, keywords, background=colour)
    if kind < 0.93:
        other, other_name = company
        if noun(other_name) != noun(name):
            return on(place([rgba, other], 1, rng), WHITE), Subject(name, style, company=other_name)
    count = int(rng.choice(list(NUMBERS)))
    return on(place([rgba] * count, 1, rng), WHITE), Subject(name, style, count=count)


def place(things: Sequence[np.ndarray], scale: float, rng: np.random.Generator) -> np.ndarray:
    """Place one to four things beside each other, somewhere in an empty picture; return it."""
    columns = 1 if len(things) == 1 else 2
    cell = SIZE_PIXELS // columns
    side = int(cell * scale)
    picture = Image.new("RGBA", (SIZE_PIXELS, SIZE_PIXELS))
    rows = -(-len(things) // columns)
    top = (SIZE_PIXELS - rows * cell) // 2
    for index, thing in enumerate(things):
        row, column = divmod(index, columns)
        in_row = min(columns, len(things) - row * columns)
        left = (SIZE_PIXELS - in_row * cell) // 2 + column * cell
        spare = cell - side
        x, y = left + rng.integers(0, spare + 1), top + row * cell + rng.integers(0, spare + 1)
        small = Image.fromarray(thing).resize((side, side), Image.Resampling.LANCZOS)
        picture.paste(small, (int(x), int(y)))
    return np.asarray(picture)


def hue_of(rgb: np.ndarray, opacity: np.ndarray) -> tuple[float, float, float]:
    """Return the dominant hue in turns, its dominance (0 to 1), and the share of coloured area.

    Args:
        rgb: (height, width, 3), 0 to 1.
        opacity: (height, width), 0 to 1.
    """
    hue, saturation, value = to_hsv(rgb)
    weight = saturation * value * opacity * (saturation > 0.25)
    total = float(weight.sum())
    mean = complex((np.exp(2j * np.pi * hue) * weight).sum()) / max(total, 1e-6)
    return float(np.angle(mean) / (2 * np.pi) % 1), abs(mean), total / opacity.size


def with_hue(rgba: np.ndarray, hue: float, pale: bool) -> np.ndarray | None:
    """Return the pictogram turned to another hue, or None where no single hue dominates."""
    picture = rgba.astype(np.float32) / 255
    dominant, rule, share = hue_of(picture[..., :3], picture[..., 3])
    if share < 0.08 or rule < 0.75:
        return None
    hues, saturation, value = to_hsv(picture[..., :3])
    saturation = np.clip(saturation * (0.6 if pale else 1.05), 0, 1)
    value = np.clip(value * (1.05 if pale else 1), 0, 1)
    rgb = from_hsv((hues + hue - dominant) % 1, saturation, value)
    return np.dstack([(rgb * 255).round().astype(np.uint8), rgba[..., 3]])


def hue_distance(hue: np.ndarray | float, colour: str) -> np.ndarray:
    """Return the distance of hues from a colour word's, the short way round: 0 to 0.5 turns."""
    return np.abs((np.asarray(hue) - HUES[colour] + 0.5) % 1 - 0.5)


def to_hsv(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return hue in turns, saturation and value of `rgb`, all 0 to 1: `colorsys` for arrays."""
    high, low = rgb.max(-1), rgb.min(-1)
    span = high - low + 1e-8
    red, green, blue = np.moveaxis(rgb, -1, 0)
    hue = np.where(high == green, (blue - red) / span + 2, (red - green) / span + 4)
    hue = np.where(high == red, (green - blue) / span, hue) / 6
    return hue % 1, span / (high + 1e-8) * (high > 1e-6), high


def from_hsv(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Return RGB, 0 to 1, from hue, saturation and value: the inverse of `to_hsv`."""

    def channel(offset: int) -> np.ndarray:
        position = (offset + hue * 6) % 6
        drop = np.clip(np.minimum(position, 4 - position), 0, 1)
        return np.asarray(value - value * saturation * drop)

    return np.stack([channel(5), channel(3), channel(1)], -1)
