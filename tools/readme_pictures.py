"""The pictures of the README, drawn by the demo model into `docs/`."""

from __future__ import annotations

import sys

from PIL import Image, ImageDraw, ImageFont

from cog_schema.schema import ROOT
from stable_diffusion.catalogue import WEIGHTS
from train_demo.drawing import Artist

EXAMPLES = ROOT / "examples"
CHANGED = (
    ("cat.png", "a fox", 0),
    ("orange.jpg", "a pumpkin", 2),
    ("face.png", "a panda", 3),
    ("car.png", "a blue car", 4),
    ("house.png", "a castle", 4),
    ("apple.png", "a strawberry", 2),
)
"""Files of `examples/`, and the prompt and the seed that each is drawn by."""
DRAWN = (
    ("a cat", 0),
    ("a dinosaur", 0),
    ("a train", 13),
    ("a rocket", 2),
    ("a flower", 6),
    ("a violin", 2),
)
"""Prompts and seeds without an image."""
COLUMNS = 6
SIDE_PIXELS, GAP_PIXELS, LINE_PIXELS = 152, 8, 24
ARROW = ((-9, -4), (1, -4), (1, -10), (12, 0), (1, 10), (1, 4), (-9, 4))


def main() -> int:
    """Draw the pictures; return the exit status."""
    artist = Artist(WEIGHTS / "demo")
    images = [_example(file) for file, _, _ in CHANGED]
    asked = [
        {"prompt": prompt, "seed": seed, "image": image}
        for image, (_, prompt, seed) in zip(images, CHANGED, strict=True)
    ]
    changed = artist.draw(asked)
    drawn = artist.draw([{"prompt": prompt, "seed": seed} for prompt, seed in DRAWN])
    flower, mask = _example("flower.png"), Image.open(EXAMPLES / "flower-mask.png").convert("L")
    rose = {"prompt": "a red rose", "image": flower, "mask": mask, "strength": 1, "seed": 2}
    repainted = artist.draw([rose])
    artist.close()

    cells = [
        cell
        for image, picture, (_, prompt, _) in zip(images, changed, CHANGED, strict=True)
        for cell in ((image, ""), (picture, prompt))
    ]
    cells += [(picture, prompt) for picture, (prompt, _) in zip(drawn, DRAWN, strict=True)]
    sheet = _sheet(cells, COLUMNS)
    for place in range(len(CHANGED)):
        _point(sheet, place)
    sheet.save(ROOT / "docs" / "pictures.png", optimize=True)
    row = [(flower, ""), (mask.convert("RGB"), ""), (repainted[0], "")]
    _sheet(row, 3, line=0).save(ROOT / "docs" / "inpainting.png", optimize=True)
    return 0


def _example(file: str) -> Image.Image:
    return Image.open(EXAMPLES / file).convert("RGB")


def _sheet(
    cells: list[tuple[Image.Image, str]], columns: int, line: int = LINE_PIXELS
) -> Image.Image:
    """Return a picture of all side by side, each above its text."""
    width, height = SIDE_PIXELS + GAP_PIXELS, SIDE_PIXELS + line
    rows = -(-len(cells) // columns)
    sheet = Image.new("RGB", (columns * width - GAP_PIXELS, rows * height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for index, (picture, text) in enumerate(cells):
        row, column = divmod(index, columns)
        x, y = column * width, row * height
        sheet.paste(picture.resize((SIDE_PIXELS, SIDE_PIXELS), Image.Resampling.LANCZOS), (x, y))
        middle = (x + SIDE_PIXELS // 2, y + SIDE_PIXELS + line // 2)
        pen.text(middle, text, "#303038", font, anchor="mm")
    return sheet


def _point(sheet: Image.Image, pair: int) -> None:
    """Draw an arrow between the two pictures of a pair."""
    row, place = divmod(pair, COLUMNS // 2)
    x = (2 * place + 1) * (SIDE_PIXELS + GAP_PIXELS) - GAP_PIXELS // 2
    y = row * (SIDE_PIXELS + LINE_PIXELS) + SIDE_PIXELS // 2
    shape = [(x + right, y + down) for right, down in ARROW]
    ImageDraw.Draw(sheet).polygon(shape, "#5753c6", "white")


if __name__ == "__main__":
    sys.exit(main())
