"""The time of one UNet call whose rows have LoRAs of their own, and the ratio to a call without."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from stable_diffusion import models
from stable_diffusion.adapters import Adapters, layout_of, ranks_of
from stable_diffusion.catalogue import Weights
from stable_diffusion.lora_files import Lora, LoraLayer
from tools.benchmark.calls import call
from tools.benchmark.latency import timed
from tools.benchmark.machine import precision
from tools.benchmark.statistics import interleaved, ratios, spread

ROWS = 8
COUNTS = (1, 4, 8)
"""Different LoRAs of the rows, which all have one."""
RANK = 16
LAYERS = {
    "attention": re.compile(r"\.attn[12]\.to_(q|k|v|out\.0)$"),
    "attention and convolutions": re.compile(r"^(down_blocks|mid_block|up_blocks)\."),
}
"""What a LoRA has terms for, by the paths in the UNet: as diffusers trains one, and as LyCORIS does
a LoCon: all linear layers and convolutions of the blocks."""


def measure(weights: Weights, size: int, rounds: int) -> dict[str, Any]:
    """Return the seconds of a call by its LoRAs, at a size in pixels and serving precision."""
    unet = models.load(weights, precision()).pipeline.unet
    plain = call(unet, size, ROWS)
    calls = {"none": plain}
    for layers, pattern in LAYERS.items():
        adapters = with_slots(unet, random_lora(unet, pattern))
        for count in COUNTS:
            slots = torch.tensor([1 + row * count // ROWS for row in range(ROWS)])
            adapted = with_rows(plain, adapters, slots.to(unet.device))
            adapted()
            calls[f"{count}, {layers}"] = adapted
    seconds = interleaved(rounds, **calls)
    return {
        "size": size,
        "rows": ROWS,
        "rank": RANK,
        "calls": {
            name: {**spread(each), "ratio": ratios(each, seconds["none"])}
            for name, each in seconds.items()
        },
    }


def random_lora(unet: nn.Module, pattern: re.Pattern[str]) -> Lora:
    """Return a LoRA of the layers whose paths match a pattern, with random values."""
    return Lora(unet=dict(_layers(unet, pattern)), text_encoder={})


def _layers(unet: nn.Module, pattern: re.Pattern[str]) -> Iterator[tuple[str, LoraLayer]]:
    for path, layer in unet.named_modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)) and pattern.search(path):
            out, *rest = layer.weight.shape
            down, up = torch.randn(RANK, *rest) / RANK, torch.randn(out, RANK) / RANK
            yield path, LoraLayer(down, up, scale=1e-3)


def with_slots(unet: nn.Module, lora: Lora) -> Adapters:
    """Return tables with a slot for each row, which all have the same values."""
    adapters = Adapters(unet, by_index=next(unet.parameters()).device.type != "cpu")
    adapters.move(layout_of([ranks_of([(lora, 1.0)])], 1 + ROWS), {})
    for row in range(ROWS):
        adapters.fill(1 + row, [(lora, 1.0)])
    return adapters


def with_rows(
    plain: Callable[[], float], adapters: Adapters, slots: torch.Tensor
) -> Callable[[], float]:
    """Return a function that times a call whose rows have LoRAs, in seconds.

    Args:
        plain: the call.
        slots: (rows,), int64, of each row.
    """

    def run() -> None:
        with adapters.at_work(slots):
            plain()

    return lambda: timed(run)
