"""Group normalization of channels-last tensors on a GPU, in kernels of Triton.

Convolutions are fastest on channels-last tensors, but torch's group normalization on CUDA hands
back a channels-first one whatever it is given, so that each convolution after it converts its input
and each normalization its own (https://github.com/pytorch/pytorch/issues/111824; torch 2.13 has no
other yet). These kernels keep the layout, and take along what stands before and after: the bias of
the convolution before, the time embedding, and SiLU.

A channels-last tensor (rows, channels, height, width) lies in memory as (rows, pixels, channels).
Two kernels go over it, each in the same parts: a chunk of a row's pixels, and a tile of whole
groups of its channels.

1. `_statistics_kernel` writes mean and sum of squared differences from it, of each chunk and group.
2. `_normalize_kernel` joins those of all chunks, and writes the normalized part.

Mean and squares are kept by Welford's method and joined by Chan's (Chan, Golub, LeVeque,
"Algorithms for computing the sample variance", 1983), in float32, so that a mean that is large
beside the deviation costs no digits. How a row is cut does not depend on how many rows there are:
a row's result is the same, bit for bit, whatever stands beside it.

Channels and groups are compiled in. Rows and pixels are not, nor is anything derived from them: a
new picture size compiles nothing. Everything runs on the current stream without waiting, in memory
from torch: a CUDA graph can record it, once a call before has compiled it.

Importing this module needs Triton, which torch brings along where it is built for CUDA.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from __future__ import annotations

from typing import NamedTuple

import torch
import triton  # type: ignore[import-untyped]
from triton import language as tl

MAX_CHUNKS = 128
"""The most chunks of a row: as many as a program joins at once."""
TILE_ELEMENTS = 8192
"""Values that a program holds at a time: four loads of 16 bytes for each of its 256 threads."""
WARPS = 8


class Tiling(NamedTuple):
    """The division of a row; all but `pixels_per_chunk` follows from the channels alone."""

    tile_channels: int
    """Lanes for the channels of a tile: a power of two, of which `tile_groups` groups are used."""
    tile_groups: int
    group_lanes: int
    """`tile_groups`, rounded up to a power of two."""
    block_pixels: int
    """Pixels that a program holds at a time: a power of two."""
    pixels_per_chunk: int

    @classmethod
    def of(cls, channels: int, groups: int, pixels: int) -> Tiling:
        """Choose a tiling with 16-byte loads of whole cache lines and few idle lanes."""
        group_channels = channels // groups
        widest = 128 if group_channels <= 64 else 256
        tile_channels = min(
            triton.next_power_of_2(channels), max(widest, triton.next_power_of_2(group_channels))
        )
        tile_groups = min(groups, tile_channels // group_channels)
        block_pixels = max(1, TILE_ELEMENTS // tile_channels)
        blocks_per_chunk = triton.cdiv(pixels, MAX_CHUNKS * block_pixels)
        return cls(
            tile_channels,
            tile_groups,
            triton.next_power_of_2(tile_groups),
            block_pixels,
            blocks_per_chunk * block_pixels,
        )


def group_norm(
    x: torch.Tensor,
    groups: int,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float,
    *,
    shift: torch.Tensor | None = None,
    silu: bool = False,
) -> torch.Tensor:
    """Normalize the groups of channels of `x + shift`, and apply SiLU if `silu` is set.

    Args:
        x: (rows, channels, ...), float16, bfloat16 or float32. One that is not channels-last is
            converted.
        groups: how many the channels are divided into.
        weight: (channels,)
        bias: (channels,)
        eps: what is added to the variance.
        shift: (rows, channels), or (channels,) for all rows alike.
        silu: whether to hand back `y * sigmoid(y)`.

    Returns:
        A channels-last tensor of the shape and type of `x`.
    """
    _refuse_gradients(x)
    pixels_last = _pixels_last(x)
    rows, channels = x.shape[:2]
    pixels = x[0, 0].numel()
    tiling = Tiling.of(channels, groups, pixels)
    chunks = triton.cdiv(pixels, tiling.pixels_per_chunk)
    grid = (chunks, triton.cdiv(groups, tiling.tile_groups), rows)
    statistics = torch.empty(2, rows, groups, chunks, dtype=torch.float32, device=x.device)
    result = torch.empty_like(pixels_last)
    shift_stride = 0
    if shift is not None:
        shift = shift.contiguous()
        shift_stride = channels if shift.ndim == 2 else 0
    sizes = (pixels, tiling.pixels_per_chunk, shift_stride)
    compiled_in = {
        "channels": channels,
        "groups": groups,
        "tile_channels": tiling.tile_channels,
        "tile_groups": tiling.tile_groups,
        "group_lanes": tiling.group_lanes,
        "block_pixels": tiling.block_pixels,
        "num_warps": WARPS,
    }
    _statistics_kernel[grid](pixels_last, shift, *statistics, *sizes, **compiled_in)
    _normalize_kernel[grid](
        pixels_last,
        shift,
        *statistics,
        weight,
        bias,
        result,
        *sizes,
        eps,
        silu=silu,
        max_chunks=MAX_CHUNKS,
        **compiled_in,
    )
    return result.movedim(-1, 1)


def add(
    x: torch.Tensor, bias: torch.Tensor, y: torch.Tensor, y_bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Add two tensors and the biases of the convolutions that they come from, in one pass.

    Args:
        x: (rows, channels, height, width), float16, bfloat16 or float32, channels-last; it is
            written to.
        bias: (channels,)
        y: like `x`, and left as it is.
        y_bias: (channels,)

    Returns:
        `x + bias + y + y_bias`, in the place of `x`.
    """
    _refuse_gradients(x)
    result, other = _pixels_last(x), _pixels_last(y)
    channels = x.shape[1]
    pixels = result.numel() // channels
    tile_channels = min(128, triton.next_power_of_2(channels))
    block_pixels = TILE_ELEMENTS // tile_channels
    grid = (triton.cdiv(pixels, block_pixels), triton.cdiv(channels, tile_channels))
    _add_kernel[grid](
        result,
        bias,
        other,
        y_bias,
        pixels,
        channels=channels,
        tile_channels=tile_channels,
        block_pixels=block_pixels,
        num_warps=WARPS,
    )
    return result.movedim(-1, 1)


def _pixels_last(x: torch.Tensor) -> torch.Tensor:
    """Return `x` as channels-last memory has it: (rows, ..., channels), without gaps."""
    return x.movedim(1, -1).contiguous()


def _refuse_gradients(x: torch.Tensor) -> None:
    if torch.is_grad_enabled() and x.requires_grad:
        raise RuntimeError(
            "the channels-last kernels have no gradient: use them for inference only"
        )


@triton.jit
def _tile(
    channels: tl.constexpr,
    groups: tl.constexpr,
    tile_groups: tl.constexpr,
    tile_channels: tl.constexpr,
    group_lanes: tl.constexpr,
):
    """Return the channels and groups of this program's tile, and which lanes belong together.

    Returns:
        (tile_channels,) channels, and whether they exist; (group_lanes,) groups, and whether they
        exist; (group_lanes, tile_channels) whether a channel is of a group.
    """
    group_channels: tl.constexpr = channels // groups
    lane = tl.arange(0, tile_channels)
    channel = tl.program_id(1) * (tile_groups * group_channels) + lane
    is_channel = (lane < tile_groups * group_channels) & (channel < channels)
    group_lane = tl.arange(0, group_lanes)
    group = tl.program_id(1) * tile_groups + group_lane
    is_group = (group_lane < tile_groups) & (group < groups)
    is_member = group_lane[:, None] == (lane // group_channels)[None, :]
    return channel, is_channel, group, is_group, is_member


@triton.jit(do_not_specialize=["pixels", "pixels_per_chunk", "shift_stride"])
def _statistics_kernel(
    x,
    shift,
    means,
    squares,
    pixels,
    pixels_per_chunk,
    shift_stride,
    channels: tl.constexpr,
    groups: tl.constexpr,
    tile_channels: tl.constexpr,
    tile_groups: tl.constexpr,
    group_lanes: tl.constexpr,
    block_pixels: tl.constexpr,
):
    """Write mean and sum of squared differences of a chunk's groups.

    A program's place in the grid is its (chunk, tile, row). `x` is (rows, pixels, channels),
    `shift` (rows, channels) or none, `means` and `squares` (rows, groups, chunks).
    """
    chunk, row = tl.program_id(0), tl.program_id(2)
    channel, is_channel, group, is_group, is_member = _tile(
        channels, groups, tile_groups, tile_channels, group_lanes
    )
    first = chunk * pixels_per_chunk
    count = tl.minimum(pixels_per_chunk, pixels - first)
    x += (row.to(tl.int64) * pixels + first) * channels
    if shift is not None:
        shifts = tl.load(shift + row * shift_stride + channel, mask=is_channel, other=0.0)
        shifts = shifts.to(tl.float32)

    # Each lane for itself: mean and squares of every block_pixels-th pixel of its channel.
    pixel = tl.arange(0, block_pixels)
    mean = tl.zeros([block_pixels, tile_channels], tl.float32)
    square = tl.zeros([block_pixels, tile_channels], tl.float32)
    seen = 0.0
    for start in range(0, count, block_pixels):
        is_there = ((start + pixel) < count)[:, None] & is_channel[None, :]
        at = (start + pixel)[:, None] * channels + channel[None, :]
        value = tl.load(x + at, mask=is_there, other=0.0).to(tl.float32)
        if shift is not None:
            value += shifts[None, :]
        seen += 1.0
        difference = tl.where(is_there, value - mean, 0.0)
        mean += difference * (1.0 / seen)
        square += difference * (value - mean)

    # The lanes of a channel are joined, then the channels of a group.
    lane_count = ((count - pixel + block_pixels - 1) // block_pixels).to(tl.float32)[:, None]
    pixel_count = count.to(tl.float32)
    channel_mean = tl.sum(lane_count * mean, 0) / pixel_count
    difference = mean - channel_mean[None, :]
    channel_square = tl.sum(square + lane_count * difference * difference, 0)
    group_channels: tl.constexpr = channels // groups
    group_mean = tl.sum(tl.where(is_member, channel_mean[None, :], 0.0), 1) / group_channels
    difference = channel_mean[None, :] - group_mean[:, None]
    group_square = channel_square[None, :] + pixel_count * difference * difference
    group_square = tl.sum(tl.where(is_member, group_square, 0.0), 1)
    at = (row * groups + group) * tl.num_programs(0) + chunk
    tl.store(means + at, group_mean, mask=is_group)
    tl.store(squares + at, group_square, mask=is_group)


@triton.jit(do_not_specialize=["pixels", "pixels_per_chunk", "shift_stride"])
def _normalize_kernel(
    x,
    shift,
    means,
    squares,
    weight,
    bias,
    result,
    pixels,
    pixels_per_chunk,
    shift_stride,
    eps,
    channels: tl.constexpr,
    groups: tl.constexpr,
    tile_channels: tl.constexpr,
    tile_groups: tl.constexpr,
    group_lanes: tl.constexpr,
    block_pixels: tl.constexpr,
    max_chunks: tl.constexpr,
    silu: tl.constexpr,
):
    """Write the normalized values of a chunk; arguments and grid are `_statistics_kernel`'s."""
    chunk, row = tl.program_id(0), tl.program_id(2)
    channel, is_channel, group, is_group, is_member = _tile(
        channels, groups, tile_groups, tile_channels, group_lanes
    )

    # The chunks of a group are joined.
    group_channels: tl.constexpr = channels // groups
    chunks = tl.num_programs(0)
    other = tl.arange(0, max_chunks)
    chunk_count = tl.minimum(pixels_per_chunk, pixels - other * pixels_per_chunk)
    chunk_count = tl.maximum(chunk_count, 0).to(tl.float32)[None, :]
    at_chunk = (row * groups + group)[:, None] * chunks + other[None, :]
    is_chunk = is_group[:, None] & (other < chunks)[None, :]
    chunk_mean = tl.load(means + at_chunk, mask=is_chunk, other=0.0)
    chunk_square = tl.load(squares + at_chunk, mask=is_chunk, other=0.0)
    pixel_count = pixels.to(tl.float32)
    group_mean = tl.sum(chunk_count * chunk_mean, 1) / pixel_count
    difference = chunk_mean - group_mean[:, None]
    chunk_square += chunk_count * group_channels * difference * difference
    variance = tl.sum(chunk_square, 1) / (pixel_count * group_channels)
    deviation = tl.sqrt(variance + eps)

    # Each channel takes its group's.
    center = tl.sum(tl.where(is_member, group_mean[:, None], 0.0), 0)
    scale = tl.sum(tl.where(is_member, (1.0 / deviation)[:, None], 0.0), 0)
    scale *= tl.load(weight + channel, mask=is_channel, other=0.0).to(tl.float32)
    offset = tl.load(bias + channel, mask=is_channel, other=0.0).to(tl.float32)
    if shift is not None:
        shifts = tl.load(shift + row * shift_stride + channel, mask=is_channel, other=0.0)
        center -= shifts.to(tl.float32)

    first = chunk * pixels_per_chunk
    count = tl.minimum(pixels_per_chunk, pixels - first)
    start_of_chunk = (row.to(tl.int64) * pixels + first) * channels
    x += start_of_chunk
    result += start_of_chunk
    pixel = tl.arange(0, block_pixels)
    for start in range(0, count, block_pixels):
        is_there = ((start + pixel) < count)[:, None] & is_channel[None, :]
        at = (start + pixel)[:, None] * channels + channel[None, :]
        value = tl.load(x + at, mask=is_there, other=0.0).to(tl.float32)
        value = (value - center[None, :]) * scale[None, :] + offset[None, :]
        if silu:
            value *= tl.sigmoid(value)
        tl.store(result + at, value.to(result.dtype.element_ty), mask=is_there)


@triton.jit(do_not_specialize=["pixels"])
def _add_kernel(
    x,
    bias,
    y,
    y_bias,
    pixels,
    channels: tl.constexpr,
    tile_channels: tl.constexpr,
    block_pixels: tl.constexpr,
):
    """Add `y` (pixels, channels) and the biases (channels,) to `x`, which is like `y`."""
    channel = tl.program_id(1) * tile_channels + tl.arange(0, tile_channels)
    is_channel = channel < channels
    offset = tl.load(bias + channel, mask=is_channel, other=0.0).to(tl.float32)
    if y_bias is not None:
        offset += tl.load(y_bias + channel, mask=is_channel, other=0.0).to(tl.float32)
    first = tl.program_id(0).to(tl.int64) * block_pixels
    x += first * channels
    y += first * channels
    pixel = tl.arange(0, block_pixels)
    is_there = (pixel < pixels - first)[:, None] & is_channel[None, :]
    at = pixel[:, None] * channels + channel[None, :]
    value = tl.load(x + at, mask=is_there, other=0.0).to(tl.float32)
    value += tl.load(y + at, mask=is_there, other=0.0).to(tl.float32)
    tl.store(x + at, (value + offset[None, :]).to(x.dtype.element_ty), mask=is_there)
