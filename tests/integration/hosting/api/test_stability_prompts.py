"""Texts that become one in compel's syntax are words to compel, whatever is in them."""

from __future__ import annotations

import re

from hosting.api.stability.prompts import joined
from stable_diffusion import prompts
from tests.support.properties import given, strategies

TEXTS = strategies.lists(
    strategies.text("ab c()\"'+-=.,:\\12é", min_size=1, max_size=25).filter(str.strip),
    min_size=1,
    max_size=3,
)


@given(TEXTS)
def test_compel_reads_each_character_as_a_words(texts: list[str]) -> None:
    blend = joined([(text, 0.5) for text in texts], use_compel=True)
    (conjunction,) = [prompts.parse("prompt", blend)]
    flat = prompts._flat_prompts(conjunction)
    assert len(flat) == len(texts)
    for part, text in zip(flat, texts, strict=True):
        fragments = [(str(one.text), one.weight) for one in part.children]
        read = "".join(words for words, _ in fragments)
        assert re.sub(r"\s", "", read) == re.sub(r"\s", "", text)
        assert {weight for _, weight in fragments} == {1.0}
