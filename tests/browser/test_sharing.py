"""What someone is shown who has a link, and who has a token."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.support.asking import ask, elsewhere
from tests.support.browser import Visit, Visitor
from tests.support.front import Front
from tests.support.pictures import EXAMPLES


def test_a_link_shows_one_prediction_to_who_has_no_token(one: Front, visit: Visit) -> None:
    token = one.token("ada")["authorization"].partition(" ")[2]
    ada = visit(one.url)
    ada.page.get_by_label("Token").fill("sd_wrong")
    ada.press("Continue")
    expect(ada.page.locator("#token-fault")).to_have_text("The server does not know this token.")
    ada.page.get_by_label("Token").fill(token)
    ada.press("Continue")
    ask(ada, "a bus")
    ada.card().get_by_role("button", name="Copy link").click()
    link = ada.page.evaluate("navigator.clipboard.readText()")
    ada.expect_refusals()

    other = visit(one.url)
    other.complaints.clear()
    page = other.open(link.removeprefix(one.url))
    expect(page.locator(".card h3")).to_have_text("a bus")
    expect(page.locator(".card img")).to_have_js_property("naturalWidth", 2)
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    spoiled = other.open(link.removeprefix(one.url).replace("signature=", "signature=0"))
    expect(spoiled.get_by_role("alert")).to_contain_text("The link has expired")
    other.expect_refusals()


def test_shared_settings_are_handed_on_to_the_form(visitor: Visitor) -> None:
    visitor.choose("image", EXAMPLES / "car.png")
    ask(visitor, "a bus")
    visitor.card().get_by_role("button", name="Copy link").click()
    visitor.press("Reset")
    page = visitor.page
    page.goto(page.evaluate("navigator.clipboard.readText()"))
    visitor.press("Use these settings")
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
    visitor.press("Use these settings")
    page.wait_for_url(visitor.url + "/")
    expect(visitor.field("Prompt")).to_have_value("a bus")
    expect(visitor.name("image")).to_have_text("image.png")


def test_a_token_stays_in_the_browser_until_it_is_forgotten(one: Front, visit: Visit) -> None:
    visitor = visit(one.url)
    token = one.token("ada")["authorization"].partition(" ")[2]
    visitor.page.reload()
    visitor.page.get_by_label("Token").fill(token)
    visitor.press("Continue")
    expect(visitor.field("Prompt")).to_be_visible()
    visitor.page.reload()
    expect(visitor.field("Prompt")).to_be_visible()
    expect(visitor.page.get_by_role("dialog")).to_be_hidden()
    visitor.press("Sign out")
    expect(visitor.page.get_by_role("dialog")).to_be_visible()
    visitor.expect_refusals()
