"""Pixel upscalers: files of RRDB networks, and what they make of pictures."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from PIL import Image

from stable_diffusion import pixel_upscalers
from stable_diffusion.json_files import FileError
from stable_diffusion.pixel_upscalers import LARGEST_PIECE_PIXELS, MARGIN_PIXELS, PixelUpscaler
from tests.support import hostile_weights, rrdb
from tests.support.pictures import difference, picture_of
from tests.support.rrdb import Tensors

CPU = torch.device("cpu")


def load(path: Path, content: Any) -> PixelUpscaler:
    return pixel_upscalers.load(rrdb.write(path, content), CPU)


def enlarged(
    upscaler: PixelUpscaler, picture: Image.Image, size: tuple[int, int], wraps: bool = False
) -> tuple[Image.Image, int]:
    """An enlarged picture, and how many pieces it took."""
    steps, pieces = upscaler.enlarge(picture, size, wraps), 0
    with torch.inference_mode():
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value, pieces
            pieces += 1


LAYOUTS: dict[str, Callable[[Tensors], Any]] = {
    "Real-ESRGAN": lambda tensors: {"params_ema": tensors},
    "both averages": lambda tensors: {
        "params": {name: one + 1 for name, one in tensors.items()},
        "params_ema": tensors,
    },
    "BasicSR": lambda tensors: {"params": tensors},
    "bare": lambda tensors: tensors,
    "half": lambda tensors: {name: tensor.double() for name, tensor in tensors.items()},
    "parallel": lambda tensors: {f"module.{name}": one for name, one in tensors.items()},
    "older": rrdb.older,
    "oldest": rrdb.oldest,
    "oldest in state_dict": lambda tensors: {"state_dict": rrdb.oldest(tensors)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("doublings", "blocks"), [pytest.param(2, 2, id="x4"), pytest.param(1, 1, id="x2")]
)
def test_each_layout_is_the_same_network(
    layout: str, doublings: int, blocks: int, tmp_path: Path
) -> None:
    tensors = rrdb.network(blocks, doublings=doublings)
    upscaler = load(tmp_path / "some.pth", LAYOUTS[layout](tensors))
    assert (upscaler.name, upscaler.scale) == ("some", 2**doublings)
    picture = picture_of(size=(20, 31))
    size = picture.width * upscaler.scale, picture.height * upscaler.scale
    made, _ = enlarged(upscaler, picture, size)
    expected = rrdb.enlarged(tensors, picture)
    assert made.size == expected.size == size
    assert difference(made, expected)[0] <= 1
    # It is no flat picture, to which others would be equal, too.
    assert difference(made, Image.new("RGB", size, made.getpixel((9, 9))))[1] > 5


def test_a_network_that_sees_squares_of_pixels_enlarges_twice(tmp_path: Path) -> None:
    tensors = rrdb.network(channels=12)
    upscaler = load(tmp_path / "x2plus.pth", {"params_ema": tensors})
    assert upscaler.scale == 2
    picture = picture_of(size=(24, 16))
    made, _ = enlarged(upscaler, picture, (48, 32))
    assert difference(made, rrdb.enlarged(tensors, picture))[0] <= 1
    # An odd side is padded with its edge, and cut again.
    odd = picture.crop((0, 0, 23, 15))
    padded = Image.new("RGB", (24, 16))
    padded.paste(odd.crop((22, 0, 23, 15)), (23, 0))
    padded.paste(odd, (0, 0))
    padded.paste(padded.crop((0, 14, 24, 15)), (0, 15))
    made, _ = enlarged(upscaler, odd, (46, 30))
    assert difference(made, rrdb.enlarged(tensors, padded).crop((0, 0, 46, 30)))[0] <= 1


def test_safetensors_and_files_of_old_torch_are_read(tmp_path: Path) -> None:
    tensors = rrdb.network()
    safetensors.torch.save_file(tensors, tmp_path / "new.safetensors")
    old = tmp_path / "old.pth"
    torch.save({"params": tensors}, old, _use_new_zipfile_serialization=False)
    picture = picture_of(size=(16, 16))
    for path in (tmp_path / "new.safetensors", old):
        made, _ = enlarged(pixel_upscalers.load(path, CPU), picture, (64, 64))
        assert difference(made, rrdb.enlarged(tensors, picture))[0] <= 1


def test_a_network_that_repeats_pixels_repeats_them_exactly(tmp_path: Path) -> None:
    upscaler = load(tmp_path / "nearest.pth", rrdb.nearest())
    picture = picture_of(size=(250, 33))
    made, pieces = enlarged(upscaler, picture, (1000, 132))
    assert difference(made, picture.resize((1000, 132), Image.Resampling.NEAREST)) == (0, 0)
    assert pieces == 2


@pytest.mark.parametrize("channels", [3, 12])
def test_pieces_are_the_whole_picture(channels: int, tmp_path: Path) -> None:
    tensors = rrdb.network(channels=channels, doublings=1 if channels == 3 else 2)
    upscaler = load(tmp_path / "x2.pth", tensors)
    # Beyond what a piece may be both ways, and not in equal parts.
    picture = picture_of(size=(2 * LARGEST_PIECE_PIXELS + 2, LARGEST_PIECE_PIXELS + 62))
    size = 2 * picture.width, 2 * picture.height
    made, pieces = enlarged(upscaler, picture, size)
    assert pieces == 6
    assert difference(made, rrdb.enlarged(tensors, picture))[0] <= 1


def test_a_size_is_reached_by_two_passes_and_lanczos(tmp_path: Path) -> None:
    tensors = rrdb.network(doublings=1)
    upscaler, picture = load(tmp_path / "x2.pth", tensors), picture_of(size=(20, 30))
    once = rrdb.enlarged(tensors, picture)
    less, _ = enlarged(upscaler, picture, (30, 45))
    assert difference(less, once.resize((30, 45), Image.Resampling.LANCZOS))[0] <= 1
    twice, _ = enlarged(upscaler, picture, (80, 120))
    assert difference(twice, rrdb.enlarged(tensors, once))[0] <= 2
    same, pieces = enlarged(upscaler, picture, (20, 30))
    assert (same, pieces) == (picture, 0)


def test_a_picture_that_wraps_around_still_does(tmp_path: Path) -> None:
    upscaler = load(tmp_path / "x4.pth", rrdb.network())
    picture = picture_of(size=(64, 32))
    shifted = Image.new("RGB", picture.size)
    for at in ((16 - 64, 0), (16, 0)):
        shifted.paste(picture, at)
    made, _ = enlarged(upscaler, picture, (256, 128), wraps=True)
    expected, _ = enlarged(upscaler, shifted, (256, 128), wraps=True)
    for at, box in (((0, 0), (64, 0, 256, 128)), ((192, 0), (0, 0, 64, 128))):
        part = made.crop((*at, at[0] + box[2] - box[0], 128))
        assert difference(part, expected.crop(box))[0] <= 1


def test_numbers_that_overflow_are_no_picture(tmp_path: Path) -> None:
    tensors = rrdb.network()
    tensors["conv_last.weight"] *= 1e38
    tensors["conv_hr.weight"] *= 1e38
    upscaler = load(tmp_path / "large.pth", tensors)
    with pytest.raises(ArithmeticError, match="upscaler: the numbers of large have overflowed"):
        enlarged(upscaler, picture_of(size=(8, 8)), (32, 32))


def test_the_margin_is_at_least_what_one_block_sees() -> None:
    # Three dense blocks of five layers, those before and after, and half of one of each doubling.
    assert MARGIN_PIXELS >= 3 * 5 + 2 + 1


# Files that are refused


def changed(**changes: Any) -> Tensors:
    tensors = rrdb.network()
    for name, tensor in changes.items():
        if tensor is None:
            del tensors[name]
        else:
            tensors[name] = tensor
    return tensors


REFUSED: dict[str, tuple[Any, str]] = {
    "nothing": ({}, "it has no tensors"),
    "SRVGG": ({"params": {"body.0.weight": torch.zeros(64, 3, 3, 3)}}, "SRVGGNetCompact"),
    "SwinIR": (
        {
            "conv_first.weight": torch.zeros(60, 3, 3, 3),
            "layers.0.residual_group.blocks.0.norm1.weight": torch.zeros(60),
        },
        "a transformer such as SwinIR or HAT",
    ),
    "checkpoint": (
        {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(3)},
        "give it as --model",
    ),
    "unknown": ({"weight": torch.zeros(1)}, "its tensors are weight"),
    "lacking": (changed(**{"conv_hr.bias": None}), "it lacks conv_hr.bias"),
    "more": (changed(**{"conv_up3.weight": torch.zeros(1)}), "no place for conv_up3.weight"),
    "far block": (
        changed(**{"body.999999999999.rdb1.conv1.weight": torch.zeros(1)}),
        "no place for body.999999999999",
    ),
    "shape": (
        changed(**{"conv_body.weight": torch.zeros(6, 6, 3, 1)}),
        "conv_body.weight has 6 × 6 × 3 × 1 numbers, and not 6 × 6 × 3 × 3",
    ),
    "flat": (changed(**{"conv_first.weight": torch.zeros(())}), "it takes 0 channels"),
    "grey": (changed(**{"conv_first.weight": torch.zeros(6, 1, 3, 3)}), "it takes 1 channels"),
    "whole numbers": (
        changed(**{"conv_hr.bias": torch.zeros(6, dtype=torch.int8)}),
        "conv_hr.bias is of type int8",
    ),
    "as large": (
        rrdb.network(channels=12, doublings=1),
        "it enlarges neither two nor four times",
    ),
    "nan": (changed(**{"conv_hr.bias": torch.full((6,), torch.nan)}), "in conv_hr.bias"),
    "infinite": (
        changed(**{"conv_hr.bias": torch.full((6,), torch.inf)}),
        "in conv_hr.bias that are not finite",
    ),
    "larger than its storage": (
        changed(**{"conv_first.weight": torch.zeros(1).expand(2**30, 3, 3, 3)}),
        "it has a tensor that is larger than its storage",
    ),
    "wide and empty": (
        changed(**{"conv_first.weight": torch.zeros(2**40, 3, 0, 3)}),
        "its layers have 1099511627776 and 4 channels",
    ),
    "blocks": (
        changed(**{f"body.{index}.x": torch.zeros(0) for index in range(999)}),
        "it has 999 blocks",
    ),
    "two names": (
        changed(**{"module.conv_hr.bias": torch.zeros(6)}),
        "has two tensors for conv_hr.bias",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_such_network_is_refused(name: str, tmp_path: Path) -> None:
    content, reason = REFUSED[name]
    with pytest.raises(FileError) as raised:
        load(tmp_path / "some.pth", content)
    assert str(raised.value).startswith(f"{tmp_path}/some.pth ")
    assert reason in str(raised.value)


def test_a_network_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path, numbers = tmp_path / "large.safetensors", 2**31
    entry = {"dtype": "F32", "shape": [numbers], "data_offsets": [0, 4 * numbers]}
    header = {"conv_first.weight": entry, "body.0.rdb1.conv1.weight": entry}
    hostile_weights.sparse(hostile_weights.safetensors(header), 4 * numbers + 4096)(path)
    with pytest.raises(FileError, match="it has more than 33,554,432 weights"):
        pixel_upscalers.load(path, CPU)


def test_a_hostile_file_runs_nothing(tmp_path: Path) -> None:
    path, ran = tmp_path / "evil.pth", tmp_path / "ran"
    command = hostile_weights.text(f"touch {ran}")
    hostile_weights.in_zip(hostile_weights.calling("posix system", command))(path)
    with pytest.raises(FileError, match=r"evil.pth asks to run posix.system.* was not run"):
        pixel_upscalers.load(path, CPU)
    assert not ran.exists()
    hostile_weights.content(struct.pack("<Q", 2**33) + b"{}")(path)
    with pytest.raises(FileError, match=r"evil.pth can't be read .*cut off"):
        pixel_upscalers.load(path, CPU)
    pickled = hostile_weights.calling("builtins bytearray", hostile_weights.number(2**33))
    hostile_weights.in_old(pickled)(path)
    with pytest.raises(FileError, match=r"asks to run builtins.bytearray"):
        pixel_upscalers.load(path, CPU)


def test_a_file_that_cant_be_read_is_left_out_with_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = rrdb.write(tmp_path / "good.pth", rrdb.network())
    bad = tmp_path / "bad.pth"
    bad.write_text("<html>")
    found = pixel_upscalers.installed({"bad": bad, "good": good}, CPU)
    assert [*found] == ["good"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"an upscaler is left out: {bad} is a web page")
