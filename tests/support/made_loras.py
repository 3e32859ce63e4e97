"""LoRAs with random numbers, and their weights merged into a model as others do it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from stable_diffusion.lora_files import Lora, LoraLayer


def lora(
    unet: nn.Module, seed: int, rank: int = 4, parts: Sequence[str] = ("attn",), size: float = 0.5
) -> Lora:
    """One for all layers whose paths have one of the parts in them.

    Args:
        size: of what it changes, as a share of what a layer gives.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = {}
    for path, layer in unet.named_modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)) and any(part in path for part in parts):
            out, *rest = layer.weight.shape
            down = torch.randn(rank, *rest, generator=generator)
            up = torch.randn(out, rank, generator=generator)
            scale = size * float(layer.weight.std()) / rank**0.5
            layers[path] = LoraLayer(down, up, scale)
    assert layers
    return Lora(layers, {})


def merged(unet: Any, combination: Sequence[tuple[Lora, float]]) -> Any:
    """A copy of a UNet with the LoRAs in its weights."""
    unet = copy.deepcopy(unet)
    for one, weight in combination:
        for path, layer in one.unet.items():
            matrix = unet.get_submodule(path).weight
            difference = (layer.up.double() @ layer.down.double().flatten(1)).view(matrix.shape)
            matrix.data += weight * layer.scale * difference.to(matrix)
    return unet
