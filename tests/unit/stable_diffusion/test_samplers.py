"""Tables are held to the schedules that they were read off."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from infotext.samplers import EVEN_SCHEDULERS, MOST_STEPS
from stable_diffusion import samplers, schedulers
from stable_diffusion.request import SPACINGS
from stable_diffusion.samplers import LATENTS, NOISE, OUTPUT, Course, Samplers, Table
from stable_diffusion.schedulers import Schedule
from tests.support.properties import given, settings
from tests.support.properties import strategies as st
from tests.unit.stable_diffusion.test_schedulers import SD

SHAPE = (1, 4, 8, 8)


def table_of(name: str, config: dict[str, Any], *asked: Any) -> Table:
    table = samplers.read(schedulers.make(name, config, *asked))
    assert table
    return table


def by_schedule(schedule: Schedule) -> torch.Tensor:
    """The latents after all steps, with a nonlinear stand-in for the UNet."""
    generator = torch.Generator().manual_seed(7)
    latents = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
    latents = latents * float(schedule.scheduler.init_noise_sigma)
    for index, timestep in enumerate(schedule.timesteps):
        seen = schedule.scheduler.scale_model_input(latents, timestep)
        latents = schedule.step(index, unet(seen, float(timestep)), latents, generator)
    return latents.double()


def by_table(table: Table) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    first = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
    state = torch.zeros(samplers.COLUMNS, first.numel(), dtype=torch.float64)
    state[LATENTS] = table.start(None, first).flatten()
    inputs = zip(table.scales.tolist(), table.timesteps.tolist(), strict=True)
    for matrix, (scale, timestep), draws in zip(table.matrices, inputs, table.draws, strict=True):
        state[OUTPUT] = unet(state[LATENTS] * scale, timestep)
        if draws:
            drawn = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
            state[NOISE] = drawn.flatten()
        after = matrix @ state
        state[:OUTPUT] = after[:OUTPUT]
    return state[LATENTS].view(SHAPE)


def unet(seen: torch.Tensor, timestep: float) -> torch.Tensor:
    return torch.tanh(seen + timestep / 1000) + 0.1 * torch.sin(3 * seen)


ALL = sorted(schedulers.SAMPLERS)
NO_SAMPLE = {"KLMS", "PNDM", "K_EULER_ANCESTRAL", "K_DPM_2", "K_DPM_2_ANCESTRAL"}
"""Samplers that the library has not made for models that predict the picture."""


@settings(max_examples=60)
@given(
    st.sampled_from(ALL),
    st.sampled_from(["epsilon", "v_prediction", "sample"]),
    st.booleans(),
    st.integers(1, 60) | st.sampled_from([400, 499, 512]),
    st.sampled_from([1.0, 0.8, 0.3, 0.01]),
    st.sampled_from(SPACINGS),
    st.sampled_from([0.0, 0.3, 1.0]),
)
def test_a_table_takes_the_steps_of_its_schedule(
    name: str,
    prediction_type: str,
    zero_snr: bool,
    steps: int,
    strength: float,
    spacing: str,
    eta: float,
) -> None:
    if name == "KLMS":
        steps = min(steps, 60)  # its coefficients are integrals that take long
    steps = min(steps, MOST_STEPS.get(name, steps))
    if prediction_type == "sample" and name in NO_SAMPLE:
        prediction_type = "epsilon"
    # Of pure noise, a model can't predict the noise that is on a picture.
    zero_snr = zero_snr and prediction_type != "epsilon"
    config = SD | {"prediction_type": prediction_type, "rescale_betas_zero_snr": zero_snr}
    spacing = "default" if name in EVEN_SCHEDULERS else spacing
    asked = (steps, strength, spacing, eta if name == "DDIM" else 0)
    expected = by_schedule(schedulers.make(name, config, *asked))
    found = by_table(table_of(name, config, *asked))
    assert expected.isfinite().all()
    assert (found - expected).abs().max() <= 3e-6 * expected.abs().max().clamp(min=1)


@pytest.mark.parametrize("name", ALL)
def test_a_table_lays_noise_on_a_picture_as_its_schedule_does(name: str) -> None:
    table, schedule = table_of(name, SD, 12, 0.5), schedulers.make(name, SD, 12, 0.5)
    picture, noise = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(1))
    expected = schedule.add_noise(0, picture, noise)
    assert torch.allclose(table.start(picture, noise), expected, atol=1e-6)
    generator = torch.Generator()
    for index in range(1, len(schedule.timesteps)):
        schedule.scheduler.scale_model_input(picture, schedule.timesteps[index - 1])
        schedule.step(index - 1, noise, picture, generator)
        of_picture, of_noise = table.renoise[index].tolist()
        found = picture * of_picture + noise * of_noise
        assert torch.allclose(found, schedule.add_noise(index, picture, noise), atol=1e-5)
    assert table.renoise[-1].tolist() == [1, 0]


@pytest.mark.parametrize("spacing", ["default", "karras"])
@pytest.mark.parametrize("name", ALL)
def test_what_is_preserved_is_as_noisy_as_the_unet_expects_half_way_through_a_step_too(
    name: str, spacing: str
) -> None:
    table = table_of(name, SD, 9, 1, "default" if name in EVEN_SCHEDULERS else spacing)
    scaled = table.renoise[:-1] * table.scales[:, None]
    assert torch.allclose((scaled**2).sum(dim=1), torch.ones(len(scaled), dtype=torch.float64))


@pytest.mark.parametrize("name", ["DDIM", "K_EULER", "K_EULER_ANCESTRAL", "KLMS"])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_estimate_is_the_librarys_where_it_gives_one(name: str, prediction_type: str) -> None:
    config = SD | {"prediction_type": prediction_type}
    table, schedule = table_of(name, config, 9), schedulers.make(name, config, 9)
    generator = torch.Generator().manual_seed(3)
    state = torch.zeros(samplers.COLUMNS, 256, dtype=torch.float64)
    latents = torch.randn(SHAPE, generator=generator, dtype=torch.float64) * table.sigma
    for index, timestep in enumerate(schedule.timesteps):
        output = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
        state[LATENTS], state[OUTPUT] = latents.flatten(), output.flatten()
        schedule.scheduler.scale_model_input(latents, timestep)
        given = {"generator": generator} if "ANCESTRAL" in name else {}
        stepped = schedule.scheduler.step(output, timestep, latents, **given)
        estimate = (table.matrices[index, -1] @ state).view(SHAPE)
        expected = stepped.pred_original_sample
        assert (estimate - expected).abs().max() <= 1e-3 * expected.abs().max()
        latents = stepped.prev_sample.double()


def test_without_guidance_the_unconditional_output_has_no_part() -> None:
    matrices = table_of("DPMSolverMultistep", SD, 5).matrices
    split = samplers.guided(matrices, 1)
    assert not split[..., OUTPUT].any()
    assert torch.equal(split[..., OUTPUT + 1], matrices[..., OUTPUT])
    guided = samplers.guided(matrices, 7.5)
    assert torch.allclose(guided[..., OUTPUT] + guided[..., OUTPUT + 1], matrices[..., OUTPUT])


@pytest.mark.parametrize("setting", ["clip_sample", "thresholding"])
def test_a_sampler_that_clips_is_no_table(setting: str) -> None:
    config = SD | {setting: True, "prediction_type": "epsilon"}
    assert samplers.read(schedulers.make("DDIM", config, 5)) is None


def test_a_sampler_that_remembers_too_much_is_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers, "MEMORIES", 2)
    assert samplers.read(schedulers.make("PNDM", SD, 9)) is None


def test_a_table_is_read_once_and_only_the_last_ones_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(samplers, "TABLES", 2)
    known = Samplers(SD)
    first = known.table(Course("DDIM", 4, 1))
    assert known.table(Course("DDIM", 4, 1)) is first
    known.table(Course("DDIM", 4, 1, eta=1))
    known.table(Course("DDIM", 6, 1))
    assert known.table(Course("DDIM", 4, 1)) is not first
    assert len(first.result().timesteps) == 4  # type: ignore[union-attr]


def test_no_thread_is_left_of_reading_a_table() -> None:
    before = set(threading.enumerate())
    Samplers(SD).table(Course("DDIM", 4, 1)).result()
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=60)
        assert not thread.is_alive()


def test_a_sampler_that_is_none_fails_where_its_table_is_asked_for() -> None:
    with pytest.raises(KeyError):
        Samplers(SD).table(Course("none", 4, 1)).result(timeout=60)
