"""An engine that draws for tests."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from queue import SimpleQueue
from typing import Any

import pytest
import torch
from PIL import Image

from stable_diffusion import catalogue, models
from stable_diffusion.engine import Engine
from stable_diffusion.events import Event, Picture, until_finished
from stable_diffusion.installed import Folder
from stable_diffusion.models import Model
from stable_diffusion.pixel_upscalers import PixelUpscaler
from stable_diffusion.previews import Previews
from stable_diffusion.request import Request
from stable_diffusion.residency import Residency

SMALL = {"prompt": "a red apple", "num_inference_steps": 6, "seed": 1}


class Studio:
    """An engine that is asked and answers, for tests."""

    def __init__(
        self,
        model: Model,
        rows: int | None = None,
        executor: str = "plain",
        upscalers: Mapping[str, PixelUpscaler] | None = None,
        loras: Folder | None = None,
        previews: Previews | None = None,
        residency: Residency | None = None,
    ) -> None:
        self.model = model
        self.loras = loras
        self.engine = Engine(
            model,
            rows,
            executor=executor,
            upscalers=upscalers,
            loras=loras,
            previews=previews,
            residency=residency,
        )

    def close(self) -> None:
        self.engine.close()

    def wait_until_warm(self) -> None:
        """Wait until the engine's faster way is ready, or left out."""
        end = time.monotonic() + 120
        while self.engine.is_warming:
            assert time.monotonic() < end
            time.sleep(0.01)

    def request(self, **inputs: Any) -> Request:
        """The same as `request`, which may name the engine's upscalers and LoRAs."""
        installed = self.loras.files() if self.loras else {}
        return Request.of(
            SMALL | inputs, upscalers=self.engine.upscalers, installed_loras=installed
        )

    def events(self, with_previews: bool = False, **inputs: Any) -> Iterator[Event]:
        """The events of one request, to the last."""
        events: SimpleQueue[Event] = SimpleQueue()
        self.engine.submit(self.request(**inputs), events.put, with_previews)
        yield from until_over(events)

    def draw(self, **inputs: Any) -> list[Image.Image]:
        """The pictures of one request."""
        return [event.image for event in self.events(**inputs) if isinstance(event, Picture)]

    def draw_together(self, asked: list[dict[str, Any]]) -> list[list[Image.Image]]:
        """The pictures of several requests that run at once."""
        listeners: list[SimpleQueue[Event]] = [SimpleQueue() for _ in asked]
        for inputs, events in zip(asked, listeners, strict=True):
            self.engine.submit(self.request(**inputs), events.put)
        return [
            [event.image for event in until_over(events) if isinstance(event, Picture)]
            for events in listeners
        ]


def demo_model() -> Model:
    """The demo model, loaded."""
    return models.load(catalogue.find("demo"))


def classic(demo: Model) -> Studio:
    """The demo model with the noise schedule of SD 2.1, whose last timestep is not pure noise."""
    from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline

    config = {**demo.pipeline.scheduler.config}
    config |= {"rescale_betas_zero_snr": False, "set_alpha_to_one": False}
    components = {**demo.pipeline.components, "scheduler": DDIMScheduler.from_config(config)}
    pipeline = StableDiffusionImg2ImgPipeline(**components, requires_safety_checker=False)
    return Studio(dataclasses.replace(demo, pipeline=pipeline))


def request(**inputs: Any) -> Request:
    """A request that is small unless told otherwise."""
    return Request.of(SMALL | inputs)


def until_over(events: SimpleQueue[Event]) -> Iterator[Event]:
    yield from until_finished(events, timeout=300)


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
