from __future__ import annotations

from typing import Any

import pytest

from hosting.limits import TokenLimits
from hosting.published_models import Model, Version
from hosting.settings import Settings

MODEL = Model(
    "Stability-AI/stable-diffusion", "img2img", aliases=("runwayml/Stable-Diffusion-v1-5",)
)


def of(own: dict[str, Any], **settings: Any) -> TokenLimits:
    return TokenLimits.of("ann", own, Settings(**settings))


def test_there_are_none_unless_somebody_says_so() -> None:
    assert of({}) == TokenLimits()
    assert TokenLimits().most == {}
    assert TokenLimits().allow(MODEL, None)


def test_a_tokens_own_replace_those_of_the_settings() -> None:
    usual = {"token_steps": 50, "token_side": 512, "token_models": ("demo",)}
    usual |= {"token_loras": '{"ann": ["ink"]}', "token_predictions_a_day": 10}
    found = of({}, **usual)
    assert (found.steps, found.side, found.models) == (50, 512, frozenset({"demo"}))
    assert (found.loras, found.predictions_a_day) == (frozenset({"ink"}), 10)
    own = {"steps": 20, "side": 0, "models": ["any"], "loras": [], "predictions_a_day": 0}
    found = of(own, **usual)
    assert (found.steps, found.side, found.models) == (20, None, None)
    assert (found.loras, found.predictions_a_day) == (frozenset(), None)


def test_numbers_are_limits_of_the_inputs_that_they_are_about() -> None:
    limits = TokenLimits(side=512, steps=20, images=2)
    most = {"width": 512, "height": 512, "num_inference_steps": 20, "refine_steps": 20}
    assert limits.limited(Version(MODEL, "v")).most == {**most, "num_images": 2}


@pytest.mark.parametrize(
    ("name", "is_allowed"),
    [
        ("stability-ai/stable-diffusion", True),
        ("stable-diffusion", True),
        ("runwayml/stable-diffusion-v1-5", True),
        ("v1-5", True),
        ("stable-diffusion-v1-5", False),
        ("", False),
    ],
)
def test_a_model_is_named_as_clients_or_the_operator_do(name: str, is_allowed: bool) -> None:
    assert TokenLimits(models=frozenset({name})).allow(MODEL, "v1-5") is is_allowed
