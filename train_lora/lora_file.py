"""The file of a LoRA: kohya's names with alpha, which all programs read, in half precision."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from stable_diffusion.models import Model
from train_demo.progress import write
from train_lora.settings import Settings

DOWN, UP = ".lora_A.weight", ".lora_B.weight"
"""The ends of PEFT's names."""
FAMILIES = {
    (768, "epsilon"): ("sd_v1", "stable-diffusion-v1"),
    (768, "v_prediction"): ("sd_v1_v", "stable-diffusion-v1"),
    (1024, "epsilon"): ("sd_v2", "stable-diffusion-v2-512"),
    (1024, "v_prediction"): ("sd_v2_v", "stable-diffusion-v2-768-v"),
}
"""What kohya's scripts and the model specification call models, by the text's width and what the
UNet predicts; small models have no name."""


def save(
    path: Path, tensors: Mapping[str, torch.Tensor], alpha: float, metadata: Mapping[str, str]
) -> None:
    """Write a LoRA, whole or not at all; the same one gives the same bytes.

    Args:
        tensors: by PEFT's names in the UNet.
        alpha: what each difference is multiplied with, times the rank.
    """
    named = {}
    for name, tensor in tensors.items():
        layer = "lora_unet_" + name.removesuffix(DOWN).removesuffix(UP).replace(".", "_")
        end = ".lora_down.weight" if name.endswith(DOWN) else ".lora_up.weight"
        named[layer + end] = tensor.half().contiguous()
        named[f"{layer}.alpha"] = torch.tensor(float(alpha))
    content = _in_order(safetensors.torch.save(named, dict(metadata)))
    write(path, lambda file: file.write_bytes(content))


def _in_order(content: bytes) -> bytes:
    """Return a safetensors file with its header in order, which the library writes in any."""
    (length,) = struct.unpack("<Q", content[:8])
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of it
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def describe(
    model: Model, settings: Settings, name: str, trigger: str, pictures: int
) -> dict[str, str]:
    """Return a file's metadata, by the keys of kohya's scripts and of the model specification."""
    side = settings.resolution
    width = model.pipeline.unet.config.cross_attention_dim
    prediction = model.pipeline.scheduler.config.get("prediction_type", "epsilon")
    described = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(settings.rank),
        "ss_network_alpha": f"{settings.alpha:g}",
        "ss_sd_model_name": model.weights.name,
        "ss_num_train_images": str(pictures),
        "ss_steps": str(settings.steps),
        "ss_learning_rate": f"{settings.rate:g}",
        "ss_total_batch_size": str(settings.batch),
        "ss_seed": str(settings.seed),
        "ss_resolution": str((side, side)),
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.title": name,
        "modelspec.resolution": f"{side}x{side}",
        "modelspec.prediction_type": "v" if prediction == "v_prediction" else "epsilon",
    }
    if trigger:
        described["modelspec.trigger_phrase"] = trigger
    if family := FAMILIES.get((width, prediction)):
        described["ss_base_model_version"] = family[0]
        described["modelspec.architecture"] = f"{family[1]}/lora"
    return described
