"""AUTOMATIC1111's syntax of prompts becomes compel's.

Source: AUTOMATIC1111/stable-diffusion-webui, modules/prompt_parser.py and
modules/extra_networks.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from infotext.loras import Tag, without_tags

ROUND, SQUARE = 1.1, 1 / 1.1
"""The factors of `(text)` and `[text]`."""
LARGEST_WEIGHT = 10.0
LONGEST_WEIGHTED_CHARACTERS = 3_000
"""Characters that the predictor takes of a text with compel's syntax."""
MOST_PLAIN_TOKENS = 75
"""Of a text that the encoder reads whole without compel."""
NETWORK = re.compile(r"<\w{1,50}:[^<>]{0,200}>")
"""Another network beside the model than a LoRA."""
INNERMOST = re.compile(r"(?<!\\)\[([^\[\]]*)\]")
MOST_LEVELS = 20
"""Of square brackets within each other that are looked into."""
NUMBER = r"[+-]?(?:\d{1,6}(?:\.\d{0,9})?|\.\d{1,9})"
WHEN = re.compile(rf"\s*{NUMBER}\s*")
AND = re.compile(r"\bAND\b")
WEIGHT_OF_AND = re.compile(rf"\s?:\s?{NUMBER}(?=\s?(?:\bAND\b|$))")
BREAK = re.compile(r"\bBREAK\b\s?")
ATTENTION = re.compile(
    rf"\\(?P<escaped>[()\[\]\\])|:\s*(?P<weight>{NUMBER})\s*\)|(?P<bracket>[()\[\]])"
    r"|(?P<text>[^\\()\[\]:]+|.)",
    re.DOTALL,
)
ENDING_SIGNS = re.compile(r"(?<=\S)([+-]+)(?=[\s,.+=-]|$)")
"""Signs that compel takes for weights of the word before."""
NOT_IN_PARENTHESES = re.compile(r"""((?:=|[+-](?=[\s()",.+=-]|$))+)""")
SYNTAX = re.compile(r"""[()"]|[+-](?=[\s()",.+=-]|$)""")
"""What makes compel see more than words in a text."""
CALL = re.compile(r"\.(?=\s*(?:attend|blend|and|swap|add)\s*\()", re.IGNORECASE)
"""The dot that has compel, or the predictor, take a word for one of compel's calls."""
LORA = re.compile(r"(?:use|with)Lora")
"""Words that compel takes for its own, but in small letters, as the encoder reads all."""
WORDS = re.compile(r"[^\W\d_]+|\d|[^\s\w]|_")


@dataclass(frozen=True)
class Prompt:
    """A prompt, read.

    parts: texts with their weights, in order. What is escaped is not any more.
    warnings: sentences on what is not done.
    loras: the tags that ask for some, which are not in the parts.
    """

    parts: list[tuple[str, float]]
    warnings: list[str]
    loras: list[Tag] = field(default_factory=list)

    @property
    def plain(self) -> str:
        """Its words, without weights."""
        return "".join(text for text, _ in self.parts)

    @property
    def needs_compel(self) -> bool:
        """Whether it has weights, or may have more tokens than the encoder takes at once."""
        return any(weight != 1 for _, weight in self.parts) or tokens(self.plain) > (
            MOST_PLAIN_TOKENS
        )


def read(name: str, text: str) -> Prompt:
    """Read a prompt in AUTOMATIC1111's syntax; whatever is given is a prompt.

    Args:
        name: of the field, for the warnings.
    """
    warnings = []
    text, loras = without_tags(text)
    if found := NETWORK.findall(text):
        names = ", ".join(found[:3])
        warnings.append(f"{name}: {names} was left out; LoRAs are the only such networks here")
        text = NETWORK.sub("", text)
    text, is_timed = _untimed(text)
    if is_timed:
        warnings.append(
            f"{name}: words that change while it is drawn, [a:b:0.5] or [a|b], are all read at once"
        )
    if AND.search(text):
        warnings.append(f"{name}: AND joins words only; the parts are not drawn each for itself")
        text = AND.sub("and", WEIGHT_OF_AND.sub("", text))
    if BREAK.search(text):
        warnings.append(f"{name}: BREAK begins no new part; the text goes on")
        text = BREAK.sub("", text)
    parts = _weighted(text)
    within = [(part, min(max(weight, 0.0), LARGEST_WEIGHT)) for part, weight in parts]
    if within != parts:
        warnings.append(f"{name}: weights were brought to 0 – {LARGEST_WEIGHT:.0f}")
    prompt = Prompt(_merged(within), warnings, loras)
    if len(_written(prompt.parts)) > LONGEST_WEIGHTED_CHARACTERS:
        if any(weight != 1 for _, weight in prompt.parts):
            warnings.append(
                f"{name}: its weights have no effect, as it has more than "
                f"{LONGEST_WEIGHTED_CHARACTERS} characters with them"
            )
        return Prompt([(prompt.plain, 1.0)], warnings, loras)
    return prompt


def compel(prompt: Prompt) -> str:
    """Return a prompt in compel's syntax, in which all that is only words is escaped."""
    written = _written(prompt.parts)
    if len(written) <= LONGEST_WEIGHTED_CHARACTERS:
        return written
    # A text that has none of compel's syntax may have any length.
    return SYNTAX.sub(" ", prompt.plain)


def tokens(text: str) -> int:
    """Return how many tokens a text has at most, roughly: two letters or a foreign byte each."""
    return sum(
        (len(word) + 1) // 2 if word.isascii() else len(word.encode("utf-8", "replace"))
        for word in WORDS.findall(text)
    )


def _untimed(text: str) -> tuple[str, bool]:
    """Return a text whose words do not change from step to step, and whether any did."""
    is_timed = False

    def words(found: re.Match[str]) -> str:
        nonlocal is_timed
        alternatives = _split(found[1], "|")
        if len(alternatives) == 1:
            alternatives = _split(found[1], ":")
            if len(alternatives) not in (2, 3) or not WHEN.fullmatch(alternatives.pop()):
                return found[0]
        is_timed = True
        return " ".join(part.strip() for part in alternatives if part.strip())

    for _ in range(MOST_LEVELS):
        before, text = text, INNERMOST.sub(words, text)
        if text == before:
            break
    return text, is_timed


def _split(text: str, at: str) -> list[str]:
    """Return the parts of a text between characters that are in no parentheses."""
    parts, depth, start = [], 0, 0
    for place, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == at and depth <= 0:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]


def _weighted(text: str) -> list[tuple[str, float]]:
    """Return the texts between brackets, each with the product of the factors around it."""
    texts: list[str] = []
    open_at: dict[str, list[int]] = {"(": [], "[": []}
    spans: list[tuple[int, int, float]] = []

    def close(kind: str, factor: float) -> None:
        spans.append((open_at[kind].pop(), len(texts), factor))

    for found in ATTENTION.finditer(text):
        bracket, weight = found["bracket"], found["weight"]
        if bracket in ("(", "["):
            open_at[bracket].append(len(texts))
        elif weight is not None and open_at["("]:
            close("(", float(weight))
        elif bracket == ")" and open_at["("]:
            close("(", ROUND)
        elif bracket == "]" and open_at["["]:
            close("[", SQUARE)
        else:
            texts.append(found["escaped"] or found[0])
    for kind, factor in (("(", ROUND), ("[", SQUARE)):
        while open_at[kind]:
            close(kind, factor)
    if len(text) > LONGEST_WEIGHTED_CHARACTERS:  # which would take long, for nothing
        return [("".join(texts), ROUND if spans else 1.0)]
    weights = [1.0] * len(texts)
    for start, end, factor in spans:
        for index in range(start, end):
            weights[index] *= factor
    return list(zip(texts, (round(weight, 4) for weight in weights), strict=True))


def _written(parts: list[tuple[str, float]]) -> str:
    """Return texts and their weights as compel reads them."""
    pieces = []
    for text, weight in parts:
        line = re.sub(r"\s", " ", text)
        if weight == 1:
            pieces.append(ENDING_SIGNS.sub(r" \1", _escaped(line)).strip())
            continue
        number = f"{weight:.4f}".rstrip("0")
        number += "0" if number.endswith(".") else ""
        for index, piece in enumerate(NOT_IN_PARENTHESES.split(line.replace("\\", " "))):
            if words := _escaped(piece.strip()):
                pieces.append(words if index % 2 else f"({words}){number}")
    written = CALL.sub(",", " ".join(piece for piece in pieces if piece))
    return LORA.sub(lambda word: word[0].lower(), written)


def _merged(parts: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Return the parts, neighbours of one weight as one."""
    merged: list[tuple[str, float]] = []
    for text, weight in parts:
        if merged and merged[-1][1] == weight:
            merged[-1] = (merged[-1][0] + text, weight)
        else:
            merged.append((text, weight))
    return merged or [("", 1.0)]


def _escaped(text: str) -> str:
    return re.sub(r'([()"])', r"\\\1", text)
