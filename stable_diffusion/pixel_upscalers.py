"""Pixel upscalers: the RRDB networks of ESRGAN and Real-ESRGAN, which enlarge two or four times.

What a network is like (blocks, features, growth, factor) is read off the shapes of its file's
tensors; nothing in it is run. The architecture is that of https://arxiv.org/abs/1809.00219, with
the names of RRDBNet in XPixelGroup/BasicSR (basicsr/archs/rrdbnet_arch.py); the older names are
those of xinntao/ESRGAN, and of the models before it (as in chaiNNer-org/spandrel, ESRGAN).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from stable_diffusion import tiling, weight_files
from stable_diffusion.json_files import FileError
from stable_diffusion.weight_files import Table

LARGEST_PIECE_PIXELS = 128
"""The largest side of what is enlarged in one call, without its margin; even."""
MARGIN_PIXELS = 24
"""What the network sees around it and what is cut off again, as far as there is any; even."""
MOST_PASSES = 2
"""How often a picture goes through a network: twice by two is the largest `refine_scale`."""
MOST_PARAMETERS = 2**25
"""Numbers of the largest network; RealESRGAN_x4plus has 16.7 million."""
MOST_CHANNELS, MOST_BLOCKS = 512, 128
"""Of a layer, and of a network: RealESRGAN_x4plus has 192 and 23."""
DTYPES = ("float64", "float32", "float16", "bfloat16")
COLOURS = 3
SLOPE, RESIDUAL = 0.2, 0.2
"""Of the activation below zero; and the share of a block's output that is added to its input."""
OLD_LAYERS = re.compile(r"model\.(\d{1,3})\.")
RENAMED = (
    (r"^module\.", ""),
    (r"^model\.0\.", "conv_first."),
    (r"^model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.", r"body.\1.rdb\2.conv\3."),
    (r"^model\.1\.sub\.\d+\.(weight|bias)$", r"conv_body.\1"),
    (r"^RRDB_trunk\.(\d+)\.RDB(\d)\.", r"body.\1.rdb\2."),
    (r"^trunk_conv\.", "conv_body."),
    (r"^upconv(\d)\.", r"conv_up\1."),
    (r"^HRconv\.", "conv_hr."),
)
"""The names of tensors in older files, and what BasicSR calls them."""
OTHERS = {
    "model.diffusion_model.": "a checkpoint of Stable Diffusion: give it as --model",
    "model.1.sub.0.RDB1.conv1x1.": "ESRGAN+, which has more layers",
    "layers.0.residual_group.": "a transformer such as SwinIR or HAT",
    "body.0.weight": "SRVGGNetCompact, the small network of Real-ESRGAN",
}
"""What else is found in files of upscalers, by the beginning of a tensor's name."""


class DenseBlock(nn.Module):
    """Five convolutions, of which each sees what all before it have made."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        for number in range(1, 6):
            made = features if number == 5 else growth
            self.add_module(f"conv{number}", _convolution(features + (number - 1) * growth, made))

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """Return (n, features, h, w) of the same."""
        *growing, last = self.children()
        seen = given
        for convolution in growing:
            seen = torch.cat([seen, _activated(convolution(seen))], dim=1)
        made: torch.Tensor = last(seen)
        return given + RESIDUAL * made


class Block(nn.Module):
    """Three dense blocks: a residual in residual dense block (RRDB)."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(features, growth)
        self.rdb2 = DenseBlock(features, growth)
        self.rdb3 = DenseBlock(features, growth)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """Return (n, features, h, w) of the same."""
        made: torch.Tensor = self.rdb3(self.rdb2(self.rdb1(given)))
        return given + RESIDUAL * made


class Network(nn.Module):
    """An RRDB network, whose tensors have BasicSR's names.

    Args:
        unshuffle: each square of so many pixels a side is one of what the blocks see.
        doublings: how often what they have made is doubled in width and height.
    """

    def __init__(
        self, blocks: int, features: int, growth: int, unshuffle: int, doublings: int
    ) -> None:
        super().__init__()
        self.unshuffle = unshuffle
        self.scale: int = 2**doublings // unshuffle
        self.conv_first = _convolution(COLOURS * unshuffle**2, features)
        self.body = nn.Sequential(*(Block(features, growth) for _ in range(blocks)))
        self.conv_body = _convolution(features, features)
        self.doublings = [f"conv_up{number}" for number in range(1, doublings + 1)]
        for name in self.doublings:
            self.add_module(name, _convolution(features, features))
        self.conv_hr = _convolution(features, features)
        self.conv_last = _convolution(features, COLOURS)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Enlarge (n, 3, height, width) pixels from 0 to 1, which the result may leave a little."""
        height, width = pixels.shape[-2:]
        odd = 0, -width % self.unshuffle, 0, -height % self.unshuffle
        if any(odd):
            pixels = functional.pad(pixels, odd, mode="replicate")
        seen = self.conv_first(functional.pixel_unshuffle(pixels, self.unshuffle))
        seen = seen + self.conv_body(self.body(seen))
        for name in self.doublings:
            larger = functional.interpolate(seen, scale_factor=2, mode="nearest")
            seen = _activated(self.get_submodule(name)(larger))
        made: torch.Tensor = self.conv_last(_activated(self.conv_hr(seen)))
        return made[..., : height * self.scale, : width * self.scale]


@dataclass(frozen=True)
class PixelUpscaler:
    """A network on its device, in the precision that it computes in."""

    name: str
    network: Network
    device: torch.device
    dtype: torch.dtype

    @property
    def scale(self) -> int:
        """How many times as large it makes a picture, in width and in height: 2 or 4."""
        return self.network.scale

    def enlarge(
        self, picture: Image.Image, size: tuple[int, int], wraps: bool = False
    ) -> Generator[None, None, Image.Image]:
        """Enlarge a picture to a size, and yield after each of its pieces; return it.

        All of it goes through the network, however long that takes, until it has the size: twice at
        the most, and not at all if it has it already. Lanczos then brings it to exactly that.

        Args:
            picture: RGB.
            size: width and height in pixels.
            wraps: whether what is beyond its edges is what is at the opposite ones.

        Raises:
            ArithmeticError: when numbers have overflowed.
        """
        for _ in range(MOST_PASSES):
            if picture.width >= size[0] and picture.height >= size[1]:
                break
            if wraps:
                made = yield from self._enlarged(tiling.with_margin(picture))
                margin = tiling.MARGIN_PIXELS * self.scale
                picture = made.crop((margin, margin, made.width - margin, made.height - margin))
            else:
                picture = yield from self._enlarged(picture)
        if picture.size == size:
            return picture
        return picture.resize(size, Image.Resampling.LANCZOS)

    def _enlarged(self, picture: Image.Image) -> Generator[None, None, Image.Image]:
        """Return a picture once through the network; yield after each of its pieces."""
        scale, given = self.scale, torch.from_numpy(numpy.array(picture))
        made = numpy.empty((picture.height * scale, picture.width * scale, COLOURS), numpy.uint8)
        for top, bottom in _spans(picture.height):
            for left, right in _spans(picture.width):
                above, before = max(0, top - MARGIN_PIXELS), max(0, left - MARGIN_PIXELS)
                seen = given[above : bottom + MARGIN_PIXELS, before : right + MARGIN_PIXELS]
                pixels = seen.to(self.device).permute(2, 0, 1)[None].to(self.dtype) / 255
                larger = self.network(pixels)[0].float()
                if not larger.isfinite().all():
                    raise ArithmeticError(f"upscaler: the numbers of {self.name} have overflowed")
                piece = larger[
                    :,
                    (top - above) * scale : (bottom - above) * scale,
                    (left - before) * scale : (right - before) * scale,
                ]
                values = (piece.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
                rows = slice(top * scale, bottom * scale)
                made[rows, left * scale : right * scale] = values.cpu().numpy()
                yield
        return Image.fromarray(made)


def installed(files: Mapping[str, Path], device: torch.device) -> dict[str, PixelUpscaler]:
    """Load networks, by their names; of one that can't be read, a line on stderr says why.

    Args:
        files: by the same names.
    """
    found = {}
    for name, path in files.items():
        try:
            found[name] = load(path, device)
        except FileError as error:
            print(f"an upscaler is left out: {error}", file=sys.stderr)
    return found


def load(path: Path, device: torch.device) -> PixelUpscaler:
    """Load the network in a file, in half precision on a GPU and in float32 on a CPU.

    Args:
        path: in safetensors' format or one of torch's, whatever its name; it names the upscaler.

    Raises:
        FileError: when it is no file of tensors, or they are none of such a network.
    """
    table = _renamed(path, weight_files.read_table(path))
    network = _fitting(path, table)
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    tensors = {
        name: tensor.to(device, dtype, copy=True)
        for name, tensor in weight_files.load(path, table).items()
    }
    broken = next((name for name, one in tensors.items() if not one.isfinite().all()), None)
    if broken:
        raise FileError(f"{path} has numbers in {broken} that are not finite: download it again")
    network.load_state_dict(tensors, assign=True)
    return PixelUpscaler(path.stem, network.eval().requires_grad_(False), device, dtype)


def _renamed(path: Path, table: Table) -> Table:
    """Return a file's table by BasicSR's names."""
    last = max((int(found[1]) for name in table if (found := OLD_LAYERS.match(name))), default=0)
    # After the blocks: for each doubling an interpolation, a convolution and an activation, then
    # two convolutions with an activation between.
    layers = {last - 2: "conv_hr.", last: "conv_last."}
    layers |= {layer: f"conv_up{layer // 3}." for layer in range(3, last - 3, 3)}
    renamed = {}
    for name, tensor in table.items():
        for old, new in RENAMED:
            name = re.sub(old, new, name)
        if found := OLD_LAYERS.match(name):
            name = name.replace(found[0], layers.get(int(found[1]), found[0]), 1)
        if name in renamed:
            raise FileError(f"{path} has two tensors for {name}: give a file of one network")
        renamed[name] = tensor
    return renamed


def _fitting(path: Path, table: Table) -> Network:
    """Return the network that a file's tensors fit, without numbers.

    Raises:
        FileError: when there is none.
    """
    wrong = f"{path} is no RRDB network as ESRGAN and Real-ESRGAN have it"
    first, grown = "conv_first.weight", "body.0.rdb1.conv1.weight"
    if first not in table or grown not in table:
        raise FileError(f"{wrong}: {_what(table)}")
    if sum(tensor.numel for tensor in table.values()) > MOST_PARAMETERS:
        raise FileError(f"{wrong}: it has more than {MOST_PARAMETERS:,} weights")
    features, channels = (*table[first].shape, 0, 0)[:2]
    growth = (*table[grown].shape, 0)[0]
    blocks = len({name.split(".")[1] for name in table if name.startswith("body.")})
    doublings = sum(name in table for name in ("conv_up1.weight", "conv_up2.weight"))
    unshuffle = {COLOURS: 1, COLOURS * 2**2: 2, COLOURS * 4**2: 4}.get(channels)
    if unshuffle is None:
        raise FileError(f"{wrong}: it takes {channels} channels, and not 3 or 12")
    if 2**doublings // unshuffle not in (2, 4):
        raise FileError(f"{wrong}: it enlarges neither two nor four times")
    if not 1 <= features <= MOST_CHANNELS or not 1 <= growth <= MOST_CHANNELS:
        raise FileError(f"{wrong}: its layers have {features} and {growth} channels")
    if blocks > MOST_BLOCKS:
        raise FileError(f"{wrong}: it has {blocks} blocks")
    with torch.device("meta"):
        network = Network(blocks, features, growth, unshuffle, doublings)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    if unknown := sorted(table.keys() - shapes.keys()):
        raise FileError(f"{wrong}: it has no place for {unknown[0][:200]}")
    for name, shape in shapes.items():
        if name not in table:
            raise FileError(f"{wrong}: it lacks {name}")
        if table[name].shape != shape:
            has, wants = (" × ".join(map(str, one)) for one in (table[name].shape, shape))
            raise FileError(f"{wrong}: {name} has {has} numbers, and not {wants}")
        if table[name].dtype not in DTYPES:
            raise FileError(f"{wrong}: {name} is of type {table[name].dtype}")
    return network


def _what(table: Table) -> str:
    """Return what a file is that has no RRDB network, in words."""
    for beginning, what in OTHERS.items():
        if any(name.startswith(beginning) for name in table):
            return f"it is {what}"
    names = ", ".join(sorted(table)[:3])
    return f"its tensors are {names[:200]} …" if names else "it has no tensors"


def _spans(side: int) -> Iterator[tuple[int, int]]:
    """Yield where each piece of a side begins and ends, in pixels: about equal and even."""
    count = -(-side // LARGEST_PIECE_PIXELS)
    step = -(-side // count)
    step += step % 2  # of a network that sees squares of two pixels, none is cut
    for start in range(0, side, step):
        yield start, min(start + step, side)


def _convolution(given: int, made: int) -> nn.Conv2d:
    return nn.Conv2d(given, made, kernel_size=3, padding=1)


def _activated(values: torch.Tensor) -> torch.Tensor:
    return functional.leaky_relu(values, SLOPE, inplace=True)
