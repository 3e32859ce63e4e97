"""The places of LoRAs and embeddings in `weights/`, by their names."""

from __future__ import annotations

import re
from pathlib import Path

from stable_diffusion import catalogue

SUFFIXES = {"loras": (".safetensors",), "embeddings": (".safetensors", ".pt", ".bin")}
"""Of the files that are taken, by the folder in `weights/` that they lie in."""
NAME = re.compile(r'(?!\.)[^/\\:@<>,|"\x00-\x1f]{1,100}')
"""The names that they may have: those that can stand in an input, and in a prompt."""


class NameTaken(ValueError):
    """Another file has the name; the message says which, and what to do."""


def place(folder: str, name: str, suffix: str = ".safetensors") -> Path:
    """Return where a file of this name is to lie; nothing is written.

    Args:
        folder: a key of `SUFFIXES`.
        suffix: one of its values.

    Raises:
        ValueError: when it can't have that name.
        NameTaken: when a file of that name, with this or another suffix, is there.
    """
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{name[:200]!r} can't be its name: give 1 to 100 characters, without a dot at the "
            'beginning and without / \\ : @ < > , | "'
        )
    files = [catalogue.WEIGHTS / folder / f"{name}{each}" for each in SUFFIXES[folder]]
    there = next((path for path in files if path.exists() or path.is_symlink()), None)
    if there:
        raise NameTaken(f"{there} is there: give another name, or move that file away first")
    return catalogue.WEIGHTS / folder / f"{name}{suffix}"
