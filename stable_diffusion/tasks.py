"""Text to image, image to image, masked: what each puts into the latents and takes out of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy
import torch
from PIL import Image

from stable_diffusion import images, schedulers
from stable_diffusion.models import Model
from stable_diffusion.prompts import Embeddings
from stable_diffusion.request import Request
from stable_diffusion.schedulers import Schedule

WHITE = 128
"""A mask's value from which on a pixel is repainted; below, it is preserved."""


@dataclass(frozen=True)
class Canvas:
    """What the images of a request have in common before their first step.

    size: width and height of the result in pixels.
    picture: the input image in that size, RGB; None for text to image.
    mask: in that size, greyscale; None where all is repainted.
    picture_latents: (1, 4, height/8, width/8), float32; None where no step looks at the picture.
    mask_latents: (1, 1, height/8, width/8), float32, 1 where it is repainted and else 0.
    """

    size: tuple[int, int]
    picture: Image.Image | None
    mask: Image.Image | None
    picture_latents: torch.Tensor | None
    mask_latents: torch.Tensor | None


@dataclass(eq=False)
class Denoising:
    """One image on its way from noise to picture.

    timesteps: (steps,), float32, on the device: those of the schedule, for the UNet.
    generator: where the noise of ancestral samplers comes from.
    noise: what the latents began with, in their shape.
    latents: (1, 4, height/8, width/8), float32: as they are after `step` steps.
    """

    canvas: Canvas
    embeddings: Embeddings
    guidance_scale: float
    schedule: Schedule
    timesteps: torch.Tensor
    generator: torch.Generator
    noise: torch.Tensor
    latents: torch.Tensor
    step: int = 0

    @property
    def rows(self) -> int:
        """How many rows of a UNet call it takes: guidance needs the negative prompt's too."""
        return 1 if self.embeddings.negative is None else 2

    @property
    def done(self) -> bool:
        """Whether there is no next step."""
        return self.step == len(self.timesteps)

    def unet_input(self) -> torch.Tensor:
        """(1, 4, height/8, width/8), float32: the latents in the scale the UNet knows."""
        scaled: torch.Tensor = self.schedule.scheduler.scale_model_input(
            self.latents, self.schedule.timesteps[self.step]
        )
        return scaled

    def advance(self, prediction: torch.Tensor) -> None:
        """Takes one step.

        Args:
            prediction: what the UNet made of `unet_input`, guidance included; the same shape.
        """
        self.latents = self.schedule.step(self.step, prediction, self.latents, self.generator)
        self.step += 1
        mask, preserved = self.canvas.mask_latents, self.canvas.picture_latents
        if mask is not None and preserved is not None:
            if not self.done:
                preserved = self.schedule.add_noise(self.step, preserved, self.noise)
            self.latents = (1 - mask) * preserved + mask * self.latents


def prepare(request: Request, model: Model) -> Canvas:
    """Fits the image and its mask to the result's size and encodes them."""
    shape = request.image.size if request.image else None
    size = images.choose_size(request.width, request.height, shape, model.weights.native_size)
    picture = images.fit(request.image, size) if request.image else None
    mask = images.fit(request.mask, size) if request.mask else None
    picture_latents = mask_latents = None
    if picture and request.strength > 0 and (mask or request.strength < 1):
        vae = model.pipeline.vae
        pixels = model.pipeline.image_processor.preprocess(picture).to(model.device, model.dtype)
        # The posterior's mean: the same picture gives the same latents, whatever the seed.
        picture_latents = vae.encode(pixels).latent_dist.mean.float() * vae.config.scaling_factor
    if mask:
        white = torch.from_numpy(numpy.asarray(mask) >= WHITE).float()[None, None]
        # A latent is repainted when any of its 8 × 8 pixels is.
        mask_latents = torch.nn.functional.max_pool2d(white, 8).to(model.device)
    return Canvas(size, picture, mask, picture_latents, mask_latents)


def begin(
    request: Request, index: int, canvas: Canvas, embeddings: Embeddings, model: Model
) -> Denoising:
    """Sets up image `index` of a request, with its own noise and its own sampler."""
    strength = request.strength if canvas.picture else 1
    schedule = schedulers.make(
        request.scheduler,
        model.pipeline.scheduler.config,
        request.num_inference_steps,
        strength,
    )
    # On the CPU in float32, so that a seed means the same noise on every device.
    generator = torch.Generator().manual_seed(request.seed_of(index))
    shape = (1, model.pipeline.vae.config.latent_channels, canvas.size[1] // 8, canvas.size[0] // 8)
    noise = torch.randn(shape, generator=generator).to(model.device)
    if strength < 1 and canvas.picture_latents is not None:
        latents = schedule.add_noise(0, canvas.picture_latents, noise)
    else:
        latents = noise * schedule.scheduler.init_noise_sigma
    return Denoising(
        canvas,
        embeddings,
        request.guidance_scale,
        schedule,
        schedule.timesteps.to(model.device, torch.float32),
        generator,
        noise,
        latents,
    )


def finish(denoising: Denoising, model: Model) -> Image.Image:
    """The finished picture, RGB, with the preserved pixels of a masked one put back exactly.

    Raises:
        ArithmeticError: when numbers have overflowed, so that there is no picture.
    """
    canvas = denoising.canvas
    if canvas.picture and denoising.step == 0:
        return canvas.picture.copy()
    vae = model.pipeline.vae
    latents = (denoising.latents / vae.config.scaling_factor).to(model.dtype)
    pixels = vae.decode(latents, return_dict=False)[0]
    if not torch.isfinite(pixels).all():
        raise ArithmeticError("no picture came out: smaller weights or less guidance may help")
    picture: Image.Image = model.pipeline.image_processor.postprocess(pixels.float())[0]
    if canvas.picture and canvas.mask:
        # Full weight at white, none at the last preserved grey: feathering stays on the white side.
        weight = canvas.mask.point([max(0, 2 * (grey - WHITE) + 1) for grey in range(256)])
        picture = Image.composite(picture, canvas.picture, weight)
    return picture
