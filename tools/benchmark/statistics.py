"""Statistics of repeated runs: median, spread, percentiles, ratios of pairs."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Measured = TypeVar("Measured")


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return the median, the quartiles, and every value."""
    ordered = sorted(values)
    return {
        "median": statistics.median(ordered),
        "quartiles": [percentile(ordered, 25), percentile(ordered, 75)],
        "values": list(values),
    }


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile, by linear interpolation between the two values next to it."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def interleaved(rounds: int, **timed: Callable[[], Measured]) -> dict[str, list[Measured]]:
    """Return the results of each of `timed` in each round, after a round that does not count.

    They take turns, so that what else the machine does falls on all of them; the first of a round
    is another one each time.
    """
    names = list(timed)
    seconds: dict[str, list[Measured]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for index in range(len(names)):
            name = names[(index + turn) % len(names)]
            taken = timed[name]()
            if turn:
                seconds[name].append(taken)
    return seconds


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Return the ratios of ours to theirs in each round: below 1 is faster."""
    return spread([one / other for one, other in zip(ours, theirs, strict=True)])
