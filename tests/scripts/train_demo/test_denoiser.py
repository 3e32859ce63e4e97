from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from scripts.train_demo.captions import Subject
from scripts.train_demo.denoiser import Sampler, noise_schedule, pace
from scripts.train_demo.latents import Latents
from scripts.train_demo.settings import PRESETS


def test_the_last_timestep_is_pure_noise() -> None:
    assert noise_schedule().alphas_cumprod[-1] == 0


def test_the_rate_warms_up_holds_and_falls() -> None:
    assert pace(0, 0, 200) == pytest.approx(1 / 200)
    assert pace(500, 0.3, 200) == 1
    assert pace(5000, 0.75, 200) == pytest.approx(0.515)
    assert pace(9000, 1, 200) == pytest.approx(0.03)


def test_a_batch_is_of_one_size_and_spread_over_the_timesteps() -> None:
    plain, recoloured = Subject("owl", ("flat",)), Subject("owl", ("flat",), colour="red")
    settings = dataclasses.replace(
        PRESETS["smoke"],
        batch={128: 50, 256: 50},
        shares=({128: 1.0}, {128: 0.5, 256: 0.5}),
    )
    sampler = Sampler(Latents({}, [plain] * 10 + [recoloured] * 40), settings, seed=0)
    assert {sampler.batch(0.1)[0] for _ in range(20)} == {128}
    seen: dict[int, list[np.ndarray]] = {128: [], 256: []}
    empty = 0
    chosen = []
    for _ in range(100):
        size, indices, captions, timesteps = sampler.batch(0.9)
        assert len(indices) == len(captions) == len(timesteps) == 50
        assert timesteps.min() >= 0
        assert timesteps.max() <= 999
        seen[size].append(timesteps)
        empty += captions.count("")
        chosen.append(indices)
    assert np.sort(np.concatenate(seen[128]))[::100].tolist() == pytest.approx(
        np.linspace(0, 999, len(np.concatenate(seen[128]))).tolist()[::100], abs=25
    )
    assert np.mean(np.concatenate(seen[256])) > np.mean(np.concatenate(seen[128])) + 80
    assert 0.08 < empty / 5000 < 0.12
    assert 0.45 < np.mean(np.concatenate(chosen) < 10) < 0.55, (
        "the thing itself four times as often"
    )


def test_no_timestep_is_left_out_of_the_loss() -> None:
    alphas = noise_schedule().alphas_cumprod
    weights = torch.clamp(1 / (1 - alphas), max=6) * (1 - alphas)
    assert weights.min() > 0
