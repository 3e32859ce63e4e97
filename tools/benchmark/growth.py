"""The growth of a prediction's cost with steps, images and area."""

from typing import Any

from stable_diffusion import models
from stable_diffusion.catalogue import Weights
from stable_diffusion.engine import Engine
from stable_diffusion.request import AUTOMATIC_SIZES, Request
from tools.benchmark.latency import PROMPT, answer, timed
from tools.benchmark.machine import precision
from tools.benchmark.statistics import interleaved, spread


def measure(weights: Weights, steps: int, rounds: int) -> dict[str, Any]:
    """Return the seconds of text to image at native size, and with one input changed at a time."""
    native = weights.native_size
    larger = [size for size in AUTOMATIC_SIZES if native < size <= 4 * native][:2]
    changes: dict[str, dict[str, Any]] = {
        "as it is": {},
        "guidance 1": {"guidance_scale": 1},
        f"{2 * steps} steps": {"num_inference_steps": 2 * steps},
        f"{4 * steps} steps": {"num_inference_steps": 4 * steps},
        "2 images": {"num_images": 2},
        "4 images": {"num_images": 4},
        "K_HEUN": {"scheduler": "K_HEUN"},
        "eta 1": {"scheduler": "DDIM", "eta": 1},
        "karras": {"spacing": "karras"},
        "clip_skip 1": {"clip_skip": 1},
        **{f"{size} px": {"width": size, "height": size} for size in larger},
    }
    engine = Engine(models.load(weights, precision()))
    asked = {"prompt": PROMPT, "seed": 1, "width": native, "height": native}
    asked["num_inference_steps"] = steps
    requests = {name: Request.of(asked | change) for name, change in changes.items()}
    seconds = interleaved(
        rounds,
        **{
            name: lambda request=request: timed(lambda: answer(engine, request))
            for name, request in requests.items()
        },
    )
    engine.close()
    first = spread(seconds["as it is"])["median"]
    return {
        name: {**spread(each), "times": spread(each)["median"] / first}
        for name, each in seconds.items()
    }
