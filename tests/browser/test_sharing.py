"""What someone is shown who has a link, and who has a token."""

from __future__ import annotations

import re
import zipfile
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from hosting.storage import shares
from tests.support.asking import ask, elsewhere
from tests.support.browser import Visit, Visitor, violations
from tests.support.front import Front
from tests.support.pictures import EXAMPLES
from tools.fake_cog import CogServer
from tools.screenshots import LAPTOP, PHONE

LOOKS: list[dict[str, Any]] = [
    {"viewport": LAPTOP, "color_scheme": "light"},
    {"viewport": PHONE, "color_scheme": "dark", "has_touch": True, "is_mobile": True},
]


def is_in_order(page: Page) -> None:
    """Nothing is wrong with what is shown, and nothing sticks out of the window."""
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def open_share(visitor: Visitor) -> Locator:
    """What makes links, of the newest prediction."""
    with visitor.page.expect_response("**/shares"):
        visitor.card().get_by_role("button", name="Share").click()
    dialog = visitor.page.get_by_role("dialog", name="Share")
    expect(dialog).to_be_visible()
    return dialog


def made(visitor: Visitor, ends: str | None = None) -> str:
    """A new link to the newest prediction, as a path."""
    dialog = open_share(visitor)
    if ends:
        dialog.get_by_label("The link ends").select_option(ends)
    before = dialog.get_by_label("Link", exact=True).count()
    dialog.get_by_role("button", name="Make a link").click()
    links = dialog.get_by_label("Link", exact=True)
    expect(links).to_have_count(before + 1)
    link = links.first.input_value()
    dialog.get_by_role("button", name="Close").click()
    return link.removeprefix(visitor.url)


def test_a_link_shows_one_prediction_to_who_has_no_token(one: Front, visit: Visit) -> None:
    token = one.token("ada")["authorization"].partition(" ")[2]
    ada = visit(one.url)
    ada.page.get_by_label("Token", exact=True).fill("sd_wrong")
    ada.press("Continue")
    expect(ada.page.locator("#token-fault")).to_have_text("The server does not know this token.")
    ada.page.get_by_label("Token", exact=True).fill(token)
    ada.press("Continue")
    ask(ada, "a bus")
    link = made(ada)
    ada.expect_refusals()

    other = visit(one.url)
    other.complaints.clear()
    page = other.open(link)
    expect(page.get_by_role("heading", name="a bus")).to_be_visible()
    expect(page.locator(".drawn img")).to_have_js_property("naturalWidth", 2)
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    expect(page.get_by_role("button", name="Shortcuts")).to_be_hidden()
    spoiled = other.open(link[:-1])
    expect(spoiled.get_by_role("alert")).to_contain_text("This link has expired")
    other.expect_refusals()


def test_shared_settings_are_handed_on_to_the_form(visitor: Visitor) -> None:
    visitor.choose("image", EXAMPLES / "car.png")
    ask(visitor, "a bus")
    link = made(visitor)
    visitor.press("Reset")
    page = visitor.page
    page.goto(visitor.url + link)
    visitor.press("Use its settings")
    page.wait_for_url(visitor.url + "/")
    expect(visitor.field("Prompt")).to_have_value("a bus")
    expect(visitor.name("image")).to_have_text("image.png")


def test_an_image_that_came_by_url_is_handed_on_too(visitor: Visitor, one: Front) -> None:
    body = {"input": {"prompt": "a bus", "image": elsewhere(one, "car.png")}}
    path = "/v1/models/stability-ai/stable-diffusion-img2img/predictions"
    answer = one.client.post(path, json=body, headers={"prefer": "wait"}).json()
    assert answer["status"] == "succeeded", answer
    page = visitor.page
    page.goto(answer["urls"]["web"])
    visitor.press("Use its settings")
    page.wait_for_url(visitor.url + "/")
    expect(visitor.field("Prompt")).to_have_value("a bus")
    expect(visitor.name("image")).to_have_text("image.png")


@pytest.mark.parametrize("look", LOOKS, ids=["laptop, light", "phone, dark"])
def test_a_link_is_made_copied_followed_and_revoked(
    one: Front, visit: Visit, look: dict[str, Any]
) -> None:
    visitor = visit(one.url, **look)
    visitor.choose("image", EXAMPLES / "car.png")
    ask(visitor, "a bus")
    dialog = open_share(visitor)
    page = visitor.page
    dialog.get_by_role("button", name="Make a link").click()
    copying = dialog.get_by_role("button", name="Copy")
    expect(copying).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("button", name="Copied")).to_be_visible()
    is_in_order(page)
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == dialog.get_by_label("Link", exact=True).input_value()

    one.token("ada")
    other = visit(one.url, **look)
    other.complaints.clear()
    shown = other.open(link.removeprefix(one.url))
    expect(shown).to_have_title("a bus")
    expect(shown.locator(".drawn img")).to_have_js_property("naturalWidth", 2)
    expect(shown.locator(".from img")).to_have_js_property("naturalWidth", 512)
    expect(shown.locator(".settings")).to_contain_text("stability-ai/stable-diffusion-2-1")
    expect(shown.get_by_text(re.compile("^The link ends on "))).to_be_visible()
    expect(shown.get_by_role("button", name="Stop")).to_have_count(0)
    is_in_order(shown)
    shown.locator(".drawn .picture").click()
    expect(shown.get_by_label("How much of the input is shown")).to_be_visible()
    expect(shown.get_by_role("button", name="Use as input")).to_have_count(0)
    is_in_order(shown)

    id_of_share = link.rpartition("/")[2]
    other.expect_refusals()
    visitor.expect_refusals()
    assert one.database.write_now(shares.revoke, id_of_share, "local")
    shown.reload()
    expect(shown.get_by_role("alert")).to_have_text(
        "This link has expired or was revoked, or its pictures were deleted"
    )
    is_in_order(shown)


def test_a_double_click_opens_it_once(visitor: Visitor) -> None:
    ask(visitor, "a bus")
    with visitor.page.expect_response("**/shares"):
        visitor.card().get_by_role("button", name="Share").dblclick()
    expect(visitor.page.locator("dialog.share")).to_have_count(1)


def test_revoking_ends_a_link_and_leaves_the_others(visitor: Visitor, one: Front) -> None:
    ask(visitor, "a bus")
    first, second = made(visitor, "in 1 hour"), made(visitor, "when the pictures are deleted")
    dialog = open_share(visitor)
    expect(dialog.get_by_label("Link", exact=True)).to_have_count(2)
    expect(dialog.get_by_text("The link ends when the pictures are deleted.")).to_be_visible()
    dialog.get_by_role("button", name="Revoke").first.click()
    expect(dialog.get_by_label("Link", exact=True)).to_have_count(1)
    expect(dialog.get_by_role("button", name="Make a link")).to_be_focused()
    assert [one.client.get(path).status_code for path in (first, second)] == [200, 404]
    visitor.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_what_is_shared_while_it_waits_appears_when_it_is_done(
    visitor: Visitor, one: Front, cog: CogServer
) -> None:
    cog.tell("slow", "hold")
    model = "/v1/models/stability-ai/stable-diffusion-img2img/predictions"
    asked = one.client.post(model, json={"input": {"prompt": "slow", "num_outputs": 2}}).json()
    link = one.client.post(f"/v1/predictions/{asked['id']}/shares", json={}).json()
    page = visitor.open(link["url"].removeprefix(one.url))
    expect(page.locator(".status")).to_have_text("Drawing: step 1 of 2")
    cog.let_go("slow")
    expect(page.locator(".drawn img")).to_have_count(2)
    expect(page.locator(".status")).to_be_hidden()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download all").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert len(archive.namelist()) == 2


def test_the_link_that_each_prediction_has_says_when_it_ends_too(
    visitor: Visitor, one: Front
) -> None:
    ask(visitor, "a bus")
    visitor.card()
    (prediction,) = one.client.get("/v1/predictions").json()["results"]
    page = visitor.open(prediction["urls"]["web"].removeprefix(visitor.url))
    expect(page.locator(".drawn img")).to_have_js_property("naturalWidth", 2)
    expect(page.get_by_text(re.compile("^The link ends on "))).to_be_visible()


def test_a_token_stays_in_the_browser_until_it_is_forgotten(one: Front, visit: Visit) -> None:
    visitor = visit(one.url)
    token = one.token("ada")["authorization"].partition(" ")[2]
    visitor.page.reload()
    visitor.page.get_by_label("Token", exact=True).fill(token)
    visitor.press("Continue")
    expect(visitor.field("Prompt")).to_be_visible()
    visitor.page.reload()
    expect(visitor.field("Prompt")).to_be_visible()
    expect(visitor.page.get_by_role("dialog")).to_be_hidden()
    visitor.press("Sign out")
    expect(visitor.page.get_by_role("dialog")).to_be_visible()
    visitor.expect_refusals()
