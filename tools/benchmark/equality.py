"""Differences between pictures of requests that run alone and that run beside others."""

import random
from queue import SimpleQueue
from typing import Any

import numpy as np
from PIL import Image

from stable_diffusion import models
from stable_diffusion.catalogue import Weights
from stable_diffusion.engine import Engine
from stable_diffusion.events import Event, Picture, until_finished
from stable_diffusion.request import SCHEDULERS, Request
from tools.benchmark.latency import submit
from tools.benchmark.machine import precision

BESIDE = 4  # requests that run together


def measure(weights: Weights, count: int) -> dict[str, Any]:
    """Return the largest and the mean differences, of 255, of pictures alone and beside others."""
    rng = random.Random(0)
    native = weights.native_size
    image = Image.effect_mandelbrot((native, native), (-2, -1.5, 1, 1.5), 30).convert("RGB")
    requests = [
        Request.of(
            {
                "prompt": rng.choice(["a red apple", "a bus", "a castle", "a panda"]),
                "image": rng.choice([None, image]),
                "strength": rng.choice([0.3, 0.8, 1]),
                "num_inference_steps": rng.randint(1, 30),
                "guidance_scale": rng.choice([1, 4, 7.5, 12]),
                "num_images": rng.randint(1, 3),
                "scheduler": SCHEDULERS[number % len(SCHEDULERS)],
                "width": native,
                "height": native,
                "seed": number,
            }
        )
        for number in range(count)
    ]
    engine = Engine(models.load(weights, precision()))
    largest, means = 0.0, []
    for first in range(0, count, BESIDE):
        group = requests[first : first + BESIDE]
        listening = [submit(engine, request) for request in group]
        # All of them, before the first is drawn again: only then is it alone.
        together = [pictures(events) for events in listening]
        for request, beside in zip(group, together, strict=True):
            for picture, other in zip(beside, pictures(submit(engine, request)), strict=True):
                difference = np.abs(picture - other)
                largest = max(largest, float(difference.max()))
                means.append(float(difference.mean()))
    engine.close()
    return {"pictures": len(means), "largest": largest, "means": means}


def pictures(events: SimpleQueue[Event]) -> list[np.ndarray]:
    """Wait for a request's pictures; return them as arrays of floats."""
    found = [event.image for event in until_finished(events) if isinstance(event, Picture)]
    return [np.asarray(image).astype(float) for image in found]
