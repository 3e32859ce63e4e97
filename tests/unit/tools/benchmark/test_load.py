from __future__ import annotations

import math
import threading
from typing import Any

import pytest

from tools.benchmark import load
from tools.benchmark.load import Asked


class Server:
    """Takes requests as a server does, and knows how many it had at once."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.now = self.most = 0
        self._lock = threading.Lock()
        self._full = threading.Event()

    def predict(self, inputs: dict[str, Any]) -> None:
        with self._lock:
            self.begun.append(inputs["seed"])
            self.now += 1
            self.most = max(self.most, self.now)
        self._full.wait(0.02)
        with self._lock:
            self.now -= 1


@pytest.mark.parametrize("slots", [1, 3])
def test_as_many_run_at_once_as_there_are_slots_first_come_first_served(slots: int) -> None:
    server, asked = Server(), [Asked(each.inputs) for each in load.mixed(9, 128)]
    measured = load.run(server, asked, slots)  # type: ignore[arg-type]
    assert server.most == slots
    assert server.begun == sorted(server.begun) or slots > 1
    assert len(measured["latencies"]) == 9


def test_the_mix_is_of_10_to_100_steps_and_1_to_4_images_and_a_third_is_short() -> None:
    asked = load.mixed(300, 128)
    steps = [each.inputs["num_inference_steps"] for each in asked]
    assert min(steps) == 10
    assert max(steps) > 95
    assert {each.inputs["num_images"] for each in asked} == {1, 2, 3, 4}
    assert sum(each.is_short for each in asked) in range(100, 115)
    assert asked == load.mixed(300, 128)


def test_requests_arrive_at_the_rate_asked_for_or_all_at_once() -> None:
    asked = load.mixed(2000, 128)
    alone = [1.0] * len(asked)
    arriving = load.arrivals(asked, alone, rate=4, seed=1)
    times = [each.arrival for each in arriving]
    assert times == sorted(times)
    assert times[-1] == pytest.approx(2000 / 4, rel=0.1)
    assert {each.arrival for each in load.arrivals(asked, alone, math.inf, 1)} == {0}


def test_the_wait_of_short_ones_is_what_they_take_more_than_alone() -> None:
    server, asked = Server(), load.mixed(9, 128)
    arriving = load.arrivals(asked, [0.02] * 9, math.inf, seed=1)
    single = load.run(server, arriving, 1)  # type: ignore[arg-type]
    # The first, the fourth and the seventh are short: they wait for none, three and six.
    assert len(single["waits_of_short"]) == sum(each.is_short for each in asked)
    assert single["waits_of_short"] == sorted(single["waits_of_short"])
