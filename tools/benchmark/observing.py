"""The time that the engine's measurements and the front's traces add to a prediction.

Both are small beside what a prediction's time varies by. So beside the ratios of predictions with
and without them, what they take by themselves is measured, as a share of a prediction's time.
"""

import statistics
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import psutil

from hosting.backends.measurement import measurement_of
from stable_diffusion import models
from stable_diffusion.catalogue import Weights
from stable_diffusion.engine import Engine
from stable_diffusion.events import until_finished
from stable_diffusion.measurement import Counts, Measurement
from stable_diffusion.request import Request
from tools.benchmark.latency import PROMPT, submit, timed
from tools.benchmark.machine import precision
from tools.benchmark.process import alone
from tools.benchmark.server import Server, serving
from tools.benchmark.statistics import interleaved, ratios
from tools.trace_collector import Collector

AT_ONCE = 8
"""Requests that an engine is given together."""
TIMES = 1000
"""Measurements that are made of nothing, to time them alone."""
PHASES = ("text", "image", "denoise", "decode", "finish", "save")


class Blind(Engine):
    """An engine that counts nothing of its steps."""

    def _count(self, *_: Any) -> None:
        pass


def measure(weights: Weights, steps: int, rounds: int) -> dict[str, Any]:
    """Return what each adds to predictions of the native size.

    Returns:
        `ratios` of predictions with and without, and `shares` of a prediction's time, by names.
    """
    engine, front = alone(in_engine, weights, steps, rounds), in_front(weights, steps, rounds)
    return {what: {**engine[what], **front[what]} for what in ("ratios", "shares")}


def in_engine(weights: Weights, steps: int, rounds: int) -> dict[str, Any]:
    """Return what the measurements of the engine add."""
    model = models.load(weights, precision())
    found, shares = {}, {}
    with closing(Engine(model)) as counting, closing(Blind(model)) as blind:
        while counting.is_warming or blind.is_warming:
            time.sleep(0.1)
        for requests in (1, AT_ONCE):
            turns: dict[str, Callable[[], float]] = {
                name: partial(timed, together, running, steps, requests)
                for name, running in (("counting", counting), ("blind", blind))
            }
            seconds = interleaved(rounds, **turns)
            name = f"The engine's measurements, {requests} at once"
            found[name] = ratios(seconds["counting"], seconds["blind"])
            shares[name] = requests * counted(steps) / statistics.median(seconds["blind"])
    return {"ratios": found, "shares": shares}


def together(running: Engine, steps: int, requests: int) -> None:
    """Run requests to their ends."""
    inputs = {"prompt": PROMPT, "num_inference_steps": steps}
    asked = [submit(running, Request.of({**inputs, "seed": seed})) for seed in range(requests)]
    for events in asked:
        for _ in until_finished(events):
            pass


def counted(steps: int) -> float:
    """Return the seconds that it takes to measure a prediction that does nothing, and tell it."""
    counts, start = Counts(), time.perf_counter()
    for _ in range(TIMES):
        own = Measurement()
        for _ in range(steps):
            counts.count(1, 2, 1, 0)
            own.count(1, 2, 0)
        for name in PHASES:
            with own.phase(name):
                pass
        measurement_of({**own.document(own.asked), "totals": vars(counts)})
    return (time.perf_counter() - start) / TIMES


def in_front(weights: Weights, steps: int, rounds: int) -> dict[str, Any]:
    """Return what traces add in a front that sends them to a collector."""
    model, name = str(weights.path), "A prediction's trace, by a client of the front"
    with Collector() as collector:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        with serving(model, environment) as tracing, serving(model) as plain:
            asked = interleaved(
                rounds, tracing=partial(ask, tracing, steps), plain=partial(ask, plain, steps)
            )
        if not collector.spans:
            raise RuntimeError("no traces came; the front's log says why")
    seconds, work = ({name: [one[at] for one in asked[name]] for name in asked} for at in (0, 1))
    more = statistics.fmean(work["tracing"]) - statistics.fmean(work["plain"])
    return {
        "ratios": {name: ratios(seconds["tracing"], seconds["plain"])},
        "shares": {name: more / statistics.median(seconds["plain"])},
    }


def ask(server: Server, steps: int) -> tuple[float, float]:
    """Run a prediction; return its seconds, and those of a processor that the front had for it."""
    before = _work(server)
    seconds = timed(server.predict, {"prompt": PROMPT, "num_inference_steps": steps, "seed": 1})
    return seconds, _work(server) - before


def _work(server: Server) -> float:
    times = psutil.Process(server.process.pid).cpu_times()
    return times.user + times.system
