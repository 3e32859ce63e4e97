"""Every sampler with every spacing, held to what the library draws from the same noise."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch

from infotext.samplers import EVEN_SCHEDULERS, MOST_STEPS
from stable_diffusion import schedulers, steps
from stable_diffusion.banks import Bank, Kind, Newcomer
from stable_diffusion.denoising import Denoising, Start, TableSampler
from stable_diffusion.request import SCHEDULERS, SPACINGS
from stable_diffusion.samplers import Course, read
from tests.unit.stable_diffusion.test_schedulers import SD

STEPS = [1, 2, 3, 25, 50, 400]
TWO_CALLS = {"K_HEUN", "K_DPM_2", "K_DPM_2_ANCESTRAL"}
KIND = Kind((4, 8), 3, 0, False)
SHAPE = (1, 4, 4, 8)
GUIDANCE = 3.0
NOISE_ALONE = SD | {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
"""Of models whose noisiest latents have nothing of a picture, such as the demo."""
THEIRS: dict[str, tuple[Any, dict[str, Any]]] = {
    "DDIM": (diffusers.DDIMScheduler, {}),
    "DPMSolverMultistep": (diffusers.DPMSolverMultistepScheduler, {}),
    "K_EULER": (diffusers.EulerDiscreteScheduler, {}),
    "K_EULER_ANCESTRAL": (diffusers.EulerAncestralDiscreteScheduler, {}),
    "KLMS": (diffusers.LMSDiscreteScheduler, {}),
    "PNDM": (diffusers.PNDMScheduler, {"skip_prk_steps": True}),
    "K_HEUN": (diffusers.HeunDiscreteScheduler, {}),
    "K_DPM_2": (diffusers.KDPM2DiscreteScheduler, {}),
    "K_DPM_2_ANCESTRAL": (diffusers.KDPM2AncestralDiscreteScheduler, {}),
    "DPMSolverMultistepSDE": (
        diffusers.DPMSolverMultistepScheduler,
        {"algorithm_type": "sde-dpmsolver++"},
    ),
    "DPMSolverSinglestepSDE": (
        diffusers.DPMSolverSinglestepScheduler,
        {"algorithm_type": "sde-dpmsolver++", "lower_order_final": True},
    ),
    "UniPCMultistep": (diffusers.UniPCMultistepScheduler, {}),
    "DEISMultistep": (diffusers.DEISMultistepScheduler, {}),
    "SASolver": (diffusers.SASolverScheduler, {}),
    "LCM": (diffusers.LCMScheduler, {}),
    "TCD": (diffusers.TCDScheduler, {}),
}
"""The classes by the library's table of samplers, and how they are made."""


def spacings_of(name: str) -> list[str]:
    return [
        spacing
        for spacing in SPACINGS
        if spacing != "sgm_uniform" and (spacing == "default" or name not in EVEN_SCHEDULERS)
    ]


def taking(count: int) -> list[str]:
    """The samplers that take a number of steps."""
    return [name for name in SCHEDULERS if count <= MOST_STEPS.get(name, count)]


def courses(count: int) -> list[Course]:
    """All that is held to the library at a number of steps."""
    found = [Course(name, count, 1, each) for name in taking(count) for each in spacings_of(name)]
    found.append(Course("DDIM", count, 1, eta=0.7))
    # Where it is corrected here: gaps that don't divide the training, PNDM's last step, and a
    # single step that would end where it began. KLMS takes a second for each hundred steps.
    return [
        course
        for course in found
        if course.name != "PNDM"
        and not (course.name == "DDIM" and count in (3, 400))
        and not (course.name == "KLMS" and count == 400 and course.spacing != "karras")
        and not (course.name in ("DEISMultistep", "SASolver") and count == 1)
    ]


def unet(
    sample: torch.Tensor,
    timesteps: torch.Tensor,
    texts: torch.Tensor,
    labels: torch.Tensor | None,
    adapters: torch.Tensor | None = None,
) -> torch.Tensor:
    """A stand-in: not linear, and other for each timestep and text."""
    by_row = timesteps / 1000 + texts.mean(dim=(1, 2))
    return torch.tanh(sample + by_row[:, None, None, None]) + 0.1 * torch.sin(3 * sample)


def texts_of(seed: int) -> torch.Tensor:
    return torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(seed))


def by_library(course: Course, seed: int) -> torch.Tensor:
    """The latents after all steps, as a pipeline of the library's takes them."""
    made, settings = THEIRS[course.name]
    settings = settings | {"steps_offset": 0}
    is_even = course.spacing == "default"
    if not is_even:
        settings[f"use_{course.spacing}_sigmas"] = True
    spacing = "trailing" if is_even or course.steps == 1 else "linspace"
    scheduler = made.from_config(SD, timestep_spacing=spacing, **settings)
    if is_even and course.name == "DPMSolverSinglestepSDE":
        like = diffusers.DDIMScheduler.from_config(SD, timestep_spacing="trailing")
        like.set_timesteps(course.steps)
        scheduler.set_timesteps(timesteps=like.timesteps.tolist())
    else:
        scheduler.set_timesteps(course.steps)
    generator, texts = torch.Generator().manual_seed(seed), texts_of(seed)
    latents: torch.Tensor = torch.randn(SHAPE, generator=generator) * float(
        scheduler.init_noise_sigma
    )
    options: dict[str, Any] = {"eta": course.eta} if course.name == "DDIM" else {}
    if course.name not in ("KLMS", "K_HEUN", "K_DPM_2", "UniPCMultistep", "DEISMultistep"):
        options["generator"] = generator
    for timestep in scheduler.timesteps:
        seen = scheduler.scale_model_input(torch.cat([latents] * 2), timestep)
        without, with_text = unet(seen, timestep.float().expand(2), texts, None).chunk(2)
        output = without + GUIDANCE * (with_text - without)
        latents = scheduler.step(output, timestep, latents, **options).prev_sample
    return latents


def denoising(course: Course, seed: int) -> Denoising:
    schedule = schedulers.make(
        course.name, SD, course.steps, course.strength, course.spacing, course.eta
    )
    table = read(schedule)
    assert table
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(SHAPE, generator=generator)
    start = Start(
        noise, None, None, None, generator, lambda: torch.randn(SHAPE, generator=generator)
    )
    sampler = TableSampler(table, start, GUIDANCE)
    latents = sampler.first_latents().flatten()
    newcomer = Newcomer(latents, noise.flatten(), None, None, texts_of(seed), None, None)
    return Denoising(KIND, True, sampler, newcomer)


def drawn(images: list[Denoising]) -> list[torch.Tensor]:
    """The latents after all steps, of images that share a bank and every call."""
    bank = Bank(KIND, texts_of(0))
    for image in images:
        image.join(bank)
    while running := [image for image in images if not image.is_done]:
        occupants = [image.occupant() for image in running]
        bank.scatter(occupants, steps.take(unet, bank.gather(occupants)))
        for image in running:
            image.advance()
    for image in images:
        image.leave()
    return [image.latents for image in images if image.latents is not None]


def same(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return bool((found - expected).abs().max() <= 1e-3 * expected.abs().max())


@pytest.mark.parametrize("count", STEPS)
def test_every_sampler_with_every_spacing_draws_what_the_library_draws(count: int) -> None:
    asked = courses(count)
    expected = [by_library(course, seed) for seed, course in enumerate(asked)]
    mixed = drawn([denoising(course, seed) for seed, course in enumerate(asked)])
    for course, found, theirs in zip(asked, mixed, expected, strict=True):
        assert same(found, theirs), course
    if count > 50:
        return
    for seed, (course, theirs) in enumerate(zip(asked, expected, strict=True)):
        (alone,) = drawn([denoising(course, seed)])
        assert same(alone, theirs), course


@pytest.mark.parametrize("name", MOST_STEPS)
def test_a_sampler_of_few_steps_draws_what_the_library_draws_with_each_number_of_them(
    name: str,
) -> None:
    asked = [Course(name, count, 1) for count in range(1, MOST_STEPS[name] + 1)]
    found = drawn([denoising(course, course.steps) for course in asked])
    for course, latents in zip(asked, found, strict=True):
        assert same(latents, by_library(course, course.steps)), course
    with pytest.raises(ValueError, match="num_inference_steps"):
        by_library(Course(name, MOST_STEPS[name] + 1, 1), 0)


@pytest.mark.parametrize("count", [*range(1, 60), 100, 400, 512])
def test_ddim_can_begin_at_noise_alone_with_the_largest_eta(count: int) -> None:
    table = read(schedulers.make("DDIM", NOISE_ALONE, count, eta=1))
    assert table
    assert table.matrices.isfinite().all()


EVERY = [(name, count) for count in STEPS for name in taking(count)]


@pytest.mark.parametrize(("name", "count"), EVERY)
def test_every_sampler_can_begin_at_noise_alone(name: str, count: int) -> None:
    for spacing in spacings_of(name):
        table = read(schedulers.make(name, NOISE_ALONE, count, 1, spacing))
        assert table
        assert table.matrices.isfinite().all()


def test_the_table_of_the_library_has_all_samplers_and_their_spacings() -> None:
    assert THEIRS.keys() == set(SCHEDULERS) == schedulers.SAMPLERS.keys()
    for name, (made, _) in THEIRS.items():
        has_others = {f"use_{each}_sigmas" in made().config for each in ("karras", "exponential")}
        assert has_others == {name not in EVEN_SCHEDULERS}


@pytest.mark.parametrize(("name", "count"), EVERY)
def test_strength_cuts_by_steps(name: str, count: int) -> None:
    for spacing in spacings_of(name):
        whole = schedulers.make(name, SD, count, 1, spacing)
        for strength in (0.8, 0.5):
            run = int(count * strength)
            cut = schedulers.make(name, SD, count, strength, spacing)
            calls = max(run, 1) * 2 - 1 if name in TWO_CALLS else max(run, 1)
            assert len(cut.timesteps) == calls + (name == "PNDM" and run > 1)
            if run == 0:
                continue
            # It ends as all of the steps do, and begins with a step's first call.
            first = len(whole.timesteps) - calls
            assert cut.timesteps[-1] == whole.timesteps[-1]
            assert cut.timesteps[0] == whole.timesteps[first]
            if hasattr(cut.scheduler, "sigmas"):
                assert torch.equal(cut.scheduler.sigmas, whole.scheduler.sigmas[first:])
            if name in TWO_CALLS and run > 1:
                assert first % 2 == 0
                assert cut.scheduler.sigmas[0] > cut.scheduler.sigmas[1]
