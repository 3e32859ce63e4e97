from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from hosting.backends.token_counter import TokenCounter, without_weights
from stable_diffusion import catalogue

FILE = catalogue.WEIGHTS / "demo" / "tokenizer" / "tokenizer.json"


def test_it_counts_by_the_tokenizers_file() -> None:
    counter = TokenCounter()
    assert counter.counts(str(FILE), ["", "cat", "cat cat", "cat " * 200]) == [0, 1, 2, 200]


def test_what_a_file_says_of_the_length_cuts_nothing(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(FILE))
    tokenizer.enable_truncation(77)
    tokenizer.enable_padding(length=77)
    tokenizer.save(str(tmp_path / "cut.json"))
    assert TokenCounter().counts(str(tmp_path / "cut.json"), ["cat", "cat " * 100]) == [1, 100]


def test_what_cant_be_read_counts_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    for path in ("broken.json", "missing.json", "."):
        assert TokenCounter().counts(str(tmp_path / path), ["cat"]) is None
    assert TokenCounter().counts("tokenizer.json", ["cat"]) is None
    assert TokenCounter().counts("/dev/zero", ["cat"]) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a cat", "a cat"),
        ("a red++ cat--", "a red cat"),
        ("(a red ball)1.3 here", "a red ball here"),
        ("((a))++ (b)0.5, c", "a b , c"),
        ('("a cat", "a dog").blend(0.7, .3)', "a cat , a dog"),
        (r"a \(red\) cat", "a (red) cat"),
        ("C++ is well-known", "C is well-known"),
    ],
)
def test_weights_are_no_words(text: str, words: str) -> None:
    assert without_weights(text).split() == words.split()
