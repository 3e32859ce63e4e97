from __future__ import annotations

import dataclasses
import inspect
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy
import pytest
import torch
from hypothesis import HealthCheck, settings
from PIL import Image

from stable_diffusion import catalogue, models, schedulers
from stable_diffusion.engine import Engine, Event, Picture, until_finished
from stable_diffusion.models import Model
from stable_diffusion.request import Request
from tools.benchmark.server import free_port as free_port

# Examples are made from the test alone, and a slow machine is no failure.
settings.register_profile(
    "ours", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ours")

# Whether a checker was downloaded makes no difference to tests.
os.environ["SAFETY_CHECKER"] = "off"

EXAMPLES = Path(__file__).parent.parent / "examples"


class Studio:
    """An engine that is asked and answers, for tests."""

    def __init__(self, model: Model, rows: int | None = None) -> None:
        self.model = model
        self.engine = Engine(model, rows)

    def close(self) -> None:
        self.engine.close()

    def events(self, **inputs: Any) -> Iterator[Event]:
        """The events of one request, to the last."""
        events: SimpleQueue[Event] = SimpleQueue()
        self.engine.submit(request(**inputs), events.put)
        yield from until_over(events)

    def draw(self, **inputs: Any) -> list[Image.Image]:
        """The pictures of one request."""
        return [event.image for event in self.events(**inputs) if isinstance(event, Picture)]

    def draw_together(self, asked: list[dict[str, Any]]) -> list[list[Image.Image]]:
        """The pictures of several requests that run at once."""
        listeners: list[SimpleQueue[Event]] = [SimpleQueue() for _ in asked]
        for inputs, events in zip(asked, listeners, strict=True):
            self.engine.submit(request(**inputs), events.put)
        return [
            [event.image for event in until_over(events) if isinstance(event, Picture)]
            for events in listeners
        ]


def opened(path: Path) -> Image.Image:
    """A picture from a file, which is closed again."""
    with Image.open(path) as picture:
        picture.load()
        return picture


def request(**inputs: Any) -> Request:
    """A request that is small unless told otherwise."""
    return Request.of({"prompt": "a red apple", "num_inference_steps": 6, "seed": 1} | inputs)


def until_over(events: SimpleQueue[Event]) -> Iterator[Event]:
    yield from until_finished(events, timeout=300)


def difference(one: Image.Image, other: Image.Image) -> tuple[float, float]:
    """The largest and the mean difference of two pictures' values, of 255."""
    pixels = [numpy.asarray(picture.convert("RGB")).astype(float) for picture in (one, other)]
    distance = abs(pixels[0] - pixels[1])
    return distance.max(), distance.mean()


def same(one: Image.Image, other: Image.Image) -> bool:
    """Whether two pictures are the same in the contract's sense (2.5), in float32."""
    largest, mean = difference(one, other)
    return largest <= 2 and mean <= 0.1


def picture_of(
    colours: str = "RGB", size: tuple[int, int] = (128, 128), seed: int = 0
) -> Image.Image:
    """A picture with something everywhere: a gradient with noise, so that no two places agree."""
    generator = numpy.random.default_rng(seed)
    ramp = numpy.linspace(0, 200, size[0] * size[1] * 3).reshape(size[1], size[0], 3)
    pixels = (ramp + generator.integers(0, 55, ramp.shape)).astype(numpy.uint8)
    return Image.fromarray(pixels).convert(colours)


def library_pipeline(kind: str, model: Model, scheduler: str) -> Any:
    """A pipeline of the library's own on the model's parts, with the scheduler by its own way."""
    import diffusers

    made = getattr(diffusers, kind)
    safety = "requires_safety_checker" in inspect.signature(made).parameters
    pipeline = made(
        **model.pipeline.components, **({"requires_safety_checker": False} if safety else {})
    )
    # Set afterwards: the constructor would change its configuration.
    pipeline.scheduler = getattr(diffusers, schedulers.CLASSES[scheduler]).from_config(
        model.pipeline.scheduler.config,
        timestep_spacing="trailing",
        steps_offset=0,
        skip_prk_steps=True,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def take_our_schedule(library: Any, scheduler: str, steps: int, strength: float) -> None:
    """Gives a library's pipeline our schedule: a slice, its own way, PNDM and KLMS don't bear."""
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


def half_mask(size: tuple[int, int] = (128, 128)) -> Image.Image:
    """White on the right half."""
    mask = Image.new("L", size, 0)
    mask.paste(255, (size[0] // 2, 0, *size))
    return mask


def count_calls(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each UNet call from now on."""
    rows: list[int] = []
    unet = model.pipeline.unet
    forward = unet.forward

    def counted(latents: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        rows.append(len(latents))
        return forward(latents, *arguments, **options)

    monkeypatch.setattr(unet, "forward", counted)
    return rows


def png(width: int, height: int, depth: int, colours: int, pixels: bytes) -> bytes:
    """A PNG file by its specification, for what Pillow would not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.fixture(scope="session")
def demo() -> Model:
    return models.load(catalogue.find("demo"))


@pytest.fixture(scope="session")
def studio(demo: Model) -> Iterator[Studio]:
    studio = Studio(demo)
    yield studio
    studio.close()


@pytest.fixture(scope="session")
def classic(demo: Model) -> Studio:
    """The demo model with the noise schedule of SD 2.1, whose last timestep is not pure noise."""
    from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline

    config = {**demo.pipeline.scheduler.config}
    config |= {"rescale_betas_zero_snr": False, "set_alpha_to_one": False}
    components = {**demo.pipeline.components, "scheduler": DDIMScheduler.from_config(config)}
    pipeline = StableDiffusionImg2ImgPipeline(**components, requires_safety_checker=False)
    return Studio(dataclasses.replace(demo, pipeline=pipeline))


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield
