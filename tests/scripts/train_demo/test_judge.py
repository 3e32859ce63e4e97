from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw

from scripts.train_demo.evaluation import area_of, colour_of
from scripts.train_demo.judge import Judge
from scripts.train_demo.pictograms import Pictogram


def shape(name: str, fill: str, background: str | None = None) -> Image.Image:
    picture = Image.new("RGBA", (256, 256), background)
    pen = ImageDraw.Draw(picture)
    if name == "disc":
        pen.ellipse((40, 40, 216, 216), fill)
    elif name == "bars":
        for left in (30, 110, 190):
            pen.rectangle((left, 30, left + 36, 226), fill)
    else:
        pen.polygon(((128, 30), (20, 220), (236, 220)), fill)
    return picture


def test_it_tells_shapes_apart_that_it_learned_in_other_colours() -> None:
    names = ["disc", "bars", "triangle"]
    shown = [Pictogram(f"red {name}", (), "@iconify-json/noto", "") for name in names]
    learned = np.stack([np.asarray(shape(name, "red")) for name in names])
    with torch.inference_mode(mode=False):
        judge = Judge(learned, shown, width=8, steps=60, device=torch.device("cpu"))
    for in_colour in (True, False):
        asked = [shape(name, "blue", "white").convert("RGB") for name in names]
        first = [ranking[0] for ranking in judge.ranking(asked, in_colour)]
        assert first == names


def test_colours_have_the_names_that_people_give_them() -> None:
    for colour in ("red", "orange", "yellow", "green", "blue", "purple"):
        picture = shape("disc", colour, "white").convert("RGB")
        assert colour_of(picture) == colour
        assert area_of(picture, colour) > 0.1
    assert colour_of(shape("disc", "gray", "white").convert("RGB")) == ""
    assert area_of(shape("disc", "blue", "white").convert("RGB"), "red") == 0
