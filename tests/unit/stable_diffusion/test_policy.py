"""What runs next, driven without torch."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest

from stable_diffusion import policy
from stable_diffusion.policy import Between, Room
from tests.support.properties import given
from tests.support.properties import strategies as st


@dataclass(frozen=True)
class Image:
    name: int
    kind: str = "small"
    pixels: int = 2
    is_adapted: bool = False


def test_a_batch_has_images_of_one_kind_the_oldest_first() -> None:
    kinds = ["small", "large", "small", "long", "high", "small"]
    divided = policy.divide([Image(*each) for each in enumerate(kinds)], 10**6)
    assert [[image.name for image in batch] for batch in divided] == [[0, 2, 5], [1], [3], [4]]


@given(st.lists(st.integers(1, 9)), st.integers(1, 30))
def test_a_batch_has_no_more_pixels_than_room_and_as_many_as_fit(
    pixels: list[int], room: int
) -> None:
    images = [Image(name, pixels=taken) for name, taken in enumerate(pixels)]
    divided = list(policy.divide(images, room))
    assert [image for batch in divided for image in batch] == images
    for batch in divided:
        assert len(batch) == 1 or sum(image.pixels for image in batch) <= room
    for batch, following in itertools.pairwise(divided):
        assert sum(image.pixels for image in [*batch, following[0]]) > room


def test_one_image_always_has_room() -> None:
    images = [Image(0, pixels=50), Image(1), Image(2)]
    assert [len(batch) for batch in policy.divide(images, 2)] == [1, 1, 1]


def test_room_that_was_short_grows_again_after_some_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "TURNS_BEFORE_GROWTH", 2)
    room = Room(100)
    room.shrink(60)
    found = []
    for _ in range(9):
        room.turn()
        found.append(room.now)
    assert found == [30, 30, 60, 60, 60, 100, 100, 100, 100]


@pytest.mark.parametrize(
    ("finished", "submitted", "last", "expected"),
    [
        (False, False, None, None),
        (True, False, Between.DECODE, Between.DECODE),
        (False, True, Between.ENCODE, Between.ENCODE),
        (True, True, Between.DECODE, Between.ENCODE),
        (True, True, Between.ENCODE, Between.DECODE),
        (True, True, None, Between.DECODE),
    ],
)
def test_who_leaves_and_who_joins_take_turns(
    finished: bool, submitted: bool, last: Between | None, expected: Between | None
) -> None:
    assert policy.between_steps(finished, submitted, last) is expected
