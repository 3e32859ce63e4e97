from __future__ import annotations

import statistics

import pytest

from tests.support.properties import given
from tests.support.properties import strategies as st
from tools.benchmark import load
from tools.benchmark.load import Asked
from tools.benchmark.queueing import BURST, Speed, bursts, simulate

SPEED = Speed({1: 1.0, 2: 1.5, 4: 2.5, 8: 4.5}, fixed=0.25, image=0.5)


def asked(arrival: float, steps: int = 10, images: int = 1) -> Asked:
    return Asked({"num_inference_steps": steps, "num_images": images}, arrival)


def test_a_step_takes_what_was_measured_and_a_straight_line_between_and_beyond() -> None:
    assert [SPEED.step(images) for images in (1, 2, 3, 4, 6, 8, 16)] == [
        *(1.0, 1.5, 2.0, 2.5, 3.5, 4.5, 8.5)
    ]


def test_one_request_takes_what_it_takes_alone() -> None:
    for one in (asked(3.0), asked(0.0, steps=1), asked(7.0, steps=5, images=4)):
        assert simulate([one], 1, 8, SPEED) == [pytest.approx(SPEED.alone(one))]
    assert SPEED.alone(asked(0, steps=5, images=4)) == 0.25 + 4 * 0.5 + 5 * 2.5


def test_two_at_once_share_their_steps() -> None:
    # The first has begun a step when the second comes; that waits for the first's picture too.
    first, second = 1 + 9 * 1.5 + 0.75, 1 + 9 * 1.5 + 0.75 + 1 + 0.75
    assert simulate([asked(0), asked(0)], 1, 8, SPEED) == [first, second]


def test_who_comes_in_the_middle_of_a_step_joins_at_the_next() -> None:
    first, second = simulate([asked(0, steps=2), asked(0.5, steps=1)], 1, 8, SPEED)
    # One alone, one together: 2.5 s.
    assert (first, second) == (3.25, 3.5)


def test_who_comes_while_a_picture_is_made_waits_for_it() -> None:
    slow = Speed({1: 1.0, 2: 1.0}, fixed=10.0, image=0.0)
    assert simulate([asked(0, steps=1), asked(2, steps=1)], 1, 8, slow) == [11.0, 20.0]


def test_who_finds_no_slot_waits_for_one_in_turn() -> None:
    one, two, three = simulate([asked(0), asked(0), asked(1)], 1, 1, SPEED)
    assert (one, two, three) == (10.75, 21.5, 31.25)


def test_each_gpu_takes_its_share() -> None:
    assert simulate([asked(0)] * 4, 4, 8, SPEED) == [10.75] * 4


REQUESTS = st.lists(
    st.builds(asked, st.floats(0, 100), st.integers(1, 20), st.integers(1, 4)),
    min_size=1,
    max_size=20,
).map(lambda some: sorted(some, key=lambda one: one.arrival))


@given(REQUESTS, st.integers(1, 3), st.integers(1, 8))
def test_all_are_answered_and_none_before_it_could_be(
    some: list[Asked], gpus: int, slots: int
) -> None:
    latencies = simulate(some, gpus, slots, SPEED)
    assert len(latencies) == len(some)
    for one, latency in zip(some, latencies, strict=True):
        assert latency >= SPEED.alone(one) - 1e-9


@given(REQUESTS, st.integers(1, 8))
def test_with_a_gpu_for_each_none_waits(some: list[Asked], slots: int) -> None:
    latencies = simulate(some, len(some), slots, SPEED)
    for one, latency in zip(some, latencies, strict=True):
        assert latency == pytest.approx(SPEED.alone(one))


def test_bursts_come_at_the_rate_that_was_asked_for_and_several_at_once() -> None:
    arriving = bursts(load.mixed(20000, 128), 2.0, seed=1)
    times = [one.arrival for one in arriving]
    assert times == sorted(times)
    assert len(times) / times[-1] == pytest.approx(2.0, rel=0.05)
    assert len(times) / len(set(times)) == pytest.approx(BURST, rel=0.05)
    assert bursts(load.mixed(9, 128), 2.0, seed=1) == arriving[:9]


def test_the_fuller_a_gpu_the_longer_the_wait() -> None:
    some = load.mixed(500, 128)
    means = [
        statistics.mean(simulate(bursts(some, rate, seed=0), 2, 8, SPEED))
        for rate in (0.001, 0.01, 0.02, 0.04)
    ]
    assert means == sorted(means)
    assert means[3] > 1.5 * means[0]
