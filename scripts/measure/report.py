"""The figures as tables for people."""

from collections.abc import Iterator
from typing import Any


def table(results: dict[str, Any]) -> Iterator[str]:
    """The lines of the tables of all that was measured."""
    for each in results.get("latency", []):
        yield f"\nOne prediction, {each['size']} px, {each['steps']} steps"
        for name, seconds in each["seconds"].items():
            yield f"  {name:12} {span(seconds)} s"
        for other in ("library", "openvino"):
            if f"ratio_to_{other}" in each:
                yield f"  engine / {other}: {span(each[f'ratio_to_{other}'])}"
        yield (
            f"  floor of the device: {each['floor_seconds']:.3g} s, "
            f"{each['share_of_floor']:.0%} of which is reached"
        )
    if "growth" in results:
        yield "\nOne prediction, text to image"
        for name, seconds in results["growth"].items():
            yield f"  {name:12} {span(seconds)} s, {seconds['times']:.2f} ×"
    if "memory" in results:
        for name, taken in results["memory"].items():
            yield f"  peak memory, {name}: {taken / 2**30:.2f} GiB"
    if "cold_start" in results:
        yield "\nCold start"
        for name, seconds in results["cold_start"]["seconds"].items():
            yield f"  {name:12} {span(seconds)} s"
        yield f"  server / library: {span(results['cold_start']['ratio'])}"
    if "overhead" in results:
        each = results["overhead"]
        yield f"\nHTTP around a prediction: {span(each['seconds'])} s, {span(each['share'])} of it"
    if "load" in results:
        each = results["load"]
        yield (
            f"\n{each['requests']} mixed requests, arriving at random; "
            f"one at a time {each['capacity_per_second']:.3g} a second can be served"
        )
        for load, run in each["loads"].items():
            yield f"  at {load} of that"
            for name in ("together", "one_at_a_time"):
                latency = ", ".join(f"p{p} {s:.1f} s" for p, s in run[name]["latency"].items())
                yield (
                    f"    {name:14} {run[name]['images_per_second']:.2f} images/s, {latency}, "
                    f"short ones wait {run[name]['mean_wait_of_short']:.1f} s"
                )
            yield (
                f"    ratios: throughput {run['throughput_ratio']:.2f}, "
                f"wait of short ones {run['short_wait_ratio']:.2f}"
            )


def span(each: dict[str, Any]) -> str:
    """The median with its quartiles."""
    low, high = each["quartiles"]
    return f"{each['median']:.3g} ({low:.3g} to {high:.3g})"
