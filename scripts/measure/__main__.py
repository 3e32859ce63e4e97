"""The command line of scripts/benchmark."""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from scripts.schema import ROOT
from stable_diffusion import models

PARTS = ("latency", "growth", "cold_start", "overhead", "load")
BENCHMARKS = ROOT / "benchmarks"


def main() -> None:
    """Reads the flags, measures, prints the tables and writes the numbers."""
    options = parser().parse_args()
    import torch

    from scripts.measure import growth, latency, load, machine, random_weights, report, service
    from scripts.measure.server import serving

    with tempfile.TemporaryDirectory() as folder:
        if options.random_weights:
            weights = random_weights.make(options.random_weights, Path(folder))
            name = folder
        else:
            weights = models.find(options.model)
            name = options.model
        parts = options.only or PARTS
        results: dict[str, Any] = {"machine": machine.facts(), "model": weights.name}
        native = weights.native_size
        if "latency" in parts or "growth" in parts:
            model = models.load(weights)
            rate = machine.matrix_rate(model.device, model.dtype)
            results["machine"]["matrix_rate"] = rate
            results["dtype"] = str(model.dtype).removeprefix("torch.")
            if "latency" in parts:
                results["latency"] = [
                    latency.measure(model, size, options.steps, options.rounds, rate)
                    for size in options.size or [native]
                ]
            if "growth" in parts:
                results["growth"] = growth.measure(model, max(1, options.rounds // 2))
            results["memory"] = growth.peak_memory(model)
            del model
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        if "cold_start" in parts:
            rounds = max(1, options.rounds // 2)
            results["cold_start"] = service.cold_start(name, weights.folder, rounds)
        if "overhead" in parts or "load" in parts:
            with serving(name) as server:
                if "overhead" in parts:
                    results["overhead"] = service.overhead(server, native, options.rounds)
                if "load" in parts:
                    results["load"] = load.measure(server, native, options.requests)
    print("\n".join(report.table(results)))
    place = "gpu" if torch.cuda.is_available() else "cpu"
    file = options.output or BENCHMARKS / f"{weights.name}-{place}-{time.strftime('%Y-%m-%d')}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\nall numbers: {file}")


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
        choices=["stable-diffusion-2-1"],
        help="the full architecture of stable-diffusion-2-1 with random weights instead",
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs="+",
        metavar="PIXELS",
        help="of the latency, default the native one",
    )
    parser.add_argument("--steps", type=int, default=25, help="of the latency (default: 25)")
    parser.add_argument("--rounds", type=int, default=10, help="of each figure (default: 10)")
    parser.add_argument("--requests", type=int, default=40, help="of the load (default: 40)")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts alone")
    parser.add_argument("--output", type=Path, help="the JSON file (default: in benchmarks/)")
    return parser


if __name__ == "__main__":
    main()
