from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from scripts.measure.floor import floor_of
from scripts.measure.latency import default
from scripts.measure.random_weights import ARCHITECTURES
from stable_diffusion.models import Weights


@pytest.mark.parametrize(("size", "tera"), [(512, 35.9), (768, 94.4)])
def test_the_floor_of_a_default_prediction_is_known(tmp_path: Path, size: int, tera: float) -> None:
    # 20 steps × 2 rows, an encoding and a decoding: 40 × 0.804 + 1.12 + 2.51 at 512 px.
    architecture = ARCHITECTURES["stable-diffusion-2-1"]
    with torch.device("meta"):
        UNet2DConditionModel(**architecture["unet"]).save_config(tmp_path / "unet")
        AutoencoderKL(**architecture["vae"]).save_config(tmp_path / "vae")
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps({}))
    floor = floor_of(Weights("random", tmp_path, 768), default(size, steps=25))
    assert floor / 1e12 == pytest.approx(tera, rel=0.005)
