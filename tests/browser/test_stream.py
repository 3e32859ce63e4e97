"""What changes, told to all tabs of a browser by one stream."""

from __future__ import annotations

import json

from playwright.sync_api import APIResponse, Dialog, Page, Request, Route, expect

from tests.browser.test_gallery import MODEL, make
from tests.support.asking import ask, caught
from tests.support.browser import Visit, Visitor
from tests.support.front import Front, wait_until
from tools.fake_cog import CogServer

TABS = 8


def streams_of(visitor: Visitor) -> list[Request]:
    """The streams that the browser asks for from now on, while it has no page open."""
    visitor.page.goto("about:blank")
    asked: list[Request] = []
    visitor.context.on(
        "request", lambda request: asked.append(request) if "/form/events" in request.url else None
    )
    return asked


def test_eight_tabs_have_one_stream(one: Front, visit: Visit, cog: CogServer) -> None:
    visitor = visit(one.url)
    asked = streams_of(visitor)
    visitor.page.goto(one.url)
    tabs: list[Page] = [visitor.page, *(visitor.open("/") for _ in range(TABS - 1))]
    for tab in tabs:
        expect(tab.locator("#welcome")).to_be_visible()
    cog.tell("slow", "hold")
    ask(visitor, "slow")
    for tab in tabs:
        expect(tab.locator(".card .status")).to_have_text("Step 1 of 2, 1 s left")
    cog.let_go("slow")
    for tab in tabs:
        expect(tab.locator(".card[data-status=succeeded]")).to_have_count(1)
    assert len(asked) == 1


def test_another_tab_goes_on_when_that_with_the_stream_is_closed(
    visitor: Visitor, one: Front
) -> None:
    other = visitor.open("/")
    expect(other.locator("#welcome")).to_be_visible()
    visitor.page.close()
    make(one, "a fox")
    expect(other.locator(".card h3")).to_have_text("a fox")


def test_tabs_agree_where_the_browser_has_no_locks(one: Front, visit: Visit) -> None:
    visitor = visit(one.url)
    asked = streams_of(visitor)
    visitor.context.add_init_script("delete Navigator.prototype.locks")
    with visitor.page.expect_request("**/form/events"):
        visitor.page.goto(one.url)
    others = [visitor.open("/") for _ in range(3)]
    for tab in others:
        expect(tab.locator("#welcome")).to_be_visible()
    make(one, "a fox")
    for tab in (visitor.page, *others):
        expect(tab.locator(".card h3")).to_have_text("a fox")
    assert len(asked) == 1
    visitor.page.close()
    make(one, "a cat")
    for tab in others:
        expect(tab.locator(".card h3")).to_have_text(["a cat", "a fox"])


def test_a_stream_that_breaks_is_asked_for_anew_and_what_was_missed_is_there(
    visitor: Visitor, one: Front
) -> None:
    held: list[Route] = []
    visitor.page.goto("about:blank")
    visitor.page.route(
        "**/form/events", lambda route: route.fallback() if held else held.append(route)
    )
    visitor.page.goto(one.url)
    expect(visitor.page.locator("#welcome")).to_be_visible()
    make(one, "a fox")
    expect(visitor.cards).to_have_count(0)
    held[0].fulfill(status=200, content_type="text/event-stream", body=": nothing\n\n")
    expect(visitor.card().locator("h3")).to_have_text("a fox")


def test_what_is_deleted_while_the_stream_is_away_goes(visitor: Visitor, one: Front) -> None:
    held: list[Route] = []
    made = [make(one, prompt) for prompt in ("a cat", "a fox")]
    listed = "/form/predictions"
    wait_until(
        lambda: all(some["thumbnails"][0] for some in one.client.get(listed).json()["results"])
    )
    visitor.page.goto("about:blank")
    visitor.page.route(
        "**/form/events", lambda route: route.fallback() if held else held.append(route)
    )
    visitor.page.goto(one.url)
    expect(visitor.cards).to_have_count(2)
    assert one.client.delete(f"/v1/predictions/{made[0]['id']}").status_code == 204
    held[0].fulfill(status=200, content_type="text/event-stream", body=": nothing\n\n")
    expect(visitor.cards.locator("h3")).to_have_text(["a fox"])
    visitor.expect_refusals()


def test_more_than_a_page_that_was_missed_is_there(visitor: Visitor, one: Front) -> None:
    held: list[Route] = []
    make(one, "a fox")
    visitor.page.goto("about:blank")
    visitor.page.route(
        "**/form/events", lambda route: route.fallback() if held else held.append(route)
    )
    visitor.page.goto(one.url)
    expect(visitor.cards).to_have_count(1)
    for number in range(30):
        one.client.post(MODEL, json={"input": {"prompt": f"number {number}"}})
    held[0].fulfill(status=200, content_type="text/event-stream", body=": nothing\n\n")
    expect(visitor.cards).to_have_count(31)


def test_what_changes_while_the_list_is_on_its_way_is_there(visitor: Visitor, one: Front) -> None:
    streams: list[Route] = []
    lists: list[tuple[Route, APIResponse]] = []
    visitor.page.goto("about:blank")
    visitor.page.route("**/form/events", lambda route: streams.append(route))
    visitor.page.route(
        "**/form/predictions",
        lambda route: route.fallback() if lists else lists.append((route, route.fetch())),
    )
    visitor.page.goto(one.url)
    expect(visitor.field("Prompt")).to_be_visible()
    for _ in range(200):
        if streams and lists:
            break
        visitor.page.wait_for_timeout(50)
    make(one, "a fox")
    with visitor.page.expect_response("**/form/events"):
        streams[0].continue_()
    visitor.page.wait_for_timeout(500)
    route, empty = lists[0]
    route.fulfill(response=empty)
    expect(visitor.cards.locator("h3")).to_have_text(["a fox"])


def test_a_fault_of_the_page_does_not_end_the_stream(visitor: Visitor, one: Front) -> None:
    held: list[Route] = []
    news = {**make(one, "a fox"), "id": "another", "status": "processing"}
    body = f"event: prediction\ndata: null\n\nevent: prediction\ndata: {json.dumps(news)}\n\n"
    visitor.page.goto("about:blank")
    visitor.page.route("**/form/events", lambda route: held.append(route))
    visitor.page.goto(one.url)
    # The list first: what it does not have would go again, as if it had been removed.
    expect(visitor.cards).to_have_count(1)
    caught(visitor, held).fulfill(status=200, content_type="text/event-stream", body=body)
    expect(visitor.cards).to_have_count(2)
    assert visitor.complaints  # it is reported
    visitor.complaints.clear()


def test_too_many_requests_and_a_busy_server_are_waited_for(visitor: Visitor, one: Front) -> None:
    refused: list[int] = []

    def refuse(route: Route) -> None:
        if len(refused) == 4:
            return route.fallback()
        refused.append([429, 503][len(refused) % 2])
        problem = "application/problem+json"
        return route.fulfill(
            status=refused[-1],
            content_type=problem,
            headers={"retry-after": "1"},
            json={"detail": "You may make 3000 requests a minute; try again in 1 s"},
        )

    visitor.page.route("**/form/predictions", refuse)
    visitor.page.route("**/form/events", refuse)
    visitor.page.reload()
    ask(visitor, "a fox")
    visitor.card()
    assert refused == [429, 503, 429, 503]
    expect(visitor.page.locator("#fault")).to_have_text("")
    visitor.expect_refusals()


def test_a_tab_whose_browser_signs_out_shows_nothing_more(one: Front, visit: Visit) -> None:
    token = one.token("ada")["authorization"].partition(" ")[2]
    visitor = visit(one.url)
    visitor.page.get_by_label("Token").fill(token)
    visitor.press("Continue")
    ask(visitor, "a fox")
    visitor.card()
    other = visitor.open("/")
    expect(other.locator(".card")).to_have_count(1)
    asked: list[str] = []

    def accept(question: Dialog) -> None:
        asked.append(question.message)
        question.accept()

    visitor.page.once("dialog", accept)
    visitor.page.locator("#forget-token").click()
    expect(other.get_by_role("dialog")).to_be_visible()
    expect(other.locator(".card")).to_have_count(0)
    assert [text.partition(".")[0] for text in asked] == [
        "Sign out? Earlier prompts, styles and favourites of this browser are removed"
    ]
    visitor.expect_refusals()
