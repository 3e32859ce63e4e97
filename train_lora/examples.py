"""The examples that a LoRA learns from: pictures in a folder, each with its caption beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from stable_diffusion.images import read_picture
from stable_diffusion.json_files import FileError, require_regular
from stable_diffusion.request import InputError
from train_demo.progress import TrainingError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
"""Of the files that are taken for pictures."""
LONGEST_CAPTION_BYTES = 10_000
MOST_NAMED = 3
"""Files that an error names."""


@dataclass(frozen=True)
class Example:
    """A picture's file, and the words that it is to be drawn by."""

    path: Path
    caption: str

    def read(self) -> Image.Image:
        """Read the picture as the input `image` is read: upright, RGB.

        Raises:
            TrainingError: when it can't be read; the message names the file.
        """
        try:
            require_regular(self.path)
            return read_picture(self.path.name, self.path)[0]
        except (InputError, FileError, OSError) as error:
            raise TrainingError(f"{self.path}: {error}") from error


def in_folder(folder: Path, trigger: str = "") -> list[Example]:
    """Return the examples in a folder, by the order of their names.

    Args:
        folder: has NAME.txt beside each picture NAME.png, in UTF-8; other files are passed over.
        trigger: stands before each caption that doesn't have it.

    Raises:
        TrainingError: when there are none, or a picture has no caption; the message names it.
    """
    if not folder.is_dir():
        raise TrainingError(f"there is no folder {folder}")
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not pictures:
        raise TrainingError(
            f"there are no pictures in {folder}: put NAME.png there, and its caption as NAME.txt"
        )
    lacking = [path.name for path in pictures if not path.with_suffix(".txt").is_file()]
    if lacking:
        named = ", ".join(lacking[:MOST_NAMED]) + (" …" if len(lacking) > MOST_NAMED else "")
        raise TrainingError(
            f"{len(lacking)} of the {len(pictures)} pictures in {folder} lack a caption ({named}): "
            f"say in {Path(lacking[0]).with_suffix('.txt')} what {lacking[0]} shows"
        )
    return [Example(path, _caption(path.with_suffix(".txt"), trigger)) for path in pictures]


def _caption(path: Path, trigger: str) -> str:
    if path.stat().st_size > LONGEST_CAPTION_BYTES:
        raise TrainingError(f"{path} is too long for a caption: write a sentence or some words")
    try:
        caption = " ".join(path.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} can't be read as UTF-8: {error}") from error
    if not caption:
        raise TrainingError(f"{path} is empty: say what the picture beside it shows")
    return caption if trigger.lower() in caption.lower() else f"{trigger}, {caption}"
