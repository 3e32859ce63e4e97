"""Start-time fair queueing: whose prediction is next, by what tokens have asked for.

Source: Goyal, Vin and Cheng, Start-time Fair Queueing, SIGCOMM 1996; for several slots, Jin, Chase
and Kaur, Interposed Proportional Sharing for a Storage Service Utility, SIGMETRICS 2004.

A flow is what a token has asked for with one priority. Each of its predictions has a turn, where it
begins on the queue's virtual clock, and a length, which is its cost over the flow's weight. The
lowest turn is next, and among equal ones who came first. The clock shows the turn of what was
claimed last; a prediction's turn is there, or where the one before it in its flow ends, also when
that has run: tokens that ask for one thing after another would else pass all that others wait for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hosting.states import Priority

WEIGHTS: Mapping[Priority, float] = {Priority.INTERACTIVE: 8.0, Priority.BATCH: 1.0}
"""Of what a token asks for with each priority: none stands still, however much there is of the
other."""
LEAST_WEIGHT, MOST_WEIGHT = 0.1, 100.0
"""Of a token, which is 1 unless somebody says otherwise."""
SLOTS_OF_BATCH = 4
"""Of so many slots, batch predictions may hold one. What runs shares the model's time evenly and is
not interrupted: with more, they would have most of it while somebody waits."""


def length(cost: float, priority: Priority, weight: float) -> float:
    """Return how long a prediction is on the virtual clock.

    Args:
        cost: as `Prediction.cost`.
        weight: of its token.
    """
    return cost / (weight * WEIGHTS[priority])


def next_turn(clock: float, ends: Iterable[float]) -> float:
    """Return the turn of a flow's next prediction.

    Args:
        clock: the turn of what was claimed last.
        ends: of those of the flow that wait, run or have run, turn and length together.
    """
    return max(clock, max(ends, default=clock))


def batch_slots(slots: int) -> int:
    """Return how many of an endpoint's slots batch predictions may hold at a time."""
    return max(1, slots // SLOTS_OF_BATCH)
