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
    """Measure a prediction with default inputs, an image and guidance, at `size` × `size` pixels.

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
    """Return the ratios of the engine's time to each other contender's, round by round."""
    return {
        name: ratios(seconds["engine"], each) for name, each in seconds.items() if name != "engine"
    }


def default(size: int, steps: int, prompt: str = PROMPT) -> Request:
    """Return a `Request` with the documented defaults, at a size."""
    image = picture(size, size)
    asked = {"prompt": prompt, "image": image, "width": size, "height": size, "seed": 1}
    return Request.of({**asked, "num_inference_steps": steps})


def picture(width: int, height: int) -> Image.Image:
    """Return a picture of a size in pixels, with detail in it."""
    return Image.effect_mandelbrot((width, height), (-2, -1.5, 1, 1.5), 50).convert("RGB")


def defaults(size: int, steps: int) -> Iterator[Request]:
    """Yield default requests, each with a new prompt, so that no embeddings can be cached."""
    for turn in count():
        yield default(size, steps, f"{PROMPT} {turn}")


def engine(weights: Weights, size: int, steps: int) -> Callable[[], float]:
    """Start our engine and wait until it is warm; return a function that times a prediction."""
    running, requests = Engine(models.load(weights, precision())), defaults(size, steps)
    while running.is_warming:
        time.sleep(0.1)
    return lambda: timed(answer, running, next(requests))


def library(weights: Weights, size: int, steps: int, compiled: bool = False) -> Callable[[], float]:
    """Return a function that times the library's pipeline, as documented or with compiled UNet."""
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
    """Return a function that times a prediction with UNet and VAE in OpenVINO, in float32."""
    from tools.benchmark.openvino_pipeline import compiled

    run, requests = compiled(models.load(weights, "float32"), size), defaults(size, steps)
    return lambda: timed(run, next(requests))


def submit(running: Engine, request: Request) -> SimpleQueue[Event]:
    """Submit a request; return the queue that its events are put into."""
    events: SimpleQueue[Event] = SimpleQueue()
    running.submit(request, events.put)
    return events


def answer(running: Engine, request: Request) -> None:
    """Run a request to its end."""
    for _ in until_finished(submit(running, request)):
        pass


def timed(run: Callable[..., Any], *arguments: Any) -> float:
    """Return the seconds that a call takes, the GPU's part included."""
    wait()
    start = time.perf_counter()
    run(*arguments)
    wait()
    return time.perf_counter() - start
