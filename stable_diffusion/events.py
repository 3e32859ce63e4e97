"""The events that a job's listener is called with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from queue import SimpleQueue

from PIL import Image

from stable_diffusion.measurement import Measurement
from stable_diffusion.request import quote


@dataclass(frozen=True)
class PromptTruncated:
    """The end of the input `name`, `part`, was left out: it is more than the model reads."""

    name: str
    part: str

    @property
    def warning(self) -> str:
        """The sentence that tells the client."""
        return (
            f"{self.name}: longer than the model reads; the last "
            f"{len(self.part)} characters are left out: {quote(self.part, 1000)}"
        )


@dataclass(frozen=True)
class NothingRepainted:
    """The mask preserves all that is left of the picture."""

    warning = "mask: it preserves all of the picture, so nothing is repainted"
    """The sentence that tells the client."""


@dataclass(frozen=True)
class Resized:
    """The result's size is not that which is drawn: `warning` is a sentence on how it came."""

    warning: str


@dataclass(frozen=True)
class NothingKnown:
    """The prompt names nothing that the model has in its vocabulary.

    model: its name.
    things: the number of those that it draws.
    nearest: words for those that are nearest to the prompt, if any are.
    """

    model: str
    things: int
    prompt: str
    nearest: tuple[str, ...]

    @property
    def warning(self) -> str:
        """The sentence that tells the client."""
        near = f"; nearest: {', '.join(self.nearest)}" if self.nearest else ""
        return (
            f"prompt: the {self.model} model knows {self.things} things, and {quote(self.prompt)} "
            f"names none of them{near}. scripts/download-weights gets a model that knows the world"
        )


@dataclass(frozen=True)
class TooLarge:
    """The picture is larger than what the model draws well, by its vocabulary.

    model: its name.
    drawn_size: width and height in pixels.
    largest: the side in pixels of the largest square that it draws well.
    """

    model: str
    drawn_size: tuple[int, int]
    largest: int

    @property
    def warning(self) -> str:
        """The sentence that tells the client."""
        width, height = self.drawn_size
        return (
            f"size: the {self.model} model draws well up to {self.largest} × {self.largest} px; "
            f"at {width} × {height} px, things repeat"
        )


@dataclass(frozen=True)
class Progress:
    """Step `step` of `steps` is done; `seconds_left` at the pace so far."""

    step: int
    steps: int
    seconds_left: float


@dataclass(frozen=True)
class Preview:
    """Image `index` of the request will look like this; `file` is a small WebP picture."""

    index: int
    file: bytes


@dataclass(frozen=True)
class Picture:
    """Image `index` of the request is finished.

    image: RGB, without a watermark.
    drawn_size: the width and height that it was drawn at, as the inputs count them; None where no
        step was run.
    generated: in its size, greyscale: 0 where its pixels are those of the input; None where all
        are.
    nsfw: False where the checker has seen it, None where there is none.
    """

    index: int
    seed: int
    image: Image.Image
    drawn_size: tuple[int, int] | None
    generated: Image.Image | None
    nsfw: bool | None


@dataclass(frozen=True)
class Flagged:
    """Image `index` of the request is finished and left out: the NSFW checker has flagged it."""

    index: int
    seed: int

    @property
    def warning(self) -> str:
        """The sentence that tells the client."""
        return f"image {self.index}, of seed {self.seed}, is left out: NSFW content detected"


@dataclass(frozen=True)
class Measured:
    """The files of the request's images are written, and this is what it took."""

    measurement: Measurement


@dataclass(frozen=True)
class Finished:
    """All images of the request were handed out, except those left out."""


@dataclass(frozen=True)
class Failed:
    """The request failed, with `error`."""

    error: Exception


Notice = PromptTruncated | NothingRepainted | Resized | NothingKnown | TooLarge | Flagged
"""An event with a sentence for the client, its `warning`."""
Event = Notice | Progress | Preview | Picture | Measured | Finished | Failed


def until_finished(events: SimpleQueue[Event], timeout: float | None = None) -> Iterator[Event]:
    """Yield a request's events from the queue that it was submitted with, to the last.

    Args:
        timeout: seconds to wait for each; None waits as long as it takes.

    Raises:
        Exception: what the request failed with, or `queue.Empty` when no event came in time.
    """
    while True:
        event = events.get(timeout=timeout)
        if isinstance(event, Failed):
            raise event.error
        yield event
        if isinstance(event, Finished):
            return
