"""The time that the front adds: its start, and HTTP around a prediction."""

import base64
import io
import os
import subprocess
import sys
import time
from functools import partial
from typing import Any

import torch
from PIL import Image

from stable_diffusion.catalogue import Weights
from tools.benchmark.server import Server, serving
from tools.benchmark.statistics import interleaved, ratios, spread

NAIVE = """
import sys
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image
folder, variant, device = sys.argv[1:]
pipeline = StableDiffusionImg2ImgPipeline.from_pretrained(
    folder, dtype=torch.float32, variant=variant or None, safety_checker=None
).to(device)
print("loaded", flush=True)
image = Image.new("RGB", (128, 128))
pipeline("a red apple", image=image, num_inference_steps=2, strength=0.5)
print("answered", flush=True)
"""


def cold_start(weights: Weights, rounds: int) -> dict[str, Any]:
    """Return the seconds from process start to READY, and to the first answer: one step, 128 px.

    Compared with importing and loading the library in float32; with the weights in the system's
    file cache, as after a restart, and without. (The libraries themselves are cached each time.)
    """
    results = {}
    for cached in (True, False):
        seconds = interleaved(
            rounds, server=partial(ours, weights, cached), library=partial(naive, weights, cached)
        )
        for index, until in enumerate(("ready", "first answer")):
            times = {name: [one[index] for one in each] for name, each in seconds.items()}
            results[f"{until}, weights {'cached' if cached else 'not cached'}"] = {
                "seconds": {name: spread(each) for name, each in times.items()},
                "ratio": ratios(times["server"], times["library"]),
            }
    return results


def ours(weights: Weights, cached: bool) -> tuple[float, float]:
    """Return the seconds until the front is ready, and until it has answered."""
    if not cached:
        evict(weights)
    black = io.BytesIO()
    Image.new("RGB", (128, 128)).save(black, "png")
    url = f"data:image/png;base64,{base64.b64encode(black.getvalue()).decode()}"
    with serving(str(weights.path)) as server:
        server.predict(
            {
                "prompt": "a red apple",
                "image": url,
                "num_inference_steps": 2,
                "strength": 0.5,
                "width": 128,
                "height": 128,
            }
        )
        return server.seconds_to_ready, server.age


def naive(weights: Weights, cached: bool) -> tuple[float, float]:
    """Return the seconds until the library has loaded a model, and until it has answered."""
    if not cached:
        evict(weights)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", NAIVE, str(weights.path), weights.variant or "", device],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout
        reached = [time.perf_counter() - start for line in process.stdout if line.strip()]
    if process.returncode or len(reached) != 2:
        raise RuntimeError(f"the library could not draw with {weights.path}")
    return reached[0], reached[1]


def evict(weights: Weights) -> None:
    """Take a model's weights out of the system's file cache."""
    for path in weights.files():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def overhead(server: Server, size: int, rounds: int) -> dict[str, Any]:
    """Return the time of a default prediction over HTTP less its own `predict_time`."""
    shares, seconds = [], []
    for turn in range(rounds + 1):
        start = time.perf_counter()
        answer = server.predict({"prompt": "a red apple", "width": size, "height": size})
        taken = time.perf_counter() - start
        if turn:
            seconds.append(taken - answer["metrics"]["predict_time"])
            shares.append(seconds[-1] / answer["metrics"]["predict_time"])
    return {"seconds": spread(seconds), "share": spread(shares)}
