"""Hostile, broken and mislabelled files of weights, and what is said of each.

`CHECKPOINTS` are files, `CONFIGURATIONS` JSON for any place that wants some, `FOLDERS` changes of a
sound folder. Run as a program, it has all of a kind read in one process of little memory:

    python -m tests.support.hostile_weights checkpoints|folders FOLDER
"""

from __future__ import annotations

import json
import os
import pickle
import re
import resource
import shutil
import signal
import socket
import struct
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stable_diffusion import catalogue, models

MEMORY_BYTES = 6 * 2**30
"""The most addresses of the process; torch's libraries alone have more than half of it."""
PATIENCE_SECONDS = 20

Write = Callable[[Path], Any]


def content(data: bytes) -> Write:
    return lambda path: path.write_bytes(data)


def calling(name: str, argument: bytes) -> bytes:
    """A pickle that calls something with one argument."""
    return b"\x80\x02c" + name.replace(" ", "\n").encode() + b"\n" + argument + b"\x85R."


def number(value: int) -> bytes:
    return b"\x8a" + bytes([len(raw := pickle.encode_long(value))]) + raw


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def in_zip(table: bytes, parts: dict[str, bytes] | None = None, folder: str = "archive") -> Write:
    """A file of torch since version 1.6 with this pickle."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in ({"data.pkl": table} | (parts or {})).items():
                archive.writestr(f"{folder}/{name}", data)

    return write


def in_old(table: bytes, behind: bytes = b"\x80\x02].") -> Write:
    """A file of torch before version 1.6 with this pickle."""
    magic = b"\x80\x02" + number(0x1950A86A20F9469CFC6C) + b"."
    return content(magic + b"\x80\x02M\xe9\x03.\x80\x02}." + table + behind)


def tensor(length: int, shape: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    """A pickle of a dict with one tensor, of a storage that claims a length."""

    def sizes(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
    return (
        b"\x80\x02}"
        + text("weight")
        + b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + number(length)
        + b"tQ"
        + number(offset)
        + sizes(shape)
        + sizes(stride)
        + b"\x89}tRs."
    )


def safetensors(header: Any, behind: bytes = b"", length: int | None = None) -> Write:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return content(struct.pack("<Q", len(raw) if length is None else length) + raw + behind)


def sparse(write: Write, size: int) -> Write:
    """What is written, with a hole up to a size that the disk need not have."""

    def enlarged(path: Path) -> None:
        write(path)
        os.truncate(path, size)

    return enlarged


def entry(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"weight": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


def listening(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # A socket's path may have a hundred letters.
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)
    os.chdir(here)


def with_directory_of(size: int) -> Write:
    """A zip whose end says that its directory takes so many bytes, before a hole of as many."""
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, size, 30, 0)

    def write(path: Path) -> None:
        path.write_bytes(b"PK\3\4".ljust(30, b"\0"))
        os.truncate(path, 30 + size)
        with path.open("ab") as file:
            file.write(end)

    return write


def with_parts(count: int) -> Write:
    part = struct.pack("<4s16xH16x2x2H4x", b"PK\1\2", 1, 0, 0)[:46] + b"a"
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, count * len(part), 30, 0)
    return content(b"PK\3\4".ljust(30, b"\0") + count * part + end)


NO_FILE: dict[str, Write] = {
    "a pipe": lambda path: os.mkfifo(path),
    "a socket": listening,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": lambda path: path.mkdir(),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
}
"""What is not a regular file."""

BROKEN, RUNS = "can't be read .*: download it again", "asks to run "
NOT_REGULAR = "is not a regular file|there is no file|can't be read|there is no model"
NO_CHECKPOINT = "is not a whole checkpoint"

PICKLES: dict[str, tuple[bytes, str]] = {
    "bytearray of 8 GB": (calling("builtins bytearray", number(2**33)), RUNS),
    "tensor of 32 GB": (calling("torch Tensor", number(2**33)), RUNS),
    "typed tensor": (calling("torch FloatTensor", number(2**33)), RUNS),
    "storage of a TB": (calling("torch.storage UntypedStorage", number(2**40)), BROKEN),
    "bytes times n": (b"\x80\x02coperator\nmul\nU\1a" + number(2**33) + b"\x86R.", RUNS),
    "set": (calling("builtins set", b"]"), RUNS),
    "counter": (calling("collections Counter", b"]"), RUNS),
    "range in a list": (calling("builtins list", calling("builtins range", number(2**33))), RUNS),
    "os.system": (calling("posix system", text("true")), RUNS),
    "eval": (calling("builtins eval", text("1")), RUNS),
    "hex of hex": (
        b"\x80\x02U\xff" + b"a" * 255 + b"q\0" + 40 * (b"c_codecs\nencode\nh\0U\3hex\x86Rq\0"),
        BROKEN,
    ),
    "copies of a dict": (
        b"\x80\x02}q\0("
        + b"".join(text(str(key)) + b"N" for key in range(50_000))
        + b"uq\0"
        + 50_000 * b"ccollections\nOrderedDict\nh\0\x85R"
        + b".",
        BROKEN,
    ),
    "numpy of a TB": (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        + number(2**40)
        + b"\x85U\1b\x87R.",
        NO_CHECKPOINT,
    ),
    "a million lists": (b"\x80\x02" + 2**22 * b"]" + b".", BROKEN),
    "a million marks": (b"\x80\x02" + 2**22 * b"(" + b".", BROKEN),
    "deep tuples": (b"\x80\x02N" + 2**19 * b"\x85" + b".", NO_CHECKPOINT),
    "deep lists": (b"\x80\x02" + 2**18 * b"]" + 2**18 * b"a" + b".", BROKEN),
    "deep tuple as a key": (b"\x80\x02}N" + 2**19 * b"\x85" + b"Ns.", NO_CHECKPOINT),
    "list as a key": (b"\x80\x02}]Ns.", NO_CHECKPOINT),
    "state_dict in itself": (b"\x80\x02}q\0" + text("state_dict") + b"h\0s.", NO_CHECKPOINT),
    "state_dict of a number": (b"\x80\x02}" + text("state_dict") + b"K\1s.", NO_CHECKPOINT),
    "a number": (b"\x80\x02K\1.", NO_CHECKPOINT),
    "far memo": (b"\x80\x02Nr\xff\xff\xff\xff.", NO_CHECKPOINT),
    "text of 4 GB": (b"\x80\x02X\xff\xff\xff\xffa.", BROKEN),
    "bytes of a TB": (b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"a.", BROKEN),
    "frame of a TB": (b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"N.", BROKEN),
    "long of 2 GB": (b"\x80\x02\x8b\xff\xff\xff\x7fa.", BROKEN),
    "a million digits": (b"\x80\x02I" + b"9" * 10**6 + b"\n.", BROKEN),
    "empty stack": (b"\x80\x02tRQb.", BROKEN),
    "nothing": (b"", BROKEN),
    "no end": (b"\x80\x02}", BROKEN),
    "odd dict": (b"\x80\x02}(Nu.", BROKEN),
    "storage of a TB claimed": (tensor(2**40, (2**40,), (1,)), BROKEN),
    "storage of 2**70": (tensor(2**70, (1,), (1,)), BROKEN),
    "negative storage": (tensor(-4, (1,), (1,)), BROKEN),
    "tensor beyond its storage": (tensor(1, (2,), (1,)), BROKEN),
    "tensor behind its storage": (tensor(1, (1,), (1,), offset=2**40), BROKEN),
    "tensor before its storage": (tensor(1, (1,), (1,), offset=-1), BROKEN),
    "one number as a TB": (tensor(1, (2**40,), (0,)), BROKEN),
    "negative shape": (tensor(1, (-1, -1), (1, 1)), BROKEN),
    "many dimensions": (tensor(1, (1,) * 10_000, (1,) * 10_000), BROKEN),
    "shape of another length": (tensor(1, (1, 1), (1,)), BROKEN),
    "parameter of a number": (
        b"\x80\x02}X\1\0\0\0actorch._utils\n_rebuild_parameter\nK\1\x85Rs.",
        NO_CHECKPOINT,
    ),
}
"""Pickles, which are put into both of torch's formats, and what is said of them."""

FORMATS: dict[str, tuple[Write, str]] = {
    "empty": (content(b""), BROKEN),
    "noise": (content(bytes(range(200))), BROKEN),
    "zeros": (sparse(content(b""), 2**36), BROKEN),
    "web page": (content(b"\n<!DOCTYPE html><html><body>Log in</body></html>"), "a web page"),
    "xml": (content(b"\xef\xbb\xbf<?xml version='1.0'?><Error>AccessDenied</Error>"), "a web page"),
    "refusal": (content(b'{"error": "Repository not found"}'), "a text"),
    "pointer": (content(b"version https://git-lfs.github.com/spec/v1\noid"), "git lfs pull"),
    "gzip": (content(b"\x1f\x8b\x08" + bytes(99)), "gunzip"),
    "bzip2": (content(b"BZh91AY" + bytes(99)), "bunzip2"),
    "xz": (content(b"\xfd7zXZ\0" + bytes(99)), "unxz"),
    "zstd": (content(b"(\xb5/\xfd" + bytes(99)), "unzstd"),
    "7z": (content(b"7z\xbc\xaf\x27\x1c" + bytes(99)), "unpack it"),
    "rar": (content(b"Rar!\x1a\7" + bytes(99)), "unpack it"),
    "tar": (content(b"model".ljust(257, b"\0") + b"ustar".ljust(600, b"\0")), "a tar archive"),
    "gguf": (content(b"GGUF" + bytes(99)), "GGUF"),
    "hdf5": (content(b"\x89HDF\r\n\x1a\n" + bytes(99)), "HDF5"),
    "picture": (content(b"\x89PNG\r\n\x1a\n" + bytes(99)), "a picture"),
    "pickle of Python": (content(pickle.dumps({"a": 1})), BROKEN),
    "pickle protocol 2": (content(pickle.dumps({"a": 1}, 2)), "not one of torch"),
    "zip of files": (in_zip(b"", folder="a/b"), "a zip archive: unpack"),
    "zip of nothing": (content(b"PK\5\6" + bytes(18)), "a zip archive: unpack"),
    "zip that is cut off": (content(b"PK\3\4" + bytes(99)), BROKEN),
    "zip with a directory of 2 GB": (with_directory_of(2**31), BROKEN),
    "zip of 200,000 parts": (with_parts(200_000), BROKEN),
    "script": (in_zip(b"N.", {"constants.pkl": b"N."}), "TorchScript"),
    "big-endian": (in_zip(b"N.", {"byteorder": b"big"}), "big-endian"),
    "table of 10 MB": (in_zip(b"\x80\x02N" + 10_000_000 * b"0" + b"."), BROKEN),
    "storage that is cut off": (in_zip(tensor(9, (9,), (1,)), {"data/0": bytes(8)}), BROKEN),
    "old storage that is cut off": (
        in_old(tensor(2**40, (1,), (1,)), b"\x80\x02]X\1\0\0\x000a." + struct.pack("<q", 2**40)),
        BROKEN,
    ),
    "old storages of a million": (
        in_old(b"\x80\x02}.", b"\x80\x02](" + 2**19 * b"N" + b"e."),
        BROKEN,
    ),
    "header of 2**63": (safetensors(b"{}", length=2**63), BROKEN),
    "header of 2**36": (sparse(safetensors(b"{", length=2**36), 2**37), BROKEN),
    "header is a list": (safetensors(b" {]"), BROKEN),
    "header is no JSON": (safetensors(b"{'a': 1}"), BROKEN),
    "header is nested": (safetensors(b'{"a":' + b"[" * 10**5 + b"]" * 10**5 + b"}"), BROKEN),
    "header with NaN": (safetensors(b'{"a": {"dtype": "F32", "shape": [NaN]}}'), BROKEN),
    "header with 1e999": (safetensors(b'{"a": {"dtype": "F32", "shape": [1e999]}}'), BROKEN),
    "header with many digits": (safetensors(b'{"a": ' + b"9" * 5000 + b"}"), BROKEN),
    "header without tensors": (safetensors({}), NO_CHECKPOINT),
    "tensor is a number": (safetensors({"weight": 1}), BROKEN),
    "tensor without a shape": (safetensors({"weight": {"dtype": "F32"}}), BROKEN),
    "type unknown": (safetensors(entry(dtype="F3")), BROKEN),
    "type is a list": (safetensors(entry(dtype=["F32"])), BROKEN),
    "shape is a number": (safetensors(entry(shape=1)), BROKEN),
    "shape is a text": (safetensors(entry(shape="11")), BROKEN),
    "shape has fractions": (safetensors(entry(shape=[1.0])), BROKEN),
    "shape is negative": (safetensors(entry(shape=[-1, -1])), BROKEN),
    "shape overflows": (safetensors(entry(shape=[2**62, 4])), BROKEN),
    "shape of 2**70": (safetensors(entry(shape=[2**70])), BROKEN),
    "shape of 100,000": (safetensors(entry(shape=[3] * 100_000)), BROKEN),
    "offsets backwards": (safetensors(entry(offsets=[4, 0])), BROKEN),
    "offsets of three": (safetensors(entry(offsets=[0, 4, 8])), BROKEN),
    "offsets behind the end": (safetensors(entry(offsets=[2**50, 2**50 + 4])), BROKEN),
    "tensors cut off": (safetensors(entry(), b"\0\0"), BROKEN),
    "more weights than there are": (
        sparse(
            safetensors(
                {
                    "model.diffusion_model.input_blocks.0.0.weight": {
                        "dtype": "U8",
                        "shape": [2**31, 4, 1, 1],
                        "data_offsets": [0, 2**33],
                    },
                    **{
                        f"{name}.weight": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
                        for name in ("first_stage_model", "cond_stage_model.transformer")
                    },
                }
            ),
            2**34,
        ),
        "more than 2,147,483,648 weights",
    ),
}
"""Files in other formats, or broken, and what is said of them."""

CHECKPOINTS: dict[str, tuple[Write, str]] = {
    **{
        name: (write, "not a regular file|there is no file|can't be read|no model")
        for name, write in NO_FILE.items()
    },
    **FORMATS,
    **{f"{name}, in a zip": (in_zip(table), told) for name, (table, told) in PICKLES.items()},
    **{f"{name}, in an old file": (in_old(table), told) for name, (table, told) in PICKLES.items()},
}
"""All files that are no checkpoint; each is tried under both endings."""

CONFIGURATIONS: dict[str, Write] = {
    **NO_FILE,
    "empty": content(b""),
    "cut off": content(b'{"a": '),
    "binary": content(b"\xff\xfe\0{"),
    "list": content(b"[]"),
    "number": content(b"5"),
    "text": content(b'"text"'),
    "null": content(b"null"),
    "nested lists": content(b"[" * 10**5 + b"]" * 10**5),
    "nested in an object": content(b'{"a":' * 10**5 + b"1" + b"}" * 10**5),
    "infinity": content(b'{"sample_size": Infinity, "layers_per_block": -Infinity}'),
    "minus infinity": content(b'{"sample_size": -Infinity, "layers_per_block": [1, -Infinity]}'),
    "not a number": content(b'{"sample_size": NaN}'),
    "beyond floats": content(b'{"sample_size": 1e999}'),
    "many digits": content(b'{"sample_size": ' + b"9" * 5000 + b"}"),
    "a hole": sparse(content(b"{}"), 2**36),
}
"""What lies where JSON should; none of it is an object that can be read."""

PARTS = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "tokenizer/tokenizer_config.json",
    "unet/config.json",
    "vae/config.json",
    "vocabulary.json",
)
WEIGHTS = {
    "text_encoder": "text_encoder/model.safetensors",
    "unet": "unet/diffusion_pytorch_model.safetensors",
    "vae": "vae/diffusion_pytorch_model.safetensors",
}


def writing(file: str, data: bytes) -> Write:
    return lambda folder: (folder / file).write_bytes(data)


def replacing(file: str, write: Write) -> Write:
    def change(folder: Path) -> None:
        (folder / file).unlink()
        write(folder / file)

    return change


def setting(file: str, **values: Any) -> Write:
    def change(folder: Path) -> None:
        known = json.loads((folder / file).read_bytes())
        (folder / file).unlink()
        (folder / file).write_text(json.dumps(known | values))

    return change


def appending(file: str, data: bytes) -> Write:
    def change(folder: Path) -> None:
        known = (folder / file).read_bytes()
        (folder / file).unlink()
        (folder / file).write_bytes(known + data)

    return change


TOKENIZER, MERGES = "tokenizer/tokenizer.json", "tokenizer/merges.txt"
UNET, VAE, TEXT = "unet/config.json", "vae/config.json", "text_encoder/config.json"
SCHEDULER, INDEX = "scheduler/scheduler_config.json", "model_index.json"
ABSURD: dict[str, dict[str, list[Any]]] = {
    UNET: {
        "layers_per_block": [10**9, 10**5, 10**20, -1, "2", [], {}, 1.5, [10**5] * 4, None],
        "transformer_layers_per_block": [10**9, 10**5, "1", [[10**5]] * 4],
        "block_out_channels": [
            *([2**40] * 4, [], 5, "abcd", None, [0] * 4),
            *([32] * 10**5, [-32] * 4, ["a"] * 4, [[1]]),
        ],
        "down_block_types": [[], 5, None, ["DownBlock2D"] * 10**5, ["os"]],
        "attention_head_dim": [0, -1, "8", 10**9, []],
        "norm_num_groups": [0, -1, 7, "x"],
        "cross_attention_dim": [10**12, 10**5, -5, "x", [5]],
        "in_channels": [10**9, 0, "4", [4], None, {}],
        "sample_size": [10**9, 0, -16, "16", None, [16, 16], 1.5, True],
        "time_embedding_dim": [10**5, 10**12, -1],
        "act_fn": ["os.system", 5, None],
    },
    VAE: {
        "layers_per_block": [10**9, 10**5, -1, "2", []],
        "block_out_channels": [[2**40], [], 5, {}, [1] * 10**5],
        "latent_channels": [10**12, 0, -1, "4", []],
        "norm_num_groups": [0, "x"],
    },
    TEXT: {
        "num_hidden_layers": [10**9, 10**5, 10**20, -1, "2", [], None],
        "hidden_size": [10**12, 10**5, 0, -4, "x", []],
        "intermediate_size": [10**12, 10**5, -4, "x"],
        "vocab_size": [10**12, 10**5 + 1, 0, -4, "x"],
        "max_position_embeddings": [10**12, 10**5, -4, "x"],
        "num_attention_heads": [10**12, 0, "x", 7],
        "hidden_act": ["os.system", 5],
    },
    SCHEDULER: {
        "num_train_timesteps": [10**12, 10**9, "x", []],
        "beta_start": ["x", [], {}],
        "beta_schedule": ["x", 5, []],
        "trained_betas": [[10.0**9] * 10**5],
    },
    INDEX: {
        "unet": [5, [], ["diffusers"], ["os", "system"], [None, None], "x"],
        "scheduler": [
            *(["os", "system"], ["diffusers", "NoSuch"], None, 5),
            *(["diffusers", 5], ["diffusers", None], ["diffusers", []], ["diffusers", "os"]),
        ],
        "tokenizer": [["subprocess", "run"], ["transformers", "NoSuch"]],
    },
    TOKENIZER: {
        "model": [
            *(5, {}, {"type": "BPE", "vocab": {}, "merges": []}),
            {"type": "BPE", "vocab": {"a": 0}, "merges": ["b c"]},
            {"type": "BPE", "vocab": {"a": 4 * 10**9}, "merges": []},
        ],
        "version": [5],
    },
}
"""Settings of a sound folder's files with which no model can be built."""

ALLOWED: dict[str, dict[str, tuple[list[Any], str]]] = {
    SCHEDULER: {
        "prediction_type": (["sample", "x", 5, None, []], "one of epsilon, v_prediction"),
        "beta_schedule": (["x", 5], "one of linear, scaled_linear, squaredcos_cap_v2"),
        "beta_start": ([-5, 0, 1, "x", None], "a number between 0 and 1"),
        "beta_end": ([-5, 0, 1, "x", True], "a number between 0 and 1"),
        "trained_betas": ([[], [0.1], "x"], "null"),
        "num_train_timesteps": ([0, -1, 5, "x"], "a whole number from 512"),
    },
    TEXT: {
        "hidden_act": (["x", 5, None], "one of gelu, quick_gelu"),
        "num_attention_heads": ([0, "x", None], "a whole number from 1"),
        "max_position_embeddings": ([0, 2], "a whole number from 3"),
    },
    UNET: {
        "act_fn": (["x", None], "one of gelu, mish, relu, silu, swish"),
        "attention_head_dim": ([0, [8, 0]], "a whole number from 1, a list of such, or null"),
    },
    VAE: {"act_fn": (["x"], "one of gelu, mish, relu, silu, swish")},
}
"""Settings of a sound folder's files that no model has, and what may be there."""

NO_MERGES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "has no merges"),
    "a comment": (b"#version: 0.2\n", "has no merges"),
    "NULs": (bytes(1000), r"line 1 of .*merges.txt is '\\x00.* and no merge"),
    "one part": (b"#version: 0.2\ni n\nt\n", "line 3 of .*merges.txt is 't' and no merge"),
    "a web page": (b"<!DOCTYPE html>\n<html>\n", "line 2 of .*merges.txt is '<html>'"),
    "noise": (bytes(range(256)), "merges.txt can't be read"),
}
"""What lies where a tokenizer's merges should, and what is said of it."""

SOUND_PICKLE = in_zip(tensor(1, (1,), (1,)), {"data/0": bytes(4)})

TOLD: dict[str, tuple[Write, str]] = {
    **{
        f"{file}: {key} {json.dumps(value)}": (
            setting(file, **{key: value}),
            re.escape(f"{file} has {json.dumps(value)} as {key}: give {allowed},"),
        )
        for file, settings in ALLOWED.items()
        for key, (values, allowed) in settings.items()
        for value in values
    },
    **{
        f"merges.txt: {name}": (writing(MERGES, data), told)
        for name, (data, told) in NO_MERGES.items()
    },
}
"""Changes after which a sound folder can't be served, and what is said of them."""

FOLDERS: dict[str, Write] = {
    **{name: change for name, (change, _) in TOLD.items()},
    **{
        f"{file}: {name}": replacing(file, write)
        for file in PARTS
        for name, write in CONFIGURATIONS.items()
        if (file, name) != ("tokenizer/tokenizer_config.json", "minus infinity")
    },
    **{
        f"{file}: {key} {json.dumps(value)[:60]}": setting(file, **{key: value})
        for file, settings in ABSURD.items()
        for key, values in settings.items()
        for value in values
    },
    **{
        f"{file}: {name}": replacing(file, write)
        for file in WEIGHTS.values()
        for name, (write, _) in {**FORMATS, **{n: (w, "") for n, w in NO_FILE.items()}}.items()
        if name != "header without tensors"
    },
    **{f"{file}: bytes behind": appending(file, b"\0" * 7) for file in WEIGHTS.values()},
    **{
        f"{part}: a file of torch": replacing(
            file, in_zip(tensor(1, (1,), (1,)), {"data/0": bytes(4)})
        )
        for part, file in WEIGHTS.items()
    },
}
"""Changes after which a sound folder can't be served."""


def read_checkpoints(place: Path) -> Iterator[tuple[str, Any]]:
    for name, (write, _) in CHECKPOINTS.items():
        for ending in (".ckpt", ".safetensors"):
            path = place / f"model{ending}"
            write(path)
            yield name + ending, lambda path=path: catalogue.find(str(path))
            remove(path)


def read_folders(place: Path) -> Iterator[tuple[str, Any]]:
    for name, change in FOLDERS.items():
        folder = place / "model"
        copy_demo(folder)
        change(folder)
        yield name, lambda folder=folder: models.load(catalogue.find(str(folder)))
        remove(folder)


def copy_demo(folder: Path) -> None:
    """A folder of links to the demo model's files."""
    demo = catalogue.WEIGHTS.resolve() / "demo"
    shutil.copytree(demo, folder, copy_function=os.symlink, ignore=shutil.ignore_patterns("*.jpg"))


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def outcome_of(read: Callable[[], Any]) -> tuple[str, str]:
    try:
        read()
    except catalogue.SetupError as error:
        return "refused", str(error)
    except Exception as error:
        return type(error).__name__, str(error)
    return "served", ""


def peak() -> int:
    """The most memory that this program took, in megabytes; getrusage counts its parent's too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def main() -> None:
    kind, place = sys.argv[1], Path(sys.argv[2])
    current = ""

    def give_up(*_: Any) -> None:
        print(json.dumps([current, PATIENCE_SECONDS, 0, "hangs", ""]), flush=True)
        os._exit(1)

    if kind == "folders":
        models.load(catalogue.find("demo"))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.signal(signal.SIGALRM, give_up)
    for current, read in {"checkpoints": read_checkpoints, "folders": read_folders}[kind](place):
        start = time.monotonic()
        signal.alarm(PATIENCE_SECONDS)
        outcome = outcome_of(read)
        signal.alarm(0)
        print(json.dumps([current, time.monotonic() - start, peak(), *outcome]), flush=True)


if __name__ == "__main__":
    main()
