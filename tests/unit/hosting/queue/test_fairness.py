"""The share of the card that each token has, in a simulated week and by the rule itself."""

from __future__ import annotations

from collections import defaultdict

import pytest

from hosting import fair_queueing
from hosting.states import Priority
from tests.support.properties import given, settings
from tests.support.properties import strategies as st
from tools.benchmark import fairness
from tools.benchmark.fairness import Asked, Queue


def worst(asked: list[Asked], is_fair: bool) -> dict[str, float]:
    """The largest ratio of a wait to its share, by kind of token."""
    waited = fairness.simulate(asked, is_fair=is_fair)
    found: dict[str, float] = defaultdict(float)
    for one, ratio in zip(asked, fairness.ratios(asked, waited), strict=True):
        kind = one.token.split()[0]
        found[kind] = max(found[kind], ratio)
    return found


@pytest.mark.parametrize("seed", [0, 1])
def test_nobody_waits_longer_in_a_week_than_three_times_their_share(seed: int) -> None:
    asked = fairness.week(seed)
    fair = worst(asked, is_fair=True)
    assert max(fair["person"], fair["hundreds"]) <= 3
    assert worst(asked, is_fair=False)["person"] > 100  # the ratio does tell them apart


def test_batches_move_while_others_ask_without_an_end() -> None:
    busy = [Asked(0.0, "busy", fairness.DEFAULT_COST) for _ in range(2000)]
    batch = [Asked(0.0, "batch", fairness.DEFAULT_COST, Priority.BATCH) for _ in range(100)]
    waited = fairness.simulate([*busy, *batch])
    last = max(one.wait for one in waited[: len(busy)])
    assert max(one.wait for one in waited[len(busy) :]) < last
    assert min(one.wait for one in waited[len(busy) :]) < last / 100


def test_on_one_slot_each_kind_has_its_share_by_weight() -> None:
    queue = Queue(is_fair=True)
    asked = [Asked(0.0, "ann", 1.0)] * 80 + [Asked(0.0, "bob", 1.0, Priority.BATCH)] * 80
    for number, one in enumerate(asked):
        queue.add(number, one)
    claimed = [asked[queue.claim(takes_batch=True) or 0].token for _ in range(45)]
    assert claimed.count("ann") == 40
    assert claimed.count("bob") == 5


@pytest.mark.parametrize(("slots", "most"), [(1, 1), (2, 1), (4, 1), (8, 2), (16, 4)])
def test_most_slots_are_kept_from_batches(slots: int, most: int) -> None:
    assert fair_queueing.batch_slots(slots) == most


def test_whoever_has_asked_for_nothing_is_where_the_clock_is() -> None:
    assert fair_queueing.next_turn(5.0, []) == 5
    assert fair_queueing.next_turn(5.0, [3.0]) == 5
    assert fair_queueing.next_turn(5.0, [3.0, 8.0]) == 8


Step = tuple[str, float] | None
"""A token that asks for a cost, or None: what is next is claimed."""


@settings(max_examples=300)
@given(
    st.lists(
        st.none() | st.tuples(st.sampled_from("abc"), st.sampled_from((1.0, 7.0, 50.0))),
        max_size=60,
    )
)
def test_others_get_no_more_than_what_a_token_has_asked_for_before_and_one_each(
    steps: list[Step],
) -> None:
    """The bound of start-time fair queueing, for weights that are equal."""
    queue, asked = Queue(is_fair=True), list[Asked]()
    before: dict[int, float] = {}
    claimed_since: dict[int, dict[str, float]] = {}
    had: dict[str, float] = defaultdict(float)
    largest: dict[str, float] = defaultdict(float)
    for step in [*steps, *[None] * len(steps)]:
        if step is not None:
            token, cost = step
            before[len(asked)] = had[token]
            claimed_since[len(asked)] = defaultdict(float)
            had[token] += cost
            largest[token] = max(largest[token], cost)
            asked.append(Asked(0.0, token, cost))
            queue.add(len(asked) - 1, asked[-1])
            continue
        number = queue.claim(takes_batch=True)
        if number is None:
            continue
        own, one = asked[number].token, asked[number]
        for token, cost in claimed_since.pop(number).items():
            if token != own:
                assert cost <= before[number] + largest[token]
        for others in claimed_since.values():
            others[one.token] += one.cost
    assert not claimed_since
