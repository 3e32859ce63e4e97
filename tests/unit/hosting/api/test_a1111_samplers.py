from __future__ import annotations

import pytest

from cog_schema import schema
from hosting.api.a1111 import samplers
from infotext.samplers import SAMPLERS


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
        ("Heun", "Heun", "K_HEUN"),
        ("DPM2 a", "DPM2 a", "K_DPM_2_ANCESTRAL"),
        ("DPM++ SDE", "DPM++ SDE", "DPMSolverSinglestepSDE"),
        ("DPM++ 2M SDE", "DPM++ 2M SDE", "DPMSolverMultistepSDE"),
        ("UniPC", "UniPC", "UniPCMultistep"),
        ("LCM", "LCM", "LCM"),
        ("TCD", "TCD", "TCD"),
    ],
)
@pytest.mark.parametrize("spacing", ["", "Automatic", "SGM Uniform", "sgm_uniform", "simple"])
def test_a_twin_is_used_without_a_word(name: str, used: str, scheduler: str, spacing: str) -> None:
    assert samplers.find(name, spacing) == samplers.Sampler(used, scheduler, "default", [])


@pytest.mark.parametrize(
    ("name", "spacing", "scheduler", "drawn"),
    [
        ("DPM++ 2M Karras", "", "DPMSolverMultistep", "karras"),
        ("DPM++ 2M", "karras", "DPMSolverMultistep", "karras"),
        ("DPM++ 2M SDE Exponential", "", "DPMSolverMultistepSDE", "exponential"),
        ("DPM2 a Karras", "", "K_DPM_2_ANCESTRAL", "karras"),
        ("LMS", "Exponential", "KLMS", "exponential"),
        ("k_dpmpp_2m_ka", "", "DPMSolverMultistep", "karras"),
        ("k_dpmpp_2m_ka", "Exponential", "DPMSolverMultistep", "karras"),
        ("DPM++ 2M SGM Uniform", "Karras", "DPMSolverMultistep", "default"),
    ],
)
def test_a_spacing_is_used_by_its_name_or_at_the_end_of_the_samplers(
    name: str, spacing: str, scheduler: str, drawn: str
) -> None:
    found = samplers.find(name, spacing)
    assert found
    assert (found.scheduler, found.spacing, found.warnings) == (scheduler, drawn, [])


def test_a_sampler_of_few_steps_says_how_many() -> None:
    found = {name: samplers.find(name) for name in ("LCM", "TCD", "DDIM")}
    assert {name: each and each.steps for name, each in found.items()} == {
        "LCM": (1, 50),
        "TCD": (1, 50),
        "DDIM": (1, 512),
    }


@pytest.mark.parametrize(
    ("name", "used", "said"),
    [
        ("DPM fast", "DPM++ 2M", ["DPM fast is not here"]),
        ("Euler a Karras", "Euler a", ["Karras has no effect with Euler a"]),
        ("LCM Karras", "LCM", ["Karras has no effect with LCM"]),
        ("LMS Beta", "LMS", ["Beta has no effect; the steps"]),
        ("DPM++ 3M SDE Normal", "DPM++ 2M SDE", ["DPM++ 3M SDE is", "Normal has no"]),
        ("DPM++ 2M Karras Exponential", "DPM++ 2M", ["Karras Exponential has no effect"]),
    ],
)
def test_the_nearest_is_used_and_said(name: str, used: str, said: list[str]) -> None:
    found = samplers.find(name)
    assert found is not None
    assert (found.name, found.spacing) == (used, "default")
    assert len(found.warnings) == len(said)
    assert all(part in warning for part, warning in zip(said, found.warnings, strict=True))


@pytest.mark.parametrize("name", ["", "magic", "Karras", "Euler Magic", "Magic Karras", " Karras"])
def test_what_it_does_not_know_either_is_none(name: str) -> None:
    assert samplers.find(name) is None


def test_all_that_stand_for_others_are_ours() -> None:
    choices = schema.schema(schema.PREDICT.read_text())["components"]["schemas"]["scheduler"]
    assert set(SAMPLERS) == set(choices["enum"])
    assert set(samplers.NEAREST.values()) <= set(SAMPLERS.values())
