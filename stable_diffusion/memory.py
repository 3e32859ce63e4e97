"""Memory: the room of a UNet call, what is free, and what is used."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

from stable_diffusion.models import Model

LIVE_VALUES_PER_PIXEL = 26
"""Numbers that a UNet call holds at once, for each latent pixel and channel of its first block.

Counted for Stable Diffusion 1 and 2; the demo model's holds 25, the upscaler's 15.
"""
FREE_MEMORY_SHARE = 0.5
"""Share of the free memory that a UNet call may take.

The rest is for the workspace of convolutions, and for what is not counted: running images,
captured graphs.
"""
ROWS_ON_CPU = 8
"""Rows of the native size in a call on a CPU: more gain little (docs/performance.md)."""

CGROUP = Path("/sys/fs/cgroup")
"""The folder in which Linux shows a container its limits."""


def room_for(model: Model, rows: int | None = None, reserved: int = 0) -> int:
    """Return the latent pixels, of all rows together, that one call of the UNet may have.

    Args:
        rows: as many as fit into so many rows of the model's native size. None measures the
            memory that the device has free now.
        reserved: bytes of it, on a GPU, that are for something else.
    """
    native = (model.weights.native_size // model.scale) ** 2
    if rows is not None:
        return rows * native
    channels = model.pipeline.unet.config.block_out_channels[0]
    bytes_per_pixel = LIVE_VALUES_PER_PIXEL * channels * model.dtype.itemsize
    if model.device.type == "cuda":
        unused, _ = torch.cuda.mem_get_info(model.device)
        return int(FREE_MEMORY_SHARE * max(0, unused - reserved) / bytes_per_pixel)
    return min(ROWS_ON_CPU * native, int(FREE_MEMORY_SHARE * free() / bytes_per_pixel))


def free() -> int:
    """Return the bytes of memory that this process can still have, within a container's limits."""
    available: int = psutil.virtual_memory().available
    limit, taken = CGROUP / "memory.max", CGROUP / "memory.current"
    if limit.exists() and limit.read_text().strip() != "max":
        available = min(available, max(0, int(limit.read_text()) - int(taken.read_text())))
    return available


def memory_used(model: Model) -> int:
    """Return the bytes of the device's memory that this process holds now."""
    if model.device.type == "cuda":
        return torch.cuda.memory_reserved(model.device)
    return int(psutil.Process().memory_info().rss)


def memory_allocated(model: Model) -> int | None:
    """Return the bytes of it that tensors have; None on a CPU, where nobody counts them."""
    return torch.cuda.memory_allocated(model.device) if model.device.type == "cuda" else None
