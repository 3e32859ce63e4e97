from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

import infotext
from infotext import samplers
from stable_diffusion.request import SCHEDULERS
from tests.support.properties import given
from tests.support.properties import strategies as st

INPUTS: dict[str, Any] = {
    "prompt": "a lighthouse, (stormy:1.2)\nat night",
    "negative_prompt": "blurry,\nlow contrast",
    "num_inference_steps": 20,
    "guidance_scale": 7.0,
    "strength": 0.75,
    "scheduler": "K_EULER_ANCESTRAL",
}
# What AUTOMATIC1111 finds fields by: `re_param_code` in its modules/infotext_utils.py.
THEIRS = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def written(model: str = "sd-2-1", **inputs: Any) -> str:
    return infotext.write({**INPUTS, **inputs}, (512, 768), 5, model)


def test_an_infotext_is_written_as_automatic1111_writes_it() -> None:
    assert written() == (
        "a lighthouse, (stormy:1.2)\nat night\n"
        "Negative prompt: blurry,\nlow contrast\n"
        "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x768, Model: sd-2-1, "
        "Denoising strength: 0.75"
    )
    assert written(negative_prompt="", strength=None, guidance_scale=7.5) == (
        "a lighthouse, (stormy:1.2)\nat night\n"
        "Steps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 5, Size: 512x768, Model: sd-2-1"
    )


def test_it_is_read_back() -> None:
    assert infotext.read(written()) == {
        "Prompt": "a lighthouse, (stormy:1.2)\nat night",
        "Negative prompt": "blurry,\nlow contrast",
        "Steps": "20",
        "Sampler": "Euler a",
        "CFG scale": "7",
        "Seed": "5",
        "Size-1": "512",
        "Size-2": "768",
        "Model": "sd-2-1",
        "Denoising strength": "0.75",
    }


def test_what_a_sampler_is_drawn_with_is_written_as_theirs() -> None:
    drawn: dict[str, Any] = {"spacing": "karras", "clip_skip": 1, "eta": 0.0}
    assert written(scheduler="DPMSolverMultistepSDE", **drawn).endswith(
        "Steps: 20, Sampler: DPM++ 2M SDE, Schedule type: Karras, CFG scale: 7, Seed: 5, "
        "Size: 512x768, Model: sd-2-1, Denoising strength: 0.75, Clip skip: 2"
    )
    found = infotext.read(written(scheduler="DDIM", spacing="default", clip_skip=0, eta=0.5))
    assert (found["Sampler"], found["Eta DDIM"]) == ("DDIM", "0.5")
    assert not found.keys() & {"Schedule type", "Clip skip"}


def test_two_passes_are_written_as_theirs() -> None:
    refined: dict[str, Any] = {"refine_scale": 1.5, "refine_strength": 0.4, "refine_steps": 12}
    text = infotext.write({**INPUTS, "strength": None, **refined}, (512, 768), 5, "sd-2-1")
    assert text.endswith(
        "Size: 512x768, Model: sd-2-1, Denoising strength: 0.4, "
        "Hires upscale: 1.5, Hires steps: 12, Hires upscaler: Lanczos"
    )
    upscaled = infotext.write({**INPUTS, **refined, "upscaler": "a, b"}, (512, 768), 5, "sd-2-1")
    found = infotext.read(upscaled)
    assert (found["Denoising strength"], found["Hires strength"]) == ("0.75", "0.4")
    assert (found["Hires upscale"], found["Hires upscaler"]) == ("1.5", "a, b")
    assert "Hires" not in written(refine_scale=1, refine_strength=0.4, refine_steps=12)


def test_what_is_drawn_with_a_mask_or_as_a_texture_is_written_as_theirs() -> None:
    masked: dict[str, Any] = {
        "only_masked": True,
        "only_masked_padding": 16,
        "mask_blur": 4,
        "invert_mask": True,
    }
    assert written(**masked, tiling=True, spacing="sgm_uniform").endswith(
        "Steps: 20, Sampler: Euler a, Schedule type: SGM Uniform, CFG scale: 7, Seed: 5, "
        "Size: 512x768, Model: sd-2-1, Denoising strength: 0.75, Mask blur: 4, "
        "Mask mode: Inpaint not masked, Inpaint area: Only masked, Masked area padding: 16, "
        "Tiling: True"
    )
    plain = written(only_masked=False, only_masked_padding=32, mask_blur=0, invert_mask=False)
    assert plain == written()


def test_every_scheduler_has_a_name_there_by_which_it_is_found() -> None:
    assert samplers.SAMPLERS.keys() == samplers.ALIASES.keys() == set(SCHEDULERS)
    for scheduler, theirs in samplers.SAMPLERS.items():
        for name in (scheduler, theirs, *samplers.ALIASES[scheduler]):
            assert samplers.read(name) == {"scheduler": scheduler}
            assert samplers.read(f"{name} Karras") == {"scheduler": scheduler, "spacing": "karras"}


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("K-LMS", {"scheduler": "KLMS"}),
        ("heun", {"scheduler": "K_HEUN"}),
        ("HeunDiscreteScheduler", {"scheduler": "K_HEUN"}),
        ("EulerAncestralDiscrete", {"scheduler": "K_EULER_ANCESTRAL"}),
        ("dpmpp_2m_sde_karras", {"scheduler": "DPMSolverMultistepSDE", "spacing": "karras"}),
        ("UniPC exponential", {"scheduler": "UniPCMultistep", "spacing": "exponential"}),
        ("SA-Solver", {"scheduler": "SASolver"}),
        ("lcm", {"scheduler": "LCM"}),
        ("LCMScheduler", {"scheduler": "LCM"}),
        ("TCDScheduler", {"scheduler": "TCD"}),
        ("euler_ancestral", {"scheduler": "K_EULER_ANCESTRAL"}),
        ("sample_euler_ancestral", {"scheduler": "K_EULER_ANCESTRAL"}),
        ("sample_dpmpp_2m", {"scheduler": "DPMSolverMultistep"}),
        ("k_dpmpp_2m_ka", {"scheduler": "DPMSolverMultistep", "spacing": "karras"}),
        ("k_dpm_2_a_ka", {"scheduler": "K_DPM_2_ANCESTRAL", "spacing": "karras"}),
        ("k_dpmpp_2m_sde_exp", {"scheduler": "DPMSolverMultistepSDE", "spacing": "exponential"}),
        ("Euler a SGM Uniform", {"scheduler": "K_EULER_ANCESTRAL", "spacing": "sgm_uniform"}),
        ("heun_sgm_uniform", {"scheduler": "K_HEUN", "spacing": "sgm_uniform"}),
        ("sample_", None),
        ("ka", None),
        ("SGM Uniform", None),
        ("DPM", None),
        ("Karras", None),
        ("", None),
    ],
)
def test_a_sampler_is_found_by_the_names_of_others(
    name: str, inputs: dict[str, str] | None
) -> None:
    assert samplers.read(name) == inputs


@pytest.mark.parametrize("model", ["a, b", "C: drive", 'the "best"', "back\\slash, too", '"'])
def test_a_value_with_commas_colons_or_quotes_is_one_value_for_us_and_for_them(model: str) -> None:
    text = written(model)
    assert infotext.read(text)["Model"] == model
    theirs = dict(THEIRS.findall(text.split("\n")[-1]))
    assert list(theirs)[-1] == "Denoising strength"
    assert json.loads(theirs["Model"]) == model


def test_without_prompts_there_are_the_fields() -> None:
    text = written(prompt="", negative_prompt="")
    assert text.startswith("Steps: 20, ")
    assert infotext.read(text)["Steps"] == "20"
    only_negative = infotext.read(written(prompt=""))
    assert (only_negative["Prompt"], only_negative["Negative prompt"]) == (
        "",
        "blurry,\nlow contrast",
    )


@pytest.mark.parametrize("text", ["", "a lamp", "a: lamp, b: table", "one\ntwo: 2", "Steps"])
def test_what_is_no_infotext_is_a_prompt(text: str) -> None:
    assert infotext.read(text) == {"Prompt": text, "Negative prompt": ""}


def test_what_stands_between_fields_is_skipped() -> None:
    fields = infotext.read('cat\nSteps: 9, ???, Seed: 1, Tiling, Hashes: "{\\"a: 1\\", 2}", Eta: 0')
    assert fields == {
        "Prompt": "cat",
        "Negative prompt": "",
        "Steps": "9",
        "Seed": "1",
        "Hashes": '{"a: 1", 2}',
        "Eta": "0",
    }


lines = st.text(st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(" ,:\"'\\()"))


@given(lines, lines, lines)
def test_prompts_come_back_whatever_is_in_them(first: str, second: str, negative: str) -> None:
    prompt, negative = f"{first.strip()}\nx{second.strip()}".strip(), negative.strip()
    if first.startswith(infotext.NEGATIVE):
        return  # which the format can't tell from a negative prompt
    read = infotext.read(written(prompt=prompt, negative_prompt=negative))
    assert (read["Prompt"], read["Negative prompt"], read["Seed"]) == (prompt, negative, "5")


@given(st.text())
def test_any_text_can_be_read_and_what_is_read_can_be_sent(text: str) -> None:
    json.dumps(infotext.read(text), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "part", ["a", " ", ",", 'a:"\\",', "a:", '"', "\\", "a: b, ", "\n", "\x1f"]
)
def test_a_long_text_is_read_in_no_time(part: str) -> None:
    began = time.monotonic()
    infotext.read(part * 100_000)
    assert time.monotonic() - began < 5


def test_half_a_character_in_quotes_stays_as_it_is_written() -> None:
    fields = infotext.read('x\nSteps: 9, Seed: 1, Model: "\\ud800, b"')
    assert fields["Model"] == '"\\ud800, b"'
