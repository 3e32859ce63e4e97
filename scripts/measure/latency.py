"""One prediction alone: the engine against the library's own pipeline, and against OpenVINO."""

import time
from collections.abc import Callable
from importlib.util import find_spec
from queue import SimpleQueue
from typing import Any

import torch
from PIL import Image

from scripts.measure.floor import floor_of
from scripts.measure.machine import wait
from scripts.measure.statistics import interleaved, ratios, spread
from stable_diffusion.engine import Engine, Event, until_finished
from stable_diffusion.models import Model
from stable_diffusion.request import Request

PROMPT = "a house with a garden"


def measure(model: Model, size: int, steps: int, rounds: int, matrix_rate: float) -> dict[str, Any]:
    """A prediction with documented defaults, an image and guidance, at `size` × `size` pixels."""
    image = Image.effect_noise((size, size), 80).convert("RGB")
    request = Request.of(
        {
            "prompt": PROMPT,
            "image": image,
            "width": size,
            "height": size,
            "num_inference_steps": steps,
            "seed": 1,
        }
    )
    engine = Engine(model)
    contenders: dict[str, Callable[[], float]] = {
        "engine": lambda: timed(model, lambda: answer(engine, request)),
        "library": library(model, request, image),
    }
    if model.device.type == "cpu" and find_spec("openvino"):
        from scripts.measure import openvino_pipeline

        contenders["openvino"] = openvino_pipeline.contender(model, request, image)
    seconds = interleaved(rounds, **contenders)
    engine.close()
    floor = floor_of(model, request) / matrix_rate
    result: dict[str, Any] = {
        "size": size,
        "steps": steps,
        "seconds": {name: spread(each) for name, each in seconds.items()},
        "ratio_to_library": ratios(seconds["engine"], seconds["library"]),
        "floor_seconds": floor,
        "share_of_floor": floor / spread(seconds["engine"])["median"],
    }
    if "openvino" in seconds:
        result["ratio_to_openvino"] = ratios(seconds["engine"], seconds["openvino"])
    return result


def answer(engine: Engine, request: Request) -> None:
    """Runs a request to its end."""
    events: SimpleQueue[Event] = SimpleQueue()
    engine.submit(request, events.put)
    for _ in until_finished(events):
        pass


def timed(model: Model, run: Callable[[], Any]) -> float:
    """Seconds that `run` takes, the device's part included."""
    wait(model.device)
    start = time.perf_counter()
    run()
    wait(model.device)
    return time.perf_counter() - start


def library(model: Model, request: Request, image: Image.Image) -> Callable[[], float]:
    """The library's pipeline as its documentation calls it, on weights of its own."""
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionImg2ImgPipeline

    pipeline = StableDiffusionImg2ImgPipeline.from_pretrained(
        model.weights.folder,
        dtype=model.dtype,
        safety_checker=None,
        requires_safety_checker=False,
    ).to(model.device)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing="trailing"
    )
    pipeline.set_progress_bar_config(disable=True)

    def run() -> None:
        pipeline(
            request.prompt,
            image=image,
            strength=request.strength,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            generator=torch.Generator().manual_seed(request.seed),
        )

    return lambda: timed(model, run)
