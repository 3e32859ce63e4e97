"""Batches: which images share a call of the UNet, how many there is room for, what it predicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import psutil
import torch

from stable_diffusion.models import Model
from stable_diffusion.tasks import Denoising

LIVE = 26
"""Numbers that a call holds at once for each latent pixel and each channel of the UNet's first
block, counted for Stable Diffusion 1 and 2; the demo model's holds 25, the upscaler's 15."""
SHARE = 0.5
"""Of the free memory; the rest is for what a convolution works in, and for what counting misses."""
ROWS_ON_CPU = 8
"""There more rows of the native size gain little (docs/performance.md)."""

CGROUP = Path("/sys/fs/cgroup")
"""Where Linux tells a container its limits."""


def room_for(model: Model, rows: int | None = None) -> int:
    """Latent pixels, of all rows together, that one call of the UNet may have.

    Args:
        rows: as many as fit into so many rows of the model's native size. None measures the
            memory that the device has free now.
    """
    native = (model.weights.native_size // model.scale) ** 2
    if rows is not None:
        return rows * native
    each = LIVE * model.pipeline.unet.config.block_out_channels[0] * model.dtype.itemsize
    if model.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(model.device)
        return int(SHARE * free / each)
    free = _free_memory()
    return min(ROWS_ON_CPU * native, int(SHARE * free / each))


def _free_memory() -> int:
    """Bytes of the machine's memory that this process can still have, in a container's limits."""
    free: int = psutil.virtual_memory().available
    limit, taken = CGROUP / "memory.max", CGROUP / "memory.current"
    if limit.exists() and limit.read_text().strip() != "max":
        free = min(free, max(0, int(limit.read_text()) - int(taken.read_text())))
    return free


def memory_used(model: Model) -> int:
    """Bytes of the device's memory that this process holds now."""
    if model.device.type == "cuda":
        return torch.cuda.memory_reserved(model.device)
    return int(psutil.Process().memory_info().rss)


def pixels(batch: Iterable[Denoising]) -> int:
    """Latent pixels of all rows that the images take in a call."""
    return sum(each.rows * each.latents.shape[-2] * each.latents.shape[-1] for each in batch)


def divide(denoisings: Iterable[Denoising], room: int) -> Iterator[list[Denoising]]:
    """Batches of images of one size and one length of prompt, the oldest first.

    Args:
        denoisings: the oldest first.
        room: latent pixels in a batch at the most; one image has always room.
    """
    groups = defaultdict[tuple[torch.Size, torch.Size], list[Denoising]](list)
    for denoising in denoisings:
        groups[denoising.latents.shape, denoising.embeddings.positive.shape].append(denoising)
    for group in groups.values():
        batch: list[Denoising] = []
        taken = 0
        for denoising in group:
            taken += pixels([denoising])
            if batch and taken > room:
                yield batch
                batch, taken = [], pixels([denoising])
            batch.append(denoising)
        yield batch


def predict(model: Model, batch: Sequence[Denoising], room: int) -> list[torch.Tensor]:
    """What the UNet predicts for each image, guidance included.

    Each is (1, 4, height, width) of the latents, float32. Nothing is copied to the device, or
    waited for. There is one call, or more where a single image has more latent pixels than room.
    """
    inputs, timesteps, texts, labels = [], [], [], []
    for denoising in batch:
        embeddings, scaled = denoising.embeddings, denoising.unet_input()
        for text in (embeddings.negative, embeddings.positive):
            if text is not None:
                inputs.append(scaled)
                timesteps.append(denoising.timesteps[denoising.step])
                texts.append(text)
                labels += [] if denoising.label is None else [denoising.label]
    height, width = batch[0].latents.shape[-2:]
    most = max(1, room // (height * width))
    calls = []
    for start in range(0, len(inputs), most):
        some = slice(start, start + most)
        called: torch.Tensor = model.pipeline.unet(
            torch.cat(inputs[some]).to(model.dtype),
            torch.stack(timesteps[some]),
            encoder_hidden_states=torch.cat(texts[some]),
            class_labels=torch.cat(labels[some]) if labels else None,
            return_dict=False,
        )[0]
        calls.append(called.float())
    predictions = list(torch.split(torch.cat(calls), [denoising.rows for denoising in batch]))
    for index, denoising in enumerate(batch):
        if denoising.rows == 2:
            negative, positive = predictions[index].chunk(2)
            predictions[index] = negative + denoising.guidance_scale * (positive - negative)
    return predictions
