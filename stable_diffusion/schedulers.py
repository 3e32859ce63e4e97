"""The samplers by name, as diffusers' schedulers, set up for a number of steps."""

from __future__ import annotations

import copy
import inspect
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import Any

import diffusers
import torch

from infotext.samplers import MOST_STEPS


@dataclass(frozen=True)
class Recipe:
    """The scheduler of a sampler: diffusers' class, and settings that others don't need."""

    class_name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


SAMPLERS = {
    "DDIM": Recipe("DDIMScheduler"),
    "DPMSolverMultistep": Recipe("DPMSolverMultistepScheduler"),
    "K_EULER": Recipe("EulerDiscreteScheduler"),
    "K_EULER_ANCESTRAL": Recipe("EulerAncestralDiscreteScheduler"),
    "KLMS": Recipe("LMSDiscreteScheduler"),
    "PNDM": Recipe("PNDMScheduler", {"skip_prk_steps": True}),
    "K_HEUN": Recipe("HeunDiscreteScheduler"),
    "K_DPM_2": Recipe("KDPM2DiscreteScheduler"),
    "K_DPM_2_ANCESTRAL": Recipe("KDPM2AncestralDiscreteScheduler"),
    "DPMSolverMultistepSDE": Recipe(
        "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}
    ),
    "DPMSolverSinglestepSDE": Recipe(
        "DPMSolverSinglestepScheduler",
        {"algorithm_type": "sde-dpmsolver++", "lower_order_final": True},
    ),
    "UniPCMultistep": Recipe("UniPCMultistepScheduler"),
    "DEISMultistep": Recipe("DEISMultistepScheduler"),
    "SASolver": Recipe("SASolverScheduler"),
    "LCM": Recipe("LCMScheduler", {"original_inference_steps": MOST_STEPS["LCM"]}),
    "TCD": Recipe("TCDScheduler", {"original_inference_steps": MOST_STEPS["TCD"]}),
}
"""By the choices of the input `scheduler`."""
SPACED = {"karras": "use_karras_sigmas", "exponential": "use_exponential_sigmas"}
"""By the choices of the input `spacing`, diffusers' settings; the others are none of these."""
LARGEST_ETA = 1 - 1e-12
"""Of what DDIM takes: with 1, rounding makes it the root of less than 0 where all was noise."""


@dataclass(frozen=True)
class Schedule:
    """One image's course from noise to picture, by diffusers' scheduler.

    scheduler: diffusers' scheduler, set up and before its first step.
    timesteps: those that the UNet is called for, from the noisiest on; none where no step is asked
        for. Some samplers call it twice in a step.
    eta: of DDIM: the share of new noise in each step, from 0 to 1.
    """

    scheduler: Any
    timesteps: torch.Tensor
    eta: float = 0

    def add_noise(self, index: int, latents: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return latents with as much noise as call `index`, the next one, starts from."""
        scheduler = self.scheduler
        if hasattr(scheduler, "sigmas_interpol") and not scheduler.state_in_first_order:
            # Half-way through a step, where diffusers would take the noise of its end. Latents
            # with so much noise are scaled to a variance of 1.
            scale = float(scheduler.scale_model_input(torch.ones(1), self.timesteps[index]))
            return latents + noise * math.sqrt(scale**-2 - 1)
        # It is asked on the CPU what each is multiplied with: asked for the sum itself, it would
        # copy its tables to the device, and wait for them.
        original, none = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
        timesteps = self.timesteps[index : index + 1]
        factors: list[float] = scheduler.add_noise(original, none, timesteps).tolist()
        return latents * factors[0] + noise * factors[1]

    def step(
        self,
        index: int,
        prediction: torch.Tensor,
        latents: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Complete call `index`; return the latents after it. They come in order, each once.

        Args:
            prediction: the UNet's, guidance included, for timestep `index`.
            latents: in the shape of the prediction.
            generator: on the CPU, where the noise of the sampler comes from, if it takes any.
        """
        scheduler = self.scheduler
        if isinstance(scheduler, (diffusers.DDIMScheduler, diffusers.PNDMScheduler)):
            # They take every gap between timesteps for num_train_timesteps //
            # num_inference_steps, which leaves noise in the picture at 400 or 512 steps. Such a
            # "number of steps" makes that division give the gap that there is.
            scheduler.num_inference_steps = Fraction(
                scheduler.config.num_train_timesteps, self._gap(index)
            )
        if isinstance(scheduler, diffusers.PNDMScheduler) and index == len(self.timesteps) - 1 < 15:
            # Under 15 steps are too far apart to extrapolate the last one from, which DPM-Solver++
            # knows too: starting anew makes it a step of the first order.
            scheduler.counter, scheduler.ets = 0, []
        options: dict[str, Any] = {}
        if isinstance(scheduler, diffusers.DDIMScheduler):
            options["eta"] = min(self.eta, LARGEST_ETA)
        if getattr(scheduler.config, "algorithm_type", None) == "sde-dpmsolver++" and isinstance(
            scheduler, diffusers.DPMSolverMultistepScheduler
        ):
            # It would draw in float32 whatever the latents are in.
            drawn = torch.randn(latents.shape, generator=generator, dtype=latents.dtype)
            options["variance_noise"] = drawn.to(latents.device)
        elif "generator" in inspect.signature(scheduler.step).parameters:
            options["generator"] = generator
        after: torch.Tensor = scheduler.step(
            prediction, self.timesteps[index], latents, **options, return_dict=False
        )[0]
        return after

    def _gap(self, index: int) -> int:
        """Return the gap from timestep `index` down to the next one; the last one's next is -1."""
        timesteps = [*self.timesteps.tolist(), -1]
        if timesteps[index] == timesteps[index + 1]:  # PNDM's second look at its first step
            index -= 1
        return int(timesteps[index] - timesteps[index + 1])


def make(
    name: str,
    config: Mapping[str, Any],
    steps: int,
    strength: float = 1,
    spacing: str = "default",
    eta: float = 0,
) -> Schedule:
    """Set up a sampler for the last `int(steps × strength)` of `steps` steps (contract, 2.3).

    Args:
        name: one of `SAMPLERS`.
        config: the configuration of the model's own scheduler, whose noise schedule is kept.
        steps: 1 to 512, or to that of `MOST_STEPS`.
        strength: 0 to 1. Where it asks for less than a step, the last one of a schedule so long
            that it changes as little as was asked is run; 0 runs none.
        spacing: of the steps: karras or exponential, by their noise, where the class has it; else
            evenly, by their timesteps.
        eta: of DDIM, 0 to 1.
    """
    recipe = SAMPLERS[name]
    run = int(steps * strength)
    if run == 0 and strength > 0:
        most = MOST_STEPS.get(name, config.get("num_train_timesteps", 1000))
        steps, run = math.ceil(min(most, 1 / strength)), 1
    settings = {
        **recipe.settings,
        # The hub's `leading` spacing starts 512 steps at half noise and 1 step at none (Lin et
        # al., "Common Diffusion Noise Schedules and Sample Steps Are Flawed", section 3.3).
        # Karras and exponential steps lie between the ends of this one: linspace has those of the
        # training, but a single step of it is at the lower end.
        "timestep_spacing": "linspace" if spacing in SPACED and steps > 1 else "trailing",
        "steps_offset": 0,
    }
    known = inspect.signature(getattr(diffusers, recipe.class_name)).parameters
    settings |= {option: spacing == each for each, option in SPACED.items() if option in known}
    scheduler = copy.deepcopy(_made(recipe.class_name, json.dumps([config, settings])))
    _set_timesteps(scheduler, steps, is_even=spacing not in SPACED)
    _keep_last(scheduler, steps, run)
    return Schedule(scheduler, scheduler.timesteps, eta)


@lru_cache(maxsize=64)
def _made(class_name: str, given: str) -> Any:
    """Make a scheduler, which takes those of DPM2 half a second; it is to be copied.

    Args:
        given: a configuration and settings beside it, as JSON.
    """
    config, settings = json.loads(given)
    scheduler = getattr(diffusers, class_name).from_config(config, **settings)
    if isinstance(scheduler, diffusers.DDIMScheduler):  # for LARGEST_ETA, which float32 rounds to 1
        scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    return scheduler


def _set_timesteps(scheduler: Any, steps: int, is_even: bool) -> None:
    """Let a scheduler space its steps.

    Rounding in the trailing spacing adds a timestep of -1 to 61, 103, 499 and other numbers of
    steps.
    """
    trained: int = scheduler.config.num_train_timesteps
    if scheduler.order == 2 and is_even:
        # What lies between two steps would be wrong: a hair less to divide gives none.
        span = float(trained)
        while span / (span / steps) > steps:
            span = math.nextafter(span, 0)
        scheduler.set_timesteps(steps, num_train_timesteps=span)
    elif isinstance(scheduler, diffusers.DPMSolverSinglestepScheduler) and is_even:
        # It has no trailing spacing of its own.
        evenly = [round(trained - step * trained / steps) - 1 for step in range(steps)]
        scheduler.set_timesteps(timesteps=evenly)
    else:
        scheduler.set_timesteps(steps)
    if isinstance(scheduler, (diffusers.DEISMultistepScheduler, diffusers.SASolverScheduler)):
        # These end at the least noise of the training, but with one Karras or exponential step,
        # where they would end as they began.
        alpha = float(scheduler.alphas_cumprod[0])
        scheduler.sigmas[-1] = (1 / alpha - 1) ** 0.5


def _keep_last(scheduler: Any, steps: int, run: int) -> None:
    """Make the last `run` of `steps` steps the scheduler's whole schedule.

    diffusers would rather slice a list of timesteps. That loses the second step of PNDM, which is
    there twice since it begins with Heun's method (Liu et al., "Pseudo Numerical Methods for
    Diffusion Models on Manifolds"), and lets KLMS believe in earlier steps that were not run.
    """
    left_out = steps - run
    if scheduler.order == 2:
        # Two calls a step, but for the last one; so have all lists that belong to them.
        for name in ("timesteps", "sigmas", "sigmas_interpol", "sigmas_up", "sigmas_down"):
            if hasattr(scheduler, name):
                setattr(scheduler, name, getattr(scheduler, name)[2 * left_out :])
        scheduler.set_begin_index(0)
        return
    if isinstance(scheduler, diffusers.PNDMScheduler):
        timesteps = torch.unique_consecutive(scheduler.timesteps)[:steps][left_out:]
        timesteps = torch.cat([timesteps[:2], timesteps[1:]])
    else:
        timesteps = scheduler.timesteps[:steps][left_out:]
    if isinstance(scheduler, diffusers.DPMSolverSinglestepScheduler) and run:
        scheduler.order_list = scheduler.get_order_list(run)
    scheduler.timesteps = timesteps
    if isinstance(scheduler, (diffusers.LCMScheduler, diffusers.TCDScheduler)):
        scheduler.num_inference_steps = run  # after which they draw no noise
    if hasattr(scheduler, "sigmas"):
        scheduler.sigmas = torch.cat([scheduler.sigmas[:steps][left_out:], scheduler.sigmas[-1:]])
        scheduler.set_begin_index(0)
