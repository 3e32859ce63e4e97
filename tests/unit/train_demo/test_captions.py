from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from train_demo import words
from train_demo.captions import (
    COLOURS,
    Subject,
    caption,
    held_out,
    noun,
    plain,
    plural,
    with_article,
)


@pytest.mark.parametrize(
    ("name", "many"),
    [
        ("cat face", "cat faces"),
        ("house with garden", "houses with garden"),
        ("strawberry", "strawberries"),
        ("bus", "buses"),
        ("monkey", "monkeys"),
        ("wrench", "wrenches"),
        ("cherries", "cherries"),
        ("glass of milk", "glasses of milk"),
        ("tomato", "tomatoes"),
    ],
)
def test_plurals(name: str, many: str) -> None:
    assert plural(name) == many


@pytest.mark.parametrize(
    "phrase", ["a bus", "an owl", "a unicorn", "a ufo", "an hourglass", "grapes"]
)
def test_articles(phrase: str) -> None:
    assert with_article(phrase.removeprefix("an ").removeprefix("a ")) == phrase


def test_a_noun_has_no_colour_unless_it_is_one() -> None:
    assert noun("red apple") == noun("Green Apple") == "apple"
    assert noun("orange") == "orange"


def test_names_are_plain_text() -> None:
    assert plain("Jack-O-Lantern: “Boo”  Ménage") == "jack-o-lantern with boo m nage"


def captions(subject: Subject) -> set[str]:
    rng = random.Random(0)
    return {caption(subject, rng) for _ in range(400)}


def test_a_caption_names_what_is_seen() -> None:
    style = ("flat style", "flat design")
    apple = Subject("red apple", style, ("fruit", "diet"))
    assert all("apple" in text for text in captions(apple))
    assert any("fruit" in text for text in captions(apple))
    assert {"red apple", "a red apple"} <= captions(apple)
    assert 0.4 < sum("flat" in text for text in captions(apple)) / len(captions(apple)) < 0.9
    blue = captions(Subject("red apple", style, colour="blue"))
    assert all("blue apple" in text and "red" not in text for text in blue)
    three = captions(Subject("strawberry", style, count=3))
    assert all("three strawberries" in text for text in three)
    both = captions(Subject("apple", style, company="owl"))
    assert all(text.startswith("an apple and an owl") for text in both)
    behind = captions(Subject("owl", style, background="pink"))
    assert all("pink background" in text for text in behind)


def test_some_captions_have_another_word_for_the_thing() -> None:
    rng = random.Random(0)
    drawn = [caption(Subject("hot beverage", ("flat style",)), rng) for _ in range(1000)]
    assert {"a cup of coffee", "a hot beverage", "tea"} <= set(drawn)
    assert 0.5 < sum("hot beverage" in text for text in drawn) / len(drawn) < 0.7
    red = captions(Subject("automobile", ("flat style",), colour="red"))
    assert all("red car" in text or "red automobile" in text for text in red)
    assert any("red car" in text for text in red)
    assert any("three cars" in text for text in captions(Subject("automobile", ("flat",), count=3)))
    both = captions(Subject("owl", ("flat style",), company="automobile"))
    assert any(text.startswith("an owl and a car") for text in both)


def test_everyday_prompts_are_of_what_is_learned() -> None:
    judged = json.loads(Path(words.__file__).with_name("everyday.json").read_text())["judged"]
    assert {name for names in judged.values() for name in names} <= set(words.NAMES)
    assert len(judged) >= 70


def test_a_tenth_of_the_pairs_is_held_out_whichever_colour_the_name_has() -> None:
    names = [f"thing {number}" for number in range(200)]
    pairs = [held_out(name, colour=colour) for name in names for colour in COLOURS]
    assert 0.07 < sum(pairs) / len(pairs) < 0.13
    for colour in COLOURS:
        assert held_out("red apple", colour=colour) == held_out("green apple", colour=colour)
