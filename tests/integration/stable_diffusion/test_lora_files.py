"""Files of LoRAs: the same layers and strengths are read as by the library's own loader."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from stable_diffusion import lora_files
from stable_diffusion.models import Model
from tests.support import lora_files as files
from tests.support.lora_files import Layers, Tensors

Wanted = Callable[[str, str], bool]
FORMATS: dict[str, tuple[Callable[[Layers], Tensors], Wanted]] = {
    "kohya": (files.kohya, files.in_attention),
    "kohya's LoCon": (
        files.kohya,
        lambda part, path: part == "unet" and not path.startswith(("conv_", "time_")),
    ),
    "diffusers": (files.diffusers, files.every),
    "diffusers, newer": (files.diffusers_newer, files.in_attention),
    "diffusers, old": (files.diffusers_old, files.in_attention),
}


def in_library(pipeline: Any) -> Iterator[tuple[tuple[str, str], torch.Tensor]]:
    """What the library has added to each layer's weight, by part and path."""
    for part in ("unet", "text_encoder"):
        for path, module in getattr(pipeline, part).named_modules():
            if "a" in getattr(module, "lora_A", ()):
                down, up = module.lora_A["a"].weight, module.lora_B["a"].weight
                yield (part, path), module.scaling["a"] * up.flatten(1) @ down.flatten(1)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_is_read_as_by_the_library(name: str, demo: Model, tmp_path: Path) -> None:
    write, wanted = FORMATS[name]
    tensors = write(files.layers_of(demo.pipeline, wanted))
    as_by_the_library(files.write(tmp_path / "a.safetensors", tensors), demo)


def test_settings_of_peft_count_as_by_the_library(demo: Model, tmp_path: Path) -> None:
    settings = {
        "unet.r": 4,
        "unet.lora_alpha": 8,
        "unet.target_modules": list(files.ATTENTION),
        "unet.alpha_pattern": {"attn1.to_q": 1, "attn2.to_out.0": 2},
        "text_encoder.r": 4,
        "text_encoder.lora_alpha": 3,
        "text_encoder.use_rslora": True,
        "text_encoder.target_modules": list(files.SELF_ATTENTION),
    }
    tensors = files.diffusers(files.layers_of(demo.pipeline, files.in_attention))
    path = tmp_path / "a.safetensors"
    as_by_the_library(files.write(path, tensors, lora_adapter_metadata=settings), demo)


def as_by_the_library(path: Path, demo: Model) -> None:
    """Checks that a file adds the same to the same layers as in the library."""
    pipeline = copy.copy(demo.pipeline)
    for part in ("unet", "text_encoder"):
        setattr(pipeline, part, copy.deepcopy(getattr(demo.pipeline, part)))
    pipeline.load_lora_weights(path.parent, weight_name=path.name, adapter_name="a")
    lora = lora_files.load(path, demo.pipeline)
    read = {
        (part, name): layer.scale * layer.up @ layer.down.flatten(1)
        for part in ("unet", "text_encoder")
        for name, layer in getattr(lora, part).items()
    }
    added = dict(in_library(pipeline))
    assert added
    assert read.keys() == added.keys()
    for layer, change in added.items():
        assert torch.allclose(read[layer], change, atol=1e-5)
