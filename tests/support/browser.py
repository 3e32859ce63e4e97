"""A real browser at the page, which sees to what no test may do: leave the machine, or complain."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    FloatRect,
    Locator,
    Page,
    Request,
    Response,
    expect,
)

from tools.screenshots import LAPTOP

LONGEST = 60_000
"""Milliseconds after which what should be seen is not."""
expect.set_options(timeout=LONGEST)
SERVER_ENDED = "Failed to load resource: net::"
"""How the browser notes that there is no server, which is so at the end of a test."""


def boxes_of(*elements: Locator) -> list[FloatRect]:
    """Where elements are on the page, once it moves none of them any more, in CSS pixels."""
    before: list[FloatRect | None] = []
    deadline = time.monotonic() + LONGEST / 1000
    while (boxes := [element.bounding_box() for element in elements]) != before or None in boxes:
        assert time.monotonic() < deadline, boxes
        before = boxes
        time.sleep(0.1)
    return [box for box in boxes if box]


def box_of(element: Locator) -> FloatRect:
    """Where an element is on the page, once it moves no more."""
    return boxes_of(element)[0]


class Visitor:
    """Someone at the page of a front.

    Args:
        options: of the browser's context: `viewport`, `color_scheme`, `has_touch` …
    """

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.url = url
        self.complaints: list[str] = []
        self._forgets_refusals = False
        self.strangers: list[str] = []
        self.context: BrowserContext = browser.new_context(
            **{"viewport": LAPTOP, "accept_downloads": True, **options}
        )
        self.context.set_default_timeout(LONGEST)
        self.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.context.on("request", self._note)
        self.page = self.open("/")

    def open(self, path: str) -> Page:
        """Another tab of the same browser, at a path of the front."""
        page = self.context.new_page()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self.url + path)
        return page

    def close(self) -> None:
        """Goes; whatever the page complained of, or asked of others, is a fault of the page."""
        self.context.close()
        refusals = ("Failed to load resource: ",) if self._forgets_refusals else ()
        heard = [line for line in self.complaints if not line.startswith(refusals)]
        assert not heard, heard
        assert self.strangers == []

    def expect_refusals(self) -> None:
        """Forget the lines that the browser itself writes of answers that are no success.

        It may write them a moment after the answer, so those to come are forgotten too.
        """
        self._forgets_refusals = True

    def _hear(self, said: ConsoleMessage) -> None:
        if said.type in ("error", "warning") and not said.text.startswith(SERVER_ENDED):
            self.complaints.append(said.text)

    def _note(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https") and parts.hostname != "127.0.0.1":
            self.strangers.append(request.url)

    # What people do

    def field(self, label: str) -> Locator:
        """The control of an input."""
        return self.page.get_by_label(label, exact=True)

    def press(self, name: str) -> None:
        """Presses a button."""
        self.page.get_by_role("button", name=name, exact=True).first.click()

    def choose(self, name: str, path: Path) -> None:
        """Chooses a file for an input that is a picture."""
        self.page.locator(f'[data-name="{name}"] input[type=file]').first.set_input_files(path)

    def more(self) -> None:
        """Shows the advanced inputs, those below headings too."""
        expect(self.field("Prompt")).to_be_visible()  # with all other fields
        # By its key: what is said below the prompt comes a moment later, and moves the heading.
        self.page.locator("#advanced > summary").press("Enter")
        expect(self.page.locator("#advanced")).to_have_attribute("open", "")
        self.page.evaluate("for (const one of document.querySelectorAll('.group')) one.open = true")

    def run(self) -> None:
        """Presses Run, and waits until the prediction is in the queue."""
        with self.page.expect_response(_is_new_prediction) as created:
            self.press("Run")
        prediction = created.value.json()
        expect(self.page.locator(f'.card[data-id="{prediction["id"]}"]')).to_be_visible()

    @property
    def cards(self) -> Locator:
        """The predictions, the newest first."""
        return self.page.locator(".card")

    def card(self, status: str = "succeeded", place: int = 0) -> Locator:
        """A prediction, once it has a status."""
        card = self.cards.nth(place)
        expect(card).to_have_attribute("data-status", status)
        return card

    def name(self, name: str) -> Locator:
        """What the file of an input that is a picture is called."""
        return self.page.locator(f'[data-name="{name}"] .name')

    def fault(self, name: str) -> Locator:
        """What is said to be wrong with an input."""
        return self.page.locator(f'[data-name="{name}"] .fault')


def fingers(page: Page) -> Callable[..., None]:
    """Return what touches the screen: `touch("Start", (x, y))`, with a place for each finger."""
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})

    return touch


Visit = Callable[..., Visitor]


def _is_new_prediction(answer: Response) -> bool:
    return answer.request.method == "POST" and answer.url.endswith("/predictions")


def violations(page: Page) -> list[str]:
    """What axe-core finds wrong for those who see, hear or move differently."""
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html'][:200]}: {node['failureSummary']}"
        for one in found
        for node in one["nodes"]
    ]
