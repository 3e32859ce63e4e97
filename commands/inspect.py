"""Say what picture files carry: a watermark, what they were made from, an infotext."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def main() -> int:
    """Run the command; return 0, or 2 where a file is no picture."""
    parser = argparse.ArgumentParser(prog="scripts/inspect", description=__doc__)
    parser.add_argument("file", nargs="+", type=Path, help="a picture's file")
    parser.add_argument("--json", action="store_true", help="as a JSON object a line")
    arguments = parser.parse_args()

    from stable_diffusion.request import InputError

    status = 0
    for path in arguments.file:
        try:
            carried = what_it_carries(path)
        except (InputError, OSError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            status = 2
            continue
        if arguments.json:
            print(json.dumps({"file": str(path), **carried}, ensure_ascii=False))
        else:
            print(*_lines(path, carried), sep="\n")
    return status


def what_it_carries(path: Path) -> dict[str, Any]:
    """Return what a picture's file carries: `watermark`, `made_from` and `parameters`, or null.

    Raises:
        InputError: when it is no picture that is taken as an input.
        OSError: when it can't be read.
    """
    from stable_diffusion import images, watermark
    from stable_diffusion.decoding import decode

    picture, _ = decode("image", path, as_numbers=True)
    return {
        "watermark": watermark.read(picture.convert("RGB")),
        "made_from": images.read_metadata(path) or None,
        "parameters": images.read_infotext(path) or None,
    }


def _lines(path: Path, carried: dict[str, Any]) -> list[str]:
    lines = [f"{path}: watermark {carried['watermark'] or 'none that is known'}"]
    if carried["made_from"]:
        values = carried["made_from"].items()
        lines += [f"  {name}: {json.dumps(value, ensure_ascii=False)}" for name, value in values]
    if carried["parameters"]:
        lines += ["  parameters:", *(f"    {line}" for line in carried["parameters"].splitlines())]
    return lines


if __name__ == "__main__":
    sys.exit(main())
