"""What the server adds: its start, and HTTP around a prediction."""

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
StableDiffusionImg2ImgPipeline.from_pretrained(sys.argv[1], safety_checker=None)
"""


def cold_start(model: str, folder: Path, rounds: int) -> dict[str, Any]:
    """From process start to READY, against importing and loading the library in float32."""

    def ours() -> float:
        with serving(model) as server:
            return server.seconds_to_ready

    def theirs() -> float:
        start = time.perf_counter()
        command = [sys.executable, "-c", NAIVE, str(folder)]
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - start

    seconds = interleaved(rounds, server=ours, library=theirs)
    return {
        "seconds": {name: spread(each) for name, each in seconds.items()},
        "ratio": ratios(seconds["server"], seconds["library"]),
    }


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
