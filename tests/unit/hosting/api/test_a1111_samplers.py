from __future__ import annotations

import pytest

from cog_schema import schema
from hosting.api.a1111 import samplers


@pytest.mark.parametrize(
    ("name", "used", "scheduler"),
    [
        ("Euler", "Euler", "K_EULER"),
        ("euler A", "Euler a", "K_EULER_ANCESTRAL"),
        ("k_euler_a", "Euler a", "K_EULER_ANCESTRAL"),
        ("LMS", "LMS", "KLMS"),
        ("DDIM", "DDIM", "DDIM"),
        ("PLMS", "PLMS", "PNDM"),
        ("DPM++ 2M", "DPM++ 2M", "DPMSolverMultistep"),
    ],
)
def test_a_twin_is_used_without_a_word(name: str, used: str, scheduler: str) -> None:
    assert samplers.find(name, "Automatic") == samplers.Sampler(used, scheduler, [])


@pytest.mark.parametrize(
    ("name", "used", "said"),
    [
        ("Heun", "DPM++ 2M", ["Heun is not here"]),
        ("DPM++ 2M Karras", "DPM++ 2M", ["Karras has no effect"]),
        ("LMS Karras", "LMS", ["Karras has no effect"]),
        ("DPM++ 3M SDE Exponential", "Euler a", ["DPM++ 3M SDE is", "Exponential has no"]),
        ("DPM++ 2M Karras Exponential", "DPM++ 2M", ["Karras Exponential has no effect"]),
    ],
)
def test_the_nearest_is_used_and_said(name: str, used: str, said: list[str]) -> None:
    found = samplers.find(name)
    assert found is not None
    assert found.name == used
    assert len(found.warnings) == len(said)
    assert all(part in warning for part, warning in zip(said, found.warnings, strict=True))


@pytest.mark.parametrize("name", ["", "magic", "Karras", "Euler Magic", "Magic Karras", " Karras"])
def test_what_it_does_not_know_either_is_none(name: str) -> None:
    assert samplers.find(name) is None


def test_all_that_stand_for_others_are_ours() -> None:
    choices = schema.schema(schema.PREDICT.read_text())["components"]["schemas"]["scheduler"]
    assert set(samplers.TWINS.values()) == set(choices["enum"])
    assert set(samplers.NEAREST.values()) <= set(samplers.TWINS) == set(samplers.ALIASES)
