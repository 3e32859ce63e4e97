"""Many clients: requests that arrive at random, served together or one at a time."""

import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Semaphore
from typing import Any

from scripts.measure.server import Server
from scripts.measure.statistics import percentile

SHORT_STEPS = 20  # a request of so many steps at the most, for one image, is a short one
LOADS = (0.5, 0.8, 1.1)  # arrivals, as a share of what the server can do one at a time
SLOTS = 8  # predictions that Cog's server takes at once


@dataclass(frozen=True)
class Asked:
    """A request, when it arrives after the beginning, and how long it takes alone, in seconds."""

    inputs: dict[str, Any]
    arrival: float = 0
    alone: float = 0

    @property
    def is_short(self) -> bool:
        """Whether waiting for others would be most of its time."""
        steps: int = self.inputs["num_inference_steps"]
        return steps <= SHORT_STEPS and self.inputs["num_images"] == 1


def mixed(count: int, size: int) -> list[Asked]:
    """Requests of 10 to 100 steps and 1 to 4 images, a third of them short, the same each time."""
    rng = random.Random(0)
    return [
        Asked(
            {
                "prompt": rng.choice(["a red apple", "a bus", "a castle", "a panda"]),
                "num_inference_steps": rng.randint(10, SHORT_STEPS if number % 3 == 0 else 100),
                "num_images": 1 if number % 3 == 0 else rng.choice((1, 2, 4)),
                "width": size,
                "height": size,
                "seed": number,
            }
        )
        for number in range(count)
    ]


def measure(server: Server, size: int, count: int) -> dict[str, Any]:
    """Throughput and latency of `count` requests at each load, together and one at a time."""
    asked = mixed(count, size)
    server.predict(asked[0].inputs)
    alone = []
    for each in asked:
        start = time.perf_counter()
        server.predict(each.inputs)
        alone.append(time.perf_counter() - start)
    capacity = count / sum(alone)
    results: dict[str, Any] = {"requests": count, "capacity_per_second": capacity, "loads": {}}
    for load in LOADS:
        rng = random.Random(1)
        arrival = 0.0
        timed = []
        for each, seconds in zip(asked, alone, strict=True):
            arrival += rng.expovariate(load * capacity)
            timed.append(Asked(each.inputs, arrival, seconds))
        together = run(server, timed, SLOTS)
        single = run(server, timed, 1)
        results["loads"][str(load)] = {
            "together": together,
            "one_at_a_time": single,
            "throughput_ratio": together["images_per_second"] / single["images_per_second"],
            "short_wait_ratio": together["mean_wait_of_short"] / single["mean_wait_of_short"],
        }
    return results


def run(server: Server, asked: Sequence[Asked], slots: int) -> dict[str, Any]:
    """Sends every request when it arrives, or when one of `slots` is free, in their order."""
    free = Semaphore(slots)
    start = time.perf_counter()

    def send(each: Asked) -> float:
        try:
            server.predict(each.inputs)
        finally:
            free.release()
        return time.perf_counter() - start - each.arrival

    with ThreadPoolExecutor(slots) as pool:
        sent = []
        for each in asked:
            time.sleep(max(0.0, start + each.arrival - time.perf_counter()))
            free.acquire()  # the queue, first come first served
            sent.append(pool.submit(send, each))
        latencies = [future.result() for future in sent]
    seconds = time.perf_counter() - start
    waits = [
        latency - each.alone
        for latency, each in zip(latencies, asked, strict=True)
        if each.is_short
    ]
    return {
        "images_per_second": sum(each.inputs["num_images"] for each in asked) / seconds,
        "latency": {str(p): percentile(latencies, p) for p in (50, 90, 99)},
        "mean_wait_of_short": sum(waits) / len(waits),
        "latencies": latencies,
    }
