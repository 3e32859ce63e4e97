"""The tasks: what each puts into the latents and the UNet's input, and takes out of them.

Text to image and image to image put noise, or the picture with noise, into the latents. A mask
makes them blend the picture in again after every step. The other models see something beside the
latents, as further channels: inpainting the mask and what it leaves of the picture, depth to image
the picture's depth, the upscaler the small picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from PIL import Image

from stable_diffusion import images
from stable_diffusion.autoencoder import Autoencoder
from stable_diffusion.banks import Kind, Newcomer
from stable_diffusion.canvas import WHITE, Canvas, canvas_of
from stable_diffusion.denoising import Denoising, LibrarySampler, Sampler, Start, TableSampler
from stable_diffusion.models import Model
from stable_diffusion.mosaic import Layout
from stable_diffusion.prompts import Embeddings
from stable_diffusion.request import Request
from stable_diffusion.samplers import Course, Samplers, Table

HALVED = 8
"""Latents that sides are multiples of, since the UNet halves them three times."""


@dataclass(frozen=True)
class PreparedInputs:
    """The inputs that all images of a request share before their first step.

    canvas: the picture and the mask, and where and how what is drawn is put on them. The upscaler's
        has neither.
    steps: of which
    strength: the share that is run: 1 for text to image, 0 where nothing changes.
    picture_latents: (1, 4, h, w), float32; None where no step starts from the picture.
    mask_latents: (1, 1, h, w), float32, 1 where it is repainted and else 0; None where the steps
        don't blend the picture in.
    condition: (1, channels, h, w), float32: what the UNet sees beside the latents; None where it
        sees nothing else. The upscaler's is the small picture before its noise, on the CPU.
    drawn_latents: of the second pass, (1, 4, h, w), float32: what the first has drawn, made larger;
        its steps start from it.
    layout: of the pieces, where it is too large to be drawn at once.
    """

    canvas: Canvas
    steps: int
    strength: float
    picture_latents: torch.Tensor | None = None
    mask_latents: torch.Tensor | None = None
    condition: torch.Tensor | None = None
    drawn_latents: torch.Tensor | None = None
    layout: Layout | None = None


@dataclass(frozen=True)
class Fitted:
    """A picture in the size of its latents, before it is encoded.

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

    @property
    def side_step(self) -> int:
        """The pixels that sides are multiples of, where the UNet can halve their latents."""
        return HALVED * self.model.scale

    def strength(self, request: Request) -> float:
        """Return the share of the steps that is run, unless the mask is all black."""
        return request.strength if request.image and self.starts_from_picture else 1

    def course(self, request: Request, strength: float, steps: int | None = None) -> Course:
        """Return what a request asks of its sampler, for a share of the steps.

        Args:
            steps: None for those of the first pass.
        """
        return Course(
            request.scheduler,
            steps or request.num_inference_steps,
            strength,
            request.spacing,
            request.eta,
        )

    def prepare(self, request: Request) -> PreparedInputs:
        """Fit the image and its mask to what is drawn and to the result; encode what is needed."""
        canvas = canvas_of(request, self.model.weights.native_size)
        strength = self.strength(request) if canvas.has_white else 0
        return self._prepared(request, canvas, request.num_inference_steps, strength)

    def prepare_refining(self, request: Request, canvas: Canvas) -> PreparedInputs:
        """Prepare the second pass, but for what it starts from.

        Args:
            canvas: its own.
        """
        steps = request.refine_steps or request.num_inference_steps
        strength = request.refine_strength if canvas.has_white else 0
        return self._prepared(request, canvas, steps, strength, is_first=False)

    def drawn_latents(self, request: Request, larger: Image.Image) -> torch.Tensor:
        """Return the latents that a second pass starts from, (1, 4, h, w), float32.

        Args:
            larger: what the first has drawn, in the size that the second draws, RGB.
        """
        return self._latents(request, _padded(larger, self.side_step))

    def _latents(self, request: Request, picture: Image.Image) -> torch.Tensor:
        encode = self.autoencoder.latents_of_tile if request.tiling else self.autoencoder.latents
        return encode(picture)

    def _prepared(
        self, request: Request, canvas: Canvas, steps: int, strength: float, is_first: bool = True
    ) -> PreparedInputs:
        if not canvas.picture or strength == 0:
            return PreparedInputs(canvas, steps, strength)
        picture, mask = canvas.to_draw()
        picture = _padded(picture, self.side_step)
        white, mask_latents = None, None
        if mask:
            pixels = numpy.asarray(_padded(mask, self.side_step))
            white = torch.from_numpy(pixels >= WHITE)[None, None]
            # A latent is repainted when any of its pixels is.
            pooled = torch.nn.functional.max_pool2d(white.float(), self.model.scale)
            mask_latents = pooled.to(self.model.device)
        condition = self.condition(Fitted(picture, white, mask_latents))
        blended = mask_latents if self.blends else None
        picture_latents = None
        if (strength < 1 and is_first) or blended is not None:
            picture_latents = self._latents(request, picture)
        return PreparedInputs(canvas, steps, strength, picture_latents, blended, condition)

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
        piece: int = 0,
    ) -> Denoising:
        """Set up image `index` of a request, with its own noise and its own sampler.

        Args:
            table: of the request's sampler; None where that is no table.
            piece: the number of the piece of it, where it is drawn in pieces.
        """
        model = self.model
        # On the CPU in float32, so that a seed means the same noise on every device.
        generator = torch.Generator().manual_seed(request.seed_of(index))
        step = self.side_step
        width, height = (
            math.ceil(side / step) * step // model.scale for side in inputs.canvas.drawn_size
        )
        shape = (1, model.pipeline.vae.config.latent_channels, height, width)
        noise = torch.randn(shape, generator=generator).to(model.device)
        condition, label = inputs.condition, None
        noise_level = self.noise_level(request)
        if condition is not None and noise_level is not None:
            label = torch.tensor([noise_level])
            drawn = torch.randn(condition.shape, generator=generator)
            condition = model.pipeline.low_res_scheduler.add_noise(condition, drawn, label)
            condition, label = condition.to(model.device), label.to(model.device)
        place: tuple[Any, ...] = (...,)
        if inputs.layout:
            place = ..., *inputs.layout.place(piece)
            noise = noise[place].contiguous()
            condition = None if condition is None else condition[place].contiguous()

        def draw() -> torch.Tensor:
            # All of it, so that what two pieces have in common has the same noise in both.
            return torch.randn(shape, generator=generator)[place]

        picture = inputs.picture_latents
        started = picture if inputs.drawn_latents is None else inputs.drawn_latents
        origin = None if inputs.strength == 1 else started
        start = Start(noise, origin, picture, inputs.mask_latents, generator, draw)
        sampler: Sampler
        if table is None:
            course = self.course(request, inputs.strength, inputs.steps)
            sampler = LibrarySampler(self.samplers.schedule(course), start, request.guidance_scale)
        else:
            sampler = TableSampler(table, start, request.guidance_scale)
        texts = [embeddings.positive]
        if embeddings.negative is not None:
            texts.insert(0, embeddings.negative)
        blended = start.mask if isinstance(sampler, TableSampler) else None
        newcomer = Newcomer(
            latents=sampler.first_latents().flatten(),
            noise=noise.flatten(),
            mask=None if blended is None else blended.expand(noise.shape).flatten(),
            picture=None if picture is None else picture.flatten(),
            texts=torch.cat(texts),
            condition=None if condition is None else condition[0],
            label=label,
        )
        channels = 0 if condition is None else condition.shape[1]
        tokens = embeddings.positive.shape[1]
        size = noise.shape[2], noise.shape[3]
        kind = Kind(size, tokens, channels, label is not None, request.tiling)
        return Denoising(kind, embeddings.negative is not None, sampler, newcomer)


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
        """Pad the picture with its edges until the UNet can halve its latents three times.

        What is larger than a piece is drawn in several.
        """
        picture = request.image
        assert picture is not None
        size = picture.width * self.model.scale, picture.height * self.model.scale
        pixels = self.autoencoder.pixels(_padded(picture, HALVED)).cpu()
        layout = Layout.of(pixels.shape[3], pixels.shape[2], HALVED)
        return PreparedInputs(
            Canvas(size, size),
            request.num_inference_steps,
            1,
            condition=pixels,
            layout=layout if len(layout) > 1 else None,
        )

    def noise_level(self, request: Request) -> int | None:
        """Return the timestep of the noise that is added to the small picture."""
        return request.noise_level


def _padded(picture: Image.Image, step: int) -> Image.Image:
    """Return a picture with its edges repeated until its sides are multiples of `step` pixels."""
    right, bottom = -picture.width % step, -picture.height % step
    return images.with_margins(picture, (0, 0, right, bottom)) if right or bottom else picture


TASKS = {
    "img2img": ImageToImage,
    "inpainting": Inpainting,
    "depth": DepthToImage,
    "upscale": Upscaling,
}
"""The classes of the tasks, by the names of `catalogue.TASKS`."""
