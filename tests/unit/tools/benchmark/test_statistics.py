from __future__ import annotations

import numpy
import pytest

from tests.support.properties import given
from tests.support.properties import strategies as st
from tools.benchmark.statistics import interleaved, percentile, ratios, spread

NUMBERS = st.lists(st.floats(0.001, 1000), min_size=1, max_size=30)


@given(NUMBERS, st.floats(0, 100))
def test_a_percentile_is_that_of_numpy(values: list[float], percent: float) -> None:
    assert percentile(values, percent) == pytest.approx(numpy.percentile(values, percent))


def test_the_spread_has_the_quartiles_and_every_value_in_its_order() -> None:
    values = [4.0, 1.0, 3.0, 2.0, 5.0]
    assert spread(values) == {"median": 3, "quartiles": [2, 4], "values": values}


def test_contenders_take_turns_and_the_first_round_does_not_count() -> None:
    turns: list[str] = []

    def turn(name: str) -> int:
        turns.append(name)
        return len(turns)

    given_back = interleaved(2, a=lambda: turn("a"), b=lambda: turn("b"))
    assert turns == ["a", "b", "b", "a", "a", "b"]
    assert given_back == {"a": [4, 5], "b": [3, 6]}


def test_a_ratio_is_that_of_a_round() -> None:
    assert ratios([1, 6], [2, 3])["values"] == [0.5, 2]
