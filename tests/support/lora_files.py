"""Files of LoRAs and embeddings for tests, in the formats that programs write."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

Tensors = dict[str, torch.Tensor]
Layers = dict[tuple[str, str], tuple[torch.Tensor, torch.Tensor]]
"""The down and the up part of each layer, by the part of the model and the layer's path."""

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
SELF_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")


def layers_of(
    pipeline: Any, wanted: Callable[[str, str], bool], rank: int = 4, seed: int = 0
) -> Layers:
    """Random parts for those layers of a model that are wanted, by part and path."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) / rank

    layers: Layers = {}
    for part in ("unet", "text_encoder"):
        for path, module in getattr(pipeline, part).named_modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Conv2d) and wanted(part, path):
                out, *inner = module.weight.shape
                point = [1] * (len(inner) - 1)
                layers[part, path] = drawn(rank, *inner), drawn(out, rank, *point)
    return layers


def in_attention(_part: str, path: str) -> bool:
    """Whether a layer is one that the first LoRAs had: of an attention."""
    return path.endswith((*ATTENTION, *SELF_ATTENTION))


def every(_part: str, _path: str) -> bool:
    return True


def kohya(layers: Layers, alpha: float | None = 2.0, name: Callable[[str], str] = str) -> Tensors:
    """As kohya's scripts write them: flat names, and an alpha for each layer."""
    prefixes = {"unet": "lora_unet_", "text_encoder": "lora_te_text_model_"}
    tensors: Tensors = {}
    for (part, path), (down, up) in layers.items():
        layer = name(prefixes[part] + path.replace(".", "_"))
        tensors |= {f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up}
        if alpha is not None:
            tensors[f"{layer}.alpha"] = torch.tensor(alpha)
    return tensors


def diffusers(layers: Layers) -> Tensors:
    """As diffusers writes them since PEFT."""
    return _dotted(layers, {"unet": "unet.", "text_encoder": "text_encoder."}, "lora_A", "lora_B")


def diffusers_newer(layers: Layers) -> Tensors:
    """As diffusers' `save_lora_weights` wrote them before: `lora.down`, `lora_linear_layer`."""
    tensors: Tensors = {}
    for (part, path), (down, up) in layers.items():
        text = part == "text_encoder"
        middle = "lora_linear_layer" if text else "lora"
        layer = f"{part}.{'text_model.' if text else ''}{path}.{middle}"
        tensors |= {f"{layer}.down.weight": down, f"{layer}.up.weight": up}
    return tensors


def diffusers_old(layers: Layers) -> Tensors:
    """As diffusers wrote them first, of processors of attention."""
    tensors: Tensors = {}
    for (part, path), (down, up) in layers.items():
        path = path.replace(".to_out.0", ".to_out")
        for name in ("q", "k", "v", "out"):
            path = path.replace(f".{name}_proj", f".to_{name}")
        path = path.replace(".to_", ".processor.to_") if part == "unet" else f"text_model.{path}"
        tensors |= {
            f"{part}.{path}_lora.down.weight": down,
            f"{part}.{path}_lora.up.weight": up,
        }
    return tensors


def peft(layers: Layers) -> Tensors:
    """As PEFT writes those of one model."""
    prefix = "base_model.model."
    return _dotted(layers, {"unet": prefix, "text_encoder": prefix}, "lora_A", "lora_B")


def _dotted(layers: Layers, prefixes: dict[str, str], down_name: str, up_name: str) -> Tensors:
    return {
        f"{prefixes[part]}{path}.{name}.weight": tensor
        for (part, path), pair in layers.items()
        for name, tensor in zip((down_name, up_name), pair, strict=True)
    }


def write(path: Path, tensors: Tensors, **metadata: Any) -> Path:
    texts = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in metadata.items()
    }
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(contiguous, path, texts or None)
    return path


def merged(pipeline: Any, layers: Layers, factor: float) -> None:
    """Add LoRAs to a model's own weights."""
    for (part, path), (down, up) in layers.items():
        module = getattr(pipeline, part).get_submodule(path)
        change = up.flatten(1) @ down.flatten(1)
        module.weight.data += factor * change.reshape(module.weight.shape)


def without(tensors: Tensors, endings: Iterable[str]) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(tuple(endings))}


FORMATS = {"kohya": kohya, "diffusers": diffusers, "peft": peft}
EIGHT = [f"{name}-{number}" for number in range(2) for name in FORMATS] + ["locon", "locon-2"]


def write_eight(folder: Path, pipeline: Any) -> None:
    """Writes LoRAs of all formats, of several ranks, two of them with convolutions."""
    for seed, name in enumerate(EIGHT):
        wanted = every if "locon" in name else in_attention
        layers = layers_of(pipeline, wanted, rank=2 + 2 * seed, seed=seed)
        as_format = FORMATS.get(name.partition("-")[0], kohya)
        write(folder / f"{name}.safetensors", as_format(layers))
