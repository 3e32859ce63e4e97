"""The figures as tables to read."""

from collections.abc import Iterator
from typing import Any

GIB = 2**30


def table(results: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the tables of all that was measured."""
    machine = results["machine"]
    device = machine["gpu"] or machine["processor"]
    yield f"{results['model']} in {machine['precision']} on {device}"
    for result in results.get("latency", []):
        yield from latency(result)
    if "calls" in results:
        yield from calls(results["calls"])
    for result in results.get("adapters", []):
        yield from adapters(result)
    if "switching" in results:
        yield from switching(results["switching"])
    if "growth" in results:
        yield "\nOne prediction, text to image"
        for name, seconds in results["growth"].items():
            yield f"  {name:12} {span(seconds)} s, {seconds['times']:.2f} ×"
    if "equality" in results:
        result = results["equality"]
        yield (
            f"\n{result['pictures']} pictures beside others and alone: at most "
            f"{result['largest']:.0f} of 255 apart, "
            f"{max(result['means']):.2g} in the mean of the worst"
        )
    for until, result in results.get("cold_start", {}).items():
        yield f"\nFrom process start: {until}"
        for name, seconds in result["seconds"].items():
            yield f"  {name:12} {span(seconds)} s"
        yield f"  server / library: {span(result['ratio'])}"
    if "overhead" in results:
        result = results["overhead"]
        seconds, share = span(result["seconds"]), span(result["share"])
        yield f"\nHTTP around a prediction: {seconds} s, {share} of it"
    if "observing" in results:
        yield from observing(results["observing"])
    yield from quick(results)
    if "load" in results:
        yield from load(results["load"])
    if "cluster" in results:
        yield from cluster(results["cluster"])
    if "fairness" in results:
        yield from fairness(results["fairness"])


def quick(results: dict[str, Any]) -> Iterator[str]:
    """Yield the lines about the parts of a quick run, which `quick.Quick` names."""
    for name, result in results.items():
        if name.endswith("one prediction"):
            yield f"\n{name}"
            for contender, seconds in result["seconds"].items():
                yield f"  {contender:12} {span(seconds)} s"
            for contender, ratio in result["ratio_to"].items():
                yield f"  engine / {contender}: {span(ratio)}"
            yield f"  engine / floor: {result['times_the_floor']:.2f}"
        elif name.endswith("at once"):
            yield f"\n{name}"
            yield f"  an image {span(result['seconds_an_image'])} s"
            yield f"  an image / floor: {result['times_the_floor']:.2f}"
            yield f"  all of them, the first time: {result['first_seconds']:.3g} s"
        elif name == "turns":
            yield "\nA turn of the native size, by images"
            for images, taken in result.items():
                yield f"  {images}: engine {taken['engine']:.3g} ms, plain {taken['plain']:.3g} ms"


def latency(result: dict[str, Any]) -> Iterator[str]:
    """Yield the lines about one prediction alone."""
    yield f"\nOne prediction, {result['size']} px, {result['steps']} steps"
    for name, seconds in result["seconds"].items():
        memory = ", ".join(
            f"{n / GIB:.2f} GiB ({of})" for of, n in result["peak_memory"][name].items()
        )
        yield f"  {name:12} {span(seconds)} s; at most {memory}"
    for name, ratio in result["ratio_to"].items():
        yield f"  engine / {name}: {span(ratio)}"
    yield (
        f"  floor of the device: {result['floor_seconds']:.3g} s, "
        f"{result['share_of_floor']:.0%} of the engine's time"
    )


def calls(result: dict[str, Any]) -> Iterator[str]:
    """Yield the lines about one call of the UNet."""
    yield "\nOne call of the UNet"
    for rows, seconds in result["rows"].items():
        yield f"  {rows:>2} rows {span(seconds)} s, {seconds['seconds_a_row']:.3g} s a row"
    for name, seconds in result.get("ways", {}).items():
        yield f"  {name}: {span(seconds)} s, {span(seconds['ratio'])} of float32"
    for name, seconds in result.get("threads", {}).items():
        yield f"  in a thread, {name}: {span(seconds)} s"


def adapters(result: dict[str, Any]) -> Iterator[str]:
    """Yield the lines about a call whose rows have LoRAs."""
    yield (
        f"\nOne call of the UNet with {result['rows']} rows of {result['size']} px, "
        f"by their different LoRAs, of rank {result['rank']}"
    )
    for name, seconds in result["calls"].items():
        yield f"  {name}: {span(seconds)} s, {span(seconds['ratio'])} of none"


def switching(result: dict[str, Any]) -> Iterator[str]:
    """Yield the lines about two models that are asked in turn."""
    yield f"\nTwo predictions of {result['steps']} steps, one after the other, of"
    for name, seconds in result["pairs"].items():
        yield f"  {name}: {span(seconds)} s, {span(seconds['ratio'])} of one model's"
    size = result["bytes"] / GIB
    yield f"  a switch copies {size:.2f} GiB in {span(result['move_seconds'])} s"


def observing(result: dict[str, Any]) -> Iterator[str]:
    """Yield the lines about what measurements and traces add."""
    for name, ratio in result["ratios"].items():
        share = result["shares"][name]
        yield f"\n{name}, with / without: {span(ratio)}; alone {100 * share:.2f} % of it"


def load(result: dict[str, Any]) -> Iterator[str]:
    """Yield the lines about many clients."""
    yield (
        f"\n{result['requests']} mixed requests, {result['turns']} times, arriving at random; "
        f"one at a time {result['capacity_per_second']:.3g} a second are served"
    )
    for share, run in result["loads"].items():
        yield f"  {share}" if share == "all at once" else f"  at {share} of that"
        for name in ("together", "one at a time"):
            latencies = ", ".join(f"p{p} {s:.1f} s" for p, s in run[name]["latency"].items())
            rates = run[name]["images_per_second"]
            yield (
                f"    {name:13} {sum(rates) / len(rates):.2f} images/s, {latencies}, "
                f"short ones wait {run[name]['mean_wait_of_short']:.2f} s"
            )
        yield (
            f"    ratios: throughput {span(run['throughput_ratio'])}, "
            f"wait of short ones {run['short_wait_ratio']:.2f}"
        )


def cluster(result: dict[str, Any]) -> Iterator[str]:
    """Yield the lines about a cluster of replicas."""
    yield "\nOne prediction through the cluster"
    for name, seconds in result["overhead"]["seconds"].items():
        yield f"  {name:12} {span(seconds)} s"
    yield f"  cluster / direct: {span(result['overhead']['ratio'])}"
    steps = ", ".join(f"{n}: {seconds:.3g}" for n, seconds in result["speed"]["steps"].items())
    yield f"\nSeconds of a step, by the images that share it: {steps}"
    for replicas, shares in result["compared"].items():
        yield f"\nMixed requests in bursts, {replicas} replica{'s' * (replicas != '1')}"
        for share, waits in shares.items():
            lines = ", ".join(
                f"{name} {one['mean']:.2f} s (p90 {one['90']:.2f} s)" for name, one in waits.items()
            )
            yield f"  at {share} of what they do, longer than alone by: {lines}"
    alone = result["needed"][0]["alone"]
    yield f"\nReplicas for default predictions in bursts, simulated; alone they take {alone:.3g} s"
    for row in result["needed"]:
        latency = ", ".join(f"p{p} {s:.1f} s" for p, s in row["latency"].items())
        yield (
            f"  {row['hourly']:>6} an hour, p90 within {row['bearable']} times that: "
            f"{row['gpus']:>2}, at {row['load']:.3f} of what each does one at a time; {latency}"
        )


def fairness(result: dict[str, Any]) -> Iterator[str]:
    """Yield the lines about a simulated week of mixed tokens."""
    yield "\nA simulated week of mixed tokens: waits over their shares of the card"
    for order, kinds in result.items():
        for kind, found in kinds.items():
            yield (
                f"  {order:10} {kind:9} {found['predictions']:>5}: "
                f"at most {found['largest_ratio']:.2f}, {found['mean_ratio']:.2f} in the mean; "
                f"waits {found['mean_wait']:.0f} s, at most {found['longest_wait']:.0f} s"
            )


def span(result: dict[str, Any]) -> str:
    """Return the median with its quartiles, as text."""
    low, high = result["quartiles"]
    return f"{result['median']:.3g} ({low:.3g} to {high:.3g})"
