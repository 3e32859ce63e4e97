"""The canvas of a request: its picture and mask in the result's size, and what of them is drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy
from PIL import Image, ImageFilter

from stable_diffusion import images
from stable_diffusion.request import (
    EXTENSIONS,
    LARGEST_FITTED,
    LARGEST_RESULT,
    MOST_REFINED_PIXELS,
    InputError,
    Request,
    too_large,
    too_large_to_refine,
)

WHITE = 128
"""The value of a mask from which on a pixel is repainted; below it, a pixel is preserved."""
FEATHER_PIXELS = 16
"""The width of the seam in which an extension takes over from the image's repeated edges."""
FILL_NOISE = 16
"""The largest noise on an extension's first colours, of 255."""
SMALL_PIXELS = 128
"""The longer side of a small canvas, if it is that large."""

Size = tuple[int, int]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Canvas:
    """The ground on which a result is drawn.

    size: width and height of the result in pixels.
    drawn_size: those at which `box` is drawn.
    resample: the filter of the scaling from these to those, of `request.FILTERS`.
    picture: the input image in the result's size, RGB; None for text to image.
    mask: in the result's size, greyscale; None where all is repainted.
    box: left, top, right and bottom, in pixels of the result, of what is drawn; None for all of it.
    asked_size: the inputs `width` and `height` by which it is drawn the same way again.
    source, source_mask: what is drawn, in a size of its own, to be fitted by `resize_mode`.
    """

    size: Size
    drawn_size: Size
    resample: str = "lanczos"
    picture: Image.Image | None = None
    mask: Image.Image | None = None
    box: Box | None = None
    asked_size: Size | None = None
    source: Image.Image | None = None
    source_mask: Image.Image | None = None
    resize_mode: str = "crop"

    @property
    def has_white(self) -> bool:
        """Whether anything is repainted."""
        return self.mask is None or _box_of_white(self.mask) is not None

    def to_draw(self) -> tuple[Image.Image, Image.Image | None]:
        """Return the picture and the mask in the size that is drawn."""
        assert self.picture
        if self.box is None and self.drawn_size == self.size:
            return self.picture, self.mask
        within = _size_of(self.box) if self.box else self.size

        def fit(picture: Image.Image) -> Image.Image:
            return images.fit(picture, self.drawn_size, within=within, mode=self.resize_mode)

        assert self.source
        return fit(self.source), fit(self.source_mask) if self.source_mask else None

    def refined(self, scale: float, grows: bool, step: int = 1) -> Canvas:
        """Return the canvas of a second pass, for which what was drawn is made larger.

        Args:
            grows: whether the result is larger then, too.
            step: pixels that its sides are multiples of.

        Raises:
            InputError: where that is more than a second pass may have.
        """
        width, height = (round(side * scale / step) * step for side in self.drawn_size)
        if width * height > MOST_REFINED_PIXELS:
            raise InputError(too_large_to_refine(self.drawn_size, scale))
        drawn_size = width, height
        if not grows:
            return replace(self, drawn_size=drawn_size, asked_size=self.drawn_size)

        def fit(picture: Image.Image | None) -> Image.Image | None:
            return images.fit(picture, drawn_size, mode=self.resize_mode) if picture else None

        return replace(
            self,
            size=drawn_size,
            drawn_size=drawn_size,
            picture=fit(self.source),
            mask=fit(self.source_mask),
            asked_size=self.drawn_size,
        )

    @cached_property
    def small(self) -> Canvas:
        """The canvas of a small picture that shows the same, as far as `finish` needs it."""
        size, drawn_size = (_within(each, SMALL_PIXELS) for each in (self.size, self.drawn_size))
        box = None
        if self.box:
            left, top, right, bottom = (
                edge * size[axis % 2] / self.size[axis % 2] for axis, edge in enumerate(self.box)
            )
            box = math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)
        is_pasted = self.box is not None or self.mask is not None
        picture = self.picture if is_pasted else None
        return Canvas(
            size,
            drawn_size,
            picture=picture and picture.resize(size, reducing_gap=2),
            mask=self.mask and self.mask.resize(size, reducing_gap=2),
            box=box,
        )

    def finish(self, drawn: Image.Image) -> tuple[Image.Image, Image.Image | None]:
        """Scale what was drawn to the result's size; put preserved pixels back, exactly.

        Args:
            drawn: RGB, at least of the size that is drawn.

        Returns:
            The finished picture, RGB; and a mask in its size, greyscale, which is 0 where its
            pixels are those of the input.
        """
        drawn = drawn.crop((0, 0, *self.drawn_size))
        if self.box is None:
            result = images.fit(drawn, self.size, self.resample)
        else:
            assert self.picture
            result = self.picture.copy()
            result.paste(images.fit(drawn, _size_of(self.box), self.resample), self.box[:2])
        if not (self.picture and self.mask):
            return result, Image.new("L", result.size, 255)
        # Full weight at white, none at the last preserved grey: feathering stays on the white side.
        weight = self.mask.point([max(0, 2 * (grey - WHITE) + 1) for grey in range(256)])
        return Image.composite(result, self.picture, weight), weight


def canvas_of(request: Request, native: int) -> Canvas:
    """Return the canvas of a request.

    Args:
        native: the side in pixels of the square that the model was trained on.

    Raises:
        InputError: where the result would be larger than what is drawn.
    """
    image, mask = _cropped(request)
    if image and any(request.extensions):
        return _extended(request, image, mask, native)
    if image and mask and request.only_masked:
        return _part(request, image, mask, native)
    asked = request.result_size
    if image and request.keep_size:
        asked = _within(image.size, LARGEST_RESULT if request.strength > 0 else LARGEST_FITTED)
    drawn_size = images.choose_size(
        request.width, request.height, image.size if image else None, native, asked
    )
    if image and request.is_enlarged_alone and not (request.width or request.height):
        drawn_size = image.size
    size, resample = asked or drawn_size, request.resample if asked else "lanczos"

    def fit(picture: Image.Image | None) -> Image.Image | None:
        return images.fit(picture, size, resample, mode=request.resize_mode) if picture else None

    return Canvas(
        size,
        drawn_size,
        resample,
        fit(image),
        fit(mask),
        source=image,
        source_mask=mask,
        resize_mode=request.resize_mode,
    )


def notes_on(request: Request, canvas: Canvas, is_drawn: bool) -> Iterator[str]:
    """Yield sentences for the client on how the result got its size.

    Args:
        is_drawn: whether any step is run.
    """
    name = next(
        (name for name in ("result_size", "keep_size", "only_masked") if getattr(request, name)), ""
    )
    if not name:
        return
    if request.image and not request.result_size:
        width, height = request.crop[2:] if request.crop else request.image.size
        left, top, right, bottom = request.extensions
        fitted = canvas.size[0] - left - right, canvas.size[1] - top - bottom
        if fitted[0] < width or fitted[1] < height:
            yield (
                f"{name}: the image's {width} × {height} px are more than a result has; they are "
                f"scaled to {fitted[0]} × {fitted[1]} px"
            )
    drawn = "drawn at {} × {} px".format(*canvas.drawn_size)
    how = f"by the filter {canvas.resample}"
    if canvas.box:
        if is_drawn:
            size, (left, top, *_) = _size_of(canvas.box), canvas.box
            yield (
                f"only_masked: the part of {size[0]} × {size[1]} px at {left}, {top} is {drawn}, "
                f"then scaled {how} and put back"
            )
        return
    to = f"scaled and cropped to {canvas.size[0]} × {canvas.size[1]} px {how}"
    yield f"{name}: {drawn}, then {to}" if is_drawn else f"{name}: the image is {to}"


def _cropped(request: Request) -> tuple[Image.Image | None, Image.Image | None]:
    """Return what is used of the image, and of the mask as it lies on it."""
    image, mask = request.image, images.adjusted_mask(request)
    if not image or not request.crop:
        return image, mask
    left, top, width, height = request.crop
    box = left, top, left + width, top + height
    if mask and mask.size != image.size:
        mask = images.fit(mask, image.size)
    return image.crop(box), mask.crop(box) if mask else None


def _part(request: Request, image: Image.Image, mask: Image.Image, native: int) -> Canvas:
    """Return the canvas of which only the part around the mask is drawn."""
    size = _within(image.size, LARGEST_FITTED)
    picture, mask = images.fit(image, size, request.resample), images.fit(mask, size)
    white = _box_of_white(mask) or (0, 0, *size)
    padding = round(request.only_masked_padding * size[0] / image.width)
    padded = (
        max(0, white[0] - padding),
        max(0, white[1] - padding),
        min(size[0], white[2] + padding),
        min(size[1], white[3] + padding),
    )
    drawn_size = images.choose_size(request.width, request.height, _size_of(padded), native)
    box = _widened(padded, drawn_size, size)
    return Canvas(
        size,
        drawn_size,
        request.resample,
        picture,
        mask,
        box,
        source=picture.crop(box),
        source_mask=mask.crop(box),
    )


def _extended(
    request: Request, image: Image.Image, mask: Image.Image | None, native: int
) -> Canvas:
    """Return the canvas on which more than the image is drawn."""
    left, top, right, bottom = request.extensions
    added = left + right, top + bottom
    if request.keep_size:
        inner = _within(image.size, *(LARGEST_RESULT - pixels for pixels in added))
    else:
        inner = images.choose_size(request.width, request.height, image.size, native)
    for axis, side in enumerate(("width", "height")):
        if inner[axis] + added[axis] > LARGEST_RESULT:
            names = [name for name in EXTENSIONS[axis::2] if getattr(request, name)]
            raise InputError(too_large(names[0], side, inner[axis], added[axis]))
    size = inner[0] + added[0], inner[1] + added[1]
    resample = request.resample if request.keep_size else "lanczos"
    fitted = images.fit(image, inner, resample, mode=request.resize_mode)
    picture = _filled(fitted, request.extensions)
    black = Image.new("L", inner)
    kept = images.fit(mask, inner, resample, mode=request.resize_mode) if mask else black
    mask = _feathered(kept, request.extensions)
    drawn_size, asked_size = size, inner
    if request.keep_size:
        drawn_size = images.choose_size(request.width, request.height, None, native, size)
        asked_size = drawn_size
    return Canvas(
        size,
        drawn_size,
        resample,
        picture,
        mask,
        asked_size=asked_size,
        source=picture,
        source_mask=mask,
    )


def _filled(picture: Image.Image, margins: Box) -> Image.Image:
    """Return the picture with its edges repeated around it, which fade into the colours near them.

    On what is new there is some noise, since the model takes even colours for a background.
    """
    blurred = picture.filter(ImageFilter.GaussianBlur(FEATHER_PIXELS / 2))
    edges, colours = (
        numpy.asarray(images.with_margins(each, margins)).astype(numpy.float32)
        for each in (picture, blurred)
    )
    share = numpy.minimum(1, _distance(picture.size, margins) / FEATHER_PIXELS)[..., None]
    noise = numpy.random.default_rng(0).uniform(-FILL_NOISE, FILL_NOISE, edges.shape)
    filled = edges + share * (colours - edges + noise.astype(numpy.float32))
    return Image.fromarray(filled.clip(0, 255).round().astype(numpy.uint8))


def _feathered(mask: Image.Image, margins: Box) -> Image.Image:
    """Return the mask with white around it, which is least at the mask's edge."""
    ramp = WHITE + (255 - WHITE) * _distance(mask.size, margins) / FEATHER_PIXELS
    around = Image.fromarray(ramp.clip(0, 255).astype(numpy.uint8))
    around.paste(mask, margins[:2])
    return around


def _distance(size: Size, margins: Box) -> numpy.ndarray:
    """Return the distance in pixels from a rectangle of pixels in its margins: 0 within it."""
    left, top, right, bottom = margins
    across = numpy.arange(-left, size[0] + right)
    down = numpy.arange(-top, size[1] + bottom)
    beside = numpy.maximum(numpy.maximum(-across, across - size[0] + 1), 0)
    above = numpy.maximum(numpy.maximum(-down, down - size[1] + 1), 0)
    return numpy.hypot(above[:, None], beside).astype(numpy.float32)


def _within(size: Size, width: int, height: int | None = None) -> Size:
    """Return a size, or where it is larger than that, the largest of its shape that is not."""
    height = width if height is None else height
    factor = min(1.0, width / size[0], height / size[1])
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _size_of(box: Box) -> Size:
    return box[2] - box[0], box[3] - box[1]


def _box_of_white(mask: Image.Image) -> Box | None:
    """Return where a mask is white; None where it is nowhere."""
    return mask.point([255 * (grey >= WHITE) for grey in range(256)]).getbbox()


def _widened(box: Box, shape: Size, bounds: Size) -> Box:
    """Return a box with more around it, in a shape as far as there is room for it."""
    width, height = _size_of(box)
    wide = min(bounds[0], max(width, round(height * shape[0] / shape[1])))
    high = min(bounds[1], max(height, round(width * shape[1] / shape[0])))
    left = min(max(0, (box[0] + box[2] - wide) // 2), bounds[0] - wide)
    top = min(max(0, (box[1] + box[3] - high) // 2), bounds[1] - high)
    return left, top, left + wide, top + high
