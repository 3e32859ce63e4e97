"""Small models of every task with random weights, in the library's layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from stable_diffusion import catalogue
from stable_diffusion.catalogue import TASKS, Weights
from stable_diffusion.models import Model


def make(task: str, demo: Model, folder: Path, **changed: Any) -> Weights:
    """Writes one into `folder`: the demo model's text encoder and autoencoder, and a new UNet.

    The upscaler's autoencoder is new too, since it has a block less.

    Args:
        changed: of the UNet's configuration.
    """
    import diffusers

    torch.manual_seed(0)
    parts = {**demo.pipeline.components}
    unet: dict[str, Any] = {
        "sample_size": 16,
        "in_channels": TASKS[task].channels,
        "block_out_channels": (32, 32, 64, 64),
        "norm_num_groups": 8,
        "layers_per_block": 1,
        "attention_head_dim": 4,
        "cross_attention_dim": demo.pipeline.unet.config.cross_attention_dim,
    }
    if task == "depth":
        parts |= depth_estimator()
    if task == "upscale":
        unet |= {
            "num_class_embeds": 1000,
            "down_block_types": ("DownBlock2D", *["CrossAttnDownBlock2D"] * 3),
            "up_block_types": (*["CrossAttnUpBlock2D"] * 3, "UpBlock2D"),
            "only_cross_attention": (True, True, True, False),
        }
        blocks = {"down_block_types": ["DownEncoderBlock2D"] * 3}
        parts["vae"] = diffusers.AutoencoderKL(
            **blocks,
            up_block_types=["UpDecoderBlock2D"] * 3,
            block_out_channels=(16, 32, 32),
            norm_num_groups=8,
            latent_channels=4,
            sample_size=64,
            scaling_factor=0.08333,
        )
        schedule = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "scaled_linear"}
        parts["low_res_scheduler"] = diffusers.DDPMScheduler(**schedule)
        parts["scheduler"] = diffusers.DDIMScheduler(
            **schedule, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False
        )
    parts["unet"] = diffusers.UNet2DConditionModel(**unet | changed)
    kind = getattr(diffusers, TASKS[task].pipeline)
    wanted = {name: parts.get(name) for name in kind._get_signature_keys(kind)[0]}
    safety = {} if task in ("depth", "upscale") else {"requires_safety_checker": False}
    kind(**wanted, **safety).save_pretrained(folder)
    if task == "depth":  # The hub's folder is of 2022, and names a class that is no more.
        index = json.loads((folder / "model_index.json").read_text())
        index["feature_extractor"] = ["transformers", "DPTFeatureExtractor"]
        (folder / "model_index.json").write_text(json.dumps(index))
        file = folder / "feature_extractor" / "preprocessor_config.json"
        old = {"feature_extractor_type": "DPTFeatureExtractor", "size": 64, "resample": 2}
        mean = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_normalize": True}
        file.write_text(json.dumps(old | mean | {"do_resize": True, "keep_aspect_ratio": False}))
    return catalogue.find(str(folder))


def depth_estimator() -> dict[str, Any]:
    """A small DPT-hybrid: convolutions before a transformer, as MiDaS has it."""
    import transformers

    config = transformers.DPTConfig(
        is_hybrid=True,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[16, 32, 32, 32],
        fusion_hidden_size=16,
        image_size=64,
        patch_size=16,
        backbone_featmap_shape=[1, 64, 4, 4],
        backbone_config={
            "model_type": "bit",
            "global_padding": "same",
            "layer_type": "bottleneck",
            "depths": [2, 2, 2],
            "hidden_sizes": [16, 32, 64],
            "embedding_size": 16,
            "num_groups": 4,
            "out_features": ["stage1", "stage2", "stage3"],
            "embedding_dynamic_padding": True,
        },
    )
    return {
        "depth_estimator": transformers.DPTForDepthEstimation(config).eval(),
        "feature_extractor": transformers.DPTImageProcessorPil(size={"height": 64, "width": 64}),
    }
