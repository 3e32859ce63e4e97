from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from transformers import CLIPTokenizer

from stable_diffusion.catalogue import WEIGHTS
from train_demo import denoising
from train_demo.denoiser import Denoiser
from train_demo.latents import Latents
from train_demo.progress import Log, TrainingError
from train_demo.settings import PRESETS
from train_demo.stopping import Stop

SETTINGS = dataclasses.replace(PRESETS["smoke"], batch={64: 2}, shares=({64: 1.0}, {64: 1.0}))


@pytest.fixture(autouse=True)
def _inference() -> None:
    """Here something is trained."""


def new() -> Denoiser:
    torch.manual_seed(0)
    return Denoiser.new(SETTINGS, CLIPTokenizer.from_pretrained(WEIGHTS / "demo" / "tokenizer"))


def train(folder: Path, latents: torch.Tensor) -> tuple[Denoiser, Denoiser, list[str]]:
    """Trains on `latents`; returns the denoiser, the average, and what was made meanwhile."""
    denoiser = new()
    count = len(latents)
    tokens = torch.randint(9000, (count, 2, 77))
    learned = Latents({64: latents}, tokens, torch.zeros(77).int(), torch.arange(count) < 3)
    made: list[str] = []
    averaged = denoising.train(
        denoiser,
        learned,
        SETTINGS,
        folder / "denoiser.pt",
        Log(folder / "log.txt"),
        Stop(),
        lambda averaged: made.append("a model"),
        lambda minute: made.append("a grid"),
    )
    return denoiser, averaged, made


def weights(denoiser: Denoiser) -> torch.Tensor:
    return torch.cat([each.detach().flatten() for each in denoiser.parameters()])


def test_the_average_follows_the_weights_and_models_are_exported_meanwhile(tmp_path: Path) -> None:
    latents = torch.randn(6, 4, 8, 8).half()
    denoiser, averaged, made = train(tmp_path, latents)
    assert made[:3] == ["a model", "a model", "a grid"]
    apart = (weights(averaged) - weights(denoiser)).norm()
    assert 0 < apart < (weights(averaged) - weights(new())).norm()
    again, its_average, _ = train(tmp_path, latents)
    assert torch.equal(weights(again), weights(denoiser)), "it goes on where it ended: at the end"
    assert torch.equal(weights(its_average), weights(averaged))


def test_latents_that_are_not_finite_end_it_with_nothing_spoiled(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"step 1 \(64 px\) is not finite, the last of 3"):
        train(tmp_path, torch.full((6, 4, 8, 8), float("inf")).half())
    saved = torch.load(tmp_path / "denoiser.pt")
    for module in saved["state"]["modules"].values():
        assert all(each.isfinite().all() for each in module.values())
    assert saved["step"] == 0
