"""The time that a cluster adds to a prediction, the waits in it, and the GPUs that it needs."""

import itertools
import math
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from functools import partial
from typing import Any

import psutil

from commands import cluster
from tools.benchmark import load
from tools.benchmark.load import SLOTS, Asked
from tools.benchmark.queueing import Speed, bursts, simulate
from tools.benchmark.server import Client, free_port, url_of
from tools.benchmark.statistics import interleaved, percentile, ratios, spread

IMAGES = (1, 2, 4, 8, 16)
"""The numbers of images at once for which the steps are timed."""
MOST_IMAGES = 4
"""The most images that a prediction has."""
FEW_STEPS, MANY_STEPS = 5, 25
"""The two numbers of steps that are timed; the difference is the time of the steps between."""
SHARES = (0.5, 0.8)
"""Loads of the comparison, as shares of what the replicas can do one request at a time."""
HOURLY = (10, 1_000, 100_000)
"""The predictions an hour in the rows of the table."""
SIMULATED = 5_000
"""The fewest predictions that are simulated for a row of the table."""
BEARABLE = (5, 3, 2)
"""Limits for nine predictions in ten, as multiples of the time that one takes alone."""
DEFAULT = {"num_images": 1, "num_inference_steps": 25}


def measure(model: str, size: int, rounds: int, count: int) -> dict[str, Any]:
    """Measure a cluster of one and of two replicas on this machine; return all figures.

    Args:
        model: a name of the manifest, or a folder.
        size: of the pictures, in pixels.
        count: requests of each run of the comparison.
    """
    port = free_port()
    client = Client(f"http://127.0.0.1:{port}")
    results: dict[str, Any] = {"compared": {}}
    with redirect_stdout(sys.stderr), cluster.local_ray() as (address, has_gpu):
        for replicas in (1, 2):
            config = cluster.configuration(cluster.CONFIG, [model], replicas)
            config["http_options"]["port"] = port
            cluster.deploy(address, config if has_gpu else cluster.on_the_cpu(config))
            cogs = cog_servers()
            speed = calibrate(cogs, size, max(1, rounds // 3))
            if replicas == 1:
                results["overhead"] = overhead(client, cogs[0], size, rounds)
                results["speed"] = {"steps": {str(n): s for n, s in speed.steps.items()}}
                results["speed"] |= {"fixed": speed.fixed, "image": speed.image}
                results["needed"] = [
                    needed(speed, hourly, bearable) for hourly in HOURLY for bearable in BEARABLE
                ]
            results["compared"][str(replicas)] = {
                f"{share:g}": compared(client, size, count, replicas, share, speed)
                for share in SHARES
            }
    return results


def cog_servers() -> list[Client]:
    """Return clients of the replicas' own Cog servers."""
    family = psutil.Process().children(recursive=True)
    cogs = [one for one in family if "hosting.backends.cog_process" in " ".join(one.cmdline())]
    return [Client(url_of(cog)) for cog in cogs]


def overhead(client: Client, direct: Client, size: int, rounds: int) -> dict[str, Any]:
    """Return the time of a default prediction through the cluster, against the Cog server's own."""
    inputs = {"prompt": "a red apple", "width": size, "height": size}

    def seconds(of: Client) -> float:
        start = time.perf_counter()
        of.predict(inputs)
        return time.perf_counter() - start

    times = interleaved(rounds, cluster=partial(seconds, client), direct=partial(seconds, direct))
    return {
        "seconds": {name: spread(each) for name, each in times.items()},
        "ratio": ratios(times["cluster"], times["direct"]),
    }


def calibrate(cogs: Sequence[Client], size: int, rounds: int) -> Speed:
    """Measure a step's time by the images that share it, with equally many on each replica.

    They share a machine here, and its memory: two are slower than one alone.
    """

    def seconds(images: int, steps: int) -> float:
        asked = [cog for cog in cogs for _ in range(max(1, images // MOST_IMAGES))]
        inputs = {
            "prompt": "a red apple",
            "num_images": min(images, MOST_IMAGES),
            "num_inference_steps": steps,
            "width": size,
            "height": size,
        }
        start = time.perf_counter()
        with ThreadPoolExecutor(len(asked)) as pool:
            list(pool.map(lambda cog: cog.predict(inputs), asked))
        return time.perf_counter() - start

    timed = {
        (images, steps): statistics.median(seconds(images, steps) for _ in range(rounds + 1))
        for images, steps in itertools.product(IMAGES, (FEW_STEPS, MANY_STEPS))
    }
    steps = {
        n: (timed[n, MANY_STEPS] - timed[n, FEW_STEPS]) / (MANY_STEPS - FEW_STEPS) for n in IMAGES
    }
    one_image, four = (timed[n, FEW_STEPS] - FEW_STEPS * steps[n] for n in (1, MOST_IMAGES))
    image = max(0.0, (four - one_image) / (MOST_IMAGES - 1))
    return Speed(steps, max(0.0, one_image - image), image)


def compared(
    client: Client, size: int, count: int, replicas: int, share: float, speed: Speed
) -> dict[str, Any]:
    """Return how many seconds longer than alone requests in bursts take: simulated, and real."""
    asked = [Asked(each.inputs, 0, speed.alone(each)) for each in load.mixed(count, size)]
    rate = share * replicas / statistics.mean(each.alone for each in asked)
    arriving = bursts(asked, rate, seed=0)
    latencies = {
        "simulated": simulate(arriving, replicas, SLOTS, speed),
        "real": load.run(client, arriving, replicas * SLOTS)["latencies"],
    }
    return {
        name: _waits([took - each.alone for took, each in zip(taken, arriving, strict=True)])
        for name, taken in latencies.items()
    }


def needed(speed: Speed, hourly: int, bearable: float) -> dict[str, Any]:
    """Find the fewest GPUs with which nine default predictions in ten take a bearable time."""
    alone = speed.alone(Asked(DEFAULT))
    rate = hourly / 3600
    # What a prediction takes of a GPU, at the least: with fewer GPUs the queue would only grow.
    steps = DEFAULT["num_inference_steps"]
    least = min(speed.around(n) + steps * speed.step(n) / n for n in range(1, SLOTS + 1))
    # Long enough for a queue to grow.
    count = max(SIMULATED, math.ceil(100 * bearable * alone * rate))
    arriving = bursts([Asked(DEFAULT, 0, alone)] * count, rate, seed=0)
    for gpus in itertools.count(math.ceil(rate * least)):
        latencies = simulate(arriving, gpus, SLOTS, speed)
        if percentile(latencies, 90) <= bearable * alone:
            break
    return {
        "hourly": hourly,
        "bearable": bearable,
        "gpus": gpus,
        "alone": alone,
        "load": rate * alone / gpus,
        "latency": {str(percent): percentile(latencies, percent) for percent in (50, 90, 99)},
    }


def _waits(waits: list[float]) -> dict[str, Any]:
    return {"mean": statistics.mean(waits), "90": percentile(waits, 90), "values": waits}
