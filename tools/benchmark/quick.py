"""What a short lease of a GPU is enough for: written after each figure, and resumed from there."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from stable_diffusion import models
from stable_diffusion.catalogue import Weights
from stable_diffusion.engine import Engine
from stable_diffusion.events import until_finished
from stable_diffusion.executors import proof
from stable_diffusion.executors.plain import PlainExecutor
from tools.benchmark import equality, latency
from tools.benchmark.equality import pictures
from tools.benchmark.floor import floor_of
from tools.benchmark.latency import PROMPT, answer, default, submit, timed
from tools.benchmark.machine import matrix_rate, precision
from tools.benchmark.statistics import interleaved, ratios, spread

STEPS = 25
"""Of a default prediction."""
ROUNDS = 4
IMAGES = (1, 2, 4, 8)
"""Guided ones in a turn: two rows each."""
AT_ONCE = 8
"""Predictions that are submitted at the same moment."""
WARM_SECONDS = 60
"""The longest wait for the faster ways to be ready."""


class Quick:
    """The figures of one model, part by part.

    Args:
        file: where the results are kept; parts that are there already are not measured again.
        compiled: whether torch's compiler takes part, which takes a minute.
    """

    def __init__(self, weights: Weights, sizes: list[int], file: Path, compiled: bool) -> None:
        self.weights, self.sizes, self.file = weights, sizes, file
        self.compiled = compiled
        self.results: dict[str, Any] = {}
        with suppress(FileNotFoundError):
            self.results = json.loads(file.read_text())
        self._engine: Engine | None = None
        self._start = time.perf_counter()

    def measure(self) -> dict[str, Any]:
        """Measure what is not in the file yet."""
        rate = self.part("matrix rate", matrix_rate)
        for size in self.sizes:
            name = f"{size} px"
            floor = floor_of(self.weights, default(size, STEPS)) / rate
            self.part(f"{name}, one prediction", lambda: self.one(size, floor))  # noqa: B023
            self.part(f"{name}, {AT_ONCE} at once", lambda: self.together(size, floor))  # noqa: B023
        self.part("turns", self.turns)
        self.part("highest guidance", self.highest_guidance)
        self.part("beside others", lambda: equality.measure(self.weights, 8))
        if self._engine:
            self._engine.close()
        return self.results

    def part(self, name: str, measured: Callable[[], Any]) -> Any:
        """Return a part's results, which are measured unless they are in the file."""
        if name not in self.results:
            self.results[name] = measured()
            self.file.write_text(json.dumps(self.results, indent=1) + "\n")
            took = time.perf_counter() - self._start
            print(f"[{took:5.1f} s] {name}: {shown(self.results[name])}", flush=True)
        return self.results[name]

    @property
    def engine(self) -> Engine:
        """The engine, warm."""
        if self._engine is None:
            start = time.perf_counter()
            self._engine = Engine(models.load(self.weights, precision()))
            loaded = time.perf_counter()
            while self._engine.is_warming and time.perf_counter() < loaded + WARM_SECONDS:
                time.sleep(0.01)
            warm = time.perf_counter()
            print(f"loaded in {loaded - start:.1f} s, warm after {warm - loaded:.1f} s", flush=True)
        return self._engine

    def one(self, size: int, floor: float) -> dict[str, Any]:
        """One default prediction: the engine, and the library as documented."""
        requests = latency.defaults(size, STEPS)
        for _ in range(2):
            answer(self.engine, next(requests))
        peak = peak_memory()
        contenders: dict[str, Callable[[], float]] = {
            "engine": lambda: timed(answer, self.engine, next(requests)),
            "library": latency.library(self.weights, size, STEPS),
        }
        if self.compiled and size == self.sizes[0]:
            contenders["compiled"] = latency.library(self.weights, size, STEPS, compiled=True)
        seconds = interleaved(ROUNDS, **contenders)
        return {
            "seconds": {name: spread(values) for name, values in seconds.items()},
            "ratio_to": {
                name: ratios(seconds["engine"], values)
                for name, values in seconds.items()
                if name != "engine"
            },
            "floor_seconds": floor,
            "times_the_floor": spread(seconds["engine"])["median"] / floor,
            "peak_memory": peak,
        }

    def together(self, size: int, floor: float) -> dict[str, Any]:
        """Several default predictions that are submitted at once."""

        def run(turn: int) -> None:
            asked = [default(size, STEPS, f"{PROMPT} {turn} {each}") for each in range(AT_ONCE)]
            listening = [submit(self.engine, request) for request in asked]
            for events in listening:
                list(until_finished(events))

        seconds = [timed(run, turn) for turn in range(1 + ROUNDS)]
        an_image = spread([each / AT_ONCE for each in seconds[1:]])
        return {
            "first_seconds": seconds[0],
            "seconds_an_image": an_image,
            "times_the_floor": an_image["median"] / floor,
            "peak_memory": peak_memory(),
        }

    def highest_guidance(self) -> dict[str, Any]:
        """How far the values of a picture reach at guidance 20: a black one has none."""
        size = self.sizes[0]
        asked = dataclasses.replace(default(size, STEPS), guidance_scale=20.0)
        (picture,) = pictures(submit(self.engine, asked))
        return {"least": picture.min(), "most": picture.max(), "deviation": picture.std()}

    def turns(self) -> dict[str, Any]:
        """Milliseconds of a turn of the native size by images: the engine's, and plain ones."""
        executor, plain = self.engine._executor, PlainExecutor(self.engine.model)
        found = {}
        for images in IMAGES:
            bank, occupants = proof.trial(self.engine.model, images)
            taken = {}
            for name, chosen in (("engine", executor), ("plain", plain)):
                step = torch.inference_mode()(chosen.step)
                step(bank, occupants, 10**6, 99)
                step(bank, occupants, 10**6, 99)
                seconds = [timed(step, bank, occupants, 10**6, 99) for _ in range(5)]
                taken[name] = 1e3 * spread(seconds)["median"]
            found[str(images)] = taken
        return found


def peak_memory() -> int | None:
    """Bytes of the GPU's memory taken at the most so far."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


def shown(result: Any) -> str:
    """A part's results in a line."""

    def short(value: Any) -> Any:
        if isinstance(value, dict) and "median" in value:
            return short(value["median"])
        if isinstance(value, dict):
            return {name: short(each) for name, each in value.items() if name != "means"}
        return float(f"{value:.4g}") if isinstance(value, float) else value

    return json.dumps(short(result))
