"""The files of LoRAs and embeddings where the server looks for them, by their names."""

from __future__ import annotations

from pathlib import Path

from infotext.loras import is_name
from stable_diffusion import catalogue

SUFFIXES = {
    catalogue.LORAS: catalogue.LORA_SUFFIXES,
    catalogue.EMBEDDINGS: catalogue.EMBEDDING_SUFFIXES,
}
"""Of the files that are taken, by what they are."""


def require_name(name: str) -> None:
    """Check that an adapter can have this name.

    Raises:
        ValueError: when it can't.
    """
    if not is_name(name):
        raise ValueError(
            f"{name[:200]!r} can't be its name: give 1 to 100 characters, without a dot at the "
            'beginning and without / \\ : @ < > , | "'
        )


def named(folder: str, name: str) -> list[Path]:
    """Return the files of a name that are there, whatever their suffix; also broken links.

    Args:
        folder: a key of `SUFFIXES`.

    Raises:
        SetupError: when the environment names no folder for them.
    """
    paths = [catalogue.folder_of(folder) / f"{name}{suffix}" for suffix in SUFFIXES[folder]]
    return [path for path in paths if path.exists() or path.is_symlink()]
