"""Pictograms that the tests draw themselves: no network, no work of others."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict
from pathlib import Path

from PIL import Image, ImageDraw

from train_demo.pictograms import Pictogram
from train_demo.settings import SOURCES


def shape(kind: str, fill: str, background: str | None = None, inset: int = 30) -> Image.Image:
    """A disc, bars or a triangle, 256 × 256 RGBA."""
    picture = Image.new("RGBA", (256, 256), background)
    pen = ImageDraw.Draw(picture)
    far = 256 - inset
    if kind == "disc":
        pen.ellipse((inset, inset, far, far), fill)
    elif kind == "bars":
        for left in (30, 110, 190):
            pen.rectangle((left, inset, left + 36, far), fill)
    else:
        pen.polygon(((128, inset), (20, far), (236, far)), fill)
    return picture


def packed(path: Path) -> Path:
    """Writes three things, as each of the sources draws them, as `pictograms.pack` does."""
    index = []
    with zipfile.ZipFile(path, "w") as file:
        for number, source in enumerate(SOURCES):
            for kind, fill in (("disc", "red"), ("bars", "blue"), ("triangle", "green")):
                name = f"{number}-{kind}.webp"
                data = io.BytesIO()
                shape(kind, fill, inset=24 + 3 * number).save(data, "WEBP", lossless=True)
                file.writestr(name, data.getvalue())
                index.append(asdict(Pictogram(kind, ("shape",), source.package, name)))
        file.writestr("index.json", json.dumps(index))
    return path
