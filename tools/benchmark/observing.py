"""The time that the engine's measurements and the front's traces add to a prediction."""

import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

from stable_diffusion import models
from stable_diffusion.catalogue import Weights
from stable_diffusion.engine import Engine
from stable_diffusion.events import until_finished
from stable_diffusion.request import Request
from tools.benchmark.latency import PROMPT, submit, timed
from tools.benchmark.machine import precision
from tools.benchmark.process import alone
from tools.benchmark.server import Client, serving
from tools.benchmark.statistics import interleaved, ratios
from tools.trace_collector import Collector

AT_ONCE = 8
"""Requests that an engine is given together."""


class Blind(Engine):
    """An engine that counts nothing of its steps."""

    def _count(self, *_: Any) -> None:
        pass


def measure(weights: Weights, steps: int, rounds: int) -> dict[str, Any]:
    """Return the ratios of the time of predictions with and without each, at native size."""
    return {
        **alone(in_engine, weights, steps, rounds),
        "A prediction's trace, by a client of the front": traced(weights, steps, rounds),
    }


def in_engine(weights: Weights, steps: int, rounds: int) -> dict[str, Any]:
    """Return the ratios of an engine that counts its steps to one that does not."""
    model = models.load(weights, precision())
    found = {}
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
    return found


def together(running: Engine, steps: int, requests: int) -> None:
    """Run requests to their ends."""
    inputs = {"prompt": PROMPT, "num_inference_steps": steps}
    asked = [submit(running, Request.of({**inputs, "seed": seed})) for seed in range(requests)]
    for events in asked:
        for _ in until_finished(events):
            pass


def traced(weights: Weights, steps: int, rounds: int) -> dict[str, Any]:
    """Return the ratios of a front that sends traces to one that does not."""
    model = str(weights.path)
    with Collector() as collector:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        with serving(model, environment) as tracing, serving(model) as plain:
            seconds = interleaved(
                rounds,
                tracing=partial(timed, ask, tracing, steps),
                plain=partial(timed, ask, plain, steps),
            )
        if not collector.spans:
            raise RuntimeError("no traces came; the front's log says why")
    return ratios(seconds["tracing"], seconds["plain"])


def ask(server: Client, steps: int) -> None:
    """Run a prediction to its end."""
    server.predict({"prompt": PROMPT, "num_inference_steps": steps, "seed": 1})
