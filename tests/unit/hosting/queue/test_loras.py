from __future__ import annotations

import pytest

from hosting.queue import loras
from hosting.queue.inputs import Fault, InvalidInputs

INSTALLED = {"ink": "1c" * 32, "blueprint": "b1" * 32}
PIN = "1c" * 6


def faults(*entries: str, allowed: frozenset[str] | None = None) -> tuple[Fault, ...]:
    with pytest.raises(InvalidInputs) as caught:
        loras.pinned(entries, INSTALLED, allowed)
    return caught.value.faults


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("ink", f"ink@{PIN}"),
        ("ink:0.70", f"ink@{PIN}:0.70"),
        (f"ink@{'00' * 6}:1", f"ink@{'00' * 6}:1"),
        ("unheard of:1", "unheard of:1"),
    ],
)
def test_what_is_known_is_pinned(entry: str, expected: str) -> None:
    assert loras.pinned([entry], INSTALLED, None) == [expected]


def test_nothing_is_pinned_as_long_as_nobody_knows() -> None:
    assert loras.pinned(["ink:1"], None, frozenset({"ink"})) == ["ink:1"]
    with pytest.raises(InvalidInputs):
        loras.pinned(["blueprint"], None, frozenset({"ink"}))


def test_all_that_is_wrong_is_named() -> None:
    found = faults("ink", "ink:2", "ink:3", "../x")
    assert [one.type for one in found] == ["format", "format", "conflict"]
    assert {one.field for one in found} == {"input.loras"}
    assert found[0].description == (
        '"ink:3" is not allowed; give a weight from -2 to 2, such as blueprint:0.7'
    )
    assert found[2].description == '"ink" is given twice; give it once'
    (many,) = faults(*map(str, range(9)))
    assert many.description == "9 LoRAs were given; give at most 8"


def test_a_token_is_told_of_its_own_only() -> None:
    assert loras.pinned(["ink"], INSTALLED, frozenset({"ink"})) == [f"ink@{PIN}"]
    for name in ("blueprint", "blue"):
        (only,) = faults(name, allowed=frozenset({"ink", "gone"}))
        assert only.description == (f'There is no LoRA "{name}" that you may use; give one of ink')
    (only,) = faults("gone", allowed=frozenset({"gone"}))
    assert only.description == 'There is no LoRA "gone" that you may use; there are none'
