"""What each task puts into the latents and the UNet's input, and takes out of them.

Text to image and image to image put noise, or the picture with noise, into the latents. A mask
makes them blend the picture in again after every step. The other models see something beside the
latents, as further channels: inpainting the mask and what it leaves of the picture, depth to image
the picture's depth, the upscaler the small picture.
"""

from __future__ import annotations

import math
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
    strength: the share of the steps that is run: 1 for text to image, 0 where nothing changes.
    picture: the input image in that size (the upscaler's: as it came), RGB; None for text to image.
    mask: in that size, greyscale; None where all is repainted.
    picture_latents: (1, 4, h, w), float32; None where no step starts from the picture.
    mask_latents: (1, 1, h, w), float32, 1 where it is repainted and else 0; None where the steps
        don't blend the picture in.
    condition: (1, channels, h, w), float32: what the UNet sees beside the latents; None where it
        sees nothing else. The upscaler's is the small picture before its noise, on the CPU.
    """

    size: tuple[int, int]
    strength: float
    picture: Image.Image | None
    mask: Image.Image | None = None
    picture_latents: torch.Tensor | None = None
    mask_latents: torch.Tensor | None = None
    condition: torch.Tensor | None = None


@dataclass(eq=False)
class Denoising:
    """One image on its way from noise to picture.

    timesteps: (steps,), float32, on the device: those of the schedule, for the UNet.
    generator: where the noise of ancestral samplers comes from.
    noise: what the latents began with, in their shape.
    latents: (1, 4, h, w), float32: as they are after `step` steps.
    condition: (1, channels, h, w), float32: what the UNet sees beside them; None for nothing.
    label: (1,), int64: the timestep of the noise in the upscaler's condition; None for the others.
    """

    canvas: Canvas
    embeddings: Embeddings
    guidance_scale: float
    schedule: Schedule
    timesteps: torch.Tensor
    generator: torch.Generator
    noise: torch.Tensor
    latents: torch.Tensor
    condition: torch.Tensor | None = None
    label: torch.Tensor | None = None
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
        """(1, channels, h, w), float32: the latents in the scale the UNet knows, the condition."""
        scaled: torch.Tensor = self.schedule.scheduler.scale_model_input(
            self.latents, self.schedule.timesteps[self.step]
        )
        return scaled if self.condition is None else torch.cat([scaled, self.condition], dim=1)

    def advance(self, prediction: torch.Tensor) -> None:
        """Takes one step.

        Args:
            prediction: what the UNet made of `unet_input`, guidance included; as the latents.
        """
        self.latents = self.schedule.step(self.step, prediction, self.latents, self.generator)
        self.step += 1
        mask, preserved = self.canvas.mask_latents, self.canvas.picture_latents
        if mask is not None and preserved is not None:
            if not self.done:
                preserved = self.schedule.add_noise(self.step, preserved, self.noise)
            self.latents = (1 - mask) * preserved + mask * self.latents


def prepare(request: Request, model: Model) -> Canvas:
    """Fits the image and its mask to the result's size and encodes what the task needs of them."""
    task = model.weights.task
    if task == "upscale":
        return _prepare_upscaling(request, model)
    shape = request.image.size if request.image else None
    size = images.choose_size(request.width, request.height, shape, model.weights.native_size)
    picture = images.fit(request.image, size) if request.image else None
    mask = images.fit(request.mask, size) if request.mask else None
    white = torch.from_numpy(numpy.asarray(mask) >= WHITE)[None, None] if mask else None
    strength = request.strength if picture else 1
    if white is not None and not white.any():
        strength = 0
    if not picture or strength == 0:
        return Canvas(size, strength, picture, mask)
    pixels = model.pipeline.image_processor.preprocess(picture)
    mask_latents = condition = None
    if white is not None:
        # A latent is repainted when any of its pixels is.
        mask_latents = torch.nn.functional.max_pool2d(white.float(), model.scale).to(model.device)
        if task == "inpainting":
            rest = _encode(pixels.masked_fill(white, 0), model)
            condition, mask_latents = torch.cat([mask_latents, rest], dim=1), None
    if task == "depth":
        condition = _depth(picture, model)
    needed = strength < 1 or mask_latents is not None
    picture_latents = _encode(pixels, model) if needed else None
    return Canvas(size, strength, picture, mask, picture_latents, mask_latents, condition)


def _encode(pixels: torch.Tensor, model: Model) -> torch.Tensor:
    """(1, 4, h, w), float32: the latents of (1, 3, height, width) pixels from -1 to 1.

    They are the posterior's mean: the same picture gives the same latents, whatever the seed.
    """
    vae = model.pipeline.vae
    posterior = vae.encode(pixels.to(model.device, vae.dtype)).latent_dist
    latents: torch.Tensor = posterior.mean.float() * vae.config.scaling_factor
    return latents


def _depth(picture: Image.Image, model: Model) -> torch.Tensor:
    """(1, 1, h, w), float32: what is near in the picture, from -1 (the farthest) to 1.

    Source: diffusers' `StableDiffusionDepth2ImgPipeline.prepare_depth_map`.
    """
    pipeline = model.pipeline
    pixels = pipeline.feature_extractor(images=picture, return_tensors="pt").pixel_values
    estimated = pipeline.depth_estimator(pixels.to(model.device)).predicted_depth
    depth = torch.nn.functional.interpolate(
        estimated[:, None],
        size=(picture.height // model.scale, picture.width // model.scale),
        mode="bicubic",
        align_corners=False,
    )
    low, high = depth.amin(), depth.amax()
    return 2 * (depth - low) / (high - low).clamp(min=1e-6) - 1


def _prepare_upscaling(request: Request, model: Model) -> Canvas:
    picture = request.image
    assert picture is not None
    size = picture.width * model.scale, picture.height * model.scale
    # Its edges are repeated up to where the UNet can halve it three times; `finish` cuts that off.
    right, bottom = -picture.width % 8, -picture.height % 8
    padded = numpy.pad(numpy.asarray(picture), ((0, bottom), (0, right), (0, 0)), mode="edge")
    pixels = model.pipeline.image_processor.preprocess(Image.fromarray(padded))
    return Canvas(size, 1, picture, condition=pixels)


def begin(
    request: Request, index: int, canvas: Canvas, embeddings: Embeddings, model: Model
) -> Denoising:
    """Sets up image `index` of a request, with its own noise and its own sampler."""
    schedule = schedulers.make(
        request.scheduler,
        model.pipeline.scheduler.config,
        request.num_inference_steps,
        canvas.strength,
    )
    # On the CPU in float32, so that a seed means the same noise on every device.
    generator = torch.Generator().manual_seed(request.seed_of(index))
    # The upscaler's results are of any size; the UNet halves that of the latents three times.
    width, height = (8 * math.ceil(side / (8 * model.scale)) for side in canvas.size)
    shape = (1, model.pipeline.vae.config.latent_channels, height, width)
    noise = torch.randn(shape, generator=generator).to(model.device)
    condition, label = canvas.condition, None
    if condition is not None and model.weights.task == "upscale":
        label = torch.tensor([request.noise_level])
        drawn = torch.randn(condition.shape, generator=generator)
        condition = model.pipeline.low_res_scheduler.add_noise(condition, drawn, label)
        condition, label = condition.to(model.device), label.to(model.device)
    if canvas.strength < 1 and canvas.picture_latents is not None:
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
        condition,
        label,
    )


def finish(denoising: Denoising, model: Model) -> tuple[Image.Image, Image.Image | None]:
    """The finished picture, and where it was made.

    Returns:
        The picture, RGB, with the preserved pixels of a masked one put back exactly; and a mask in
        its size, greyscale, which is 0 where the pixels are those of the input, or None where all
        are.

    Raises:
        ArithmeticError: when numbers have overflowed, so that there is no picture.
    """
    canvas = denoising.canvas
    if canvas.picture and denoising.step == 0:
        return canvas.picture.copy(), None
    vae = model.pipeline.vae
    latents = (denoising.latents / vae.config.scaling_factor).to(vae.dtype)
    pixels = vae.decode(latents, return_dict=False)[0]
    if not torch.isfinite(pixels).all():
        raise ArithmeticError("no picture came out: smaller weights or less guidance may help")
    picture: Image.Image = model.pipeline.image_processor.postprocess(pixels.float())[0]
    picture = picture.crop((0, 0, *canvas.size))
    if not (canvas.picture and canvas.mask):
        return picture, Image.new("L", picture.size, 255)
    # Full weight at white, none at the last preserved grey: feathering stays on the white side.
    weight = canvas.mask.point([max(0, 2 * (grey - WHITE) + 1) for grey in range(256)])
    return Image.composite(picture, canvas.picture, weight), weight
