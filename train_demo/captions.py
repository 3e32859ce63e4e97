"""Captions for pictures, from CLDR names and keywords, in several phrasings."""

import random
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from train_demo.words import OTHER_WORDS

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink")
MORE_COLOURS = ("brown", "black", "white", "gray")
NUMBERS = {2: "two", 3: "three", 4: "four"}
BACKGROUNDS = (" on a {} background", ", {} background")
OTHER_WORDS_SHARE = 0.4
"""The share of captions that have another word for a thing, where there is one."""


def plain(text: str) -> str:
    """Reduce CLDR's `text` to lower-case letters, digits, apostrophes and hyphens."""
    text = text.lower().replace(":", " with").replace("’", "'")
    return " ".join(re.sub(r"[^a-z0-9' -]", " ", text).split())


def noun(name: str) -> str:
    """Return `name` without words of colour: "red apple" and "green apple" are both an apple."""
    words = plain(name).split()
    return " ".join([w for w in words if w not in COLOURS + MORE_COLOURS] or words)


def with_article(noun: str) -> str:
    """Return `noun` with "a" or "an" before it, or with none: "grapes"."""
    if is_plural(noun):
        return noun
    vowel = noun.startswith(("a", "e", "i", "o", "u", "hour"))
    vowel = vowel and not noun.startswith(("uni", "ufo", "ewe"))
    return ("an " if vowel else "a ") + noun


def is_plural(noun: str) -> bool:
    """Return whether `noun` is plural already: "cherries", not "bus"."""
    return noun.endswith("s") and not noun.endswith(("ss", "us"))


def plural(noun: str) -> str:
    """Return the plural: "cat face" -> "cat faces", "house with garden" -> "houses with garden"."""
    head, rest = re.split(r"(?= with | of | in |$)", noun, maxsplit=1)
    if is_plural(head):
        many = head
    elif head.endswith(("s", "x", "ch", "sh", "tomato", "potato")):
        many = head + "es"
    elif head.endswith("y") and head[-2] not in "aeiou":
        many = head[:-1] + "ies"
    else:
        many = head + "s"
    return many + rest


def held_out(name: str, *, colour: str = "", style: str = "") -> bool:
    """Return whether a pair of name and colour, or of name and style, is kept from the training."""
    return zlib.crc32(f"{noun(name)}|{colour}|{style}".encode()) % 10 == 0


@dataclass(frozen=True)
class Subject:
    """The subject of a picture, for its caption.

    `colour` is the one that it was given, `background` that behind it ("" for white), `company`
    the name of a second thing at its right, `count` how often it stands there.
    """

    name: str
    style: Sequence[str]
    keywords: Sequence[str] = ()
    colour: str = ""
    background: str = ""
    company: str = ""
    count: int = 1

    @property
    def is_plain(self) -> bool:
        """Whether it is the pictogram as its maker drew it, on white."""
        return not (self.colour or self.background or self.company) and self.count == 1


def caption(subject: Subject, rng: random.Random) -> str:
    """Return one of the many captions for `subject`; half of them name its style."""
    other = other_word(subject.name, rng)
    name = other or plain(subject.name)
    if subject.colour:
        name = f"{subject.colour} {other or noun(subject.name)}"
    if subject.count > 1:
        text = f"{NUMBERS[subject.count]} {plural(name)}"
    elif subject.company:
        company = other_word(subject.company, rng) or plain(subject.company)
        text = f"{with_article(name)} and {with_article(company)}"
    else:
        phrasing = rng.random()
        if phrasing < 0.35:
            text = name
        elif phrasing < 0.6:
            text = with_article(name)
        elif phrasing < 0.7:
            text = f"{name} emoji"
        elif phrasing < 0.78:
            text = f"a picture of {with_article(name)}"
        elif phrasing < 0.84:
            text = f"an icon of {with_article(name)}"
        else:
            keywords = [plain(word) for word in subject.keywords]
            fresh = [w for w in keywords if w and w not in name and w not in COLOURS + MORE_COLOURS]
            chosen = rng.sample(fresh, min(len(fresh), rng.choice((1, 2))))
            text = ", ".join([name, *chosen])
    if subject.background:
        text += rng.choice(BACKGROUNDS).format(subject.background)
    elif rng.random() < 0.2:
        text += rng.choice(BACKGROUNDS).format("white")
    if rng.random() < 0.5:
        text += ", " + rng.choice(list(subject.style))
    return text


def other_word(name: str, rng: random.Random) -> str:
    """Return another word for the thing of a name, or, mostly, "" to have the name itself."""
    words = OTHER_WORDS.get(name, ())
    return rng.choice(words) if words and rng.random() < OTHER_WORDS_SHARE else ""
