"""The names that are learned first, and what else people call the same things."""

import json
from pathlib import Path

OTHER_WORDS: dict[str, tuple[str, ...]] = {
    name: tuple(words)
    for name, words in json.loads(Path(__file__).with_name("words.json").read_text()).items()
}
"""Other words for what CLDR's names stand for, by the names: ("car",) of "automobile"."""
NAMES = tuple(OTHER_WORDS)
