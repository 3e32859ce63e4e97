"""Files of weights, safetensors and torch's, as a table of the tensors that lie in them.

What a file is, its content says and not its name. Nothing is read but the table, whose size is
bounded; the tensors are then mapped from the disk.
"""

from __future__ import annotations

import hashlib
import io
import math
import mmap
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from stable_diffusion import json_files, pickles
from stable_diffusion.json_files import FileError
from stable_diffusion.pickles import ForeignError, PickleError, View

if TYPE_CHECKING:
    import torch

TABLE_BYTES = 2**23
"""Size of the largest table that is read; that of Stable Diffusion has some 300,000 bytes."""
NUMBER_BYTES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
}
"""How many bytes a number takes, by torch's name of its type."""
SAFETENSORS_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
"""The first value in files of torch before version 1.6."""
CONTAINERS = ("state_dict", "params_ema", "params", "string_to_param")
"""Names in torch's files of what has all weights: of CompVis, of BasicSR, the average first, and
of AUTOMATIC1111's embeddings."""
OTHERS = {
    b"version https://git-lfs": "a pointer of Git LFS and not the file that it stands for: run "
    "`git lfs pull` in its repository, or download the file itself",
    b"\x1f\x8b": "compressed by gzip: unpack it with gunzip",
    b"BZh": "compressed by bzip2: unpack it with bunzip2",
    b"\xfd7zXZ": "compressed by xz: unpack it with unxz",
    b"(\xb5/\xfd": "compressed by Zstandard: unpack it with unzstd",
    b"7z\xbc\xaf": "a 7z archive: unpack it and give the checkpoint in it",
    b"Rar!": "a RAR archive: unpack it and give the checkpoint in it",
    b"GGUF": "a model in the GGUF format of llama.cpp: give it as .safetensors",
    b"\x89HDF": "a model in the HDF5 format of Keras: give it as .safetensors",
    b"\x93NUMPY": "an array of NumPy: give a whole checkpoint",
    b"\x89PNG": "a picture: give the checkpoint",
    b"\xff\xd8\xff": "a picture: give the checkpoint",
    b"<": "a web page, as a download without a login or past its end gives: log in where the "
    "model is from, and download it again",
    b"{": "a text (JSON), as a refused download gives: look into it, and download the model again",
}
"""What else is found under the names of weights, by its first bytes."""


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies in its file.

    dtype: torch's name of its type.
    position: of its first number, in bytes from the file's beginning.
    shape, stride: counted in numbers.
    """

    dtype: str
    position: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def numel(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def span(self) -> int:
        """How many numbers lie from its first to its last."""
        if not self.numel:
            return 0
        steps = zip(self.shape, self.stride, strict=True)
        return 1 + sum((size - 1) * step for size, step in steps)


Table = dict[str, StoredTensor]


@dataclass(frozen=True)
class _Content:
    """What is read of a file.

    texts: what it says of itself, among other values.
    end: where the tensors of one in safetensors' format end, None in torch's.
    """

    table: Table
    texts: Mapping[str, Any]
    end: int | None = None


def read_table(path: Path) -> Table:
    """Read which tensors a file has, in safetensors' format or one of torch's.

    Raises:
        FileError: when it is neither, is not whole, or asks to run something.
    """
    return _read(path).table


def require_safetensors(path: Path) -> Table:
    """Check that a file is what safetensors' own library reads; return its table.

    Raises:
        FileError: when it is not; the message says what it is.
    """
    content = _read(path)
    table, end = content.table, content.end
    if end is None:
        raise FileError(
            f"{path} is a file of torch, in spite of its name: get the model as .safetensors"
        )
    if behind := path.stat().st_size - end:
        raise FileError(
            f"{path} has {behind} bytes behind its tensors: download it again, or cut them "
            f"off with `truncate -s {end}`"
        )
    return table


def read_texts(path: Path) -> dict[str, str]:
    """Return what a file says of itself: safetensors' metadata, or the texts in a pickle.

    Raises:
        FileError: as `read_table` does.
    """
    texts = _read(path).texts
    return {key: value for key, value in texts.items() if isinstance(value, str)}


def read_tensor(path: Path, file: BinaryIO, stored: StoredTensor) -> torch.Tensor:
    """Read a tensor of an open file into memory, where no change of the file can harm it.

    Raises:
        FileError: when the file has become shorter, or numbers in it are infinite or none.
    """
    import torch

    numbers = torch.empty(stored.span * NUMBER_BYTES[stored.dtype], dtype=torch.uint8)
    file.seek(stored.position)
    if file.readinto(numbers.numpy()) != numbers.numel():  # type: ignore[attr-defined]
        raise FileError(f"{path} was changed while it was read: try again")
    flat = numbers.view(getattr(torch, stored.dtype))
    tensor = flat.as_strided(stored.shape, stored.stride).contiguous()
    if not torch.isfinite(tensor).all():
        raise FileError(
            f"{path} has numbers that are infinite or none: get it from its makers again"
        )
    return tensor


def load(path: Path, table: Mapping[str, StoredTensor]) -> dict[str, torch.Tensor]:
    """Map tensors from the disk: a private copy, of which pages are read when they are used."""
    import torch

    with path.open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    tensors = {}
    for name, stored in table.items():
        dtype = getattr(torch, stored.dtype)
        if not stored.numel:
            tensors[name] = torch.empty(stored.shape, dtype=dtype)
            continue
        numbers = torch.frombuffer(memory, dtype=dtype, count=stored.span, offset=stored.position)
        tensors[name] = numbers.as_strided(stored.shape, stored.stride)
    return tensors


def require_hash(path: Path, file: io.BufferedReader, expected: str | None) -> str:
    """Return the SHA-256 of an open file, which is read from its beginning, in lower hex.

    Args:
        expected: what it must begin with; None takes any.

    Raises:
        FileError: when it is another.
    """
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    if expected and not digest.startswith(expected):
        raise FileError(
            f"{path} is another file than it was: its SHA-256 begins with {digest[:12]} "
            f"and not with {expected[:12]}"
        )
    return digest


def unreadable(path: Path, reason: str) -> FileError:
    """Return the error of a file that is broken."""
    return FileError(f"{path} can't be read ({reason}): download it again")


def _read(path: Path) -> _Content:
    json_files.require_regular(path)
    try:
        with _Sparing(io.FileIO(path)) as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            beginning = file.read(512)
            file.seek(0)
            if beginning.startswith((b"PK\3\4", b"PK\5\6")):
                return _read_zip(path, file, size)
            if beginning[8:9] == b"{":
                return _read_safetensors(file, size)
            if beginning.startswith(b"\x80"):
                return _read_old(file, size)
    except ForeignError as error:
        raise FileError(
            f"{path} asks to run {error.name[:200]}, which weights don't need and which may do "
            "harm; it was not run. Get the model as .safetensors, or from its makers"
        ) from error
    except FileError:
        raise
    except (OSError, ValueError, zipfile.BadZipFile, struct.error, NotImplementedError) as error:
        raise unreadable(path, json_files.error_text(error)) from error
    raise _other(path, beginning)


def _other(path: Path, beginning: bytes) -> FileError:
    start = beginning.removeprefix(b"\xef\xbb\xbf").lstrip()
    for first, what in OTHERS.items():
        if start.startswith(first):
            return FileError(f"{path} is {what}")
    if beginning[257:262] == b"ustar":
        return FileError(f"{path} is a tar archive: unpack it and give the checkpoint in it")
    return unreadable(path, "it is not a file of tensors" if beginning else "it is empty")


def _read_safetensors(file: io.BufferedReader, size: int) -> _Content:
    """Read a table, and where its tensors end; there may be something behind them."""
    (length,) = struct.unpack("<Q", file.read(8))
    start = 8 + length
    if start > size:
        raise PickleError("it is cut off")
    try:
        header = json_files.parse(file.read(length))
    except PickleError:
        raise
    except ValueError as error:
        raise PickleError(f"its table is broken: {error}") from error
    metadata = header.pop("__metadata__", None)
    table = {}
    end = start
    for name, entry in header.items():
        tensor = _safetensor(entry, start)
        table[name] = tensor
        end = max(end, tensor.position + tensor.numel * NUMBER_BYTES[tensor.dtype])
    if end > size:
        raise PickleError("it is cut off")
    return _Content(table, metadata if isinstance(metadata, dict) else {}, end)


def _safetensor(entry: Any, start: int) -> StoredTensor:
    try:
        dtype, shape = SAFETENSORS_DTYPES[entry["dtype"]], tuple(entry["shape"])
        first, last = entry["data_offsets"]
    except (LookupError, TypeError, ValueError) as error:
        raise PickleError("its table is broken") from error
    if not pickles.is_shape(shape) or not pickles.is_shape((first, last)):
        raise PickleError("its table has a tensor of impossible shape")
    stride = tuple(math.prod(shape[place + 1 :]) for place in range(len(shape)))
    tensor = StoredTensor(dtype, start + first, shape, stride)
    if last - first != tensor.numel * NUMBER_BYTES[dtype]:
        raise PickleError("its table has a tensor of impossible size")
    return tensor


def _read_zip(path: Path, file: io.BufferedReader, size: int) -> _Content:
    """Read the table of torch's format since version 1.6."""
    with zipfile.ZipFile(file) as archive:
        parts = {part.filename: part for part in archive.infolist()}
    tables = [name for name in parts if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(tables) != 1:
        raise FileError(f"{path} is a zip archive: unpack it and give the checkpoint in it")
    folder = tables[0].removesuffix("data.pkl")
    if folder + "constants.pkl" in parts:
        raise FileError(f"{path} is a program of TorchScript: give a checkpoint of weights")
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts.values()):
        raise FileError(f"{path} is compressed, but checkpoints are not: download it again")

    def find(name: str) -> tuple[int, int]:
        """Return where a part's content begins and ends."""
        part = parts[folder + name]
        file.seek(part.header_offset)
        header = struct.unpack("<26x2H", file.read(30))
        start: int = part.header_offset + 30 + sum(header)
        if start + part.file_size > size:
            raise PickleError("it is cut off")
        return start, start + part.file_size

    def read(name: str) -> bytes:
        start, end = find(name)
        file.seek(start)
        return file.read(end - start)

    if folder + "byteorder" in parts and read("byteorder") != b"little":
        raise FileError(f"{path} was written on a big-endian machine: get it as .safetensors")
    reader = pickles.Reader()
    content = reader.read(io.BytesIO(read("data.pkl")))
    try:
        places = {key: find(f"data/{key}") for key in reader.storages}
    except LookupError as error:
        raise PickleError("it lacks some of its parts") from error
    return _tensors(content, places)


def _read_old(file: io.BufferedReader, size: int) -> _Content:
    """Read the table of torch's format before version 1.6: pickles, then all numbers."""
    start = io.BytesIO(file.read(min(size, TABLE_BYTES)))
    reader = pickles.Reader()
    if reader.read(start) != MAGIC_NUMBER:
        raise PickleError("it is a pickle, but not one of torch")
    _protocol, _system, content, keys = (reader.read(start) for _ in range(4))
    position = start.tell()
    places = {}
    for key in keys if isinstance(keys, list) else []:
        storage = reader.storages.get(key)
        if storage is None or position > size:
            raise PickleError("it is not a whole file of tensors")
        file.seek(position)
        begin = position + 8
        position = begin + storage.length * NUMBER_BYTES[storage.dtype]
        if file.read(8) != struct.pack("<q", storage.length) or position > size:
            raise PickleError("it is cut off")
        places[key] = begin, position
    return _tensors(content, places)


def _tensors(content: Any, places: Mapping[str, tuple[int, int]]) -> _Content:
    """Return the tensors of what a pickle holds, each inside its storage's place in the file."""
    texts = content if isinstance(content, dict) else {}
    for key in CONTAINERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    table = {}
    for name, view in content.items() if isinstance(content, dict) else ():
        if isinstance(view, View):
            if view.dtype not in NUMBER_BYTES or view.storage.key not in places:
                raise PickleError("it lacks some of its parts")
            begin, end = places[view.storage.key]
            position = begin + view.offset * NUMBER_BYTES[view.dtype]
            tensor = StoredTensor(view.dtype, position, view.shape, view.stride)
            numbers = (end - position) // NUMBER_BYTES[view.dtype]
            if max(tensor.span, tensor.numel) > min(numbers, view.storage.length):
                raise PickleError("it has a tensor that is larger than its storage")
            table[name] = tensor
    return _Content(table, texts)


class _Sparing(io.BufferedReader):
    """A file of which no more is read at once than a table may have, whatever it claims."""

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size if size in range(TABLE_BYTES) else TABLE_BYTES + 1)
        if len(content) > TABLE_BYTES:
            raise PickleError("its table is larger than that of a checkpoint")
        return content
