"""What lies in a folder of LoRAs or embeddings now: found by a look, not by a restart."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from infotext.loras import is_name
from stable_diffusion import json_files
from stable_diffusion.json_files import FileError

SETTLED_SECONDS = 2.0
"""How long a file must have been left alone until its time of change alone tells that it is the
same: clocks of file systems are coarse, and a file may be in the middle of being written."""
MOST_FILES = 10_000
MOST_BYTES = 2**31
"""Of a file that is read; what is larger is a whole model."""
BAD_NAME = (
    "its name must have 1 to 100 characters, begin with no dot and have none of "
    '/ \\ : @ < > , | " in it'
)

Check = Callable[[Path], "str | tuple[str, ...] | None"]
"""Checks a file that was seen: returns the trigger word of a LoRA, or the tokens of an embedding.

It raises a FileError, which says why the file can't be used.
"""
_Identity = tuple[int, int, int, int]
"""When a file was changed, its content and all of it, its size and its number on the disk."""


@dataclass(frozen=True)
class Installed:
    """A file that was seen.

    name: the file's without the suffix.
    hash: SHA-256 of the whole file, lower hex.
    trigger: the word that brings a LoRA's subject into the picture, where its file has one.
    tokens: what stands for an embedding in prompts.
    reason: why it can't be used with this model; None where it can.
    """

    name: str
    path: Path
    hash: str
    trigger: str | None = None
    tokens: tuple[str, ...] = ()
    reason: str | None = None


class Folder:
    """A folder whose files come and go while it is watched; any thread may ask.

    Only files that lie in it are seen: none of its folders, no pipes or devices, and no link that
    leads out of it. Files are read when they are new or changed, and at no other time.

    Args:
        path: may be missing; it may come later.
        suffixes: in lower case with their dots; of two files of one name, the first counts.
        check: what a file is checked by.
        most_bytes: of a file; larger ones are not read.
    """

    def __init__(
        self, path: Path, suffixes: tuple[str, ...], check: Check, most_bytes: int = MOST_BYTES
    ) -> None:
        self.path = path
        self._suffixes = suffixes
        self._check = check
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[_Identity, Installed]] = {}
        self._left_out: frozenset[str] = frozenset()

    def files(self) -> dict[str, Installed]:
        """Return what is there now, by name, in the order of the names."""
        with self._lock:
            paths = self._paths()
            known = dict[Path, tuple[_Identity, Installed]]()
            files = dict[str, Installed]()
            for name, path in sorted(paths.items()):
                seen = self._seen(name, path)
                if seen:
                    files[name] = seen[1]
                    if seen[0]:
                        known[path] = seen[0], seen[1]
            self._known = known
            return files

    def _paths(self) -> dict[str, Path]:
        """Return the files that may be read, by name."""
        paths, left_out = dict[str, Path](), dict[str, str]()
        for path, size in self._entries():
            name = path.stem
            if not is_name(name):
                left_out[path.name] = BAD_NAME
                continue
            if size > self._most_bytes:
                limit = f"at most {self._most_bytes} are allowed"
                left_out[path.name] = f"it has {size} bytes, and {limit}"
                continue
            rank = self._suffixes.index(path.suffix.lower())
            if name in paths and self._suffixes.index(paths[name].suffix.lower()) <= rank:
                continue
            paths[name] = path
        for name in sorted(left_out.keys() - self._left_out):
            print(f"{name!a} in {self.path} is left out: {left_out[name]}", file=sys.stderr)
        self._left_out = frozenset(left_out)
        return paths

    def _entries(self) -> Iterator[tuple[Path, int]]:
        """Yield the regular files in the folder that have one of the suffixes, and their sizes."""
        try:
            root = self.path.resolve()
            with os.scandir(root) as entries:
                found = sorted(entry.name for entry in entries)
        except (OSError, RuntimeError):  # It is missing, closed, or a link in a circle.
            return
        for name in found[:MOST_FILES]:
            path = self.path / name
            if path.suffix.lower() not in self._suffixes:
                continue
            try:
                inside = not path.is_symlink() or path.resolve().parent == root
                if inside:
                    json_files.require_regular(path)
                    yield path, path.stat().st_size
            except (FileError, OSError, RuntimeError):
                continue

    def _seen(self, name: str, path: Path) -> tuple[_Identity | None, Installed] | None:
        """Return a file's identity, None while it may still change, and what it is.

        None is returned of a file that goes or changes while it is read.
        """
        try:
            before = _identity(path)
            if path in self._known and self._known[path][0] == before:
                return self._known[path]
            settled = not 0 <= time.time() - before[1] / 1e9 < SETTLED_SECONDS
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            installed = self._checked(name, path, digest)
            if _identity(path) != before:
                return None
        except OSError:
            return None
        return (before if settled else None), installed

    def _checked(self, name: str, path: Path, digest: str) -> Installed:
        try:
            found = self._check(path)
        except FileError as error:
            return Installed(name, path, digest, reason=without_place(error, path))
        if isinstance(found, tuple):
            return Installed(name, path, digest, tokens=found)
        return Installed(name, path, digest, trigger=found)


def without_place(error: FileError, path: Path) -> str:
    """Return what an error says of a file, by its name alone: where it lies is not for clients."""
    return str(error).replace(str(path), path.name)


def _identity(path: Path) -> _Identity:
    status = path.stat()
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
