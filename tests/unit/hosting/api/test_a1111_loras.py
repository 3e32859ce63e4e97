from __future__ import annotations

import pytest

from hosting.api.a1111.loras import read
from infotext.loras import without_tags

KNOWN = {"ink": None, "blueprint": None, "wide": "it was made for SDXL"}


def asked(text: str, known: dict[str, str | None] | None = KNOWN) -> tuple[list[str], list[str]]:
    warnings: list[str] = []
    entries = read([("prompt", tag) for tag in without_tags(text)[1]], known, warnings)
    return entries, warnings


def test_tags_become_entries() -> None:
    entries, warnings = asked("<lora:ink:0.75><lyco:blueprint:-1:-1.0>")
    assert entries == ["ink:0.75", "blueprint:-1"]
    assert warnings == []


@pytest.mark.parametrize(
    ("tag", "entries", "said"),
    [
        ("<lora:inks:1>", [], "was left out; there is no LoRA of this name"),
        ("<lora:../x:1>", [], "was left out; there is no LoRA of this name"),
        ("<lora:wide:1>", [], "was left out; it can't be used: it was made for SDXL"),
        ("<lora:ink:x>", [], "was left out; its weight must be a number"),
        ("<lora:ink:0.5:1>", ["ink:0.5"], "has two weights; here"),
        ("<lora:ink:-7>", ["ink:-2"], "was brought to -2; here it is -2 to 2"),
    ],
)
def test_what_is_not_as_asked_is_said(tag: str, entries: list[str], said: str) -> None:
    found, (warning,) = asked(tag)
    assert found == entries
    assert warning.startswith(f"prompt: {tag} {said}")


def test_of_a_name_that_is_there_twice_the_last_counts() -> None:
    entries, (warning,) = asked("<lora:ink:1><lora:ink:0.5>")
    assert entries == ["ink:0.5"]
    assert warning.endswith("counts, and not what was asked of ink before")


def test_what_nobody_knows_yet_is_asked_for() -> None:
    assert asked("<lora:inks:1>", None) == (["inks:1"], [])
    assert asked("<lora:../x:1>", None)[0] == []


def test_there_are_at_most_eight() -> None:
    names = list(map(str, range(9)))
    entries, (warning,) = asked("".join(f"<lora:{name}>" for name in names), dict.fromkeys(names))
    assert entries == [f"{name}:1" for name in names[:8]]
    assert "<lora:8> was left out; there are at most 8 at a time" in warning
