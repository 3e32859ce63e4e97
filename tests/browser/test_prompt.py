"""What belongs to the prompt: the count of its tokens, earlier ones, styles; and the keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Route, expect

from tests.support.asking import ask
from tests.support.browser import Visit, Visitor, violations
from tests.support.front import Front, front
from tools.fake_cog import CogServer
from tools.screenshots import LAPTOP, PHONE


def run_all(visitor: Visitor, *prompts: str) -> None:
    for prompt in prompts:
        ask(visitor, prompt)
        visitor.card()


def counting(visitor: Visitor, limit: int | None) -> list[dict[str, Any]]:
    """Has words counted as tokens, of a model that reads a number of them; what is asked for."""
    asked: list[dict[str, Any]] = []

    def count(route: Route) -> None:
        body: Any = route.request.post_data_json
        asked.append(body)
        counts = [len(text.split()) if limit else None for text in body["texts"]]
        route.fulfill(json={"limit": limit, "counts": counts})

    expect(visitor.field("Prompt")).to_be_visible()
    models = visitor.page.evaluate("fetch('/form/models').then((answer) => answer.json())")
    for model in models:
        model["description"]["token_limit"] = limit
    visitor.page.route("**/form/tokens", count)
    visitor.page.route("**/form/models", lambda route: route.fulfill(json=models))
    visitor.page.reload()
    return asked


def tokens(visitor: Visitor, name: str = "prompt") -> Locator:
    return visitor.page.locator(f"#input-{name}-tokens")


def test_the_tokens_of_the_prompts_are_counted_against_what_is_read(visitor: Visitor) -> None:
    asked = counting(visitor, 4)
    visitor.field("Prompt").fill("a red bus")
    expect(tokens(visitor)).to_have_text("3 of 4 tokens")
    assert asked[-1]["texts"] == ["a red bus", ""]
    assert asked[-1]["use_compel"] is False
    visitor.field("Prompt").fill("a red bus in the rain")
    expect(tokens(visitor)).to_have_text("6 of 4 tokens: the end is left out")
    expect(visitor.page.locator("#announcer")).to_contain_text("the end is left out")
    expect(visitor.field("Prompt")).to_have_accessible_description(
        "6 of 4 tokens: the end is left out"
    )
    assert violations(visitor.page) == []
    visitor.more()
    visitor.field("Negative prompt").fill("fog")
    expect(tokens(visitor, "negative_prompt")).to_have_text("1 of 4 tokens")
    with visitor.page.expect_request("**/form/tokens") as weighted:
        visitor.field("Weighted words").check()
    body: Any = weighted.value.post_data_json
    assert body["use_compel"] is True
    visitor.field("Prompt").fill("")
    expect(tokens(visitor)).to_have_text("")


def test_of_a_model_whose_tokens_nobody_can_count_there_is_no_count(visitor: Visitor) -> None:
    asked = counting(visitor, None)
    visitor.field("Prompt").fill("a red bus")
    visitor.run()
    visitor.card()
    expect(tokens(visitor)).to_have_text("")
    assert asked == []


def test_arrows_walk_through_earlier_prompts(visitor: Visitor) -> None:
    run_all(visitor, "a bus", "a car", "a bus", "a fox")
    visitor.page.reload()
    prompt = visitor.field("Prompt")
    prompt.press("End")
    for expected in ("a bus", "a car", "a car"):
        prompt.press("ArrowUp")
        expect(prompt).to_have_value(expected)
    for expected in ("a bus", "a fox", ""):
        prompt.press("ArrowDown")
        expect(prompt).to_have_value(expected)
    prompt.press("ArrowUp")
    expect(prompt).to_have_value("a fox")
    prompt.fill("one\ntwo")
    prompt.press("ArrowUp")  # moves the cursor, as in any text
    prompt.press("x")
    expect(prompt).to_have_value("onex\ntwo")


def test_earlier_prompts_are_a_list_that_can_be_searched_and_forgotten(
    visitor: Visitor,
) -> None:
    run_all(visitor, "a red bus", "a blue car", "a red fox")
    visitor.field("Prompt").fill("something else")
    visitor.press("Earlier")
    dialog = visitor.page.get_by_role("dialog", name="Earlier prompts")
    rows = dialog.get_by_role("listitem")
    expect(rows).to_have_text(["a red fox", "a blue car", "a red bus"])
    dialog.get_by_label("Find a prompt").fill("BUS red")
    expect(rows).to_have_text(["a red bus"])
    assert violations(visitor.page) == []
    dialog.get_by_label("Find a prompt").fill("ship")
    expect(dialog).to_contain_text("No prompt has these words.")
    dialog.get_by_label("Find a prompt").fill("car")
    rows.get_by_role("button").click()
    expect(dialog).to_be_hidden()
    expect(visitor.field("Prompt")).to_have_value("a blue car")
    expect(visitor.field("Prompt")).to_be_focused()
    visitor.press("Earlier")
    visitor.press("Forget them")
    visitor.press("Earlier")
    expect(dialog).to_contain_text("Prompts that you run are listed here.")


def test_a_style_is_saved_used_and_deleted(visitor: Visitor) -> None:
    visitor.more()
    visitor.field("Prompt").fill("flat, pastel colours")
    visitor.field("Negative prompt").fill("photo")
    visitor.press("Styles")
    dialog = visitor.page.get_by_role("dialog", name="Styles")
    dialog.get_by_label("Name").fill("Pastel")
    dialog.get_by_role("button", name="Save").click()
    row = dialog.get_by_role("listitem")
    expect(row).to_contain_text("Pastel")
    dialog.get_by_label("Name").fill("Around")
    dialog.get_by_label("Add to the prompt").fill("a painting of {prompt}, by candlelight")
    dialog.get_by_label("Add to the negative prompt").fill("")
    dialog.get_by_label("Name").press("Enter")
    expect(row).to_have_count(2)
    assert violations(visitor.page) == []
    dialog.get_by_role("button", name="Close").click()

    visitor.page.reload()
    visitor.field("Prompt").fill("a bus")
    visitor.press("Styles")
    row.filter(has_text="Pastel").get_by_role("button").first.click()
    expect(dialog).to_be_hidden()
    expect(visitor.field("Prompt")).to_have_value("a bus, flat, pastel colours")
    expect(visitor.field("Negative prompt")).to_have_value("photo")
    visitor.press("Styles")
    row.filter(has_text="Around").get_by_role("button").first.click()
    expect(visitor.field("Prompt")).to_have_value(
        "a painting of a bus, flat, pastel colours, by candlelight"
    )
    visitor.press("Styles")
    visitor.press("Delete Pastel")
    visitor.press("Undo")
    expect(visitor.page.get_by_role("button", name="Delete Pastel")).to_be_focused()
    visitor.press("Delete Pastel")
    dialog.press("Escape")
    visitor.press("Styles")
    expect(row).to_have_count(1)


def on_the_page(visitor: Visitor) -> None:
    visitor.page.get_by_role("link", name="API").focus()


def in_the_code(visitor: Visitor) -> None:
    visitor.page.get_by_role("tab", name="Code").click()


def in_the_prompt(visitor: Visitor) -> None:
    visitor.field("Prompt").focus()


@pytest.mark.parametrize("where", [on_the_page, in_the_code, in_the_prompt])
def test_ctrl_and_enter_runs_from_anywhere(
    visitor: Visitor, cog: CogServer, where: Callable[[Visitor], None]
) -> None:
    visitor.field("Prompt").fill("a bus")
    expect(visitor.page.locator("#run kbd")).to_have_text("Ctrl ↵")
    where(visitor)
    visitor.page.keyboard.press("Control+Enter")
    visitor.card()
    assert cog.prompts == ["a bus"]


def test_ctrl_and_enter_does_nothing_behind_a_dialog(visitor: Visitor, cog: CogServer) -> None:
    visitor.field("Prompt").fill("a bus")
    visitor.press("Styles")
    expect(visitor.page.get_by_role("dialog")).to_be_visible()
    visitor.page.keyboard.press("Control+Enter")
    visitor.page.keyboard.press("Escape")
    expect(visitor.page.get_by_role("dialog")).to_have_count(0)
    expect(visitor.cards).to_have_count(0)
    assert cog.prompts == []


def test_the_keys_are_listed_by_a_key_that_can_be_switched_off(visitor: Visitor) -> None:
    page = visitor.page
    expect(visitor.field("Prompt")).to_be_visible()
    sheet = page.get_by_role("dialog", name="Keyboard shortcuts")
    on_the_page(visitor)
    page.keyboard.press("?")
    expect(sheet).to_contain_text("Run")
    expect(sheet).to_contain_text("Brush, lasso, rectangle")
    assert violations(page) == []
    sheet.get_by_label("? shows them").uncheck()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="API")).to_be_focused()
    page.keyboard.press("?")
    visitor.press("Shortcuts")
    expect(sheet).to_have_count(1)
    sheet.get_by_label("? shows them").check()
    page.keyboard.press("Escape")
    visitor.field("Prompt").press("?")
    expect(visitor.field("Prompt")).to_have_value("?")
    expect(sheet).to_have_count(0)


@pytest.mark.parametrize(
    "look",
    [
        {"viewport": LAPTOP, "color_scheme": "dark"},
        {"viewport": LAPTOP, "forced_colors": "active"},
        {"viewport": PHONE, "has_touch": True, "is_mobile": True},
        {"viewport": {"width": 360, "height": 225}, "device_scale_factor": 4},
    ],
    ids=["dark", "forced colours", "phone", "400 %"],
)
def test_the_dialogs_are_for_everyone(one: Front, visit: Visit, look: dict[str, object]) -> None:
    visitor = visit(one.url, **look)
    expect(visitor.field("Prompt")).to_be_visible()
    for opener in ("Earlier", "Styles", "Shortcuts"):
        visitor.press(opener)
        dialog = visitor.page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        assert violations(visitor.page) == []
        assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        dialog.get_by_role("button", name="Close").click()
        expect(visitor.page.get_by_role("button", name=opener, exact=True)).to_be_focused()


def test_a_kept_list_that_is_broken_is_as_none(one: Front, visit: Visit, tmp_path: Path) -> None:
    visitor = visit(one.url)
    for broken in ("{", "null", '{"a": 1}', '["a bus", 7, null]'):
        visitor.page.evaluate("(text) => localStorage.setItem('prompts', text)", broken)
        visitor.page.reload()
        visitor.press("Earlier")
        visitor.press("Close")
    visitor.press("Earlier")
    expect(visitor.page.get_by_role("dialog").get_by_role("listitem")).to_have_text(["a bus"])


def test_ctrl_and_enter_that_are_held_run_once(visitor: Visitor, cog: CogServer) -> None:
    visitor.field("Prompt").fill("a bus")
    visitor.page.keyboard.down("Control")
    for _ in range(3):
        visitor.page.keyboard.down("Enter")
        visitor.page.wait_for_timeout(300)
    visitor.page.keyboard.up("Enter")
    visitor.page.keyboard.up("Control")
    visitor.card()
    expect(visitor.cards).to_have_count(1)
    assert cog.prompts == ["a bus"]


def styled(visitor: Visitor, prompt: str, style: str) -> str:
    """What a prompt is once a style was used on it twice."""
    visitor.page.evaluate(
        """(prompt) => localStorage.setItem("styles", JSON.stringify([
            { name: "Mine", prompt, negative: "" }]))""",
        style,
    )
    visitor.field("Prompt").fill(prompt)
    for _ in range(2):
        visitor.press("Styles")
        row = visitor.page.get_by_role("dialog").get_by_role("listitem").get_by_role("button").first
        expect(row).to_have_text(f"Mine{style}")
        row.click()
    return visitor.field("Prompt").input_value()


def test_a_style_is_added_once_and_word_by_word(visitor: Visitor) -> None:
    expect(visitor.field("Prompt")).to_be_visible()
    assert styled(visitor, "a bored cat", "red") == "a bored cat, red"
    assert styled(visitor, "a cat", "flat, red") == "a cat, flat, red"
    assert styled(visitor, "a cat", "oil of {prompt}, dark") == "oil of a cat, dark"


def test_the_undo_of_a_deleted_style_brings_back_no_other(visitor: Visitor) -> None:
    visitor.field("Prompt").fill("a cat")
    visitor.press("Styles")
    dialog = visitor.page.get_by_role("dialog", name="Styles")
    for name in ("One", "Two", "Three"):
        dialog.get_by_label("Name").fill(name)
        dialog.get_by_role("button", name="Save").click()
    visitor.press("Delete One")
    visitor.press("Delete Two")
    dialog.get_by_role("listitem").nth(1).get_by_role("button", name="Undo").click()
    dialog.get_by_role("button", name="Close").click()
    visitor.press("Styles")
    expect(dialog.get_by_role("button", name="Delete")).to_have_count(2)
    expect(dialog.get_by_role("listitem")).to_contain_text(["Two", "Three"])


def test_a_colour_takes_the_place_of_another_with_its_article(tmp_path: Path, visit: Visit) -> None:
    cog = CogServer()
    cog.description["vocabulary"] = {
        "words": ["fox", "owl", "orange"],
        "colours": ["red", "orange"],
        "backgrounds": [],
        "styles": [],
        "sizes": [],
    }
    with cog.served(), front(tmp_path, cog) as one:
        visitor = visit(one.url)
        prompt = visitor.field("Prompt")
        visitor.page.get_by_text("What this model can draw").click()
        things, colours = (
            visitor.page.get_by_role("group", name=name) for name in ("Things", "In colours")
        )
        prompt.fill("a fox")
        for colour, becomes in (("orange", "an orange fox"), ("red", "a red fox")):
            colours.get_by_role("button", name=colour).click()
            expect(prompt).to_have_value(becomes)
        prompt.fill("a fox")
        things.get_by_role("button", name="owl").click()
        expect(prompt).to_have_value("an owl")
        prompt.fill("an orange")
        colours.get_by_role("button", name="red").click()
        expect(prompt).to_have_value("a red orange")
