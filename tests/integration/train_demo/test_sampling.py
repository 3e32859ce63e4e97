from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from train_demo.latents import Latents
from train_demo.sampling import PLAIN_WEIGHT, TIMESTEPS, Batch, Sampler
from train_demo.settings import PRESETS

PICTURES, PLAIN, CAPTIONS = 50, 10, 3


def sampler(seed: int = 0, **changes: Any) -> Sampler:
    """Of pictures whose latents are their number, and whose tokens are it and the caption's."""
    settings = dataclasses.replace(PRESETS["smoke"], batch={128: 50, 256: 50}, **changes)
    number = torch.arange(PICTURES)
    tokens = number[:, None, None].repeat(1, CAPTIONS, 77)
    tokens[..., 1] = torch.arange(CAPTIONS)
    of_size = {
        size: number[:, None, None, None].repeat(1, 4, size // 8, size // 8).half()
        for size in (128, 256)
    }
    learned = Latents(of_size, tokens.int(), torch.full((77,), -1).int(), number < PLAIN)
    return Sampler(learned, settings, torch.device("cpu"), seed)


def test_the_halves_of_the_training_have_their_own_sizes() -> None:
    drawn = sampler(shares=({128: 1.0}, {256: 1.0}))
    assert {drawn.size(share=0.49) for _ in range(5)} == {128}
    assert {drawn.size(share=0.51) for _ in range(5)} == {256}
    mixed = sampler(shares=({128: 0.8, 256: 0.2}, {128: 1.0}))
    assert sum(mixed.size(0) == 256 for _ in range(1000)) == pytest.approx(200, abs=60)


@pytest.mark.parametrize("size", [128, 256])
def test_a_batch_has_the_latents_noise_and_captions_of_its_pictures(size: int) -> None:
    batch = sampler(captions_dropped=0.0).batch(size)
    assert batch.latents.shape == batch.noise.shape == (50, 4, size // 8, size // 8)
    assert batch.latents.dtype == torch.float32
    assert batch.tokens.dtype == batch.timesteps.dtype == torch.int64
    assert torch.equal(batch.latents[:, 0, 0, 0].long(), batch.tokens[:, 0])
    assert set(batch.tokens[:, 1].tolist()) == set(range(CAPTIONS))
    assert abs(float(batch.noise.mean())) < 0.05
    assert float(batch.noise.std()) == pytest.approx(1, abs=0.05)


def test_timesteps_are_spread_over_the_range_and_larger_pictures_are_noised_more() -> None:
    drawn = sampler()
    small = torch.cat([drawn.batch(128).timesteps for _ in range(40)]).sort().values
    large = torch.cat([drawn.batch(256).timesteps for _ in range(40)])
    assert small.min() >= 0
    assert small.max() < TIMESTEPS
    assert (small - torch.linspace(0, TIMESTEPS - 1, len(small))).abs().max() < 25
    assert large.max() < TIMESTEPS
    assert large.float().mean() > small.float().mean() + 80


def test_captions_are_dropped_and_pictures_chosen_as_often_as_set() -> None:
    drawn = sampler(captions_dropped=0.2)
    batches = [drawn.batch(128) for _ in range(100)]
    empty = torch.cat([(batch.tokens == -1).all(1) for batch in batches]).float().mean()
    assert 0.17 < empty < 0.23
    plain = torch.cat([batch.latents[:, 0, 0, 0] < PLAIN for batch in batches]).float().mean()
    expected = PLAIN * PLAIN_WEIGHT / (PLAIN * PLAIN_WEIGHT + PICTURES - PLAIN)
    assert plain == pytest.approx(expected, abs=0.03)


def test_a_seed_says_what_is_drawn() -> None:
    def drawn(seed: int) -> tuple[int, Batch]:
        source = sampler(seed, shares=({128: 0.5, 256: 0.5}, {128: 1.0}))
        return sum(source.size(0) for _ in range(20)), source.batch(128)

    (one, batch), (other, same), (_, another) = drawn(7), drawn(7), drawn(8)
    assert one == other
    assert all(map(torch.equal, batch.tensors(), same.tensors()))
    assert not torch.equal(batch.noise, another.noise)
