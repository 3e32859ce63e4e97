"""LoRAs as texts: the entries of the input `loras`, and AUTOMATIC1111's tags in prompts.

An entry is `name`, `name:weight`, `name@hash` or `name@hash:weight`; a tag is `<lora:name:weight>`,
`<lora:name:text encoder's:UNet's>`, or has its weights by name: `<lora:name:te=0.5:unet=0.7>`.
Source: AUTOMATIC1111/stable-diffusion-webui, modules/extra_networks.py and
extensions-builtin/Lora/extra_networks_lora.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

MOST = 8
"""LoRAs of a prediction."""
WEIGHTS = (-2.0, 2.0)
PINNED_DIGITS = 12
"""Of a hash, where a file is pinned by it."""
LONGEST_CHARACTERS = 2000
"""Of entries in one text, with commas: of more than there can be."""
NAME = re.compile(r'[^/\\:@<>,|"\x00-\x1f.][^/\\:@<>,|"\x00-\x1f]{0,99}')
"""A file's name without its ending."""
HASH = re.compile(r"[0-9a-fA-F]{12,64}", re.ASCII)
NUMBER = re.compile(r"[+-]?(?:\d{1,6}(?:\.\d{0,20})?|\.\d{1,20})", re.ASCII)
"""As floats are written, but for those with exponents."""
TAG = re.compile(r"<(?:lora|lyco):([^<>]{1,300})>")


class LoraError(ValueError):
    """A sentence on what is wrong with an entry, without what it is."""


@dataclass(frozen=True)
class Lora:
    """A LoRA that is asked for.

    hash: the first digits of its file's SHA-256, or all; None: whichever file has the name.
    weight: as it was given; None is 1.
    """

    name: str
    hash: str | None = None
    weight: str | None = None

    @property
    def entry(self) -> str:
        """The entry of the input `loras` that asks for it."""
        digits = "" if self.hash is None else f"@{self.hash}"
        return f"{self.name}{digits}" + ("" if self.weight is None else f":{self.weight}")

    @property
    def tag(self) -> str:
        """The tag that asks for it, of whichever file has the name."""
        return f"<lora:{self.name}:{self.weight or 1}>"


@dataclass(frozen=True)
class Tag:
    """A tag of a prompt.

    text: all of it.
    weights: the text encoder's and the UNet's; None: it has none that are numbers.
    """

    text: str
    name: str
    weights: tuple[float, float] | None


def is_name(text: str) -> bool:
    """Return whether a LoRA may be called so: as `NAME` says, and of printable characters."""
    return NAME.fullmatch(text) is not None and text.isprintable()


def read(entry: str) -> Lora:
    """Return the LoRA that an entry asks for.

    Raises:
        LoraError: when it is no entry.
    """
    rest, colon, weight = entry.strip().partition(":")
    name, at, digits = rest.partition("@")
    name, digits, weight = name.strip(), digits.strip(), weight.strip()
    if not is_name(name):
        raise LoraError("give name or name:weight, such as blueprint:0.7")
    if at and not HASH.fullmatch(digits):
        raise LoraError("after @ give 12 to 64 digits of the file's SHA-256")
    if colon:
        least, most = WEIGHTS
        if not NUMBER.fullmatch(weight) or not least <= float(weight) <= most:
            raise LoraError(f"give a weight from {least:g} to {most:g}, such as blueprint:0.7")
    return Lora(name, digits if at else None, weight if colon else None)


def split(text: str) -> list[str] | None:
    """Return the entries of a text that has them with commas; None where it is too long."""
    if len(text) > LONGEST_CHARACTERS:
        return None
    return [part.strip() for part in text.split(",") if part.strip()]


def with_tags(text: str, entries: Iterable[str]) -> str:
    """Return a prompt that asks for LoRAs by tags at its end."""
    return " ".join([text, *(read(entry).tag for entry in entries)]).strip()


def without_tags(text: str) -> tuple[str, list[Tag]]:
    """Return a prompt without its tags, and these, in their order."""
    found = [_tag(match) for match in TAG.finditer(text)]
    return (TAG.sub("", text), found) if found else (text, [])


def entries(text: str) -> list[str]:
    """Return the entries that a prompt's tags ask for, as far as there can be such entries.

    Of a name that is there twice the last counts, of two weights the first.
    """
    found: dict[str, str] = {}
    for tag in without_tags(text)[1]:
        is_full = tag.name not in found and len(found) == MOST
        if tag.weights is None or not is_name(tag.name) or is_full:
            continue
        weight = min(max(tag.weights[0], WEIGHTS[0]), WEIGHTS[1])
        found[tag.name] = Lora(tag.name, weight=number(weight)).entry
    return list(found.values())


def number(weight: float) -> str:
    """Return a weight as an entry and a tag have it."""
    return f"{round(weight, 6) + 0.0:.6f}".rstrip("0").rstrip(".")  # and no -0


def _tag(match: re.Match[str]) -> Tag:
    name, *arguments = match[1].split(":")
    named = dict(pair for one in arguments if len(pair := one.split("=", 1)) == 2)
    by_place = [one for one in arguments if "=" not in one]
    first = named.get("te", by_place[0] if by_place else "1")
    second = named.get("unet", by_place[1] if len(by_place) > 1 else first)
    texts = first.strip(), second.strip()
    weights = (float(texts[0]), float(texts[1])) if all(map(NUMBER.fullmatch, texts)) else None
    return Tag(match[0], name.strip(), weights)
