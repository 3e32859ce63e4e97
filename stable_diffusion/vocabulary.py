"""The vocabulary of a small model: what it draws, and whether a prompt names any of it.

A folder of weights may have one, as `vocabulary.json`. Models without it know the world.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from stable_diffusion import json_files
from stable_diffusion.json_files import FileError

FILE = "vocabulary.json"
_AFTER = """a an and are art as at behind beside between by clipart drawing drinks eats emoji face
faces flies for from has head heads holds icon illustration image in into is jumps like logo looks
near next of on or over painting photo picture plays please rides runs sits sketch sleeps smiles
stands sticker style swims symbol that the to under walks wears which who with without"""
AFTER_A_THING = frozenset(_AFTER.split())
"""Words that may follow a thing: before any other it is but a part of one, as in "bicycle repair
shop". So may what ends in -ing and -ed, and the vocabulary's colours and styles."""
PLURALS = {"men": "man", "women": "woman", "people": "person", "mice": "mouse", "wolves": "wolf"}
MOST_NEAREST = 3
MOST_COMPARED = 50
"""Words of a prompt for which nearest ones are sought: it may be as long as a book."""
LEAST_LIKENESS = 0.7
"""From which on a long word is taken for another, spelled wrong: 0 to 1, as difflib measures it."""
SHORT_LETTERS = 5
"""Letters of words that are not, since few make another."""


@dataclass(frozen=True)
class Vocabulary:
    """The vocabulary of a model.

    things: other words for each thing that it draws, by the thing's name.
    keywords: words that have to do with each thing, by the thing's name.
    colours, backgrounds: of things, and behind them.
    styles: as prompts ask for them.
    sizes: the sides in pixels of the squares that it draws well.
    """

    things: Mapping[str, tuple[str, ...]]
    keywords: Mapping[str, tuple[str, ...]]
    colours: tuple[str, ...]
    backgrounds: tuple[str, ...]
    styles: tuple[str, ...]
    sizes: tuple[int, ...]

    @classmethod
    def beside(cls, weights: Path) -> Vocabulary | None:
        """Return the vocabulary in a folder of weights; None where there is none.

        Raises:
            FileError: when it can't be read.
        """
        path = weights / FILE
        if not (path.exists() or path.is_symlink()):
            return None
        document = json_files.read(path)

        def lists(name: str) -> Any:
            of_things = document.get(name)
            if not isinstance(of_things, dict):
                raise FileError(f"{path} has no {name}, by the things' names: restore it")
            return {thing: items(name, each, str) for thing, each in of_things.items()}

        def items(name: str, found: object, kind: type) -> Any:
            if not isinstance(found, list) or any(type(item) is not kind for item in found):
                raise FileError(f"{path} has no list as {name}, or a wrong one: restore it")
            return tuple(found)

        return cls(
            lists("things"),
            lists("keywords"),
            items("colours", document.get("colours"), str),
            items("backgrounds", document.get("backgrounds"), str),
            items("styles", document.get("styles"), str),
            items("sizes", document.get("sizes"), int),
        )

    @cached_property
    def words(self) -> tuple[str, ...]:
        """All words for things, in the order of the alphabet."""
        words = {word for thing, others in self.things.items() for word in (thing, *others)}
        return tuple(sorted(words))

    def knows(self, prompt: str) -> bool:
        """Return whether a prompt names any thing, or nothing at all."""
        texts = _texts(prompt)
        return not texts or any(is_whole for text in texts for _, is_whole in self._found(text))

    def nearest(self, prompt: str) -> list[str]:
        """Return words for the things nearest to what a prompt names; none where none is near.

        They are a part of it; or else its words have to do with them; or else are spelled alike.
        """
        texts = _texts(prompt)
        tokens = [token for text in texts for token in text if token not in AFTER_A_THING]
        tokens = list(dict.fromkeys(tokens))[:MOST_COMPARED]
        near = [word for text in texts for word, _ in self._found(text)]
        if not near:
            related = {one for token in tokens for one in _singulars(token)}
            related = related - self._after or related  # a colour, unless it is all there is
            near = [
                self._known_as(thing)
                for thing, keywords in self.keywords.items()
                if thing in self.things and related.intersection(keywords)
            ]
        if not near:
            long = [token for token in tokens if len(token) > SHORT_LETTERS]
            near = [word for token in long for word in self._spelled_like(token)]
        return list(dict.fromkeys(near))[:MOST_NEAREST]

    def _known_as(self, thing: str) -> str:
        """Return the word that people are likeliest to know: "cat" of a cat face."""
        return self.things[thing][0] if " " in thing and self.things[thing] else thing

    def _spelled_like(self, token: str) -> list[str]:
        words = [word for word in self.words if word.startswith(token[0])]
        return difflib.get_close_matches(token, words, 1, LEAST_LIKENESS)

    def _found(self, text: list[str]) -> Iterator[tuple[str, bool]]:
        """Yield each word for a thing in a text, and whether it is a thing of its own there."""
        for start in range(len(text)):
            for end in range(start + 1, min(len(text), start + self._longest) + 1):
                *first, last = text[start:end]
                names = [" ".join((*first, one)) for one in _singulars(last)]
                word = next((self._by_name[name] for name in names if name in self._by_name), None)
                if word:
                    yield word, end == len(text) or self._may_follow(text[end])

    @cached_property
    def _by_name(self) -> dict[str, str]:
        """The words by their names without signs, and where they are plurals, by the singular."""
        exact = {
            " ".join(token for text in _texts(word) for token in text): word for word in self.words
        }
        single: dict[str, str] = {}
        for name, word in exact.items():
            *first, last = name.split(" ")
            single |= {" ".join((*first, one)): word for one in _singulars(last)}
        return single | exact  # a glass is no pair of glasses

    @cached_property
    def _longest(self) -> int:
        """The number of words in the longest name."""
        return max((len(name.split()) for name in self._by_name), default=0)

    def _may_follow(self, token: str) -> bool:
        return token in self._after or (len(token) > 4 and token.endswith(("ing", "ed")))

    @cached_property
    def _after(self) -> frozenset[str]:
        others = " ".join((*self.colours, *self.backgrounds, *self.styles))
        return AFTER_A_THING | frozenset(others.split())


def _texts(prompt: str) -> list[list[str]]:
    """Return the words of each part of a prompt that no sign divides, in lower case."""
    parts = re.split(r"[^\w\s'’-]+", prompt.lower())
    texts = [re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)?", part) for part in parts]
    return [text for text in texts if text]


def _singulars(token: str) -> tuple[str, ...]:
    """Return a word as it is, and what it may be the plural of."""
    ends = {"s": "", "es": "", "ies": "y"}
    found = [token.removesuffix(end) + one for end, one in ends.items() if token.endswith(end)]
    return token, *found, PLURALS.get(token, token)
