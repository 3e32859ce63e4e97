"""The library's own pipelines, which the engine's pictures are held to."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from PIL import Image

from stable_diffusion import schedulers
from stable_diffusion.models import Model


def library_pipeline(kind: str, model: Model, scheduler: str) -> Any:
    """A pipeline of the library's own on the model's parts, with the scheduler by its own way."""
    import diffusers

    made = getattr(diffusers, kind)
    safety = "requires_safety_checker" in inspect.signature(made).parameters
    pipeline = made(
        **model.pipeline.components, **({"requires_safety_checker": False} if safety else {})
    )
    # Set afterwards: the constructor would change its configuration.
    recipe = schedulers.SAMPLERS[scheduler]
    pipeline.scheduler = getattr(diffusers, recipe.class_name).from_config(
        model.pipeline.scheduler.config,
        timestep_spacing="trailing",
        steps_offset=0,
        **recipe.settings,
    )
    if scheduler == "TCD":
        # The pipelines tell each scheduler that takes new noise to take none, unless they are
        # told: this is the share that TCD's own class takes.
        prepare = pipeline.prepare_extra_step_kwargs
        pipeline.prepare_extra_step_kwargs = lambda generator, eta: prepare(generator, 0.3)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


OURS = ("PNDM", "KLMS", "DPMSolverSinglestepSDE")
"""Samplers that don't bear the library's own way, a slice of the timesteps.

The last one has no trailing spacing there, and so no way at all.
"""


def take_our_schedule(library: Any, scheduler: str, steps: int, strength: float) -> None:
    """Gives a library's pipeline our schedule."""
    made = schedulers.make(scheduler, library.scheduler.config, steps, strength)
    made.scheduler.set_timesteps = lambda *_, **__: None
    library.scheduler = made.scheduler
    library.get_timesteps = lambda *_, **__: (made.timesteps, len(made.timesteps))


def mean_latents(pipeline: Any, picture: Image.Image | torch.Tensor) -> torch.Tensor:
    pixels = picture
    if isinstance(picture, Image.Image):
        pixels = pipeline.image_processor.preprocess(picture)
    mean: torch.Tensor = pipeline.vae.encode(pixels).latent_dist.mean
    return mean * float(pipeline.vae.config.scaling_factor)
