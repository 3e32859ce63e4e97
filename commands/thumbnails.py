"""Print small copies of pictures: for each file a line of JSON with a WebP in base64, or null.

It is for files that others have made: each is read in a process of its own, which may take only so
much time and memory, and takes none from whatever else the machine does.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import sys
from pathlib import Path

LONGEST_SIDE = 320
"""Pixels of a copy's longer side, at most."""
QUALITY = 80
"""Of 100; a copy has some 10 kB."""


def main() -> int:
    """Run the command; return 0."""
    parser = argparse.ArgumentParser(prog="commands.thumbnails", description=__doc__)
    parser.add_argument("file", nargs="+", type=Path, help="a picture's file")
    files = parser.parse_args().file
    os.nice(19)
    for path in files:
        webp = copy_in_child(path)
        print(json.dumps(base64.b64encode(webp).decode() if webp else None), flush=True)
    return 0


def copy_in_child(path: Path) -> bytes:
    """Return a small copy of a picture, made in a child process; nothing if it can't be."""
    import stable_diffusion.decoding  # noqa: F401  # once for all children

    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.close(ours)
            with os.fdopen(theirs, "wb") as pipe:
                pipe.write(small_copy(path))
            status = 0
        except Exception as error:
            print(f"{path.name}: {error}", file=sys.stderr)
        finally:
            os._exit(status)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        webp = pipe.read()
    _, status = os.waitpid(child, 0)
    return b"" if status else webp


def small_copy(path: Path) -> bytes:
    """Return a picture as a WebP that has no more than LONGEST_SIDE pixels a side.

    This process is ended when that takes too long.

    Raises:
        InputError: when it is no picture.
        MemoryError: when it takes too much memory.
    """
    from PIL import Image

    from stable_diffusion import decoder_processes
    from stable_diffusion.decoding import decode

    claim = decoder_processes.limit_process(path.stat().st_size)
    picture, _ = decode("image", path, claim=claim, as_numbers=True)
    copy = picture.convert("RGB")
    copy.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    copy.save(file, "WEBP", quality=QUALITY)
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main())
