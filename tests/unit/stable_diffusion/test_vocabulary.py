from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from stable_diffusion.json_files import FileError
from stable_diffusion.vocabulary import Vocabulary

DOCUMENT: dict[str, Any] = {
    "things": {
        "bicycle": ["bike"],
        "cat face": ["cat", "kitten"],
        "glasses": ["eyeglasses"],
        "grapes": [],
        "hot beverage": ["cup of coffee"],
        "jack-o-lantern": ["pumpkin"],
        "running shoe": ["shoe"],
        "strawberry": [],
        "wine glass": ["glass"],
        "woman": [],
    },
    "keywords": {"cat face": ["pet", "red"], "grapes": ["fruit"], "strawberry": ["berry", "fruit"]},
    "colours": ["red", "blue"],
    "backgrounds": ["white", "black"],
    "styles": ["flat style", "3d render"],
    "sizes": [128, 256],
}


def written(folder: Path, document: object) -> Path:
    (folder / "vocabulary.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def vocabulary(tmp_path: Path) -> Vocabulary:
    read = Vocabulary.beside(written(tmp_path, DOCUMENT))
    assert read
    return read


@pytest.mark.parametrize(
    "prompt",
    [
        "a cat",
        "Cat",
        "two CATS",
        "a cat face",
        "a cat, very cute",
        "photo of a cat sitting on a roof",
        "a cat dressed as a wizard",
        "a cat jumps over a fence",
        "a cat flat style",
        "a cat blue background",
        "(cat)1.3 and a dragon",
        '("a dragon", "a kitten").blend(0.5, 0.5)',
        "a jack o' lantern",
        "Jack-O-Lanterns",
        "a cup of coffee",
        "strawberries",
        "a grape",
        "women in the rain",
        "a pair of shoes",
        "a pair of blue glasses",
        "",
        "  ,,, 1.3 ",
    ],
)
def test_a_prompt_that_names_a_thing_is_known(vocabulary: Vocabulary, prompt: str) -> None:
    assert vocabulary.knows(prompt)


@pytest.mark.parametrize(
    ("prompt", "nearest"),
    [
        ("a bicycle repair shop", ["bicycle"]),
        ("catwoman", []),
        ("cat ears", ["cat"]),
        ("a pet", ["cat"]),
        ("fruits", ["grapes", "strawberry"]),
        ("a red fruit", ["grapes", "strawberry"]),
        ("red", ["cat"]),
        ("a bycicle", ["bicycle"]),
        ("a strawbery", ["strawberry"]),
        ("a lizard", []),
        ("ein Hund", []),
        ("猫", []),
    ],
)
def test_of_what_is_not_known_the_nearest_is_found(
    vocabulary: Vocabulary, prompt: str, nearest: list[str]
) -> None:
    assert not vocabulary.knows(prompt)
    assert vocabulary.nearest(prompt) == nearest


def test_a_thing_is_named_by_the_word_that_was_typed(vocabulary: Vocabulary) -> None:
    assert vocabulary.nearest("a kitten food") == ["kitten"]
    assert vocabulary.nearest("a glass door") == ["glass"]


def test_a_prompt_like_a_book_takes_no_time(vocabulary: Vocabulary) -> None:
    for book in ("dragons and " * 8_000, "a,b;" * 25_000, "x" * 100_000):
        began = time.thread_time()
        assert not vocabulary.knows(book)
        assert len(vocabulary.nearest(book)) <= 3
        assert time.thread_time() - began < 2


def test_models_without_one_have_none(tmp_path: Path) -> None:
    assert Vocabulary.beside(tmp_path) is None


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        *({**DOCUMENT, name: "cat"} for name in DOCUMENT),
        *({**DOCUMENT, name: [None]} for name in DOCUMENT),
        *({**DOCUMENT, name: {"cat": "kitten"}} for name in DOCUMENT),
        {**DOCUMENT, "things": {"cat": [1]}},
        {**DOCUMENT, "sizes": [True]},
        {**DOCUMENT, "sizes": ["128"]},
    ],
)
def test_a_file_that_is_none_is_refused_by_its_name(tmp_path: Path, document: object) -> None:
    with pytest.raises(FileError, match="vocabulary.json"):
        Vocabulary.beside(written(tmp_path, document))


def test_words_without_letters_and_keywords_of_nothing_are_harmless(tmp_path: Path) -> None:
    odd = {**DOCUMENT, "things": {"": ["…", "42"]}, "keywords": {"gone": ["pet"]}, "sizes": []}
    vocabulary = Vocabulary.beside(written(tmp_path, odd))
    assert vocabulary
    assert not vocabulary.knows("a pet")
    assert vocabulary.nearest("a pet") == []
