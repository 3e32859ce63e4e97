"""The page for those who see, hear or move differently, and on what they have at hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import Visit, Visitor, boxes_of, violations
from tests.support.front import Front, front
from tests.support.pictures import EXAMPLES
from tools.fake_cog import CogServer
from tools.screenshots import LAPTOP, PHONE

LOOKS: list[dict[str, Any]] = [
    {"viewport": LAPTOP, "color_scheme": "light"},
    {"viewport": PHONE, "color_scheme": "dark", "has_touch": True, "is_mobile": True},
]

NAME_OF_THE_FOCUSED = """() => {
    const focused = document.activeElement;
    return focused.getAttribute("aria-label") ?? (focused.labels?.[0] ?? focused).innerText;
}"""


@pytest.fixture
def cog() -> Iterator[CogServer]:
    with CogServer(slots=1).served() as cog:
        cog.tell("slow", "hold")
        cog.tell("bad", "fail")
        yield cog


@pytest.fixture
def one(cog: CogServer, tmp_path: Path) -> Iterator[Front]:
    with front(tmp_path, cog, cog_slots=1) as one:
        yield one
        cog.let_go("slow")


def ask(visitor: Visitor, prompt: str) -> None:
    visitor.field("Prompt").fill(prompt)
    visitor.run()


def is_in_order(page: Page) -> None:
    """Nothing is wrong with what is shown, and nothing sticks out of the window."""
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("look", LOOKS, ids=["laptop, light", "phone, dark"])
def test_every_state_of_the_form_is_for_everyone(
    one: Front, visit: Visit, look: dict[str, Any]
) -> None:
    visitor = visit(one.url, **look)
    page = visitor.page
    expect(visitor.field("Prompt")).to_be_visible()
    is_in_order(page)
    visitor.press("From a URL")
    visitor.press("Examples")
    visitor.more()
    is_in_order(page)
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.choose("mask", EXAMPLES / "flower-mask.png")
    expect(visitor.name("mask")).to_be_visible()
    visitor.field("Seed").fill("none")
    visitor.press("Run")
    expect(visitor.fault("seed")).to_be_visible()
    is_in_order(page)
    visitor.press("Edit mask")
    expect(page.get_by_role("dialog")).to_be_visible()
    is_in_order(page)
    visitor.press("Back")
    page.get_by_role("tab", name="Code").click()
    is_in_order(page)


@pytest.mark.parametrize("look", LOOKS, ids=["laptop, light", "phone, dark"])
def test_every_state_of_a_prediction_is_for_everyone(
    one: Front, visit: Visit, cog: CogServer, look: dict[str, Any]
) -> None:
    visitor = visit(one.url, **look)
    visitor.choose("image", EXAMPLES / "flower.png")
    for prompt in ("a bus", "bad", "slow", "last"):
        ask(visitor, prompt)
    visitor.card("succeeded", 3)
    visitor.card("failed", 2)
    visitor.card("processing", 1)
    visitor.card("starting", 0)
    is_in_order(visitor.page)
    visitor.cards.first.get_by_role("button", name="Stop").click()
    visitor.card("canceled")
    visitor.card("succeeded", 3).locator(".picture").click()
    expect(visitor.page.get_by_label("How much of the input is shown")).to_be_visible()
    is_in_order(visitor.page)
    visitor.press("Close")
    visitor.card("succeeded", 3).get_by_role("button", name="Share").click()
    visitor.press("Make a link")
    expect(visitor.page.get_by_role("button", name="Revoke")).to_be_visible()
    is_in_order(visitor.page)


def test_who_is_asked_for_a_token_is_asked_in_order(one: Front, visit: Visit) -> None:
    one.token("ada")
    visitor = visit(one.url)
    expect(visitor.page.get_by_role("dialog")).to_be_visible()
    is_in_order(visitor.page)
    visitor.expect_refusals()


def test_all_of_it_can_be_done_with_the_keyboard_alone(
    one: Front, visit: Visit, cog: CogServer
) -> None:
    visitor = visit(one.url)
    page = visitor.page
    expect(visitor.field("Prompt")).to_be_visible()

    def tab_to(name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate(NAME_OF_THE_FOCUSED) == name:
                return
        raise AssertionError(f"no way leads to {name}")

    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the pictures")).to_be_in_viewport()
    tab_to("Prompt")
    page.keyboard.type("a bus")
    tab_to("Examples")
    page.keyboard.press("Enter")
    tab_to("Take car.png and the prompt a blue car")
    page.keyboard.press("Enter")
    expect(visitor.name("image")).to_have_text("car.png")
    expect(visitor.field("Prompt")).to_have_value("a blue car")
    expect(page.get_by_role("button", name="Run")).to_be_focused()
    page.keyboard.press("Enter")
    visitor.card()
    tab_to("Picture 1 of a blue car: look closer")
    page.keyboard.press("Enter")
    expect(page.get_by_label("How much of the input is shown")).to_be_visible()
    tab_to("How much of the input is shown")
    page.keyboard.press("End")
    expect(page.get_by_label("How much of the input is shown")).to_have_value("100")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert page.evaluate("document.activeElement.className") == "picture"

    page.keyboard.press("Shift+Tab")
    visitor.field("Prompt").focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("slow")
    page.keyboard.press("Control+Enter")
    visitor.card("processing")
    tab_to("Stop")
    page.keyboard.press("Space")
    visitor.card("canceled")
    page.get_by_role("tab", name="Form").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Code")).to_be_focused()
    expect(page.get_by_label("Code", exact=True).last).to_contain_text("curl")
    assert len(cog.runs) == 2


def test_what_happens_is_told_to_who_does_not_see_it(one: Front, visit: Visit) -> None:
    visitor = visit(one.url)
    ask(visitor, "a bus")
    announcer = visitor.page.locator("#announcer")
    expect(announcer).to_have_attribute("role", "status")
    expect(announcer).to_have_text("Done: 1 picture of a bus")
    visitor.page.reload()
    visitor.card()
    expect(announcer).to_have_text("")


def test_what_changes_does_not_take_the_focus_away(
    one: Front, visit: Visit, cog: CogServer, tmp_path: Path
) -> None:
    visitor = visit(one.url)
    page = visitor.page
    focused = page.locator(":focus")
    ask(visitor, "slow")
    copy = visitor.card("processing").get_by_role("button", name="Copy settings")
    copy.focus()
    cog.let_go("slow")
    visitor.card()
    expect(copy).to_be_focused()
    visitor.choose("image", EXAMPLES / "flower.png")
    expect(focused).to_have_text("Replace")
    visitor.press("Paint on the image")
    page.locator(".paper canvas").click()
    page.get_by_role("button", name="Undo").click()
    expect(focused).to_have_text("Undo")
    page.get_by_role("button", name="Redo").click()
    visitor.press("Use this mask")
    expect(focused).to_have_text("Edit mask")
    (tmp_path / "notes.txt").write_text("no picture")
    visitor.choose("image", tmp_path / "notes.txt")
    expect(page.locator("#announcer")).to_contain_text("notes.txt can't be read as a picture")


def test_a_dialog_tells_what_happens_in_it(one: Front, visit: Visit) -> None:
    visitor = visit(one.url)
    visitor.field("Number of images").fill("2")
    ask(visitor, "a bus")
    visitor.card().locator(".picture").first.click()
    told = visitor.page.get_by_role("dialog").get_by_role("status")
    expect(told).to_contain_text("Picture 1 of 2")
    visitor.page.keyboard.press("ArrowRight")
    expect(told).to_contain_text("Picture 2 of 2")
    visitor.page.get_by_role("dialog").get_by_role("button", name="Copy settings").click()
    expect(told).to_have_text("Copied")


def test_a_page_at_200_percent_has_one_column_and_no_sideways_scrolling(
    one: Front, visit: Visit
) -> None:
    visitor = visit(one.url, viewport={"width": 640, "height": 400}, device_scale_factor=2)
    expect(visitor.field("Prompt")).to_be_visible()
    visitor.more()
    form, results = boxes_of(*map(visitor.page.locator, ("#form", "#results")))
    assert results["y"] >= form["y"] + form["height"]
    is_in_order(visitor.page)


def test_nothing_moves_for_who_wants_that(one: Front, visit: Visit, cog: CogServer) -> None:
    visitor = visit(one.url, reduced_motion="reduce")
    ask(visitor, "slow")
    visitor.card("processing")
    expect(visitor.page.locator(".coming")).to_have_css("animation-name", "none")
    cog.let_go("slow")
    visitor.card()


def test_a_page_that_runs_from_right_to_left_stays_in_order(one: Front, visit: Visit) -> None:
    visitor = visit(one.url, viewport=PHONE)
    visitor.page.evaluate("document.documentElement.dir = 'rtl'")
    ask(visitor, "قطة")
    expect(visitor.card().locator("h3")).to_have_css("direction", "rtl")
    is_in_order(visitor.page)
