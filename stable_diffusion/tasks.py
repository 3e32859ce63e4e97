"""The tasks: what each puts into the latents and the UNet's input, and takes out of them.

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

from stable_diffusion import images
from stable_diffusion.autoencoder import Autoencoder
from stable_diffusion.banks import Kind, Newcomer
from stable_diffusion.denoising import Denoising, LibrarySampler, Sampler, Start, TableSampler
from stable_diffusion.models import Model
from stable_diffusion.prompts import Embeddings
from stable_diffusion.request import Request
from stable_diffusion.samplers import Course, Samplers, Table

WHITE = 128
"""The value of a mask from which on a pixel is repainted; below it, a pixel is preserved."""


@dataclass(frozen=True)
class PreparedInputs:
    """The inputs that all images of a request share before their first step.

    size: width and height of the result in pixels.
    drawn_size: those of what the steps draw, which is scaled to `size`.
    resample: the filter of that scaling, of `request.FILTERS`.
    strength: the share of the steps that is run: 1 for text to image, 0 where nothing changes.
    picture: the input image in the result's size (the upscaler's: as it came), RGB; None for text
        to image.
    mask: in the result's size, greyscale; None where all is repainted.
    picture_latents: (1, 4, h, w), float32; None where no step starts from the picture.
    mask_latents: (1, 1, h, w), float32, 1 where it is repainted and else 0; None where the steps
        don't blend the picture in.
    condition: (1, channels, h, w), float32: what the UNet sees beside the latents; None where it
        sees nothing else. The upscaler's is the small picture before its noise, on the CPU.
    """

    size: tuple[int, int]
    drawn_size: tuple[int, int]
    resample: str
    strength: float
    picture: Image.Image | None
    mask: Image.Image | None = None
    picture_latents: torch.Tensor | None = None
    mask_latents: torch.Tensor | None = None
    condition: torch.Tensor | None = None


@dataclass(frozen=True)
class Fitted:
    """A picture in the size that is drawn, before it is encoded.

    picture: RGB.
    white: (1, 1, height, width), bool, on the CPU: where it is repainted; None without a mask.
    mask_latents: (1, 1, h, w), float32: the same for the latents.
    """

    picture: Image.Image
    white: torch.Tensor | None
    mask_latents: torch.Tensor | None


class ImageToImage:
    """Text to image, image to image, and the repainting of a part by blending.

    Args:
        model: on its device.
        autoencoder: the model's.
    """

    def __init__(self, model: Model, autoencoder: Autoencoder) -> None:
        self.model = model
        self.autoencoder = autoencoder
        self.samplers = Samplers(model.pipeline.scheduler.config)

    blends = True
    """Whether the steps blend in what a mask preserves."""
    starts_from_picture = True
    """Whether the latents start from the picture, so that `strength` has a meaning."""

    def strength(self, request: Request) -> float:
        """Return the share of the steps that is run, unless the mask is all black."""
        return request.strength if request.image and self.starts_from_picture else 1

    def course(self, request: Request, strength: float) -> Course:
        """Return what a request asks of its sampler, for a share of the steps."""
        return Course(
            request.scheduler,
            request.num_inference_steps,
            strength,
            request.spacing,
            request.eta,
        )

    def prepare(self, request: Request) -> PreparedInputs:
        """Fit the image and its mask to what is drawn and to the result; encode what is needed."""
        image, mask = request.image, images.adjusted_mask(request)
        shape, result_size = image.size if image else None, request.result_size
        native_size = self.model.weights.native_size
        drawn_size = images.choose_size(
            request.width, request.height, shape, native_size, result_size
        )
        size, resample = result_size or drawn_size, request.resample if result_size else "lanczos"
        picture = images.fit(image, size, resample) if image else None
        result_mask = images.fit(mask, size, resample) if mask else None
        strength = self.strength(request)
        if result_mask and not any(result_mask.histogram()[WHITE:]):
            strength = 0
        given = size, drawn_size, resample, strength, picture, result_mask
        if not image or not picture or strength == 0:
            return PreparedInputs(*given)
        white, mask_latents = None, None
        if result_size:
            picture = images.fit(image, drawn_size, within=size)
            mask = images.fit(mask, drawn_size, within=size) if mask else None
        else:
            mask = result_mask
        if mask:
            white = torch.from_numpy(numpy.asarray(mask) >= WHITE)[None, None]
            # A latent is repainted when any of its pixels is.
            pooled = torch.nn.functional.max_pool2d(white.float(), self.model.scale)
            mask_latents = pooled.to(self.model.device)
        condition = self.condition(Fitted(picture, white, mask_latents))
        blended = mask_latents if self.blends else None
        picture_latents = None
        if strength < 1 or blended is not None:
            picture_latents = self.autoencoder.latents(picture)
        return PreparedInputs(*given, picture_latents, blended, condition)

    def condition(self, fitted: Fitted) -> torch.Tensor | None:
        """Return the condition, (1, channels, h, w), float32; None where the task has none."""

    def noise_level(self, request: Request) -> int | None:
        """Return the timestep of the noise that is added to the condition; None for no noise."""

    def begin(
        self,
        request: Request,
        index: int,
        inputs: PreparedInputs,
        embeddings: Embeddings,
        table: Table | None,
    ) -> Denoising:
        """Set up image `index` of a request, with its own noise and its own sampler.

        Args:
            table: of the request's sampler; None where that is no table.
        """
        model = self.model
        # On the CPU in float32, so that a seed means the same noise on every device.
        generator = torch.Generator().manual_seed(request.seed_of(index))
        # The upscaler's results are of any size; the UNet halves that of the latents three times.
        width, height = (8 * math.ceil(side / (8 * model.scale)) for side in inputs.drawn_size)
        shape = (1, model.pipeline.vae.config.latent_channels, height, width)
        noise = torch.randn(shape, generator=generator).to(model.device)
        condition, label = inputs.condition, None
        noise_level = self.noise_level(request)
        if condition is not None and noise_level is not None:
            label = torch.tensor([noise_level])
            drawn = torch.randn(condition.shape, generator=generator)
            condition = model.pipeline.low_res_scheduler.add_noise(condition, drawn, label)
            condition, label = condition.to(model.device), label.to(model.device)
        picture = inputs.picture_latents
        origin = None if inputs.strength == 1 else picture
        start = Start(noise, origin, picture, inputs.mask_latents, generator)
        sampler: Sampler
        if table is None:
            schedule = self.samplers.schedule(self.course(request, inputs.strength))
            sampler = LibrarySampler(schedule, start, request.guidance_scale)
        else:
            sampler = TableSampler(table, start, request.guidance_scale)
        texts = [embeddings.positive]
        if embeddings.negative is not None:
            texts.insert(0, embeddings.negative)
        blended = start.mask if isinstance(sampler, TableSampler) else None
        newcomer = Newcomer(
            latents=sampler.first_latents().flatten(),
            noise=noise.flatten(),
            mask=None if blended is None else blended.expand(shape).flatten(),
            picture=None if picture is None else picture.flatten(),
            texts=torch.cat(texts),
            condition=None if condition is None else condition[0],
            label=label,
        )
        channels = 0 if condition is None else condition.shape[1]
        tokens = embeddings.positive.shape[1]
        kind = Kind((height, width), tokens, channels, label is not None)
        return Denoising(kind, embeddings.negative is not None, sampler, newcomer)

    def finish(
        self, inputs: PreparedInputs, picture: Image.Image
    ) -> tuple[Image.Image, Image.Image | None]:
        """Scale a decoded picture to the result's size; put preserved pixels back, exactly.

        Args:
            picture: RGB, at least of the size that is drawn.

        Returns:
            The finished picture, RGB; and a mask in its size, greyscale, which is 0 where its
            pixels are those of the input.
        """
        picture = images.fit(picture.crop((0, 0, *inputs.drawn_size)), inputs.size, inputs.resample)
        if not (inputs.picture and inputs.mask):
            return picture, Image.new("L", picture.size, 255)
        # Full weight at white, none at the last preserved grey: feathering stays on the white side.
        weight = inputs.mask.point([max(0, 2 * (grey - WHITE) + 1) for grey in range(256)])
        return Image.composite(picture, inputs.picture, weight), weight


class Inpainting(ImageToImage):
    """The repainting of a part by a model that sees the mask and what it preserves."""

    blends = False

    def condition(self, fitted: Fitted) -> torch.Tensor | None:
        """Return the mask, and the latents of what it preserves: (1, 5, h, w)."""
        assert fitted.white is not None
        assert fitted.mask_latents is not None
        rest = self.autoencoder.latents(fitted.picture, hidden=fitted.white)
        return torch.cat([fitted.mask_latents, rest], dim=1)


class DepthToImage(ImageToImage):
    """Image to image by a model that sees the picture's depth."""

    def condition(self, fitted: Fitted) -> torch.Tensor | None:
        """Return the picture's depth, (1, 1, h, w), from -1 (the farthest) to 1 (the nearest).

        Source: diffusers' `StableDiffusionDepth2ImgPipeline.prepare_depth_map`.
        """
        pipeline, scale, picture = self.model.pipeline, self.model.scale, fitted.picture
        seen = pipeline.feature_extractor(images=picture, return_tensors="pt").pixel_values
        estimated = pipeline.depth_estimator(seen.to(self.model.device)).predicted_depth
        depth = torch.nn.functional.interpolate(
            estimated[:, None],
            size=(picture.height // scale, picture.width // scale),
            mode="bicubic",
            align_corners=False,
        )
        low, high = depth.amin(), depth.amax()
        return 2 * (depth - low) / (high - low).clamp(min=1e-6) - 1


class Upscaling(ImageToImage):
    """Four times the size, by a model that sees the small picture with noise on it."""

    starts_from_picture = False

    def prepare(self, request: Request) -> PreparedInputs:
        """Pad the picture with its edges until the UNet can halve its latents three times."""
        picture = request.image
        assert picture is not None
        size = picture.width * self.model.scale, picture.height * self.model.scale
        right, bottom = -picture.width % 8, -picture.height % 8
        padded = numpy.pad(numpy.asarray(picture), ((0, bottom), (0, right), (0, 0)), mode="edge")
        pixels = self.autoencoder.pixels(Image.fromarray(padded)).cpu()
        return PreparedInputs(size, size, "lanczos", 1, picture, condition=pixels)

    def noise_level(self, request: Request) -> int | None:
        """Return the timestep of the noise that is added to the small picture."""
        return request.noise_level


TASKS = {
    "img2img": ImageToImage,
    "inpainting": Inpainting,
    "depth": DepthToImage,
    "upscale": Upscaling,
}
"""The classes of the tasks, by the names of `catalogue.TASKS`."""
