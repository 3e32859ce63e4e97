from __future__ import annotations

import pytest

import infotext
from infotext import loras
from infotext.loras import Lora, LoraError
from stable_diffusion.request import UsedLora
from tests.support.properties import given
from tests.support.properties import strategies as st

DIGITS = "0123456789ab"
NAMES = st.from_regex(loras.NAME, fullmatch=True).filter(
    lambda name: loras.is_name(name) and name == name.strip()
)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("ink", Lora("ink")),
        (" ink ", Lora("ink")),
        ("ink:0.7", Lora("ink", weight="0.7")),
        ("a b (v2):-2", Lora("a b (v2)", weight="-2")),
        (f"ink@{DIGITS}", Lora("ink", DIGITS)),
        (f"ink@{DIGITS}:.5", Lora("ink", DIGITS, ".5")),
    ],
)
def test_an_entry_is_read(entry: str, expected: Lora) -> None:
    assert loras.read(entry) == expected
    assert expected.entry == entry.strip()


@pytest.mark.parametrize(
    ("entry", "advice"),
    [
        *((one, "give name or name:weight") for one in ("", ":1", "../ink", ".ink", "a,b", "a\0b")),
        *((one, "after @ give 12") for one in ("ink@", "ink@0123", f"ink@{DIGITS[:-1]}g")),
        *((one, "from -2 to 2") for one in ("ink:", "ink:2.01", "ink:1e0", "ink:nan", "ink:1:1")),
        ("ink:٧", "from -2 to 2"),
        ("a" * 101, "give name or name:weight"),
    ],
)
def test_what_is_no_entry_is_refused(entry: str, advice: str) -> None:
    with pytest.raises(LoraError, match=advice):
        loras.read(entry)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("ink : 0.7", Lora("ink", weight="0.7")),
        (f"ink @ {DIGITS} : 1", Lora("ink", DIGITS, "1")),
        ("ink:0.7000000000000001", Lora("ink", weight="0.7000000000000001")),
    ],
)
def test_spaces_around_its_parts_and_many_decimals_are_allowed(entry: str, expected: Lora) -> None:
    assert loras.read(entry) == expected


@pytest.mark.parametrize("name", ["a\x7fb", "a\u200bb", "\u202eink"])
def test_a_name_is_printable(name: str) -> None:
    with pytest.raises(LoraError, match="give name"):
        loras.read(name)
    assert loras.entries(f"<lora:{name}:1>") == []


def test_a_text_with_commas_is_entries_up_to_a_length() -> None:
    assert loras.split(" ink:1 ,, wide ") == ["ink:1", "wide"]
    assert loras.split("," * 2000) == []
    assert loras.split("," * 2001) is None


@pytest.mark.parametrize(
    ("weight", "expected"),
    [(0.7000000000000001, "0.7"), (-0.0000001, "0"), (100, "100"), (0.1234567, "0.123457")],
)
def test_a_weight_is_written_with_six_decimals(weight: float, expected: str) -> None:
    assert loras.number(weight) == expected


def test_an_infotext_has_loras_as_tags_in_its_prompt() -> None:
    inputs = {"prompt": "a fox", "num_inference_steps": 20, "loras": [f"ink@{DIGITS}:0.7", "wide"]}
    text = infotext.write(inputs, (512, 512), 5, "demo")
    assert text.startswith("a fox <lora:ink:0.7> <lora:wide:1>\n")
    assert "hashes" not in text
    assert loras.entries(infotext.read(text)["Prompt"]) == ["ink:0.7", "wide:1"]
    bare = infotext.write({**inputs, "prompt": ""}, (512, 512), 5, "demo")
    assert bare.startswith("<lora:ink:0.7> <lora:wide:1>\n")


@given(
    st.lists(st.tuples(NAMES, st.floats(-2, 2)), max_size=loras.MOST, unique_by=lambda one: one[0])
)
def test_what_was_used_is_read_again(used: list[tuple[str, float]]) -> None:
    entries = [str(UsedLora(name, "ab" * 32, round(weight, 3))) for name, weight in used]
    again = [loras.read(one) for one in loras.entries(loras.with_tags("a fox", entries))]
    found = [(one.name, float(one.weight or 1)) for one in again]
    assert found == [(name, round(weight, 3)) for name, weight in used]


@pytest.mark.parametrize(
    ("tag", "weights"),
    [
        ("<lora:ink>", (1, 1)),
        ("<lora:ink:0.5>", (0.5, 0.5)),
        ("<lyco:ink:0.5:0.25>", (0.5, 0.25)),
        ("<lora:ink:te=0.5:unet=0.25>", (0.5, 0.25)),
        ("<lora:ink:0.5:unet=0.25:dyn=4>", (0.5, 0.25)),
        ("<lora:ink:0.7000000000000001>", (0.7000000000000001, 0.7000000000000001)),
        ("<lora:ink:1000>", (1000, 1000)),
        ("<lora:ink:much>", None),
        ("<lora:ink:>", None),
    ],
)
def test_a_tag_is_read_as_there(tag: str, weights: tuple[float, float] | None) -> None:
    text, (only,) = loras.without_tags(f"a {tag}fox")
    assert text == "a fox"
    assert (only.text, only.name, only.weights) == (tag, "ink", weights)


@pytest.mark.parametrize(
    "text", ["<lora:>", "<lora>", "<LORA:ink:1>", "<hypernet:ink:1>", "<lora:a"]
)
def test_what_is_no_tag_stays(text: str) -> None:
    assert loras.without_tags(text) == (text, [])


def test_of_tags_only_what_can_be_an_entry_is_one() -> None:
    text = "<lora:ink:1><lora:ink:9><lora:../x:1><lora:wide:x>" + "".join(
        f"<lora:{number}>" for number in range(20)
    )
    assert loras.entries(text) == ["ink:2", *(f"{number}:1" for number in range(7))]
