"""The names that a model's layers have in files of LoRAs, of kohya, diffusers and PEFT."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

LONGEST_NAME_CHARACTERS = 400
SUFFIXES = {
    ".lora_down.weight": "down",
    ".lora_up.weight": "up",
    ".alpha": "alpha",
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".lora_A.default.weight": "down",
    ".lora_B.default.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    ".lora.down.weight": "down",
    ".lora.up.weight": "up",
    "_lora.down.weight": "down",
    "_lora.up.weight": "up",
}
"""How the names of tensors end, and which part of a LoRA they are."""
PREFIXES = re.compile(r"(?:base_model\.model\.|unet\.|text_encoder\.|text_model\.)*")
"""What stands before a layer's path in diffusers' and PEFT's files."""
ORIGINAL_RESNET = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
ORIGINAL = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
}
"""What the original checkpoints of Stable Diffusion call the UNet's layers."""
UNET_BLOCK = re.compile(
    r"(?P<side>down|up)_blocks\.(?P<block>\d+)\.(?P<kind>resnets|attentions|downsamplers|upsamplers)"
    r"\.(?P<number>\d+)\.(?P<rest>.+)"
)
MID_BLOCK = re.compile(r"mid_block\.(?P<kind>resnets|attentions)\.(?P<number>\d+)\.(?P<rest>.+)")
OLD_ATTENTION = re.compile(r"(.+\.attn\d)\.(to_[qkv]|to_out)(?:\.0)?")
OLD_SELF_ATTENTION = re.compile(r"(.+\.self_attn)\.(q|k|v|out)_proj")


@dataclass(frozen=True)
class Place:
    """A layer of the model that a LoRA can add to.

    part: "unet" or "text_encoder".
    path: of the module within that part.
    shape: of its weight, (out, in) or (out, in, height, width).
    """

    part: str
    path: str
    shape: tuple[int, ...]


def places(pipeline: Any) -> dict[str, Place]:
    """Return a model's linear layers and convolutions, by all names that they have in files."""
    named = dict[str, Place]()
    for place in _layers(pipeline.unet, "unet"):
        flat = place.path.replace(".", "_")
        for name in (place.path, f"lora_unet_{flat}", *_older_in_unet(pipeline.unet, place.path)):
            named[name] = place
    for place in _layers(pipeline.text_encoder, "text_encoder"):
        path = place.path.removeprefix("text_model.")
        flat = path.replace(".", "_")
        for name in (
            path,
            *(f"lora_{encoder}_{flat}" for encoder in ("te", "te1")),
            *(f"lora_{encoder}_text_model_{flat}" for encoder in ("te", "te1")),
            *OLD_SELF_ATTENTION.sub(r"\1.to_\2", path).split(),
        ):
            named[name] = place
    return named


def split(name: str) -> tuple[str, str] | None:
    """Return the layer and the part ("down", "up", "alpha") that a tensor's name says, or None."""
    if len(name) > LONGEST_NAME_CHARACTERS:
        return None
    for suffix, part in SUFFIXES.items():
        if name.endswith(suffix):
            return PREFIXES.sub("", name.removesuffix(suffix), count=1), part
    return None


def _layers(model: Any, part: str) -> Iterator[Place]:
    import torch

    for path, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) or (
            isinstance(module, torch.nn.Conv2d) and module.groups == 1
        ):
            yield Place(part, path, tuple(module.weight.shape))


def _older_in_unet(unet: Any, path: str) -> Iterator[str]:
    """Yield the names that older versions of the programs wrote."""
    if found := OLD_ATTENTION.fullmatch(path):
        yield f"{found[1]}.processor.{found[2]}"
    if original := _original_name(unet, path):
        yield "lora_unet_" + original.replace(".", "_")


def _original_name(unet: Any, path: str) -> str | None:
    """Return what a layer of the UNet is called in original checkpoints."""
    if found := MID_BLOCK.fullmatch(path):
        place = 1 if found["kind"] == "attentions" else 2 * int(found["number"])
        return f"middle_block.{place}.{_in_block(found)}"
    found = UNET_BLOCK.fullmatch(path)
    if not found:
        return ORIGINAL.get(path)
    blocks = unet.down_blocks if found["side"] == "down" else unet.up_blocks
    index, number = int(found["block"]), int(found["number"])
    before = sum(map(_length, blocks[:index]))
    if found["kind"] == "downsamplers":
        return f"input_blocks.{1 + before + len(blocks[index].resnets)}.0.op"
    has_attention = hasattr(blocks[index], "attentions")
    if found["kind"] == "upsamplers":
        # It belongs to the block's last place, behind what else is there.
        last = before + len(blocks[index].resnets) - 1
        return f"output_blocks.{last}.{2 if has_attention else 1}.conv"
    kind = "input_blocks" if found["side"] == "down" else "output_blocks"
    place = before + number + (found["side"] == "down")
    return f"{kind}.{place}.{int(found['kind'] == 'attentions')}.{_in_block(found)}"


def _in_block(found: re.Match[str]) -> str:
    rest = found["rest"]
    return ORIGINAL_RESNET.get(rest, rest) if found["kind"] == "resnets" else rest


def _length(block: Any) -> int:
    """Return how many places of the original's a block takes."""
    downsamplers = getattr(block, "downsamplers", None) or ()
    return len(block.resnets) + len(downsamplers)
