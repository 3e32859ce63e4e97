"""Previews: small pictures of what a request's images will be, made beside the steps.

Now and then the engine copies an estimate of the finished latents, of which a thread makes a
picture. The thread touches no device, and the engine never waits for it.
"""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from PIL import Image

from stable_diffusion.canvas import SMALL_PIXELS, Canvas
from stable_diffusion.events import Preview
from stable_diffusion.rough_decoder import RoughDecoder

QUALITY = 75
"""Of the WebP files."""


@dataclass(frozen=True)
class Estimate:
    """What an image's latents will be, by one of its steps.

    index: of the image in its request.
    latents: (4, h, w), float32, on the CPU.
    scale: pixels of what is drawn per latent pixel.
    canvas: of the pass.
    whole: what a piece belongs to, with a pixel per latent pixel; None where all is drawn at once.
    place: left and top of the piece in it.
    """

    index: int
    latents: torch.Tensor
    scale: int
    canvas: Canvas
    whole: Image.Image | None = None
    place: tuple[int, int] = (0, 0)


class Previews:
    """A thread that makes previews, of each request the newest: what is late is left out.

    Args:
        decoder: of the model.
    """

    def __init__(self, decoder: RoughDecoder) -> None:
        self._decoder = decoder
        self._waiting: dict[Hashable, tuple[Estimate, Callable[[Preview], None]]] = {}
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="previews", daemon=True)
        self._thread.start()

    def submit(self, owner: Hashable, estimate: Estimate, show: Callable[[Preview], None]) -> None:
        """Have a preview made, in place of the owner's that waits, and return at once.

        Args:
            show: called with the preview, in the thread; it must neither block nor raise.
        """
        with self._changed:
            self._waiting[owner] = estimate, show
            self._changed.notify()

    def close(self) -> None:
        """End the thread; what waits is left out."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                if self._is_closed:
                    return
                estimate, show = self._waiting.pop(next(iter(self._waiting)))
            try:
                show(Preview(estimate.index, self._file(estimate)))
            except Exception as error:  # such as of too little memory: the next may be made
                print(f"a preview was not made: {error}", file=sys.stderr)
            del estimate, show  # and whose they are, while this waits for the next

    def _file(self, estimate: Estimate) -> bytes:
        """Return the WebP file of an estimate, in the shape of the result."""
        canvas, small, latents = estimate.canvas, estimate.canvas.small, estimate.latents
        rough = self._decoder.picture(latents.numpy(), SMALL_PIXELS)
        # The pixels of the small picture for a latent pixel, across and down.
        across, down = (
            after * estimate.scale / before
            for after, before in zip(small.drawn_size, canvas.drawn_size, strict=True)
        )
        size = round(latents.shape[2] * across), round(latents.shape[1] * down)
        drawn = rough.resize((max(1, size[0]), max(1, size[1])), Image.Resampling.BICUBIC)
        if estimate.whole:
            left, top = estimate.place
            piece, drawn = drawn, estimate.whole.resize(small.drawn_size, reducing_gap=2)
            drawn.paste(piece, (round(left * across), round(top * down)))
        picture, _ = small.finish(drawn)
        file = io.BytesIO()
        picture.save(file, "WEBP", quality=QUALITY, method=0)
        return file.getvalue()
