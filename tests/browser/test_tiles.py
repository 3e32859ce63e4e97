"""What can be done with a picture, on the picture itself."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_gallery import make
from tests.support.asking import ask, do
from tests.support.browser import Visit, Visitor, box_of, boxes_of, fingers, violations
from tests.support.front import Front
from tools.fake_cog import CogServer
from tools.screenshots import PHONE

MENU = "What to do with it: Picture 1 of a fox"


def items(page: Page) -> list[str]:
    """What the menu that is open offers."""
    return [
        item.get_attribute("aria-label") or item.inner_text()
        for item in page.get_by_role("menuitem").all()
    ]


def test_the_mouse_has_the_most_used_actions_on_the_picture(visitor: Visitor) -> None:
    ask(visitor, "a fox")
    visitor.card()
    way = visitor.page.get_by_role("button", name="Download: Picture 1 of a fox")
    visitor.page.mouse.move(0, 0)
    expect(visitor.page.locator(".bar")).to_have_css("opacity", "0")
    visitor.card().locator(".picture").hover()
    expect(visitor.page.locator(".bar")).to_have_css("opacity", "1")
    with visitor.page.expect_download() as saved:
        way.click()
    assert re.fullmatch(r"a-fox-seed-\d+\.png", saved.value.suggested_filename)
    visitor.page.get_by_role("button", name="Use as input: Picture 1 of a fox").click()
    expect(visitor.name("image")).to_have_text(re.compile(r"a-fox-seed-\d+\.png"))


def test_a_long_prompt_makes_a_name_that_can_be_read(visitor: Visitor) -> None:
    visitor.more()
    visitor.field("Seed").fill("4")
    ask(visitor, f"  „Ein roter Füchs“, in the snow / at night: {'very ' * 30}")
    visitor.card().locator(".picture").hover()
    with visitor.page.expect_download() as saved:
        visitor.page.get_by_role("button", name=re.compile("^Download: ")).click()
    name = saved.value.suggested_filename
    assert name.startswith("ein-roter-füchs-in-the-snow-at-night-very-")
    assert name.endswith("-seed-4.png")
    assert len(name) <= 60 + len("-seed-4.png")


def test_the_menu_is_walked_by_keys(visitor: Visitor) -> None:
    ask(visitor, "a fox")
    visitor.card()
    page = visitor.page
    page.get_by_role("button", name=MENU).focus()
    page.keyboard.press("Enter")
    focused = page.locator(":focus")
    expect(focused).to_have_text("Download")
    assert violations(page) == []
    offered = items(page)
    assert offered[:3] == ["Download", "Use as input", "Paint on it"]
    assert offered[-1] == "Delete"
    page.keyboard.press("ArrowUp")
    expect(focused).to_have_text("Delete")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(focused).to_have_text("Use as input")
    page.keyboard.press("u")
    expect(focused).to_have_text("Use its settings and seed")
    page.keyboard.press("D")  # as with Caps Lock
    expect(focused).to_have_text("Delete")
    page.keyboard.press("Escape")
    expect(page.get_by_role("menu")).to_have_count(0)
    expect(focused).to_have_accessible_name(MENU)
    page.locator(".picture").focus()
    page.keyboard.press("Shift+F10")
    expect(focused).to_have_text("Download")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(visitor.name("image")).to_have_text(re.compile("a-fox-seed"))


def test_its_button_closes_the_menu_too(visitor: Visitor) -> None:
    ask(visitor, "a fox")
    visitor.card()
    button = visitor.page.get_by_role("button", name=MENU)
    for count in (1, 0, 1):
        button.click()
        expect(visitor.page.get_by_role("menu")).to_have_count(count)


def test_copying_the_settings_leaves_the_picture_and_its_button(visitor: Visitor) -> None:
    ask(visitor, "a fox")
    tile = visitor.card().locator(".tile")
    do(visitor, "Copy settings")
    expect(visitor.page.locator(".toast")).to_contain_text("The settings are copied")
    tile.locator(".picture").press("Shift+F10")
    visitor.page.get_by_role("menuitem", name="Copy settings").press("Enter")
    expect(visitor.page.get_by_role("menu")).to_have_count(0)
    copied = json.loads(visitor.page.evaluate("navigator.clipboard.readText()"))
    assert copied["prompt"] == "a fox"
    expect(tile.locator("img")).to_be_visible()
    expect(tile.locator(".menu-button svg")).to_be_visible()


def test_what_fails_is_said_where_it_is_seen(visitor: Visitor, one: Front) -> None:
    for prompt in ("a cat", "a fox"):
        make(one, prompt)
    visitor.page.reload()
    expect(visitor.cards).to_have_count(2)
    refusal = {"status": 500, "content_type": "application/problem+json"}
    visitor.page.route(
        "**/files/**", lambda route: route.fulfill(**refusal, json={"detail": "The disk is full."})
    )
    visitor.expect_refusals()
    do(visitor, "Download", card=1)
    toasts = visitor.page.locator(".toast")
    expect(toasts).to_contain_text("The disk is full.")
    toasts.get_by_role("button", name="Dismiss").click()
    visitor.cards.nth(1).locator(".picture").hover()
    visitor.page.get_by_role("button", name="Download: Picture 1 of a cat").click()
    expect(toasts).to_contain_text("The disk is full.")


def test_a_part_of_the_page_that_can_not_be_loaded_is_named_as_that(visitor: Visitor) -> None:
    ask(visitor, "a fox")
    visitor.card()
    visitor.page.route("**/tile-menu.js", lambda route: route.abort())
    visitor.expect_refusals()
    visitor.page.get_by_role("button", name=MENU).click()
    expect(visitor.page.locator(".toast")).to_contain_text("Reload the page and try again.")


def test_a_star_is_set_and_taken_by_the_menu(visitor: Visitor) -> None:
    ask(visitor, "a fox")
    visitor.card()
    for name in ("Favourite", "Remove from favourites"):
        visitor.page.get_by_role("button", name=MENU).click()
        visitor.page.get_by_role("menuitem", name=name, exact=True).click()
    star = visitor.page.get_by_role("button", name="Favourite: Picture 1 of a fox")
    expect(star).to_have_attribute("aria-pressed", "false")


def test_a_long_touch_opens_the_menu_and_a_short_one_the_picture(one: Front, visit: Visit) -> None:
    make(one, "a fox")
    visitor = visit(one.url, viewport=PHONE, has_touch=True, is_mobile=True)
    page = visitor.page
    picture = visitor.card().locator(".picture")
    picture.scroll_into_view_if_needed()
    box = box_of(picture)
    touch = fingers(page)
    touch("Start", (box["x"] + 20, box["y"] + 20))
    expect(page.get_by_role("menu")).to_be_visible()
    touch("End")
    expect(page.get_by_role("menu")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    picture.tap()
    expect(page.get_by_role("dialog")).to_be_visible()


def test_every_control_on_a_phone_is_as_large_as_a_finger(one: Front, visit: Visit) -> None:
    make(one, "a fox", num_images=2)
    visitor = visit(one.url, viewport=PHONE, has_touch=True, is_mobile=True)
    visitor.card()
    controls = visitor.page.locator("#results :is(button, input):visible").all()
    for control, box in zip(controls, boxes_of(*controls), strict=True):
        assert min(box["width"], box["height"]) >= 44, control.inner_html()
    visitor.page.get_by_role("button", name="What to do with it").first.click()
    expect(visitor.page.get_by_role("menuitem").first).to_be_visible()
    items = boxes_of(*visitor.page.get_by_role("menuitem").all())
    assert min(item["height"] for item in items) >= 44


@pytest.mark.parametrize("look", [{"width": 1440, "height": 900}, {"width": 360, "height": 225}])
def test_the_gallery_is_for_everyone(
    one: Front, visit: Visit, cog: CogServer, look: dict[str, int]
) -> None:
    cog.tell("slow", "hold")
    cog.tell("bad", "err")
    for prompt in ("a fox", "bad", "a cat", "a dog"):
        make(one, prompt, num_images=2)
    visitor = visit(one.url, viewport=look, forced_colors="active")
    ask(visitor, "slow")
    visitor.card("processing")
    visitor.page.get_by_role("button", name="Stopped and failed (1)").click()
    assert violations(visitor.page) == []
    assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    visitor.page.get_by_role("button", name="What to do with it").last.click()
    assert violations(visitor.page) == []
    visitor.page.get_by_role("menuitem", name="Delete").click()
    expect(visitor.page.locator(".toast")).to_contain_text("Deleted: ")
    assert violations(visitor.page) == []
