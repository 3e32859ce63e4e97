"""The counter of a text's tokens, by the tokenizer that a worker on this machine has."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LARGEST_BYTES = 32 * 2**20
"""Of a tokenizer's file; CLIP's has a tenth of it."""
MOST_TOKENIZERS = 4
"""Tokenizers that are kept, one for each task."""
CALL = re.compile(r"\.\s*(?:blend|and|swap|add)\s*\([^()]*\)", re.IGNORECASE)
"""compel's calls, at the end of prompts in parentheses."""
GROUP_END = re.compile(r"(?<!\\)\)(?:[+-]+|\d*\.?\d+)?")
"""The end of a group, with its weight."""
GROUP_START = re.compile(r"(?<!\\)[(\"]")
WEIGHTS = re.compile(r"(?<=\w)[+-]+(?=[\s()\",.]|$)")
"""The weight of a single word."""
ESCAPED = re.compile(r"\\([()\"])")


class TokenCounter:
    """Counts tokens by tokenizers' files; what can't be read counts nothing. Any thread may ask."""

    def __init__(self) -> None:
        self._tokenizers: OrderedDict[str, Tokenizer] = OrderedDict()
        self._lock = Lock()

    def counts(self, file: str, texts: list[str]) -> list[int] | None:
        """Return the tokens of each text, without those of its beginning and end.

        Args:
            file: the path of a tokenizer's file, as the package `tokenizers` writes it; that of a
                worker on another machine is not there.
        """
        with self._lock:
            tokenizer = self._tokenizers.get(file) or _read(Path(file))
            if tokenizer is None:
                return None
            self._tokenizers[file] = tokenizer
            self._tokenizers.move_to_end(file)
            if len(self._tokenizers) > MOST_TOKENIZERS:
                self._tokenizers.popitem(last=False)
        return [len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts]


def without_weights(text: str) -> str:
    """Return the words of a text in compel's syntax, which are what its tokens are of."""
    text = CALL.sub(" ", text)
    for syntax in (GROUP_END, GROUP_START, WEIGHTS):
        text = syntax.sub(" ", text)
    return ESCAPED.sub(r"\1", text)


def _read(file: Path) -> Tokenizer | None:
    from tokenizers import Tokenizer  # few ask, and it takes a while to import

    try:
        if not file.is_absolute() or not file.is_file() or file.stat().st_size > LARGEST_BYTES:
            return None
        tokenizer = Tokenizer.from_buffer(file.read_bytes())
    except Exception:  # the package raises this class itself
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
