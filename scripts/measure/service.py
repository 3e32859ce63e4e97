"""What the server adds: its start, and HTTP around a prediction."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from scripts.measure.server import Server, serving
from scripts.measure.statistics import interleaved, ratios, spread

NAIVE = """
import sys
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image
pipeline = StableDiffusionImg2ImgPipeline.from_pretrained(sys.argv[1], safety_checker=None)
print("loaded", flush=True)
image = Image.new("RGB", (128, 128))
pipeline("a red apple", image=image, num_inference_steps=1, strength=1)
print("answered", flush=True)
"""
FIRST = {"prompt": "a red apple", "num_inference_steps": 1, "width": 128, "height": 128}


def cold_start(model: str, folder: Path, rounds: int) -> dict[str, Any]:
    """Seconds from process start to READY, and to the first answer, a picture of one step.

    Against importing and loading the library in float32; with the weights in the system's cache of
    files, as after a restart, and not there, as on a machine that has just started.
    """
    results = {}
    for cached in (True, False):

        def ours(cached: bool = cached) -> tuple[float, float]:
            if not cached:
                evict(folder)
            with serving(model) as server:
                server.predict(FIRST)
                return server.seconds_to_ready, server.age

        def theirs(cached: bool = cached) -> tuple[float, float]:
            if not cached:
                evict(folder)
            return naive(folder)

        seconds = interleaved(rounds, server=ours, library=theirs)
        for index, until in enumerate(("ready", "first answer")):
            times = {name: [one[index] for one in each] for name, each in seconds.items()}
            results[f"{until}, weights {'cached' if cached else 'on disk'}"] = {
                "seconds": {name: spread(each) for name, each in times.items()},
                "ratio": ratios(times["server"], times["library"]),
            }
    return results


def naive(folder: Path) -> tuple[float, float]:
    """Seconds until the library has loaded a model, and until it has answered."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", NAIVE, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout
    reached = [time.perf_counter() - start for line in process.stdout if line.strip()]
    if process.wait() or len(reached) != 2:
        raise RuntimeError(f"the library could not draw with {folder}")
    return reached[0], reached[1]


def evict(folder: Path) -> None:
    """Takes a model's weights out of the system's cache of files."""
    for path in folder.glob("*/*.safetensors"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def overhead(server: Server, size: int, rounds: int) -> dict[str, Any]:
    """The time of a default prediction over HTTP less what it says it took itself."""
    shares, seconds = [], []
    for turn in range(rounds + 1):
        start = time.perf_counter()
        answer = server.predict({"prompt": "a red apple", "width": size, "height": size})
        taken = time.perf_counter() - start
        if turn:
            seconds.append(taken - answer["metrics"]["predict_time"])
            shares.append(seconds[-1] / answer["metrics"]["predict_time"])
    return {"seconds": spread(seconds), "share": spread(shares)}
