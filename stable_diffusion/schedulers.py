"""The six samplers by name, as diffusers' schedulers, set up for a number of steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import diffusers
import torch

CLASSES = {
    "DDIM": "DDIMScheduler",
    "DPMSolverMultistep": "DPMSolverMultistepScheduler",
    "K_EULER": "EulerDiscreteScheduler",
    "K_EULER_ANCESTRAL": "EulerAncestralDiscreteScheduler",
    "KLMS": "LMSDiscreteScheduler",
    "PNDM": "PNDMScheduler",
}
"""The documented names, and diffusers' classes for them."""


@dataclass(frozen=True)
class Schedule:
    """One image's course from noise to picture, by diffusers' scheduler.

    scheduler: diffusers' scheduler, set up and before its first step.
    timesteps: those that are run, from the noisiest on; none where no step is asked for.
    """

    scheduler: Any
    timesteps: torch.Tensor

    def add_noise(self, index: int, latents: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return latents with as much noise as step `index`, the next one, starts from."""
        # It is asked on the CPU what each is multiplied with: asked for the sum itself, it would
        # copy its tables to the device, and wait for them.
        original, none = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
        timesteps = self.timesteps[index : index + 1]
        factors: list[float] = self.scheduler.add_noise(original, none, timesteps).tolist()
        return latents * factors[0] + noise * factors[1]

    def step(
        self,
        index: int,
        prediction: torch.Tensor,
        latents: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """Take step `index`; return the latents after it. Steps are taken in order, each once.

        Args:
            prediction: the UNet's, guidance included, for timestep `index`.
            latents: in the shape of the prediction.
            generator: where the noise of the ancestral sampler comes from.
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
        drawn = (
            {"generator": generator}
            if isinstance(scheduler, diffusers.EulerAncestralDiscreteScheduler)
            else {}
        )
        after: torch.Tensor = scheduler.step(
            prediction, self.timesteps[index], latents, **drawn, return_dict=False
        )[0]
        return after

    def _gap(self, index: int) -> int:
        """Return the gap from timestep `index` down to the next one; the last one's next is -1."""
        timesteps = [*self.timesteps.tolist(), -1]
        if timesteps[index] == timesteps[index + 1]:  # PNDM's second look at its first step
            index -= 1
        return int(timesteps[index] - timesteps[index + 1])


def make(name: str, config: Mapping[str, Any], steps: int, strength: float = 1) -> Schedule:
    """Set up a sampler for the last `int(steps × strength)` of `steps` steps (contract, 2.3).

    Args:
        name: one of `CLASSES`.
        config: the configuration of the model's own scheduler, whose noise schedule is kept.
        steps: 1 to 512.
        strength: 0 to 1. Where it asks for less than a step, the last one of a schedule so long
            that it changes as little as was asked is run; 0 runs none.
    """
    scheduler = getattr(diffusers, CLASSES[name]).from_config(
        config,
        # The hub's `leading` spacing starts 512 steps at half noise and 1 step at none (Lin et
        # al., "Common Diffusion Noise Schedules and Sample Steps Are Flawed", section 3.3).
        timestep_spacing="trailing",
        steps_offset=0,
        **({"skip_prk_steps": True} if name == "PNDM" else {}),
    )
    run = int(steps * strength)
    if run == 0 and strength > 0:
        steps, run = math.ceil(min(scheduler.config.num_train_timesteps, 1 / strength)), 1
    scheduler.set_timesteps(steps)
    _keep_last(scheduler, steps, run)
    return Schedule(scheduler, scheduler.timesteps)


def _keep_last(scheduler: Any, steps: int, run: int) -> None:
    """Make the last `run` of `steps` steps the scheduler's whole schedule.

    diffusers would rather slice a list of timesteps. That loses the second step of PNDM, which is
    there twice since it begins with Heun's method (Liu et al., "Pseudo Numerical Methods for
    Diffusion Models on Manifolds"), and lets KLMS believe in earlier steps that were not run.
    """
    # Rounding in the trailing spacing adds a timestep of -1 to 61, 103, 499 and other numbers of
    # steps: `:steps` leaves it out.
    timesteps = torch.unique_consecutive(scheduler.timesteps)[:steps][steps - run :]
    if isinstance(scheduler, diffusers.PNDMScheduler):
        timesteps = torch.cat([timesteps[:2], timesteps[1:]])
    scheduler.timesteps = timesteps
    if hasattr(scheduler, "sigmas"):
        scheduler.sigmas = torch.cat(
            [scheduler.sigmas[:steps][steps - run :], scheduler.sigmas[-1:]]
        )
        scheduler.set_begin_index(0)
