from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from train_demo.denoiser import Denoiser, noise_schedule
from train_demo.denoising import pace
from train_demo.sampling import Batch
from train_demo.settings import PRESETS
from train_demo.whole_step import loss_of


def test_the_last_timestep_is_pure_noise() -> None:
    assert noise_schedule().alphas_cumprod[-1] == 0


def test_the_rate_warms_up_holds_and_falls() -> None:
    assert pace(0, 0, 200) == pytest.approx(1 / 200)
    assert pace(500, 0.3, 200) == 1
    assert pace(5000, 0.75, 200) == pytest.approx(0.515)
    assert pace(9000, 1, 200) == pytest.approx(0.03)


class Oracle:
    """Takes the place of the denoiser: predicts the velocity, or what is `off` from it."""

    def __init__(self, latents: torch.Tensor, off: float) -> None:
        self.latents, self.off = latents, off

    def text_encoder(self, tokens: torch.Tensor) -> tuple[torch.Tensor]:
        return (tokens,)

    def unet(self, noisy: torch.Tensor, timesteps: torch.Tensor, **_: Any) -> SimpleNamespace:
        schedule = noise_schedule()
        alpha = schedule.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        noise = (noisy - alpha.sqrt() * self.latents) / (1 - alpha).sqrt()
        velocity = schedule.get_velocity(self.latents, noise, timesteps)
        return SimpleNamespace(sample=velocity + self.off)


@pytest.mark.parametrize("timestep", [10, 300, 600, 999])
def test_the_loss_is_of_the_velocity_and_weighs_every_timestep(timestep: int) -> None:
    latents = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    timesteps = torch.full((4,), timestep)
    alphas = noise_schedule().alphas_cumprod

    def loss(off: float) -> float:
        oracle: Any = Oracle(latents, off)
        batch = Batch(latents, torch.randn(latents.shape), torch.zeros(4, 77), timesteps)
        return float(loss_of(oracle, batch, alphas))

    assert loss(0) == pytest.approx(0, abs=1e-6)
    ratio = alphas[timestep] / (1 - alphas[timestep])
    assert loss(1) == pytest.approx(float(min(ratio + 1, 6) / (ratio + 1)), rel=1e-4)


def test_a_new_denoiser_begins_with_nothing() -> None:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained("weights/demo/tokenizer")
    one, other = (Denoiser.new(PRESETS["smoke"], tokenizer) for _ in range(2))
    latents, text = torch.randn(2, 4, 16, 16), torch.randn(2, 77, 32)
    assert one.unet(latents, 5, encoder_hidden_states=text).sample.abs().max() == 0
    assert not torch.equal(one.parameters()[0], other.parameters()[0])
