"""A small NSFW checker with random weights, in the hub's layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image

PREPROCESSING: dict[str, Any] = {
    "crop_size": 224,
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": 224,
}
"""What the hub's `feature_extractor/preprocessor_config.json` says."""


def write(folder: Path, flagged: Image.Image) -> None:
    """Writes one whose only concept is a picture, as the library does it."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    torch.manual_seed(0)
    tower = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
    tower |= {"num_attention_heads": 2, "patch_size": 32}
    config = CLIPConfig(
        vision_config=tower | {"initializer_factor": 10.0}, projection_dim=8, torch_dtype="float32"
    )
    checker = StableDiffusionSafetyChecker(config).eval()
    checker.concept_embeds[:] = embedding(checker, flagged)
    checker.special_care_embeds[:] = -checker.concept_embeds[:3]
    checker.concept_embeds_weights[:] = 0.99
    checker.special_care_embeds_weights[:] = 0.5
    checker.save_pretrained(folder / "safety_checker")
    (folder / "feature_extractor").mkdir()
    (folder / "feature_extractor" / "preprocessor_config.json").write_text(
        json.dumps(PREPROCESSING)
    )


def preprocessed(picture: Image.Image) -> torch.Tensor:
    """(1, 3, 224, 224): what CLIP's original preprocessing makes of a picture."""
    scale = 224 / min(picture.size)
    size = int(picture.width * scale), int(picture.height * scale)
    small = picture.resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - 224) // 2, (size[1] - 224) // 2
    square = numpy.asarray(small.crop((left, top, left + 224, top + 224))) / 255
    values = (square - PREPROCESSING["image_mean"]) / PREPROCESSING["image_std"]
    return torch.from_numpy(values).float().permute(2, 0, 1)[None]


def embedding(checker: Any, picture: Image.Image) -> torch.Tensor:
    pooled = checker.vision_model(preprocessed(picture)).pooler_output
    result: torch.Tensor = checker.visual_projection(pooled)
    return result
