"""Several models of one worker in the form: each is chosen, and comes back with a card."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.support.asking import ask
from tests.support.browser import Visitor
from tools.fake_cog import CogServer

OTHER = {"name": "my mix", "native_size": 512, "token_limit": 75, "vocabulary": None}


@pytest.fixture
def cog() -> Iterator[CogServer]:
    with CogServer().served() as cog:
        cog.description["models"] = [{"name": cog.description["model"]}, OTHER]
        yield cog


def test_a_model_is_chosen_and_comes_back_with_its_pictures_settings(
    visitor: Visitor, cog: CogServer
) -> None:
    picker = visitor.page.get_by_label("Model")
    usual, other = "stable-diffusion-2-1", "my mix"
    options = picker.locator("option")
    expect(options).to_have_text([re.compile(f"^{name}:") for name in (usual, other)])
    texts = options.all_inner_texts()
    ask(visitor, "a fox")
    visitor.card()
    assert cog.runs[-1].input["model"] == usual
    picker.select_option(label=texts[1])
    expect(visitor.field("Prompt")).to_have_value("a fox")
    ask(visitor, "a hen")
    visitor.card()
    assert cog.runs[-1].input["model"] == other
    assert visitor.page.locator('[data-name="model"]').count() == 0  # it is no field of its own
    picker.select_option(label=texts[0])
    visitor.card().get_by_role("button", name="Use its settings").click()
    expect(picker).to_have_value(f"local/{other}")
    expect(visitor.field("Prompt")).to_have_value("a hen")


def test_a_model_that_rests_says_so_and_can_be_asked(visitor: Visitor, cog: CogServer) -> None:
    cog.status = "IDLE"
    expect(visitor.page.locator("#state")).to_contain_text("It starts when you run something")
    usual = visitor.page.get_by_label("Model").locator("option").first
    expect(usual).to_have_text(re.compile(r"rests\)$"))
    cog.status = "READY"
    ask(visitor, "a fox")
    visitor.card()
    expect(visitor.page.locator("#state")).to_have_text("")
