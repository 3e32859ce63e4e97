"""The pictures of `docs/inputs.md` on editing, drawn by the demo model into `docs/`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from PIL import Image, ImageDraw

from cog_schema.schema import ROOT
from stable_diffusion.catalogue import WEIGHTS
from train_demo.drawing import Artist

EXAMPLES, DOCS = ROOT / "examples", ROOT / "docs"
GAP_PIXELS = 8
HEIGHT_PIXELS = 192
"""Of the pictures in a row."""
QUALITY = 90
DRAWN_AS_BLUEPRINTS = (("a cat face", 1), ("a house", 1), ("a castle", 2))
"""Prompts and seeds of the pictures with and without a LoRA."""


def main() -> int:
    """Draw the pictures; return the exit status."""
    artist = Artist(WEIGHTS / "demo")
    for name, pictures in (
        ("mask-grow.jpg", _grown(artist)),
        ("only-masked.jpg", _only_masked(artist)),
        ("extended.jpg", _extended(artist)),
        ("fitted.jpg", _fitted(artist)),
        ("refined.jpg", _refined(artist)),
        ("tiling.jpg", _tiling(artist)),
    ):
        _row(pictures).save(DOCS / name, quality=QUALITY)
    _stacked(_with_a_lora(artist)).save(DOCS / "lora.jpg", quality=QUALITY)
    artist.close()
    return 0


def _grown(artist: Artist) -> list[Image.Image]:
    """Return a flower, and another blossom on it by a mask that is grown, as it is, and shrunk."""
    flower, mask = _example("flower.png"), Image.open(EXAMPLES / "flower-mask.png").convert("L")
    asked = {"prompt": "a red rose", "image": flower, "mask": mask, "strength": 1, "seed": 2}
    grown = [{**asked, "mask_grow": pixels} for pixels in (64, 0, -64)]
    return [flower, *artist.draw(grown)]


def _only_masked(artist: Artist) -> list[Image.Image]:
    """Return a flower, an apple beside it that is drawn alone, and one drawn with the rest."""
    flower, mask = _example("flower.png"), Image.new("L", (512, 512))
    ImageDraw.Draw(mask).ellipse((30, 330, 160, 460), fill=255)
    asked = {"prompt": "a red apple on a white background", "image": flower, "mask": mask}
    asked |= {"mask_blur": 3, "strength": 1, "seed": 2}
    coarse = {"width": 128, "height": 128, "result_size": "512x512"}
    return [flower, *artist.draw([{**asked, "only_masked": True}, {**asked, **coarse}])]


def _extended(artist: Artist) -> list[Image.Image]:
    """Return a house, and what four seeds draw on its right."""
    prompt = "a house on a light blue background"
    (house,) = artist.draw([{"prompt": prompt, "seed": 5}])
    asked = {"prompt": prompt, "image": house, "extend_right": 64}
    return [house, *artist.draw([{**asked, "seed": seed} for seed in (1, 2, 3, 4)])]


def _fitted(artist: Artist) -> list[Image.Image]:
    """Return a wide picture; cropped, padded and stretched to a square; and a part of it."""
    wide = _example("house.png").crop((0, 100, 512, 400))
    asked = {"prompt": "a house", "image": wide, "width": 192, "height": 192, "strength": 0}
    ways = [{"resize_mode": mode} for mode in ("crop", "pad", "stretch")]
    return [wide, *artist.draw([{**asked, **way} for way in [*ways, {"crop": "280,0,200,200"}]])]


def _refined(artist: Artist) -> list[Image.Image]:
    """Return a picture, made larger, and refined by a second pass."""
    asked = {"prompt": "a castle", "seed": 4}
    enlarged = {**asked, "refine_scale": 2, "refine_strength": 0}
    return artist.draw([asked, enlarged, {**asked, "refine_scale": 2}])


def _tiling(artist: Artist) -> list[Image.Image]:
    """Return a texture, four of it side by side, and four of a picture without `tiling`."""
    asked = {"prompt": "green leaves", "seed": 1}
    texture, plain = artist.draw([{**asked, "tiling": True}, asked])
    return [texture, _fourfold(texture), _fourfold(plain)]


def _with_a_lora(artist: Artist) -> list[Image.Image]:
    """Return things in rows: without the LoRA blueprint, with half of it, and with all."""
    asked = [{"prompt": prompt, "seed": seed} for prompt, seed in DRAWN_AS_BLUEPRINTS]
    weights: tuple[list[str], ...] = ([], ["blueprint:0.5"], ["blueprint"])
    return [
        _row(artist.draw([{**inputs, "loras": loras} for inputs in asked])) for loras in weights
    ]


def _stacked(rows: Sequence[Image.Image]) -> Image.Image:
    """Return a picture of rows of one size, each below the one before."""
    width, height = rows[0].size
    sheet = Image.new("RGB", (width, len(rows) * (height + GAP_PIXELS) - GAP_PIXELS), "white")
    for number, row in enumerate(rows):
        sheet.paste(row, (0, number * (height + GAP_PIXELS)))
    return sheet


def _fourfold(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    whole = Image.new("RGB", (2 * width, 2 * height))
    for x in (0, width):
        for y in (0, height):
            whole.paste(picture, (x, y))
    return whole


def _example(file: str) -> Image.Image:
    return Image.open(EXAMPLES / file).convert("RGB")


def _row(pictures: Sequence[Image.Image]) -> Image.Image:
    """Return a picture of all side by side, in one height."""
    scaled = [
        picture.resize(
            (round(picture.width * HEIGHT_PIXELS / picture.height), HEIGHT_PIXELS),
            Image.Resampling.LANCZOS,
        )
        for picture in pictures
    ]
    width = sum(picture.width + GAP_PIXELS for picture in scaled) - GAP_PIXELS
    row, left = Image.new("RGB", (width, HEIGHT_PIXELS), "white"), 0
    for picture in scaled:
        row.paste(picture, (left, 0))
        left += picture.width + GAP_PIXELS
    return row


if __name__ == "__main__":
    sys.exit(main())
