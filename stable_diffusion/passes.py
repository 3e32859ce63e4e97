"""The passes of a request after its first: over what that has drawn, or beside it.

What is refined is drawn again, larger. What is too large to be drawn at once is drawn in pieces.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

from PIL import Image

from stable_diffusion.canvas import Canvas
from stable_diffusion.denoising import Denoising
from stable_diffusion.mosaic import Mosaic
from stable_diffusion.pixel_upscalers import PixelUpscaler
from stable_diffusion.prompts import Embeddings
from stable_diffusion.request import InputError, Request
from stable_diffusion.samplers import Table
from stable_diffusion.tasks import ImageToImage, PreparedInputs

LARGEST_SIDES = {"webp": 16383, "jpg": 65500}
"""Pixels that a side of a file of some formats may have, as libwebp and libjpeg write them."""


@dataclass(eq=False)
class SecondPass:
    """The pass that refines what the first has drawn, once that is made larger.

    upscaler: makes it larger; None where Lanczos does.
    first: the canvas of the pass before it.
    canvas, table, steps: its own; no steps where what was drawn is only made larger.
    inputs: what its images share, once the first of them is begun.
    """

    task: ImageToImage
    request: Request
    embeddings: Embeddings
    upscaler: PixelUpscaler | None
    first: Canvas
    canvas: Canvas
    table: Table | None
    steps: int
    inputs: PreparedInputs | None = None

    @classmethod
    def of(
        cls,
        task: ImageToImage,
        request: Request,
        embeddings: Embeddings,
        upscaler: PixelUpscaler | None,
        first: Canvas,
    ) -> SecondPass:
        """Return the second pass of a request.

        Raises:
            InputError: where it would be too large.
        """
        grows = not (request.result_size or request.keep_size or request.only_masked)
        step = task.side_step if request.tiling else 1
        canvas = first.refined(request.refine_scale, grows, step)
        largest = LARGEST_SIDES.get(request.output_format)
        if largest and max(canvas.size) > largest:
            raise InputError(
                f"refine_scale: {canvas.size[0]} × {canvas.size[1]} px are more than a file of "
                f"{request.output_format} has, {largest} a side; give another output_format"
            )
        if request.refine_strength == 0 or not first.has_white:
            return cls(task, request, embeddings, upscaler, first, canvas, None, 0)
        course = task.course(request, request.refine_strength, request.refine_steps)
        table = task.samplers.table(course).result()
        timesteps = table.timesteps if table else task.samplers.schedule(course).timesteps
        return cls(task, request, embeddings, upscaler, first, canvas, table, len(timesteps))

    @property
    def cost(self) -> float:
        """The pixels of a step, as a multiple of those of a step before."""
        return self.request.refine_scale**2

    def begin(
        self, index: int, drawn: Image.Image
    ) -> Generator[None, None, Denoising | Image.Image]:
        """Return an image before its first step, or without steps the picture itself.

        It yields while it is made larger, so that others need not wait.

        Args:
            drawn: what the first pass has drawn, RGB.
        """
        if not self.inputs:
            self.inputs = self.task.prepare_refining(self.request, self.canvas)
        larger, size = drawn.crop((0, 0, *self.first.drawn_size)), self.canvas.drawn_size
        if self.upscaler:
            larger = yield from self.upscaler.enlarge(larger, size, self.request.tiling)
        else:
            larger = larger.resize(size, Image.Resampling.LANCZOS)
        if self.inputs.strength == 0:
            return larger
        start = self.task.drawn_latents(self.request, larger)
        inputs = replace(self.inputs, drawn_latents=start)
        return self.task.begin(self.request, index, inputs, self.embeddings, self.table)

    def after(self) -> None:
        """Return the pass after this one: None."""


@dataclass(eq=False)
class NextPiece:
    """The next piece of pictures that are drawn in pieces.

    inputs: what all pieces share.
    mosaics: into which they go, one for each image.
    number: of the piece.
    """

    task: ImageToImage
    request: Request
    embeddings: Embeddings
    inputs: PreparedInputs
    table: Table | None
    steps_of_piece: int
    mosaics: list[Mosaic]
    number: int = 1

    cost = 1.0
    """The pixels of a step, as a multiple of those of a step before."""

    @property
    def steps(self) -> int:
        """The steps that are left from this piece on."""
        assert self.inputs.layout
        return self.steps_of_piece * (len(self.inputs.layout) - self.number)

    def begin(self, index: int, drawn: Image.Image) -> Generator[None, None, Denoising]:
        """Keep the piece before this one, and return this one before its first step."""
        yield from ()
        self.mosaics[index].add(drawn)
        return self.task.begin(
            self.request, index, self.inputs, self.embeddings, self.table, self.number
        )

    def after(self) -> NextPiece | None:
        """Return the piece after this one, if there is one."""
        following = replace(self, number=self.number + 1)
        return following if following.steps else None
