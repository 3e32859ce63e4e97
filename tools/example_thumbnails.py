"""Small pictures of `examples/`, into `examples/thumbnails/`: the form lists them."""

from __future__ import annotations

import sys

from PIL import Image, ImageOps

from cog_schema.schema import ROOT

EXAMPLES = ROOT / "examples"
LISTED = ("cat.png", "orange.jpg", "face.png", "car.png", "house.png", "flower.png")
"""The files that `hosting/form/inputs/examples.js` lists."""
SIDE_PIXELS = 128
"""Of the square that each is cropped to: two for each pixel of the page."""
QUALITY = 85


def main() -> int:
    """Write the thumbnails; return the exit status."""
    folder = EXAMPLES / "thumbnails"
    folder.mkdir(exist_ok=True)
    for file in LISTED:
        with Image.open(EXAMPLES / file) as picture:
            small = ImageOps.fit(picture.convert("RGB"), (SIDE_PIXELS, SIDE_PIXELS))
        path = folder / f"{file.partition('.')[0]}.webp"
        small.save(path, quality=QUALITY, method=6)
        print(path.relative_to(ROOT), path.stat().st_size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
