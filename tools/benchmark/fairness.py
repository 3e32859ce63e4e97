"""A week of mixed tokens on one card, simulated: how long each waits, by its share of the card.

The order is the queue's own (`hosting.fair_queueing`), or first come, first served. What runs
shares the card evenly, as in the engine. The *share* of a prediction is how long it would take if
the card were divided evenly among the tokens that then have anything to do (generalized processor
sharing; Parekh and Gallager 1993), and the time until the first slot that it may have is free,
since what runs is not interrupted. Its ratio is its wait, until it begins, over its share.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from hosting import fair_queueing
from hosting.states import Priority

SLOTS = 8
DEFAULT_COST = 25 * 768.0**2
"""Of a prediction of 25 steps at 768 px: pixels × steps."""
SPEED = DEFAULT_COST / 5
"""Cost a second that the card does: a default prediction in five seconds."""
DAY_SECONDS = 24 * 3600.0
DAYS = 7
PEOPLE = 6
BURST = 300
"""Predictions that one token asks for at once."""
BATCH_STEPS = 512

Flow = tuple[str, Priority]


@dataclass(frozen=True)
class Asked:
    """A prediction that a token asks for."""

    at: float
    """In seconds."""
    token: str
    cost: float
    priority: Priority = Priority.INTERACTIVE

    @property
    def flow(self) -> Flow:
        """What it is queued with."""
        return self.token, self.priority


@dataclass(frozen=True)
class Waited:
    """How long a prediction has waited, and until the first slot that it may have was free."""

    wait: float
    residual: float


def week(seed: int = 0) -> list[Asked]:
    """Return a week's predictions in the order in which they come.

    There are people, who try a few things in a row, a token that asks for hundreds at once, as if
    somebody waited for each, and two with batches of 512 steps.
    """
    rng = random.Random(seed)
    return sorted(_week(rng), key=lambda one: one.at)


def _week(rng: random.Random) -> Iterator[Asked]:
    for day in range(DAYS):
        start = day * DAY_SECONDS
        for person in range(PEOPLE):
            for _ in range(4):
                now = start + rng.uniform(8, 23) * 3600
                for _ in range(rng.randint(5, 40)):
                    now += rng.expovariate(1 / 30)
                    images, steps = rng.choice((1, 1, 2, 4)), rng.choice((20, 25, 25, 50))
                    yield Asked(now, f"person {person}", DEFAULT_COST * images * steps / 25)
        for _ in range(3):
            now = start + rng.uniform(8, 22) * 3600
            yield from (Asked(now, "hundreds", DEFAULT_COST * 30 / 25) for _ in range(BURST))
        for token in ("batch 0", "batch 1"):
            now = start + rng.uniform(0, 24) * 3600
            cost = DEFAULT_COST * BATCH_STEPS / 25
            yield from (Asked(now, token, cost, Priority.BATCH) for _ in range(150))


@dataclass
class Queue:
    """What waits, in the order that the database has; else who came first is the first."""

    is_fair: bool
    clock: float = 0.0
    ends: dict[Flow, float] = field(default_factory=dict)
    waiting: dict[Priority, list[tuple[float, int]]] = field(
        default_factory=lambda: {priority: [] for priority in Priority}
    )

    def add(self, number: int, asked: Asked) -> None:
        """Take one in; who came first has the lowest number."""
        turn = 0.0
        if self.is_fair:
            turn = fair_queueing.next_turn(self.clock, [self.ends.get(asked.flow, 0.0)])
            length = fair_queueing.length(asked.cost, asked.priority, weight=1.0)
            self.ends[asked.flow] = turn + length
        heapq.heappush(self.waiting[asked.priority], (turn, number))

    def claim(self, takes_batch: bool) -> int | None:
        """Take the next out; None if there is none."""
        allowed = [
            waiting
            for priority, waiting in self.waiting.items()
            if waiting and (takes_batch or priority is Priority.INTERACTIVE)
        ]
        if not allowed:
            return None
        turn, number = heapq.heappop(min(allowed, key=lambda waiting: waiting[0]))
        self.clock = max(self.clock, turn)
        return number


def simulate(asked: Sequence[Asked], slots: int = SLOTS, is_fair: bool = True) -> list[Waited]:
    """Return how long each prediction waits.

    Args:
        asked: in the order in which they come.
        is_fair: whether turns go round by token, and slots are kept; else who comes first is
            served first.
    """
    queue = Queue(is_fair)
    batch_slots = fair_queueing.batch_slots(slots) if is_fair else slots
    begun: dict[int, float] = {}
    residuals: dict[int, float] = {}
    unknown: list[int] = []
    """Those that came since a slot was free for the last time."""
    running: list[tuple[float, int]] = []
    """By the work that each slot will have done when they end."""
    now = done = 0.0
    batch = arrived = 0
    while arrived < len(asked) or running:
        end = now + (running[0][0] - done) * len(running) / SPEED if running else math.inf
        if arrived < len(asked) and asked[arrived].at <= end:
            before, now = now, asked[arrived].at
            done += (now - before) * SPEED / max(1, len(running))
            queue.add(arrived, asked[arrived])
            unknown.append(arrived)
            arrived += 1
        else:
            now, (done, number) = end, heapq.heappop(running)
            batch -= asked[number].priority is Priority.BATCH
        while len(running) < slots:
            is_open = batch < batch_slots
            for one in unknown:
                if is_open or asked[one].priority is Priority.INTERACTIVE:
                    residuals[one] = now - asked[one].at
            unknown = [one for one in unknown if one not in residuals]
            claimed = queue.claim(is_open)
            if claimed is None:
                break
            begun[claimed] = now
            batch += asked[claimed].priority is Priority.BATCH
            heapq.heappush(running, (done + asked[claimed].cost, claimed))
    return [Waited(begun[n] - one.at, residuals[n]) for n, one in enumerate(asked)]


def evenly_divided(asked: Sequence[Asked]) -> list[float]:
    """Return how long each takes if the card is divided evenly among tokens with unfinished ones.

    Args:
        asked: in the order in which they come.
    """
    ends = [0.0] * len(asked)
    last: dict[str, float] = defaultdict(float)
    unfinished: Counter[str] = Counter()
    running: list[tuple[float, int]] = []
    now = clock = 0.0
    arrived = 0
    while arrived < len(asked) or running:
        end = now + (running[0][0] - clock) * len(unfinished) / SPEED if running else math.inf
        if arrived < len(asked) and asked[arrived].at <= end:
            one = asked[arrived]
            clock += (one.at - now) * SPEED / max(1, len(unfinished))
            now = one.at
            last[one.token] = max(clock, last[one.token]) + one.cost
            heapq.heappush(running, (last[one.token], arrived))
            unfinished[one.token] += 1
            arrived += 1
        else:
            now, (clock, number) = end, heapq.heappop(running)
            ends[number] = now
            unfinished[asked[number].token] -= 1
            if not unfinished[asked[number].token]:
                del unfinished[asked[number].token]
    return [end - one.at for end, one in zip(ends, asked, strict=True)]


def ratios(asked: Sequence[Asked], waited: Sequence[Waited]) -> list[float]:
    """Return the ratio of each prediction's wait to its share."""
    evenly = evenly_divided(asked)
    return [one.wait / (even + one.residual) for one, even in zip(waited, evenly, strict=True)]


def measure(seed: int = 0) -> dict[str, Any]:
    """Return the ratios of a week and the waits in seconds, by kind of token and order."""
    asked = week(seed)
    found: dict[str, Any] = {}
    for name, is_fair in (("fair", True), ("first come", False)):
        waited = simulate(asked, is_fair=is_fair)
        of_kind: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for one, ratio, wait in zip(asked, ratios(asked, waited), waited, strict=True):
            of_kind[one.token.split()[0]].append((ratio, wait.wait))
        found[name] = {
            kind: {
                "predictions": len(both),
                "largest_ratio": max(ratio for ratio, _ in both),
                "mean_ratio": sum(ratio for ratio, _ in both) / len(both),
                "longest_wait": max(wait for _, wait in both),
                "mean_wait": sum(wait for _, wait in both) / len(both),
            }
            for kind, both in sorted(of_kind.items())
        }
    return found
