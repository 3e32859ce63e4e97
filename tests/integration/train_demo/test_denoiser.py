from __future__ import annotations

import dataclasses
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from train_demo.captions import Subject
from train_demo.denoiser import (
    PLAIN_WEIGHT,
    Denoiser,
    Sampler,
    ahead,
    loss_of,
    noise_schedule,
    pace,
)
from train_demo.latents import Latents
from train_demo.settings import PRESETS


def test_the_last_timestep_is_pure_noise() -> None:
    assert noise_schedule().alphas_cumprod[-1] == 0


def test_the_rate_warms_up_holds_and_falls() -> None:
    assert pace(0, 0, 200) == pytest.approx(1 / 200)
    assert pace(500, 0.3, 200) == 1
    assert pace(5000, 0.75, 200) == pytest.approx(0.515)
    assert pace(9000, 1, 200) == pytest.approx(0.03)


def sampler(**changes: Any) -> Sampler:
    plain, recoloured = Subject("owl", ("flat",)), Subject("owl", ("flat",), colour="red")
    settings = dataclasses.replace(PRESETS["smoke"], batch={128: 50, 256: 50}, **changes)
    subjects = [plain] * 10 + [recoloured] * 40

    def tokens(captions: list[str]) -> torch.Tensor:
        return torch.tensor([[len(text)] * 77 for text in captions])

    return Sampler(Latents({}, subjects), tokens, settings, seed=0)


def test_the_halves_of_the_training_have_their_own_sizes() -> None:
    drawn = sampler(shares=({128: 1.0}, {256: 1.0}))
    assert {drawn.batch(share=0.49).size for _ in range(5)} == {128}
    assert {drawn.batch(share=0.51).size for _ in range(5)} == {256}


def test_timesteps_are_spread_over_the_range_and_larger_pictures_are_noised_more() -> None:
    drawn = sampler(shares=({128: 1.0}, {256: 1.0}))
    small = np.sort(np.concatenate([drawn.batch(0.0).timesteps for _ in range(40)]))
    large = np.concatenate([drawn.batch(1.0).timesteps for _ in range(40)])
    assert small.min() >= 0
    assert small.max() <= 999
    assert np.abs(small - np.linspace(0, 999, len(small))).max() < 25
    assert large.max() <= 999
    assert large.mean() > small.mean() + 80


def test_captions_are_dropped_and_pictures_chosen_as_often_as_set() -> None:
    drawn = sampler(captions_dropped=0.2)
    batches = [drawn.batch(0.0) for _ in range(100)]
    empty = torch.cat([batch.tokens[:, 0] == 0 for batch in batches]).float().mean()
    assert 0.17 < empty < 0.23
    plain = torch.cat([batch.indices < 10 for batch in batches]).float().mean()
    assert plain == pytest.approx(10 * PLAIN_WEIGHT / (10 * PLAIN_WEIGHT + 40), abs=0.03)


def test_batches_are_made_ahead_in_their_order() -> None:
    numbers = iter(range(1000))
    taken = ahead(lambda: next(numbers))  # type: ignore[arg-type,return-value]
    first = [next(taken) for _ in range(20)]
    assert all(more == less + 1 for less, more in pairwise(first))  # type: ignore[operator]


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
        return float(loss_of(oracle, latents, torch.zeros(4, 77), timesteps, alphas))

    assert loss(0) == pytest.approx(0, abs=1e-6)
    ratio = alphas[timestep] / (1 - alphas[timestep])
    assert loss(1) == pytest.approx(float(min(ratio + 1, 6) / (ratio + 1)), rel=1e-4)


def test_a_new_denoiser_begins_with_nothing_and_its_state_goes_over() -> None:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained("weights/demo/tokenizer")
    one, other = (Denoiser.new(PRESETS["smoke"], tokenizer) for _ in range(2))
    latents, text = torch.randn(2, 4, 16, 16), torch.randn(2, 77, 32)
    assert one.unet(latents, 5, encoder_hidden_states=text).sample.abs().max() == 0
    assert not torch.equal(one.parameters()[0], other.parameters()[0])
    other.load_state(one.state())
    assert all(map(torch.equal, one.parameters(), other.parameters()))
