"""Figures that fit a short lease of a GPU: saved one by one, and resumed from there."""

from __future__ import annotations

import dataclasses
import json
import math
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
from tools.benchmark import equality, latency, load
from tools.benchmark.equality import pictures
from tools.benchmark.floor import floor_of
from tools.benchmark.latency import PROMPT, answer, default, submit, timed
from tools.benchmark.machine import facts, matrix_rate, precision
from tools.benchmark.queueing import Speed, simulate
from tools.benchmark.statistics import interleaved, spread

IMAGES = (1, 2, 4, 8)
"""The numbers of images in a turn, each with guidance: two rows."""
SIMULATED = 500
"""The number of requests whose waits are simulated."""
AT_ONCE = 8
"""The number of predictions that are submitted at the same moment."""
WARM_SECONDS = 60
"""The longest wait for the engine to be warm."""


class Quick:
    """The figures of one model, part by part.

    Args:
        sizes: of the pictures, in px.
        steps: of each prediction.
        rounds: of each figure.
        file: where the results are kept; parts that are there already are not measured again.
        compiled: whether torch's compiler takes part, which takes a minute.
    """

    def __init__(
        self,
        weights: Weights,
        sizes: list[int],
        steps: int,
        rounds: int,
        file: Path,
        compiled: bool,
    ) -> None:
        self.weights, self.sizes, self.file = weights, sizes, file
        self.steps, self.rounds, self.compiled = steps, rounds, compiled
        self.results: dict[str, Any] = {"model": weights.name, "machine": facts()}
        with suppress(FileNotFoundError):
            self.results = json.loads(file.read_text())
        self._engine: Engine | None = None
        self._start = time.perf_counter()

    def measure(self) -> dict[str, Any]:
        """Measure the parts that are not in the file yet; return all results."""
        rate = self.part("matrix rate", matrix_rate)
        for size in self.sizes:
            name = f"{size} px"
            floor = floor_of(self.weights, default(size, self.steps)) / rate
            self.part(f"{name}, one prediction", lambda: self.one(size, floor))  # noqa: B023
            self.part(f"{name}, {AT_ONCE} at once", lambda: self.together(size, floor))  # noqa: B023
        self.part("turns", self.turns)
        self.part("pictures", self.pictures)
        self.part("load, simulated", self.load)
        self.part("highest guidance", self.highest_guidance)
        self.part("beside others", lambda: equality.measure(self.weights, 8))
        if self._engine:
            self._engine.close()
        return self.results

    def part(self, name: str, measured: Callable[[], Any]) -> Any:
        """Return a part's results; measure them first if they are not in the file."""
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
        """Measure one default prediction: the engine's, and the library's as documented."""
        requests = latency.defaults(size, self.steps)
        for _ in range(2):
            answer(self.engine, next(requests))
        peak = peak_memory()
        contenders: dict[str, Callable[[], float]] = {
            "engine": lambda: timed(answer, self.engine, next(requests)),
            "library": latency.library(self.weights, size, self.steps),
        }
        if self.compiled and size == self.sizes[0]:
            contenders["compiled"] = latency.library(self.weights, size, self.steps, compiled=True)
        seconds = interleaved(self.rounds, **contenders)
        return {
            "seconds": {name: spread(values) for name, values in seconds.items()},
            "ratio_to": latency.ratios_of_engine(seconds),
            "floor_seconds": floor,
            "times_the_floor": spread(seconds["engine"])["median"] / floor,
            "peak_memory": peak,
        }

    def together(self, size: int, floor: float) -> dict[str, Any]:
        """Measure several default predictions that are submitted at once."""

        def run(turn: int) -> None:
            asked = [
                default(size, self.steps, f"{PROMPT} {turn} {each}") for each in range(AT_ONCE)
            ]
            listening = [submit(self.engine, request) for request in asked]
            for events in listening:
                list(until_finished(events))

        seconds = [timed(run, turn) for turn in range(1 + self.rounds)]
        an_image = spread([each / AT_ONCE for each in seconds[1:]])
        return {
            "first_seconds": seconds[0],
            "seconds_an_image": an_image,
            "times_the_floor": an_image["median"] / floor,
            "peak_memory": peak_memory(),
        }

    def pictures(self) -> dict[str, float]:
        """Return the milliseconds in which a picture of the native size is encoded and decoded."""
        executor, model = self.engine._executor, self.engine.model
        latents, pixels = proof.trial_pictures(model)
        calls = {"encode": (executor.encode, pixels), "decode": (executor.decode, latents)}
        found = {}
        for name, (call, given) in calls.items():
            run = torch.inference_mode()(call)
            run(given)
            found[name] = 1e3 * spread([timed(run, given) for _ in range(5)])["median"]
        return found

    def load(self) -> dict[str, Any]:
        """Simulate random mixed requests by the times measured; return throughput and waits.

        Together is as the engine serves them, `load.SLOTS` at once.
        """
        speed = Speed(
            {int(images): taken["engine"] / 1e3 for images, taken in self.results["turns"].items()},
            fixed=self.results["pictures"]["encode"] / 1e3,
            image=self.results["pictures"]["decode"] / 1e3,
        )
        asked = load.mixed(SIMULATED, self.weights.native_size)
        alone = [speed.alone(request) for request in asked]
        found: dict[str, Any] = {}
        for share in load.LOADS:
            arriving = load.arrivals(asked, alone, share * len(asked) / sum(alone), seed=0)
            shown = f"{share:g}" if share < math.inf else "all at once"
            found[shown] = {}
            for name, slots in (("together", load.SLOTS), ("one at a time", 1)):
                latencies = simulate(arriving, 1, slots, speed)
                waits = load.waits_of_short(latencies, arriving)
                last = max(
                    map(sum, zip(latencies, [each.arrival for each in arriving], strict=True))
                )
                found[shown][name] = {
                    "predictions_per_second": len(asked) / last,
                    "mean_wait_of_short": sum(waits) / len(waits),
                }
        return found

    def highest_guidance(self) -> dict[str, Any]:
        """Return the range and deviation of a picture's values at guidance 20: 0 in a black one."""
        size = self.sizes[0]
        asked = dataclasses.replace(default(size, self.steps), guidance_scale=20.0)
        (picture,) = pictures(submit(self.engine, asked))
        return {"least": picture.min(), "most": picture.max(), "deviation": picture.std()}

    def turns(self) -> dict[str, Any]:
        """Return the milliseconds of a native-size turn by images: the engine's, and plain ones."""
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
    """Return the peak of the GPU's memory so far, in bytes; None without a GPU."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


def shown(result: Any) -> str:
    """Return a part's results as one line."""

    def short(value: Any) -> Any:
        if isinstance(value, dict) and "median" in value:
            return short(value["median"])
        if isinstance(value, dict):
            return {name: short(each) for name, each in value.items() if name != "means"}
        return float(f"{value:.4g}") if isinstance(value, float) else value

    return json.dumps(short(result))
