"""The pictures that were made: which are shown, how large, and what comes and goes."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.support.asking import ask, do
from tests.support.browser import Visit, Visitor, box_of, boxes_of, violations
from tests.support.front import Front, wait_until
from tools import fake_cog
from tools.fake_cog import CogServer, data_url

MODEL = "/v1/models/stability-ai/stable-diffusion-img2img/predictions"


def make(one: Front, prompt: str, **inputs: Any) -> dict[str, Any]:
    """A prediction that another client has asked for, when it is over."""
    body = {"input": {"prompt": prompt, **inputs}}
    answer = one.client.post(MODEL, json=body, headers={"prefer": "wait"})
    document: dict[str, Any] = answer.json()
    return document


def prompts(page: Page) -> list[str]:
    """Those of the cards that are shown, the first first."""
    return page.locator(".card h3").all_inner_texts()


def delete(visitor: Visitor, prompt: str) -> None:
    """Deletes by the picture's menu."""
    name = f"What to do with it: Picture 1 of {prompt}"
    visitor.page.get_by_role("button", name=name).click()
    visitor.page.get_by_role("menuitem", name="Delete").click()
    expect(visitor.page.locator(".toast")).to_be_visible()
    visitor.page.mouse.move(0, 0)  # from under the pointer it does not go


def test_the_newest_is_large_and_older_ones_are_rows(visitor: Visitor, one: Front) -> None:
    for prompt in ("a cat", "a dog", "a fox"):
        make(one, prompt)
    visitor.page.reload()
    expect(visitor.cards).to_have_count(3)
    tiles = visitor.page.locator(".tile")
    fox, dog, cat = boxes_of(*tiles.all())
    assert fox["width"] > 1.5 * dog["width"]
    assert dog["y"] == cat["y"] > fox["y"] + fox["height"]
    visitor.press("All large")
    expect(visitor.page.locator(".card.large")).to_have_count(3)
    visitor.page.reload()
    expect(visitor.page.locator(".card.large")).to_have_count(3)


def test_what_another_client_asks_for_appears_by_itself(visitor: Visitor, one: Front) -> None:
    expect(visitor.page.locator("#welcome")).to_be_visible()
    make(one, "a fox")
    expect(visitor.card().locator("h3")).to_have_text("a fox")
    expect(visitor.page.locator("#welcome")).to_be_hidden()


def test_tabs_show_the_same(visitor: Visitor) -> None:
    other = visitor.open("/")
    expect(other.locator("#welcome")).to_be_visible()
    ask(visitor, "a fox")
    expect(other.locator(".card[data-status=succeeded] h3")).to_have_text("a fox")
    visitor.page.clock.install()
    delete(visitor, "a fox")
    expect(other.locator(".card")).to_have_count(1)
    visitor.page.clock.fast_forward(10_000)
    expect(other.locator(".card")).to_have_count(0)


def test_prompts_are_searched_for_words(visitor: Visitor, one: Front) -> None:
    for prompt in ("a red fox", *(f"number {number}" for number in range(30)), "a red bus"):
        make(one, prompt)
    visitor.page.reload()
    expect(visitor.cards.first.locator("h3")).to_have_text("a red bus")
    search = visitor.page.get_by_label("Search prompts")
    search.fill("FOX red")
    expect(visitor.cards).to_have_count(1)
    expect(visitor.cards.locator("h3")).to_have_text("a red fox")
    make(one, "another red fox")
    expect(visitor.cards.locator("h3")).to_have_text(["another red fox", "a red fox"])
    search.fill("unicorn")
    expect(visitor.page.get_by_text("No prompt has these words.")).to_be_visible()
    search.fill("")
    expect(visitor.cards.first.locator("h3")).to_have_text("another red fox")
    expect(visitor.cards.nth(23)).to_be_attached()


def test_favourites_are_kept_and_shown_alone(visitor: Visitor, one: Front) -> None:
    for prompt in ("a cat", *(f"number {number}" for number in range(24))):
        make(one, prompt)
    visitor.page.reload()
    visitor.press("Show older")
    star = visitor.page.get_by_role("button", name="Favourite: Picture 1 of a cat")
    star.hover()
    star.click()
    expect(star).to_have_attribute("aria-pressed", "true")
    visitor.page.reload()
    expect(visitor.cards).to_have_count(24)
    visitor.press("Favourites")
    expect(visitor.cards).to_have_count(1)
    expect(star).to_have_attribute("aria-pressed", "true")
    star.click()
    expect(visitor.page.get_by_text("No favourites yet")).to_be_visible()
    visitor.press("Favourites")
    expect(visitor.cards).to_have_count(24)


def test_a_deletion_can_be_taken_back(visitor: Visitor, one: Front) -> None:
    made = make(one, "a fox")
    visitor.page.clock.install()
    visitor.page.reload()
    delete(visitor, "a fox")
    expect(visitor.cards).to_have_count(0)
    visitor.press("Undo")
    expect(visitor.card().locator("h3")).to_have_text("a fox")
    visitor.page.clock.fast_forward(20_000)
    assert one.client.get(f"/v1/predictions/{made['id']}").status_code == 200
    delete(visitor, "a fox")
    visitor.page.keyboard.press("Control+z")
    expect(visitor.cards).to_have_count(1)


def test_what_is_deleted_is_gone_when_nobody_takes_it_back(visitor: Visitor, one: Front) -> None:
    made = make(one, "a fox")
    visitor.page.clock.install()
    visitor.page.reload()
    delete(visitor, "a fox")
    with visitor.page.expect_response(lambda answer: answer.request.method == "DELETE") as deleted:
        visitor.page.clock.fast_forward(9_000)
    assert deleted.value.status == 204
    assert one.client.get(f"/v1/predictions/{made['id']}").status_code == 404
    visitor.page.reload()
    expect(visitor.page.locator("#welcome")).to_be_visible()


def test_who_leaves_takes_nothing_back(visitor: Visitor, one: Front) -> None:
    made = make(one, "a fox")
    visitor.page.reload()
    delete(visitor, "a fox")
    visitor.page.reload()
    expect(visitor.page.locator("#welcome")).to_be_visible()
    assert one.client.get(f"/v1/predictions/{made['id']}").status_code == 404


def test_two_deletions_are_taken_back_as_one(visitor: Visitor, one: Front) -> None:
    for prompt in ("a cat", "a dog", "a fox"):
        make(one, prompt)
    visitor.page.reload()
    delete(visitor, "a fox")
    delete(visitor, "a dog")
    toast = visitor.page.locator(".toast")
    expect(toast).to_contain_text("Deleted 2 predictions")
    do(visitor, "Copy settings")  # which says so, too
    expect(toast).to_have_count(2)
    visitor.press("Undo")
    expect(visitor.cards).to_have_count(3)


def test_nothing_is_deleted_while_the_hand_is_at_undo(visitor: Visitor, one: Front) -> None:
    made = make(one, "a fox")
    visitor.page.clock.install()
    visitor.page.reload()
    delete(visitor, "a fox")
    visitor.page.get_by_role("button", name="Undo").hover()
    visitor.page.clock.run_for(30_000)
    visitor.press("Undo")
    expect(visitor.card().locator("h3")).to_have_text("a fox")
    assert one.client.get(f"/v1/predictions/{made['id']}").status_code == 200


def test_who_signs_out_takes_nothing_back(one: Front, visit: Visit) -> None:
    token = one.token("ada")
    visitor = visit(one.url)
    visitor.expect_refusals()
    visitor.page.get_by_label("Token").fill(token["authorization"].partition(" ")[2])
    visitor.press("Continue")
    ask(visitor, "a fox")
    made = visitor.card().get_attribute("data-id")
    delete(visitor, "a fox")
    visitor.page.once("dialog", lambda dialog: dialog.accept())
    visitor.press("Sign out")
    expect(visitor.page.get_by_role("dialog")).to_be_visible()
    path = f"/v1/predictions/{made}"
    wait_until(lambda: one.client.get(path, headers=token).status_code == 404)


def test_what_is_run_during_a_search_is_shown(visitor: Visitor, one: Front) -> None:
    make(one, "a cat")
    visitor.page.reload()
    search = visitor.page.get_by_label("Search prompts")
    search.fill("unicorn")
    expect(visitor.cards).to_have_count(0)
    visitor.press("Favourites")
    ask(visitor, "a fox")
    expect(visitor.cards.locator("h3")).to_have_text(["a fox", "a cat"])
    expect(search).to_have_value("")
    favourites = visitor.page.get_by_role("button", name="Favourites", exact=True)
    expect(favourites).to_have_attribute("aria-pressed", "false")


def test_an_old_one_that_another_tab_shows_is_no_news(visitor: Visitor, one: Front) -> None:
    oldest = make(one, "the oldest")
    for number in range(24):
        make(one, f"number {number}")
    visitor.page.reload()
    expect(visitor.cards).to_have_count(24)
    said = "document.querySelector('#announcer').textContent"
    before = visitor.page.evaluate(said)
    visitor.page.evaluate(
        "async (news) => (await import('/form/page/stream.js')).pass(news)", oldest
    )
    expect(visitor.cards).to_have_count(24)
    assert visitor.page.evaluate(said) == before
    visitor.press("Show older")
    expect(visitor.cards).to_have_count(25)


def test_the_keys_go_on_where_something_was_deleted(visitor: Visitor, one: Front) -> None:
    make(one, "a cat")
    make(one, "a fox")
    visitor.page.reload()
    visitor.card().get_by_role("button", name="Delete").focus()
    visitor.page.keyboard.press("Enter")
    expect(visitor.page.locator(":focus")).to_have_accessible_name(
        "Picture 1 of a cat: look closer"
    )


def test_what_was_stopped_or_failed_is_folded_away_and_tried_again(
    visitor: Visitor, one: Front, cog: CogServer
) -> None:
    cog.tell("slow", "hold")
    cog.tell("bad", "fail", "succeed")
    ask(visitor, "slow")
    visitor.card("processing")
    visitor.press("Stop")
    visitor.card("canceled")
    ask(visitor, "bad")
    visitor.card("failed")
    assert prompts(visitor.page) == ["bad", "slow"]  # who was there has to see it
    visitor.page.reload()
    folded = visitor.page.get_by_role("button", name="Stopped and failed (2)")
    expect(folded).to_be_visible()
    expect(visitor.cards).to_have_count(0)
    folded.click()
    expect(visitor.cards).to_have_count(2)
    expect(visitor.card("failed").locator(".fault")).to_be_visible()
    assert violations(visitor.page) == []
    visitor.card("failed").get_by_role("button", name="Try again").click()
    expect(visitor.card("succeeded").locator("h3")).to_have_text("bad")


def test_only_what_has_pictures_is_shared(visitor: Visitor, cog: CogServer) -> None:
    cog.tell("bad", "err")
    ask(visitor, "bad")
    expect(visitor.card("failed").get_by_role("button", name="Use its settings")).to_be_visible()
    expect(visitor.card("failed").get_by_role("button", name="Share")).to_be_hidden()
    ask(visitor, "a fox")
    expect(visitor.card().get_by_role("button", name="Share")).to_be_visible()


def test_the_focus_stays_on_a_card_that_is_stopped(visitor: Visitor, cog: CogServer) -> None:
    cog.tell("slow", "hold")
    ask(visitor, "slow")
    visitor.card("processing").get_by_role("button", name="Stop").focus()
    visitor.page.keyboard.press("Enter")
    visitor.card("canceled")
    expect(visitor.page.locator(":focus")).to_have_text("Try again")


def test_how_long_ago_it_was_is_said_anew(visitor: Visitor, one: Front) -> None:
    make(one, "a fox")
    visitor.page.clock.install()
    visitor.page.reload()
    about = visitor.card().locator(".about")
    expect(about).to_contain_text("just now")
    visitor.page.clock.fast_forward(5 * 60_000)
    expect(about).to_contain_text("5 minutes ago")
    visitor.page.clock.fast_forward(2 * 3600_000)
    expect(about).to_contain_text("2 hours ago")


def test_a_picture_that_is_drawn_has_the_shape_that_was_asked_for(
    visitor: Visitor, cog: CogServer
) -> None:
    cog.tell("slow", "hold")
    visitor.more()
    visitor.field("Width").select_option("768")
    visitor.field("Height").select_option("512")
    visitor.field("Number of images").fill("2")
    ask(visitor, "slow")
    visitor.card("processing")
    expect(visitor.page.locator(".coming")).to_have_count(2)
    box = box_of(visitor.page.locator(".coming").first)
    assert box["width"] / box["height"] == pytest.approx(1.5, abs=0.02)
    cog.let_go("slow")
    visitor.card()


def test_how_it_looks_so_far_is_seen_in_its_shape(visitor: Visitor, cog: CogServer) -> None:
    cog.tell("slow", "hold")
    ask(visitor, "slow")
    made = visitor.card("processing").get_attribute("data-id")
    file = io.BytesIO()
    Image.new("RGB", (60, 40), "red").save(file, "WEBP")
    news = {"id": made, "index": 0, "url": data_url(file.getvalue(), "image/webp")}
    visitor.page.route(
        "**/form/events",
        lambda route: route.fulfill(
            content_type="text/event-stream", body=f"event: preview\ndata: {json.dumps(news)}\n\n"
        ),
    )
    visitor.page.reload()
    preview = visitor.page.get_by_role("img", name="How it looks so far")
    expect(preview).to_be_visible()
    box, bar = boxes_of(preview, visitor.cards.locator("progress"))
    assert box["width"] / box["height"] == pytest.approx(1.5, abs=0.02)
    assert box["y"] > bar["y"] or box["x"] < bar["x"]  # below it, or beside it
    colour = "one => [...one.getContext('2d').getImageData(9, 9, 1, 1).data.slice(0, 3)]"
    red, green, blue = preview.evaluate(colour)
    assert red > 200
    assert max(green, blue) < 50


def test_nothing_jumps_when_a_picture_is_loaded(visitor: Visitor, one: Front) -> None:
    make(one, "a fox")
    visitor.page.reload()
    image = visitor.card().locator("img")
    expect(image).to_have_attribute("width", "2")
    expect(image).to_have_attribute("height", "2")
    assert visitor.card().locator(".tile").evaluate("one => one.style.getPropertyValue('--ratio')")


def test_rows_load_small_copies(one: Front, visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    def pixels(*_: Any) -> bytes:
        file = io.BytesIO()
        Image.effect_noise((800, 400), 90).save(file, "PNG")
        return file.getvalue()

    monkeypatch.setattr(fake_cog, "pixels", pixels)
    for prompt in ("a cat", "a fox"):
        make(one, prompt)
    wait_until(
        lambda: all(
            made["thumbnails"][0] for made in one.client.get("/form/predictions").json()["results"]
        )
    )
    visitor = visit(one.url)
    older = visitor.cards.nth(1).locator("img")
    expect(older).to_have_attribute("srcset", re.compile(" 400w, .* 800w$"))
    expect(older).to_have_js_property("complete", True)
    assert older.evaluate("one => one.currentSrc !== one.src")
    tile, image = boxes_of(*(visitor.cards.nth(1).locator(one) for one in (".tile", "img")))
    assert tile == pytest.approx(image, abs=1)


def test_links_are_made_anew_while_the_page_stays_open(visitor: Visitor, one: Front) -> None:
    for number in range(25):
        make(one, f"number {number}")
    visitor.page.clock.install()
    visitor.page.reload()
    expect(visitor.cards).to_have_count(24)
    visitor.press("Show older")
    expect(visitor.cards).to_have_count(25)
    with visitor.page.expect_request("**/form/predictions?*"):  # and the second page with them
        visitor.page.clock.fast_forward(31 * 60_000)


def test_a_newer_link_mends_a_picture_that_could_not_be_loaded(
    visitor: Visitor, one: Front
) -> None:
    make(one, "a fox")
    visitor.page.route("**/files/**", lambda route: route.fulfill(status=404))
    visitor.expect_refusals()
    with visitor.page.expect_response(lambda answer: "/files/" in answer.url):
        visitor.page.reload()
    image = visitor.card().locator(".picture img")
    expect(image).to_have_js_property("complete", True)
    visitor.page.unroute("**/files/**")
    (news,) = one.client.get("/form/predictions").json()["results"]
    news["output"] = [f"{url}&newer" for url in news["output"]]
    visitor.page.evaluate("async (news) => (await import('/form/page/stream.js')).pass(news)", news)
    expect(image).not_to_have_js_property("naturalWidth", 0)


def test_the_tabs_title_says_how_far_it_is(visitor: Visitor, cog: CogServer) -> None:
    cog.tell("a red fox", "hold")
    ask(visitor, "a red fox")
    expect(visitor.page).to_have_title("(50 %) a red fox")
    cog.let_go("a red fox")
    visitor.card()
    expect(visitor.page).to_have_title("Stable Diffusion")


STAND_IN = """
    window.Notification = class {
        static permission = "default";
        static requestPermission = async () => (Notification.permission = "granted");
        constructor(title) { document.body.dataset.told = title; }
        close() {}
    };
    Object.defineProperty(document, "hidden", { get: () => window.away ?? false });
"""


def test_who_is_elsewhere_is_told_when_it_is_done(visitor: Visitor, cog: CogServer) -> None:
    page = visitor.page
    page.add_init_script(STAND_IN)
    page.reload()
    cog.tell("slow", "hold")
    ask(visitor, "a cat")
    visitor.card()
    visitor.press("Notify me")
    expect(page.get_by_role("button", name="Notify me")).to_have_attribute("aria-pressed", "true")
    ask(visitor, "slow")
    visitor.card("processing")
    page.evaluate("window.away = true")
    cog.let_go("slow")
    expect(page).to_have_title("✓ slow")
    expect(page.locator("body")).to_have_attribute("data-told", "Done: slow")
    page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    expect(page).to_have_title("Stable Diffusion")


def test_a_browser_that_lets_no_page_notify_offers_it_no_more(
    visitor: Visitor, cog: CogServer
) -> None:
    page = visitor.page
    page.add_init_script(STAND_IN.replace("constructor(title) {", "constructor() { throw Error();"))
    page.reload()
    cog.tell("slow", "hold")
    ask(visitor, "a cat")
    visitor.card()
    visitor.press("Notify me")
    ask(visitor, "slow")
    visitor.card("processing")
    page.evaluate("window.away = true")
    cog.let_go("slow")
    notify = page.get_by_role("button", name="Notify me")
    expect(notify).to_be_hidden()
    page.reload()
    expect(page.get_by_role("button", name="Favourites", exact=True)).to_be_visible()
    expect(notify).to_be_hidden()


def test_the_model_that_starts_is_named_as_what_is_waited_for(
    visitor: Visitor, cog: CogServer
) -> None:
    expect(visitor.field("Prompt")).to_be_visible()
    cog.status = "STARTING"
    expect(visitor.page.locator("#model option")).to_have_text(re.compile("starting"))
    ask(visitor, "a fox")
    expect(visitor.cards.locator(".status")).to_have_text("Waiting: the model is starting")
    cog.status = "READY"
    visitor.card()


def test_an_old_refusal_goes_when_the_server_is_back(visitor: Visitor) -> None:
    ask(visitor, "a fox")
    visitor.card()
    visitor.context.set_offline(True)
    visitor.press("Run")
    expect(visitor.page.locator("#fault")).to_contain_text("does not answer")
    visitor.context.set_offline(False)
    expect(visitor.page.locator("#connection")).to_contain_text("The server is back.")
    expect(visitor.page.locator("#fault")).to_have_text("")
    visitor.expect_refusals()


def test_a_part_of_the_page_that_does_not_come_is_said_in_words(visitor: Visitor) -> None:
    visitor.page.route("**/form/workshop.js", lambda route: route.abort())
    visitor.page.reload()
    said = "A part of this page could not be loaded. Reload the page and try again."
    expect(visitor.page.locator("#fault")).to_have_text(said)
    visitor.page.unroute("**/form/workshop.js")
    visitor.page.reload()
    ask(visitor, "a fox")
    visitor.card()
