"""Many clients: requests that arrive at random, served together or one at a time."""

import math
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Semaphore
from typing import Any

from tools.benchmark.server import Client
from tools.benchmark.statistics import percentile, ratios

SHORT_STEPS = 20  # a request of so many steps at the most, for one image, is a short one
LOADS = (0.5, 0.8, 1.1, math.inf)  # arrivals, as a share of what is served one at a time
SLOTS = 8  # predictions that Cog's server takes at once


@dataclass(frozen=True)
class Asked:
    """A request's inputs, its arrival after the start and its time alone, both in seconds."""

    inputs: dict[str, Any]
    arrival: float = 0
    alone: float = 0

    @property
    def is_short(self) -> bool:
        """Whether it is so short that waiting for others would be most of its time."""
        steps: int = self.inputs["num_inference_steps"]
        return steps <= SHORT_STEPS and self.inputs["num_images"] == 1


def mixed(count: int, size: int) -> list[Asked]:
    """Return requests of 10 to 100 steps and 1 to 4 images, a third short, the same each time."""
    rng = random.Random(0)
    return [
        Asked(
            {
                "prompt": rng.choice(["a red apple", "a bus", "a castle", "a panda"]),
                "num_inference_steps": rng.randint(10, SHORT_STEPS if number % 3 == 0 else 100),
                "num_images": 1 if number % 3 == 0 else rng.randint(1, 4),
                "width": size,
                "height": size,
                "seed": number,
            }
        )
        for number in range(count)
    ]


def measure(server: Client, size: int, count: int, turns: int) -> dict[str, Any]:
    """Measure throughput and latency of `count` requests at each load, together and one at a time.

    Args:
        turns: of each load, with other times of arrival.
    """
    asked = mixed(count, size)
    server.predict(asked[0].inputs)
    alone = []
    for request in asked:
        start = time.perf_counter()
        server.predict(request.inputs)
        alone.append(time.perf_counter() - start)
    capacity = count / sum(alone)
    loads = {}
    for load in LOADS:
        runs: dict[str, list[dict[str, Any]]] = {"together": [], "one at a time": []}
        for turn in range(turns):
            arriving = arrivals(asked, alone, load * capacity, seed=turn)
            # The first is another one each turn.
            for name in sorted(runs, reverse=turn % 2 == 0):
                runs[name].append(run(server, arriving, SLOTS if name == "together" else 1))
        loads[f"{load:g}" if load < math.inf else "all at once"] = compared(runs)
    return {"requests": count, "turns": turns, "capacity_per_second": capacity, "loads": loads}


def arrivals(asked: Sequence[Asked], alone: Sequence[float], rate: float, seed: int) -> list[Asked]:
    """Return the requests with random times of arrival, `rate` a second in the mean."""
    rng, now, arriving = random.Random(seed), 0.0, []
    for request, seconds in zip(asked, alone, strict=True):
        now += rng.expovariate(rate) if rate < math.inf else 0
        arriving.append(Asked(request.inputs, now, seconds))
    return arriving


def run(server: Client, asked: Sequence[Asked], slots: int) -> dict[str, Any]:
    """Send each request when it arrives, or when one of `slots` is free, in order."""
    free = Semaphore(slots)
    start = time.perf_counter()

    def send(request: Asked) -> float:
        try:
            server.predict(request.inputs)
        finally:
            free.release()
        return time.perf_counter() - start - request.arrival

    with ThreadPoolExecutor(slots) as pool:
        sent = []
        for request in asked:
            time.sleep(max(0.0, start + request.arrival - time.perf_counter()))
            free.acquire()  # the queue, first come first served
            sent.append(pool.submit(send, request))
        latencies = [future.result() for future in sent]
    seconds = time.perf_counter() - start
    return {
        "images_per_second": sum(request.inputs["num_images"] for request in asked) / seconds,
        "latencies": latencies,
        "waits_of_short": waits_of_short(latencies, asked),
    }


def waits_of_short(latencies: Sequence[float], asked: Sequence[Asked]) -> list[float]:
    """Return how much longer than alone each short request has taken, in seconds."""
    return [
        latency - each.alone
        for latency, each in zip(latencies, asked, strict=True)
        if each.is_short
    ]


def compared(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the figures of all runs of a load, and the ratios of together to one at a time."""
    result: dict[str, Any] = {}
    for name, repeats in runs.items():
        latencies = [latency for one in repeats for latency in one["latencies"]]
        waits = [wait for one in repeats for wait in one["waits_of_short"]]
        result[name] = {
            "images_per_second": [one["images_per_second"] for one in repeats],
            "latency": {str(percent): percentile(latencies, percent) for percent in (50, 90)},
            "mean_wait_of_short": sum(waits) / len(waits),
            "latencies": latencies,
        }
    together, single = result.values()
    result["throughput_ratio"] = ratios(together["images_per_second"], single["images_per_second"])
    result["short_wait_ratio"] = together["mean_wait_of_short"] / single["mean_wait_of_short"]
    return result
