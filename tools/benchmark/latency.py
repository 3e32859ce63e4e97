"""One prediction alone: the engine against the library's own pipeline, and against OpenVINO."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from importlib.util import find_spec
from itertools import count
from queue import SimpleQueue
from typing import Any

import torch
from PIL import Image

from stable_diffusion import models
from stable_diffusion.catalogue import Weights
from stable_diffusion.engine import Engine
from stable_diffusion.events import Event, until_finished
from stable_diffusion.request import Request
from tools.benchmark.floor import floor_of
from tools.benchmark.machine import precision, wait
from tools.benchmark.process import Contender, LoneContender
from tools.benchmark.statistics import interleaved, ratios, spread

PROMPT = "a house with a garden"


def measure(
    weights: Weights, size: int, steps: int, rounds: int, rate: float, apart: bool = False
) -> dict[str, Any]:
    """A prediction with documented defaults, an image and guidance, at `size` × `size` pixels.

    Args:
        apart: whether only one contender is in memory at a time.
        rate: floating-point operations a second that the device reaches in a matrix product.
    """
    setups: dict[str, Callable[..., Callable[[], float]]] = {"engine": engine, "library": library}
    if not torch.cuda.is_available() and precision() == "float32" and find_spec("openvino"):
        setups["openvino"] = openvino
    kind = LoneContender if apart else Contender
    with ExitStack() as ended:
        contenders = {
            name: ended.enter_context(closing(kind(setup, weights, size, steps)))
            for name, setup in setups.items()
        }
        seconds = interleaved(rounds, **contenders)
        memory = {name: contender.memory() for name, contender in contenders.items()}
    floor = floor_of(weights, default(size, steps)) / rate
    return {
        "size": size,
        "steps": steps,
        "seconds": {name: spread(each) for name, each in seconds.items()},
        "ratio_to": ratios_of_engine(seconds),
        "floor_seconds": floor,
        "share_of_floor": floor / spread(seconds["engine"])["median"],
        "peak_memory": memory,
    }


def ratios_of_engine(seconds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """The engine's time over that of each other contender, round by round."""
    return {
        name: ratios(seconds["engine"], each) for name, each in seconds.items() if name != "engine"
    }


def default(size: int, steps: int, prompt: str = PROMPT) -> Request:
    """A request with the documented defaults, at a size."""
    image = Image.effect_mandelbrot((size, size), (-2, -1.5, 1, 1.5), 50).convert("RGB")
    asked = {"prompt": prompt, "image": image, "width": size, "height": size, "seed": 1}
    return Request.of({**asked, "num_inference_steps": steps})


def defaults(size: int, steps: int) -> Iterator[Request]:
    """The same with a new prompt each time, whose embeddings nobody can have kept."""
    for turn in count():
        yield default(size, steps, f"{PROMPT} {turn}")


def engine(weights: Weights, size: int, steps: int) -> Callable[[], float]:
    """Ours, when what makes it faster is ready."""
    running, requests = Engine(models.load(weights, precision())), defaults(size, steps)
    while running.is_warming:
        time.sleep(0.1)
    return lambda: timed(answer, running, next(requests))


def library(weights: Weights, size: int, steps: int, compiled: bool = False) -> Callable[[], float]:
    """The library's pipeline as its documentation calls it, or with its UNet compiled."""
    import diffusers
    import transformers

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    pipeline = diffusers.StableDiffusionImg2ImgPipeline.from_pretrained(
        weights.path,
        dtype=getattr(torch, precision()),
        variant=weights.variant,
        safety_checker=None,
        requires_safety_checker=False,
    ).to("cuda" if torch.cuda.is_available() else "cpu")
    pipeline.scheduler = diffusers.DPMSolverMultistepScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing="trailing"
    )
    pipeline.set_progress_bar_config(disable=True)
    if compiled:
        pipeline.unet = torch.compile(pipeline.unet)
    requests = defaults(size, steps)

    def run(request: Request) -> None:
        pipeline(
            request.prompt,
            image=request.image,
            strength=request.strength,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            generator=torch.Generator().manual_seed(request.seed),
        )

    return lambda: timed(run, next(requests))


def openvino(weights: Weights, size: int, steps: int) -> Callable[[], float]:
    """The parts compiled by OpenVINO, in float32."""
    from tools.benchmark.openvino_pipeline import compiled

    run, requests = compiled(models.load(weights, "float32"), size), defaults(size, steps)
    return lambda: timed(run, next(requests))


def submit(running: Engine, request: Request) -> SimpleQueue[Event]:
    """Where the events of a request will be."""
    events: SimpleQueue[Event] = SimpleQueue()
    running.submit(request, events.put)
    return events


def answer(running: Engine, request: Request) -> None:
    """Runs a request to its end."""
    for _ in until_finished(submit(running, request)):
        pass


def timed(run: Callable[..., Any], *arguments: Any) -> float:
    """Seconds that a call takes, the GPU's part included."""
    wait()
    start = time.perf_counter()
    run(*arguments)
    wait()
    return time.perf_counter() - start
