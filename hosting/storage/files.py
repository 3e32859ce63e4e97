"""The files of predictions and uploads, under one folder, which several fronts may share.

`predictions/<id>/` has what went in (`in-image`) and what came out (`out-0.png`; of a second
attempt, `out-0-2.png`), with small copies of that (`thumb-0.webp`), `uploads/<id>` what a client
sent. Nothing else is ever read, written or removed.

Paths are text here, not pathlib's. That interns every name in them, and ids come and go: Python's
table of interned strings fills up with their places, and is made anew, twice as large.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hosting.storage import mime
from hosting.storage.picture_size import HEAD_BYTES, picture_size

LINKED = "/files/"
"""The beginning of the paths of files in our URLs."""
INPUT = "in-"
"""The beginning of the names of a prediction's input files."""
OUTPUT = re.compile(
    r"predictions/[a-z0-9]{1,64}/out-\d+(?:-(?P<attempt>\d+))?\.(?P<ending>png|webp|jpg)"
)
"""Files that we encoded ourselves; all others came from clients."""
THUMBNAIL = re.compile(r"predictions/[a-z0-9]{1,64}/thumb-\d+(?:-\d+)?\.(?P<ending>webp)")
"""Small copies of them, likewise."""
TYPES = {"png": "image/png", "webp": "image/webp", "jpg": "image/jpeg"}
MOST_SIZES = 4096
"""Sizes of pictures that are kept in memory."""
_PATH = re.compile(r"(predictions/[a-z0-9]{1,64}/[a-z0-9_.-]{1,64}|uploads/[a-z0-9]{1,64})")
_ENTRY = re.compile(r"[a-z0-9]{1,64}|\.[a-z0-9]{1,64}\.part")
"""An id, or what was half written under it."""
_OLD = re.compile(r"[a-z0-9]{26}|\.[a-z0-9]{26}\.part")
"""The same, as `new_id` makes them: a folder of somebody else is left alone."""


class FileGone(FileNotFoundError):
    """A file that is to be read is not there: mostly since what it belongs to was removed."""


@dataclass(frozen=True)
class InputFile:
    """A file that goes into a prediction.

    Args:
        location: as the prediction's record has it: the file's name in the prediction's folder,
            or the URL from which it is still to be fetched.
    """

    location: str

    @classmethod
    def sent(cls, name: str) -> InputFile:
        """Return the file that came with the request for the input of a name."""
        return cls(f"{INPUT}{name}")

    @classmethod
    def fetched(cls, name: str) -> InputFile:
        """Return a new file for what is fetched for the input of a name.

        No two are the same: a front that was frozen may be fetching another picture.
        """
        return cls(f"{INPUT}{name}-{secrets.token_hex(4)}")

    @property
    def is_stored(self) -> bool:
        """Whether it is in the prediction's folder."""
        return "://" not in self.location

    @property
    def placeholder(self) -> dict[str, str]:
        """The value in the prediction's `input` in the file's place."""
        return {"file": self.location}

    def path(self, prediction_id: str) -> str:
        """Return its path here, once it is stored."""
        return file_of_prediction(prediction_id, self.location)


@dataclass(frozen=True)
class OutputFile:
    """A picture that an attempt at a prediction makes. No two attempts write the same file.

    Args:
        index: from 0 on.
        attempt: from 1 on.
        ending: one of TYPES.
    """

    index: int
    attempt: int
    ending: str

    @property
    def name(self) -> str:
        """Its name in the prediction's folder and in `Prediction.output`."""
        again = f"-{self.attempt}" if self.attempt > 1 else ""
        return f"out-{self.index}{again}.{self.ending}"

    def path(self, prediction_id: str) -> str:
        """Return its path here."""
        return file_of_prediction(prediction_id, self.name)


def folder_of_prediction(prediction_id: str) -> str:
    """Return the path of a prediction's folder."""
    return f"predictions/{prediction_id}"


def file_of_prediction(prediction_id: str, name: str) -> str:
    """Return the path of a file of a prediction, by its name there."""
    return f"{folder_of_prediction(prediction_id)}/{name}"


def thumbnail_of(output: str) -> str:
    """Return the name or path of the small copy of an output, by the output's."""
    folder, slash, name = output.rpartition("/")
    return f"{folder}{slash}thumb-{name.removeprefix('out-').partition('.')[0]}.webp"


def type_of(path: str) -> str | None:
    """Return the MIME type of a file that we encoded, by its path here; None of any other."""
    ours = OUTPUT.fullmatch(path) or THUMBNAIL.fullmatch(path)
    return TYPES[ours["ending"]] if ours else None


def file_of_upload(upload_id: str) -> str:
    """Return the path of what a client has sent."""
    return f"uploads/{upload_id}"


def link_path(path: str) -> str:
    """Return the path of a file in our URLs."""
    return f"{LINKED}{path}"


class Files:
    """The files under one folder.

    Args:
        folder: made if it is not there; only its owner can read it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = os.path.realpath(folder)
        # A file never changes.
        self._picture_size = functools.lru_cache(MOST_SIZES)(self._read_picture_size)
        for kind in ("predictions", "uploads"):
            Path(self._folder, kind).mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, name: str) -> str:
        """Return the path of a file on the disk.

        Args:
            name: such as `predictions/<id>/out-0.png` or `uploads/<id>`.

        Raises:
            ValueError: when it is no name of a file of ours.
        """
        if not _PATH.fullmatch(name) or name.rpartition("/")[2].startswith("."):
            raise ValueError(f"{name!r} is not a file of ours")
        return f"{self._folder}/{name}"

    def is_there(self, name: str) -> bool:
        """Return whether there is a file of a name."""
        return os.path.isfile(self.path(name))

    def read(self, name: str) -> bytes:
        """Return what is in a file.

        Raises:
            FileGone: when it is not there.
        """
        try:
            with open(self.path(name), "rb") as file:
                return file.read()
        except FileNotFoundError as error:
            raise FileGone(name) from error

    def open(self, name: str) -> BinaryIO:
        """Return a file, open to be read.

        Raises:
            FileNotFoundError: when it is not there.
        """
        return open(self.path(name), "rb")

    def size(self, name: str) -> int | None:
        """Return the bytes that a file has; None where it is not there."""
        try:
            return os.path.getsize(self.path(name))
        except FileNotFoundError:
            return None

    def stat(self, name: str) -> os.stat_result:
        """Return what the disk knows of a file.

        Raises:
            FileGone: when it is not there.
        """
        try:
            return os.stat(self.path(name))
        except FileNotFoundError as error:
            raise FileGone(name) from error

    def picture_size(self, name: str) -> tuple[int, int] | None:
        """Return the width and height in pixels of a picture that we encoded; None of none."""
        try:
            return self._picture_size(name)
        except FileNotFoundError:
            return None

    def _read_picture_size(self, name: str) -> tuple[int, int] | None:
        with open(self.path(name), "rb") as file:
            return picture_size(file.read(HEAD_BYTES))

    def data_url(self, name: str) -> str:
        """Return a picture that lies here, as a data URL."""
        data = self.read(name)
        kind = mime.picture_type(data) or "application/octet-stream"
        url = f"data:{kind};base64,".encode() + base64.b64encode(data)
        del data  # it may be large
        return url.decode()

    def data_urls(self, prediction_id: str, names: Iterable[str]) -> list[str]:
        """Return pictures of a prediction as data URLs."""
        return [self.data_url(file_of_prediction(prediction_id, name)) for name in names]

    def free_bytes(self) -> int:
        """Return the bytes that the disk has room for."""
        return shutil.disk_usage(self._folder).free

    def write(self, name: str, data: bytes) -> None:
        """Write a file: whole, and on the disk, or not at all."""
        path = self.path(name)
        folder, file_name = os.path.split(path)
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        self._write(path, f"{folder}/.{file_name}.part", data)
        _sync(os.path.dirname(folder))

    def add(self, name: str, data: bytes) -> None:
        """Write a file that others may be writing too into a folder that is there; likewise.

        Raises:
            FileNotFoundError: when the folder is gone.
        """
        path = self.path(name)
        folder, file_name = os.path.split(path)
        self._write(path, f"{folder}/.{file_name}-{secrets.token_hex(4)}.part", data)

    def _write(self, path: str, part: str, data: bytes) -> None:
        """Write a file.

        Args:
            part: where it is until it is whole.
        """
        try:
            with open(part, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        finally:
            _unlink(part)
        _sync(os.path.dirname(path))

    def remove(self, name: str) -> None:
        """Remove a file, or the folder `predictions/<id>`, if it is there."""
        kind, _, entry = name.partition("/")
        if kind not in ("predictions", "uploads") or not _ENTRY.fullmatch(entry):
            raise ValueError(f"{name!r} is not a file of ours")
        path = f"{self._folder}/{name}"
        while os.path.lexists(path):
            with contextlib.suppress(FileNotFoundError):  # another front removes it too
                if os.path.isdir(path) and not os.path.islink(path):
                    shutil.rmtree(path)
                else:
                    os.unlink(path)

    def remove_inputs(self, prediction_id: str, only: Collection[str] | None = None) -> None:
        """Remove the files that went into a prediction.

        Args:
            only: those of these names alone.
        """
        folder = f"{self._folder}/{folder_of_prediction(prediction_id)}"
        with contextlib.suppress(FileNotFoundError):  # it has none
            for name in os.listdir(folder):
                if name.startswith(INPUT) and (only is None or name in only):
                    _unlink(f"{folder}/{name}")

    def remove_outputs(self, prediction_id: str, attempt: int, keep: Collection[str]) -> None:
        """Remove what an attempt at a prediction, and those before it, have made.

        Args:
            keep: but not the files of these names.
        """
        folder = folder_of_prediction(prediction_id)
        with contextlib.suppress(FileNotFoundError):  # it has none
            for name in os.listdir(f"{self._folder}/{folder}"):
                output = OUTPUT.fullmatch(f"{folder}/{name}")
                if output and name not in keep and int(output["attempt"] or 1) <= attempt:
                    _unlink(f"{self._folder}/{folder}/{name}")
                    _unlink(f"{self._folder}/{folder}/{thumbnail_of(name)}")

    def old(self, before: float) -> Iterator[tuple[str, str]]:
        """Our folders and files, as kind and name, that were last changed before a time."""
        for kind in ("predictions", "uploads"):
            for entry in os.scandir(f"{self._folder}/{kind}"):
                with contextlib.suppress(FileNotFoundError):  # another front removes it too
                    is_ours = _OLD.fullmatch(entry.name)
                    if is_ours and entry.stat(follow_symlinks=False).st_mtime < before:
                        yield kind, entry.name


def _unlink(path: str) -> None:
    """Remove a file, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _sync(folder: str) -> None:
    """Wait until the names in a folder are on the disk."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
