"""The command line of scripts/benchmark."""

import argparse
import importlib.util
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cog_schema.schema import ROOT
from stable_diffusion import catalogue
from stable_diffusion.catalogue import Weights, WeightsError
from stable_diffusion.models import DTYPES

PARTS = (
    *("latency", "calls", "adapters", "switching", "growth", "equality"),
    *("cold_start", "overhead", "observing", "load", "cluster", "fairness"),
)
BENCHMARKS = ROOT / "benchmarks"
RANDOM = ("stable-diffusion-2-1",)
QUICK_SIZES = (768, 512)
QUICK_ROUNDS = 4


def main() -> None:
    """Read the flags, measure, print the tables and write the numbers."""
    options = parser().parse_args()
    if options.dtype:
        os.environ["DTYPE"] = options.dtype

    from tools.benchmark import machine, random_weights, report
    from tools.benchmark.process import alone

    with tempfile.TemporaryDirectory() as folder:
        if options.random_weights:
            weights = alone(random_weights.make, options.random_weights, Path(folder))
        else:
            try:
                weights = catalogue.find(options.model, "img2img")
            except WeightsError as error:
                sys.exit(str(error))
        results: dict[str, Any] = {"model": weights.name, "machine": machine.facts()}
        place = "gpu" if results["machine"]["gpu"] else "cpu"
        name = f"{weights.name}-{place}-{results['machine']['precision']}"
        file = options.output or BENCHMARKS / f"{name}-{time.strftime('%Y-%m-%d-%H%M')}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        parts = options.only or [
            # Ray is not everybody's.
            part
            for part in PARTS
            if part != "cluster" or importlib.util.find_spec("ray")
        ]
        if options.quick:
            from tools.benchmark.quick import Quick

            sizes = options.size or list(QUICK_SIZES if place == "gpu" else [weights.native_size])
            rounds = min(options.rounds, QUICK_ROUNDS)
            compiled = not options.skip_compiled
            results = Quick(weights, sizes, options.steps, rounds, file, compiled).measure()
            parts = []
        for part in parts:
            print(f"measuring {part} ...", file=sys.stderr)
            results[part] = rounded(measured(part, options, weights))
            file.write_text(json.dumps(results, indent=1) + "\n")
    print("\n".join(report.table(results)))
    print(f"\nall numbers: {file}")


def measured(part: str, options: argparse.Namespace, weights: Weights) -> Any:
    """Measure a part; return its results."""
    import torch

    from tools.benchmark import (
        adapters,
        calls,
        equality,
        fairness,
        growth,
        latency,
        load,
        machine,
        observing,
        service,
        switching,
    )
    from tools.benchmark.process import alone
    from tools.benchmark.server import serving

    model, native, rounds = str(weights.path), weights.native_size, options.rounds
    sizes = options.size or [native]
    match part:
        case "latency":
            rate = alone(machine.matrix_rate)
            return [
                latency.measure(weights, size, options.steps, rounds, rate, options.apart)
                for size in sizes
            ]
        case "calls":
            return {"rows": alone(calls.by_rows, weights, rounds)} | (
                {}
                if torch.cuda.is_available()
                else {
                    "ways": alone(calls.by_way, weights, rounds),
                    "threads": alone(calls.by_threads, weights, rounds),
                }
            )
        case "adapters":
            return [alone(adapters.measure, weights, size, rounds) for size in sizes]
        case "switching":
            return alone(switching.measure, weights, options.steps, rounds)
        case "growth":
            return alone(growth.measure, weights, options.steps, max(1, rounds // 2))
        case "equality":
            return alone(equality.measure, weights, options.requests)
        case "cold_start":
            return service.cold_start(weights, max(1, rounds // 2))
        case "overhead":
            with serving(model) as server:
                return service.overhead(server, native, rounds)
        case "observing":
            return observing.measure(weights, options.steps, rounds)
        case "cluster":
            from tools.benchmark import cluster

            return cluster.measure(model, native, rounds, options.requests)
        case "fairness":
            return fairness.measure()
        case "load":
            with serving(model) as server:
                return load.measure(server, native, options.requests, turns=max(1, rounds // 4))


def rounded(results: Any) -> Any:
    """Return the results with five significant digits, more than any of them is accurate to."""
    if isinstance(results, dict):
        return {name: rounded(each) for name, each in results.items()}
    if isinstance(results, list):
        return [rounded(each) for each in results]
    return float(f"{results:.5g}") if isinstance(results, float) else results


def parser() -> argparse.ArgumentParser:
    """Return the parser of the flags."""
    parser = argparse.ArgumentParser(
        prog="scripts/benchmark",
        description="Measures the engine and the server against the library in one run: ratios "
        "below 1 mean that ours takes less. Nothing else should run on the machine meanwhile.",
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--model", default="demo", help="a name of the manifest, or a folder")
    chosen.add_argument(
        "--random-weights",
        metavar="NAME",
        choices=RANDOM,
        help=f"instead, the architecture of {' or '.join(RANDOM)} with random weights",
    )
    parser.add_argument("--dtype", choices=DTYPES, help="the precision, as DTYPE for the server")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="what a GPU is lent for: a few minutes, and resumed where --output names a file",
    )
    parser.add_argument(
        "--skip-compiled", action="store_true", help="of --quick: without torch's compiler"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts alone")
    parser.add_argument(
        "--size",
        type=int,
        nargs="+",
        metavar="PIXELS",
        help="of latency and adapters (default: native)",
    )
    parser.add_argument(
        "--apart", action="store_true", help="of latency: one contender in memory at a time"
    )
    parser.add_argument(
        "--steps", type=int, default=25, help="of latency and growth, 2 or more (25)"
    )
    parser.add_argument("--rounds", type=int, default=10, help="of each figure (default: 10)")
    parser.add_argument("--requests", type=int, default=16, help="of load, equality, cluster (16)")
    parser.add_argument("--output", type=Path, help="the JSON file (default: in benchmarks/)")
    return parser


if __name__ == "__main__":
    main()
