"""Screenshots of the web form for the README, taken from the running page into `docs/`."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

from cog_schema.schema import ROOT
from tools.benchmark.server import serving

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--no-sandbox",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
LAPTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
LONGEST_MILLISECONDS = 120_000
"""The longest time that a prediction may take."""


@contextmanager
def browser() -> Iterator[Browser]:
    """Run a headless browser: the system's, else the one that Playwright has installed."""
    program = next((path for one in PROGRAMS if (path := shutil.which(one))), None)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        try:
            yield opened
        finally:
            opened.close()


def main() -> int:
    """Take the screenshots; return the exit status."""
    with serving("demo") as server, browser() as opened:
        page = _page(opened, server.url, viewport=LAPTOP, device_scale_factor=1.25)
        for example, prompt in (("house.png", "a castle"), ("orange.jpg", "a pumpkin")):
            _draw(page, example, prompt, images=4)
        _choose(page, "cat.png", "a fox", images=2)
        page.locator("#advanced > summary").press("Enter")
        page.get_by_label("Steps", exact=True).fill("512")
        page.locator("#advanced > summary").press("Enter")
        _run(page)
        expect(page.locator(".card canvas").first).to_be_visible()
        expect(page.locator(".card").first.locator(".status")).to_contain_text(
            re.compile(r"Step 1\d\d of"), timeout=LONGEST_MILLISECONDS
        )
        _take(page, "form.png")
        page.get_by_role("button", name="Stop").first.click()

        page.get_by_role("button", name="Picture 2 of a pumpkin: look closer").click()
        expect(page.locator("dialog.viewer img").first).to_be_visible()
        _take(page, "form-picture.png")

        phone = _page(
            opened,
            server.url,
            viewport=PHONE,
            device_scale_factor=1.5,
            has_touch=True,
            is_mobile=True,
            color_scheme="dark",
        )
        _choose(phone, "house.png", "a castle", images=1)
        _take(phone, "form-phone.png")
    return 0


def _page(opened: Browser, url: str, **options: Any) -> Page:
    page = opened.new_context(**options).new_page()
    page.set_default_timeout(LONGEST_MILLISECONDS)
    page.goto(url)
    expect(page.get_by_label("Prompt", exact=True)).to_be_visible()
    return page


def _choose(page: Page, example: str, prompt: str, images: int) -> None:
    if page.get_by_role("button", name="Remove").count():
        page.get_by_role("button", name="Remove").first.click()
    take = page.get_by_role("button", name=f"Take {example} and the prompt {prompt}")
    if not take.is_visible():
        page.get_by_role("button", name="Examples").click()
    take.click()
    expect(page.locator("#run")).to_be_focused()
    page.get_by_label("Number of images", exact=True).fill(str(images))


def _run(page: Page) -> None:
    page.get_by_role("button", name="Run", exact=True).click()


def _draw(page: Page, example: str, prompt: str, images: int) -> None:
    before = page.locator(".card[data-status=succeeded]").count()
    _choose(page, example, prompt, images)
    _run(page)
    expect(page.locator(".card[data-status=succeeded]")).to_have_count(
        before + 1, timeout=LONGEST_MILLISECONDS
    )


def _take(page: Page, name: str) -> None:
    page.evaluate(
        "for (const one of [window, document.getElementById('inputs')]) one.scrollTo(0, 0)"
    )
    page.wait_for_timeout(500)
    page.screenshot(path=ROOT / "docs" / name)
    print(f"docs/{name}")


if __name__ == "__main__":
    sys.exit(main())
