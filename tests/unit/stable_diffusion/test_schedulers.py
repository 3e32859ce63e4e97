from __future__ import annotations

from typing import Any

import pytest
import torch

from infotext.samplers import MOST_STEPS
from stable_diffusion import schedulers

SD = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "clip_sample": False,
    "skip_prk_steps": True,
}
"""The configuration of SD 2.1's own scheduler."""
TWO_CALLS = {"K_HEUN", "K_DPM_2", "K_DPM_2_ANCESTRAL"}
"""Samplers that call the UNet twice in each step but the last."""
DRAWING = {"K_EULER_ANCESTRAL", "K_DPM_2_ANCESTRAL", "SASolver", "LCM", "TCD"} | {
    name for name in schedulers.SAMPLERS if name.endswith("SDE")
}
ROUNDED = [61, 103, 121, 122, 397, 499, 998]
"""Some of the numbers of steps to which rounding adds another in the library."""


@pytest.fixture(params=schedulers.SAMPLERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_any_number_of_steps_takes_that_many_timesteps_down_to_the_last(name: str) -> None:
    # Where a step takes two calls, what lies between two steps is interpolated, which takes long.
    few = [*range(1, 30), *ROUNDED, 400, 512, 1000]
    most = MOST_STEPS.get(name, 1000)
    for steps in few if name in TWO_CALLS else range(1, most + 1):
        timesteps = schedulers.make(name, SD, steps).timesteps
        if name in TWO_CALLS:
            assert len(timesteps) == 2 * steps - 1
            timesteps = timesteps[::2] if "DPM" in name else timesteps
        distinct = torch.unique_consecutive(timesteps)
        assert len(distinct) == steps
        assert distinct[0] == 999
        assert (distinct.diff() < 0).all()
        # Those of few steps choose among as many timesteps.
        assert 0 <= distinct[-1] <= 1000 / steps + (1000 / most if name in MOST_STEPS else 0)


@pytest.mark.parametrize(
    ("steps", "strength", "run"),
    [(25, 0.8, 20), (25, 1, 25), (50, 0.3, 15), (10, 0.19, 1), (25, 0, 0), (1, 0.5, 1)],
)
def test_strength_runs_that_part_of_the_steps(
    name: str, steps: int, strength: float, run: int
) -> None:
    schedule = schedulers.make(name, SD, steps, strength)
    if name in TWO_CALLS:
        assert len(schedule.timesteps) == max(2 * run - 1, 0)
        return
    warm_up = name == "PNDM" and run > 1
    assert len(schedule.timesteps) == run + warm_up
    if int(steps * strength) == run:
        all_steps = torch.unique_consecutive(schedulers.make(name, SD, steps).timesteps)
        assert (
            torch.unique_consecutive(schedule.timesteps).tolist() == all_steps[-run:].tolist()
            or not run
        )


@pytest.mark.parametrize(
    ("strength", "last"), [(0.01, 9), (0.03, 28), (0.001, 0), (1e-9, 0), (5e-324, 0)]
)
@pytest.mark.parametrize("name", sorted(schedulers.SAMPLERS.keys() - MOST_STEPS.keys()))
def test_a_strength_of_less_than_a_step_runs_the_last_one_of_a_finer_schedule(
    name: str, strength: float, last: int
) -> None:
    assert schedulers.make(name, SD, 25, strength).timesteps.tolist() == [last]


@pytest.mark.parametrize("name", MOST_STEPS)
@pytest.mark.parametrize(("strength", "last"), [(0.03, 39), (0.02, 19), (0.001, 19), (5e-324, 19)])
def test_a_sampler_of_few_steps_leaves_out_all_of_them_but_the_last(
    name: str, strength: float, last: int
) -> None:
    assert schedulers.make(name, SD, 25, strength).timesteps.tolist() == [last]


def test_pndm_warms_up_where_it_begins() -> None:
    assert schedulers.make("PNDM", SD, 25, 0.8).timesteps.tolist()[:4] == [799, 759, 759, 719]
    assert len(schedulers.make("PNDM", SD, 25, 0.8).timesteps) == 21


def test_each_schedule_has_a_scheduler_of_its_own(name: str) -> None:
    one, other = (schedulers.make(name, SD, 4) for _ in range(2))
    assert one.scheduler is not other.scheduler


def alpha_at(scheduler: Any, timestep: float) -> torch.Tensor:
    """The training's cumulative product of alphas, between two timesteps by its noise."""
    alphas: torch.Tensor = scheduler.alphas_cumprod.double()
    log_sigmas = ((1 - alphas) / alphas).log() / 2
    low = min(int(timestep), len(alphas) - 2)
    share = timestep - low
    log_sigma = (1 - share) * log_sigmas[low] + share * log_sigmas[low + 1]
    return 1 / (1 + (2 * log_sigma).exp())


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 25, 61, 400, 499, 512])
@pytest.mark.parametrize("name", sorted(schedulers.SAMPLERS.keys() - DRAWING))
def test_every_step_leaves_just_the_noise_that_the_next_timestep_tells_the_model(
    name: str, steps: int
) -> None:
    # Those that draw new noise are left out: their path can't be foretold.
    picture = torch.full((1, 1, 4, 4), 0.5)
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(1))
    schedule = schedulers.make(name, SD | {"prediction_type": "epsilon"}, steps)
    latents = noise * schedule.scheduler.init_noise_sigma
    missing = torch.zeros(picture.shape)
    for index, timestep in enumerate(schedule.timesteps):
        alpha = alpha_at(schedule.scheduler, float(timestep))
        scaled: Any = schedule.scheduler.scale_model_input(latents, timestep)
        repeated = index > 0 and timestep == schedule.timesteps[index - 1]  # PNDM's warm-up
        if index > 0 and not repeated:
            # The first step starts from noise alone, in which SD's schedule expects some picture.
            expected = alpha.sqrt() * (picture + missing) + (1 - alpha).sqrt() * noise
            assert torch.allclose(scaled, expected, atol=1e-2)
        else:
            missing = (scaled - (1 - alpha).sqrt() * noise) / alpha.sqrt() - picture
        latents = schedule.step(index, noise, latents, torch.Generator())
    assert torch.allclose(latents, picture + missing, atol=0.1)


def test_added_noise_is_the_librarys(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    latents, noise = torch.randn(2, 1, 4, 8, 8, generator=generator)
    schedule = schedulers.make(name, SD, 12, 0.5)
    ours = schedule.add_noise(0, latents, noise)
    theirs = schedule.scheduler.add_noise(latents, noise, schedule.timesteps[:1])
    assert torch.allclose(ours, theirs, atol=1e-6)
