"""The vocabulary of a trained model, which the engine reads beside its weights."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from stable_diffusion.vocabulary import FILE, Vocabulary
from train_demo.captions import COLOURS, noun, plain
from train_demo.pictograms import Pictogram
from train_demo.variants import BACKGROUNDS
from train_demo.words import OTHER_WORDS


def write(folder: Path, known: Sequence[Pictogram], sizes: Sequence[int]) -> None:
    """Write what a model draws beside its weights.

    Args:
        folder: of the weights.
        known: what it was trained on.
        sizes: the sides in pixels of the squares that it draws well.
    """
    things: dict[str, list[str]] = {}
    keywords: dict[str, list[str]] = {}
    for pictogram in sorted(known, key=lambda each: each.name):
        thing = noun(pictogram.name)
        things.setdefault(thing, []).extend(OTHER_WORDS.get(pictogram.name, ()))
        keywords.setdefault(thing, []).extend(plain(word) for word in pictogram.keywords)
    vocabulary = Vocabulary(
        things={thing: _others(words, thing) for thing, words in things.items()},
        keywords={thing: _others(words, thing) for thing, words in keywords.items()},
        colours=COLOURS,
        backgrounds=("white", *BACKGROUNDS),
        styles=tuple(dict.fromkeys(style for each in known for style in each.style)),
        sizes=tuple(sizes),
    )
    (folder / FILE).write_text(json.dumps(asdict(vocabulary), indent=1) + "\n")


def _others(words: Sequence[str], thing: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in words if word not in ("", thing)))
