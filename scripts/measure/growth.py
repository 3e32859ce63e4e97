"""How the cost of a prediction grows with steps, images and area, and how much memory it takes."""

import resource
from typing import Any

import torch

from scripts.measure.latency import PROMPT, answer, timed
from scripts.measure.statistics import interleaved, spread
from stable_diffusion.engine import Engine
from stable_diffusion.models import Model
from stable_diffusion.request import SIZES, Request


def measure(model: Model, rounds: int) -> dict[str, Any]:
    """Seconds of text to image at the native size, and with one input changed at a time."""
    native = model.weights.native_size
    larger = [size for size in SIZES if native < size <= 4 * native][:2]
    changes: dict[str, dict[str, Any]] = {
        "as it is": {},
        "guidance 1": {"guidance_scale": 1},
        "50 steps": {"num_inference_steps": 50},
        "100 steps": {"num_inference_steps": 100},
        "2 images": {"num_images": 2},
        "4 images": {"num_images": 4},
        **{f"{size} px": {"width": size, "height": size} for size in larger},
    }
    engine = Engine(model)
    asked = {"prompt": PROMPT, "seed": 1, "width": native, "height": native}
    requests = {name: Request.of(asked | change) for name, change in changes.items()}
    seconds = interleaved(
        rounds,
        **{
            name: lambda request=request: timed(model, lambda: answer(engine, request))
            for name, request in requests.items()
        },
    )
    engine.close()
    first = spread(seconds["as it is"])["median"]
    return {
        name: {**spread(each), "times": spread(each)["median"] / first}
        for name, each in seconds.items()
    }


def peak_memory(model: Model) -> dict[str, int]:
    """Bytes that this process has taken at the most, on the machine and on the GPU."""
    taken = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if model.device.type == "cuda":
        taken["gpu"] = torch.cuda.max_memory_allocated(model.device)
    return taken
