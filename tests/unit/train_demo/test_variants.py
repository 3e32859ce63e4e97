from __future__ import annotations

import numpy as np
import pytest

from train_demo.captions import COLOURS, Subject, held_out
from train_demo.variants import HUES, WHITE, hue_of, on, place, variant, with_hue


def disc(*rgb: int) -> np.ndarray:
    """A pictogram: a disc of one colour in an empty picture."""
    y, x = np.mgrid[:256, :256] - 127.5
    opacity = 255 * (x**2 + y**2 < 110**2)
    colours = [np.full((256, 256), value) for value in rgb]
    return np.dstack([*colours, opacity]).astype(np.uint8)


@pytest.mark.parametrize("colour", COLOURS)
def test_a_red_thing_takes_any_colour(colour: str) -> None:
    turned = with_hue(disc(220, 30, 30), HUES[colour], pale=False)
    assert turned is not None
    hue, rule, share = hue_of(turned[..., :3] / 255, turned[..., 3] / 255)
    assert abs((hue - HUES[colour] + 0.5) % 1 - 0.5) < 0.02
    assert rule > 0.95
    assert share > 0.3


def test_what_has_no_colour_or_all_of_them_is_not_recoloured() -> None:
    assert with_hue(disc(128, 128, 128), 0, pale=False) is None
    rainbow = np.concatenate([disc(255, 0, 0)[:128], disc(0, 255, 255)[128:]])
    assert with_hue(rainbow, 0, pale=False) is None


@pytest.mark.parametrize("count", [2, 3, 4])
def test_so_many_things_stand_apart(count: int) -> None:
    picture = place([disc(0, 0, 0)] * count, 1, np.random.default_rng(0))
    one = place([disc(0, 0, 0)], 1, np.random.default_rng(0))
    assert (picture[..., 3] > 128).sum() == pytest.approx(
        (one[..., 3] > 128).sum() * count / 4, 0.02
    )


def test_an_empty_place_shows_the_background() -> None:
    picture = on(disc(0, 0, 255), (1, 0, 0))
    assert picture[0, 0].tolist() == [255, 0, 0]
    assert picture[128, 128].tolist() == [0, 0, 255]
    assert on(disc(0, 0, 255), WHITE)[0, 0].tolist() == [255, 255, 255]


def test_variants_are_what_they_are_said_to_be_and_no_pair_held_out_is_among_them() -> None:
    rng = np.random.default_rng(0)
    kinds = set()
    for number in range(300):
        subject = Subject(f"thing {number % 10}", ("flat style",))
        picture, shown = variant(disc(220, 30, 30), subject, (disc(0, 90, 0), "tree"), rng)
        assert picture.shape == (256, 256, 3)
        assert picture.dtype == np.uint8
        assert shown.name == subject.name
        if shown.colour:
            assert not held_out(shown.name, colour=shown.colour)
            kinds.add("colour")
        elif shown.background:
            assert picture[0, 0].tolist() != [255, 255, 255]
            kinds.add("background")
        elif shown.company:
            assert shown.company == "tree"
            assert (picture[128, 64].astype(int) - picture[128, 192])[0] > 100, "red left of green"
            kinds.add("company")
        else:
            assert shown.count > 1
            kinds.add("count")
    assert kinds == {"colour", "background", "company", "count"}
