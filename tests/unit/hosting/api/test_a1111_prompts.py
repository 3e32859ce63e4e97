"""AUTOMATIC1111's prompts, held to what its parser's own examples say and to compel's parser."""

from __future__ import annotations

import re
import time

import pytest

from hosting.api.a1111 import prompts
from hosting.api.a1111.prompts import compel, read
from stable_diffusion.prompts import notes_on, parse
from tests.support.properties import given
from tests.support.properties import strategies as st

HOSTILE = st.text(
    st.sampled_from(list('ab ()[]:|\\"+-=.,<>1\n\x0b')) | st.characters(), max_size=60
)
PIECES = st.sampled_from(
    (
        *(
            "(",
            ")",
            "[",
            "]",
            ":1.2)",
            ":-3)",
            "\\(",
            "\\",
            "+",
            "--",
            "fox",
            "BREAK",
            "AND",
            ":",
            "|",
        ),
        *(
            ".and(",
            ").blend(1)",
            "withLora(x,1)",
            "a.swap",
            "(b:2)",
            ".attend(",
            "=",
            ",",
            ".5",
            "1",
        ),
        *('"', "<lora:x:1>", " ", "\n"),
    )
)
TEXTS = HOSTILE | st.lists(PIECES, max_size=20).map("".join)


def words(text: str) -> str:
    """A text without what separates words, or may be lost or changed on the way to compel."""
    return re.sub(r"[\s\\]", "", text).replace(",", ".").replace("Lora", "lora")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("normal text", [("normal text", 1.0)]),
        ("an (important) word", [("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        (r"\(literal\]", [("(literal]", 1.0)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [
                *(("a ", 1.0), ("house", 1.573), (" ", 1.1), ("on", 1.0), (" a ", 1.1)),
                *(("hill", 0.55), (", sun, ", 1.1), ("sky", 1.4641), (".", 1.1)),
            ],
        ),
        ("((red)) [blue]", [("red", 1.21), (" ", 1.0), ("blue", 0.9091)]),
        ("", [("", 1.0)]),
    ],
)
def test_weights_are_read_as_there(text: str, parts: list[tuple[str, float]]) -> None:
    assert read("prompt", text).parts == parts
    assert read("prompt", text).warnings == []


@pytest.mark.parametrize(
    ("text", "plain", "said"),
    [
        ("a [cat:dog:0.5] runs", "a cat dog runs", "[a:b:0.5]"),
        ("a [fox:10] runs", "a fox runs", "[a:b:0.5]"),
        ("a [fox::10] runs", "a fox runs", "[a:b:0.5]"),
        ("a [cat|dog|fox]", "a cat dog fox", "[a|b]"),
        ("[[a:b:2]:c:3]", "a b c", "[a:b:0.5]"),
        ("a cat:1.2 AND a dog :0.5", "a cat and a dog", "AND"),
        ("a cat BREAK a dog", "a cat a dog", "BREAK"),
        ("<hypernet:style:0.8>a cat", "a cat", "<hypernet:style:0.8>"),
    ],
)
def test_what_is_not_done_keeps_its_words_and_is_said(text: str, plain: str, said: str) -> None:
    prompt = read("prompt", text)
    assert prompt.plain == plain
    assert not prompt.needs_compel
    (warning,) = prompt.warnings
    assert warning.startswith("prompt: ")
    assert said in warning


def test_weights_within_what_changes_are_kept() -> None:
    assert read("prompt", "a [(cat:1.2):dog:0.5]").parts == [
        *(("a ", 1.0), ("cat", 1.2), (" dog", 1.0))
    ]


def test_weights_beyond_ours_are_brought_to_our_ends() -> None:
    prompt = read("prompt", "(a:-1) (b:99)")
    assert prompt.parts == [("a", 0.0), (" ", 1.0), ("b", 10.0)]
    assert prompt.warnings == ["prompt: weights were brought to 0 – 10"]


@given(TEXTS)
def test_compel_reads_the_words_and_the_weights(text: str) -> None:
    prompt = read("prompt", text)
    conjunction = parse("prompt", compel(prompt))
    (flat,) = conjunction.prompts
    assert words("".join(part.text for part in flat.children)) == words(prompt.plain)
    weights = {part.weight for part in flat.children}
    assert weights <= {1.0, *(weight for _, weight in prompt.parts)}
    heaviest = max((weight for part, weight in prompt.parts if words(part)), default=1.0)
    if re.search(r"\w", "".join(part for part, weight in prompt.parts if weight == heaviest)):
        assert heaviest in weights
    assert notes_on("prompt", compel(prompt)) == []


@given(st.lists(PIECES | st.just("word "), min_size=1, max_size=9).map("".join))
def test_of_a_long_prompt_all_words_are_read(text: str) -> None:
    prompt = read("prompt", text * (4 * prompts.LONGEST_WEIGHTED_CHARACTERS // len(text) + 1))
    read_as = "".join(part.text for part in parse("prompt", compel(prompt)).prompts[0].children)
    assert re.sub(r"\W", "", words(read_as)) == re.sub(r"\W", "", words(prompt.plain))


@pytest.mark.parametrize(
    "text",
    [
        *(
            "(" * 500_000,
            "[" * 500_000,
            "(a" * 250_000,
            "[a|" * 300_000,
            ":" * 500_000,
            " " * 10**6,
        ),
        *(
            "AND" + " " * 10**6,
            "BREAK " + "\n" * 10**6,
            ": " * 300_000,
            ". " * 300_000,
            "+" * 10**6,
        ),
        *("[" * 20 + "a|" * 300_000 + "]" * 20, "(a:1)" * 200_000, "\\" * 10**6, "AND " * 250_000),
    ],
)
def test_no_prompt_takes_long(text: str) -> None:
    start = time.process_time()
    prompt = read("prompt", text)
    compel(prompt)
    assert prompt.needs_compel in (True, False)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("text", ["a " * 76, "é" * 40, "1" * 76, "word" * 38, "狐" * 26])
def test_what_may_have_more_than_75_tokens_is_read_by_compel(text: str) -> None:
    assert read("prompt", text).needs_compel
    assert not read("prompt", text[: len(text) // 4]).needs_compel
