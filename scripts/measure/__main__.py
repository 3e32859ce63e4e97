"""The command line of scripts/benchmark."""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from scripts.schema import ROOT
from stable_diffusion import models
from stable_diffusion.models import DTYPES, Weights

PARTS = ("latency", "calls", "growth", "equality", "cold_start", "overhead", "load")
BENCHMARKS = ROOT / "benchmarks"
RANDOM = ("stable-diffusion-2-1",)


def main() -> None:
    """Reads the flags, measures, prints the tables and writes the numbers."""
    options = parser().parse_args()
    if options.dtype:
        os.environ["DTYPE"] = options.dtype

    from scripts.measure import machine, random_weights, report
    from scripts.measure.process import alone

    with tempfile.TemporaryDirectory() as folder:
        if options.random_weights:
            weights = alone(random_weights.make, options.random_weights, Path(folder))
        else:
            weights = models.find(options.model)
        start = time.strftime("%Y-%m-%d %H:%M")
        results = {"started": start, "model": weights.name, "machine": machine.facts()}
        results.update(measured(options, weights))
    print("\n".join(report.table(results)))
    place = "gpu" if results["machine"]["gpu"] else "cpu"
    name = f"{weights.name}-{place}-{results['machine']['precision']}.json"
    file = options.output or BENCHMARKS / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(rounded(results), indent=1) + "\n")
    print(f"\nall numbers: {file}")


def measured(options: argparse.Namespace, weights: Weights) -> dict[str, Any]:
    """The results of the parts that are asked for."""
    import torch

    from scripts.measure import calls, equality, growth, latency, load, machine, service
    from scripts.measure.process import alone
    from scripts.measure.server import serving

    parts = options.only or PARTS
    native, few = weights.native_size, max(1, options.rounds // 2)
    results: dict[str, Any] = {}
    if "latency" in parts:
        rate = results["matrix_rate"] = alone(machine.matrix_rate)
        results["latency"] = [
            latency.measure(weights, size, options.steps, options.rounds, rate)
            for size in options.size or [native]
        ]
    if "calls" in parts:
        results["calls"] = {"rows": alone(calls.by_rows, weights, options.rounds)}
        if not torch.cuda.is_available():
            results["calls"] |= alone(calls.by_way, weights, options.rounds)
    if "growth" in parts:
        results["growth"] = alone(growth.measure, weights, few)
    if "equality" in parts:
        results["equality"] = alone(equality.measure, weights, options.requests)
    model = str(weights.folder)
    if "cold_start" in parts:
        results["cold_start"] = service.cold_start(model, weights.folder, few)
    if "overhead" in parts or "load" in parts:
        with serving(model) as server:
            if "overhead" in parts:
                results["overhead"] = service.overhead(server, native, options.rounds)
            if "load" in parts:
                results["load"] = load.measure(server, native, options.requests)
    return results


def rounded(results: Any) -> Any:
    """The same with five significant digits, more than any of them has."""
    if isinstance(results, dict):
        return {name: rounded(each) for name, each in results.items()}
    if isinstance(results, list):
        return [rounded(each) for each in results]
    return float(f"{results:.5g}") if isinstance(results, float) else results


def parser() -> argparse.ArgumentParser:
    """The flags."""
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
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts alone")
    parser.add_argument(
        "--size", type=int, nargs="+", metavar="PIXELS", help="of latency (default: native)"
    )
    parser.add_argument("--steps", type=int, default=25, help="of latency (default: 25)")
    parser.add_argument("--rounds", type=int, default=10, help="of each figure (default: 10)")
    parser.add_argument("--requests", type=int, default=40, help="of load and equality (40)")
    parser.add_argument("--output", type=Path, help="the JSON file (default: in benchmarks/)")
    return parser


if __name__ == "__main__":
    main()
