"""Models of the full architectures with random weights: speed does not depend on the values."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from stable_diffusion import catalogue
from stable_diffusion.catalogue import TASKS, Weights
from stable_diffusion.checkpoints import ORIGINAL

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "stable-diffusion-2-1": ("v2", {"sample_size": 96}),
    "stable-diffusion-2-inpainting": ("v2", {"in_channels": 9}),
    "stable-diffusion-2-depth": ("v2", {"in_channels": 5}),
    "stable-diffusion-x4-upscaler": ("x4-upscaler", {}),
    "stable-diffusion-v1-5": ("v1", {}),
}
"""Each model's folder in `weights/original`, and what differs in its UNet's configuration."""


def unet_configuration(name: str) -> dict[str, Any]:
    """Return the configuration of a model's UNet."""
    folder, changes = ARCHITECTURES[name]
    return _configuration(folder, "unet") | changes


def make(name: str, folder: Path) -> Weights:
    """Write a model with random weights into `folder`, in the serving precision."""
    transformers.utils.logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    architecture, _ = ARCHITECTURES[name]
    task = TASKS[catalogue.entries()[name]["task"]]
    kind = getattr(diffusers, task.pipeline)
    text = transformers.CLIPTextConfig(**_configuration(architecture, "text_encoder"))
    with torch.device(device):
        parts: dict[str, Any] = {
            "unet": diffusers.UNet2DConditionModel(**unet_configuration(name)),
            "text_encoder": transformers.CLIPTextModel(text),
            "vae": diffusers.AutoencoderKL(**_configuration(architecture, "vae")),
            "tokenizer": transformers.CLIPTokenizer.from_pretrained(ORIGINAL / "tokenizer"),
            "scheduler": diffusers.DDIMScheduler(**_configuration(architecture, "scheduler")),
            "safety_checker": None,
            "feature_extractor": None,
        }
        if "low_res_scheduler" in task.extra_components:
            noise = _configuration(architecture, "low_res_scheduler")
            parts["low_res_scheduler"] = diffusers.DDPMScheduler(**noise)
        if "depth_estimator" in task.extra_components:
            # MiDaS's DPT-hybrid (Ranftl et al., "Vision Transformers for Dense Prediction").
            config = transformers.DPTConfig(is_hybrid=True, neck_hidden_sizes=[256, 512, 768, 768])
            parts["depth_estimator"] = transformers.DPTForDepthEstimation(config)
            parts["feature_extractor"] = transformers.DPTImageProcessorPil()
    wanted = kind._get_signature_keys(kind)[0]
    pipeline = kind(**{part: parts[part] for part in wanted & parts.keys()})
    pipeline.to(torch.float16 if device == "cuda" else torch.float32).save_pretrained(folder)
    return dataclasses.replace(catalogue.find(str(folder)), name=name)


def _configuration(architecture: str, part: str) -> dict[str, Any]:
    (file,) = (ORIGINAL / architecture / part).glob("*.json")
    values: dict[str, Any] = json.loads(file.read_text())
    return {name: value for name, value in values.items() if not name.startswith("_")}
