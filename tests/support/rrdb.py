"""Small RRDB networks with random weights, in each layout that files of them have."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image
from torch.nn import functional

Tensors = dict[str, torch.Tensor]


def network(
    blocks: int = 1, features: int = 6, growth: int = 4, channels: int = 3, doublings: int = 2
) -> Tensors:
    """Random weights by BasicSR's names, whose pictures have all colours."""
    layers = {"conv_first": (channels, features), "conv_body": (features, features)}
    for block in range(blocks):
        for dense in (1, 2, 3):
            for number in (1, 2, 3, 4, 5):
                shape = features + (number - 1) * growth, features if number == 5 else growth
                layers[f"body.{block}.rdb{dense}.conv{number}"] = shape
    for number in range(1, doublings + 1):
        layers[f"conv_up{number}"] = features, features
    layers |= {"conv_hr": (features, features), "conv_last": (features, 3)}
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, (given, made) in layers.items():
        spread = math.sqrt(2 / (9 * given))
        tensors[f"{name}.weight"] = spread * torch.randn(made, given, 3, 3, generator=generator)
        tensors[f"{name}.bias"] = 0.1 * torch.randn(made, generator=generator)
    # Without this the colours would be the ends of their range, at which all networks are alike.
    tensors["conv_last.weight"] -= tensors["conv_last.weight"].mean((2, 3), keepdim=True)
    tensors["conv_last.bias"] += 0.5
    return tensors


def nearest() -> Tensors:
    """Weights that repeat each pixel four times across and down."""
    tensors = {name: torch.zeros_like(one) for name, one in network(features=3).items()}
    for name in ("conv_first", "conv_up1", "conv_up2", "conv_hr", "conv_last"):
        for channel in range(3):
            tensors[f"{name}.weight"][channel, channel, 1, 1] = 1
    return tensors


def older(tensors: Tensors) -> Tensors:
    """The same by the names of xinntao/ESRGAN, which older versions of BasicSR had too."""
    names = {"conv_body": "trunk_conv", "body.": "RRDB_trunk.", ".rdb": ".RDB"}
    names |= {"conv_up": "upconv", "conv_hr": "HRconv"}
    return {_replaced(name, names): tensor for name, tensor in tensors.items()}


def oldest(tensors: Tensors) -> Tensors:
    """The same by the names of the first ESRGAN's files: places in a sequence of layers."""
    doublings = sum(name.startswith("conv_up") for name in tensors) // 2
    blocks = len({name.split(".")[1] for name in tensors if name.startswith("body.")})
    names = {"conv_first": "model.0", "conv_body": f"model.1.sub.{blocks}"}
    names |= {f"conv_up{number}": f"model.{3 * number}" for number in (1, 2)}
    names |= {"conv_hr": f"model.{3 * doublings + 2}", "conv_last": f"model.{3 * doublings + 4}"}
    dense = re.compile(r"body\.(\d+)\.rdb(\d)\.conv(\d)\.")
    return {
        _replaced(dense.sub(r"model.1.sub.\1.RDB\2.conv\3.0.", name), names): tensor
        for name, tensor in tensors.items()
    }


def write(path: Path, content: Any) -> Path:
    """A file of torch; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def enlarged(tensors: Tensors, picture: Image.Image) -> Image.Image:
    """What a network makes of a whole picture, after the architecture's paper."""
    given = torch.from_numpy(numpy.array(picture)).permute(2, 0, 1)[None] / 255
    if tensors["conv_first.weight"].shape[1] == 12:
        given = torch.cat(
            # Colour by colour, the four pixels of each square as further channels.
            [given[:, c : c + 1, y::2, x::2] for c in range(3) for y in (0, 1) for x in (0, 1)],
            dim=1,
        )

    def convolved(name: str, values: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(values, tensors[f"{name}.weight"], tensors[f"{name}.bias"], 1, 1)

    def active(values: torch.Tensor) -> torch.Tensor:
        return torch.where(values > 0, values, values * 0.2)

    first = convolved("conv_first", given)
    values, block = first, 0
    while f"body.{block}.rdb1.conv1.weight" in tensors:
        into_block = values
        for dense in (1, 2, 3):
            layers = [values]
            for number in (1, 2, 3, 4):
                name = f"body.{block}.rdb{dense}.conv{number}"
                layers.append(active(convolved(name, torch.cat(layers, 1))))
            last = convolved(f"body.{block}.rdb{dense}.conv5", torch.cat(layers, 1))
            values = values + 0.2 * last
        values = into_block + 0.2 * values
        block += 1
    values = first + convolved("conv_body", values)
    for number in (1, 2):
        if f"conv_up{number}.weight" in tensors:
            values = values.repeat_interleave(2, 2).repeat_interleave(2, 3)
            values = active(convolved(f"conv_up{number}", values))
    made = convolved("conv_last", active(convolved("conv_hr", values)))[0]
    pixels = (made.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
    return Image.fromarray(pixels.numpy())


def _replaced(name: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        name = name.replace(old, new)
    return name
