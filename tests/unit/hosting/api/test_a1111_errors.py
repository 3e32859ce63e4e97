from __future__ import annotations

import json

import pytest

from hosting.api.a1111 import errors
from hosting.api.a1111.requests import TextToImage
from hosting.api.problems import invalid
from hosting.queue.inputs import Fault


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("scheduler", "sampler_name"),
        ("spacing", "scheduler"),
        ("refine_scale", "hr_scale"),
        ("refine_strength", "denoising_strength"),
        ("refine_steps", "hr_second_pass_steps"),
        ("upscaler", "hr_upscaler"),
    ],
)
def test_a_fault_of_an_input_of_ours_is_in_the_field_that_it_came_from(
    ours: str, theirs: str
) -> None:
    problem = invalid([Fault("enum", f"input.{ours}", "it is not allowed")])
    (fault,) = json.loads(bytes(errors.response(problem).body))["detail"]
    assert fault["loc"] == ["body", theirs]
    assert theirs in TextToImage.model_fields
