"""The cache: a folder for what takes long to compute and can be computed again."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

DEFAULT_FOLDER = "~/.cache/stable-diffusion"


def cache_folder(name: str) -> Path:
    """Find or create a folder of the cache.

    The environment's `CACHE_DIR` names the cache, which is kept from one start to the next. Where
    it can't be written to, the folder is a temporary one, which goes when the process ends.
    """
    try:
        folder = Path(os.environ.get("CACHE_DIR") or DEFAULT_FOLDER).expanduser() / name
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # RuntimeError: there is no home.
        temporary = tempfile.mkdtemp(prefix=f"stable-diffusion-{name}-")
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        return Path(temporary)


def write_whole(file: Path, data: bytes) -> None:
    """Write a file completely, or not at all."""
    descriptor, part = tempfile.mkstemp(dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(data)
        Path(part).rename(file)
    except BaseException:
        Path(part).unlink()
        raise
