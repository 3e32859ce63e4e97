"""Pictures that are dropped and pasted."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Route, expect

from tests.support.asking import ask, elsewhere, sent
from tests.support.browser import Visitor, violations
from tests.support.front import Front
from tests.support.pictures import EXAMPLES
from tools.fake_cog import CogServer, data_url, pixels

GIVE = """([kind, target, files, text]) => {
    const data = new DataTransfer();
    for (const [name, bytes] of files)
        data.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
    if (text) data.setData(kind === "paste" ? "text/plain" : "text/uri-list", text);
    const options = { bubbles: true, cancelable: true };
    document.querySelector(target).dispatchEvent(kind === "paste"
        ? new ClipboardEvent("paste", { ...options, clipboardData: data })
        : new DragEvent(kind, { ...options, dataTransfer: data }));
}"""


@pytest.fixture
def visitor(visitor: Visitor) -> Visitor:
    expect(visitor.field("Prompt")).to_be_visible()
    return visitor


def give(visitor: Visitor, kind: str, target: str, *names: str, text: str = "") -> None:
    """Drags, drops or pastes files, or a URL."""
    files = [[name, list(pixels(name, 1))] for name in names]
    visitor.page.evaluate(GIVE, [kind, target, files, text])


def test_while_a_picture_is_dragged_the_page_says_where_it_may_be_dropped(
    visitor: Visitor,
) -> None:
    sign = visitor.page.locator(".drop-sign")
    expect(sign).to_be_hidden()
    give(visitor, "dragenter", "#results", "one.png")
    expect(sign).to_have_text("Drop it anywhere to use it as the image")
    expect(visitor.page.locator('[data-name="image"]')).to_have_class(re.compile("over"))
    give(visitor, "dragenter", "#results", "one.png", "two.png")
    expect(sign).to_have_text("Drop 2 pictures to run the form on each")
    give(visitor, "dragleave", "#results")
    expect(sign).to_be_hidden()
    visitor.choose("image", EXAMPLES / "flower.png")
    give(visitor, "dragenter", '[data-name="mask"] .drop', "one.png")
    expect(sign).to_have_text("Drop it anywhere to use it as the mask")
    give(visitor, "dragenter", '[data-name="image"] figure', "one.png")
    expect(sign).to_have_text("Drop it anywhere to use it as the image")
    expect(visitor.page.locator(".over > .chosen")).to_be_visible()
    assert violations(visitor.page) == []
    give(visitor, "drop", '[data-name="image"] figure', "one.png")
    expect(sign).to_be_hidden()
    expect(visitor.page.locator(".over")).to_have_count(0)
    expect(visitor.name("image")).to_have_text("one.png")


def test_text_that_is_dragged_shows_no_sign(visitor: Visitor) -> None:
    visitor.page.evaluate(
        """() => {
            const data = new DataTransfer();
            data.setData("text/plain", "a fox");
            const options = { bubbles: true, cancelable: true, dataTransfer: data };
            document.querySelector("#results").dispatchEvent(new DragEvent("dragenter", options));
        }"""
    )
    expect(visitor.page.locator(".drop-sign")).to_be_hidden()


def test_several_pictures_are_run_each(visitor: Visitor, cog: CogServer) -> None:
    visitor.field("Prompt").fill("a bus")
    give(visitor, "drop", "#results", "one.png", "two.png")
    dialog = visitor.page.get_by_role("dialog")
    expect(dialog).to_contain_text("Run the form on 2 pictures?")
    dialog.get_by_role("button", name="Run").click()
    expect(dialog).to_be_hidden()
    for _ in range(500):
        if len(cog.runs) == 2:
            break
        visitor.page.wait_for_timeout(20)
    assert [sent(cog, place)["image"] for place in range(2)] == [
        data_url(pixels(name, 1)) for name in ("one.png", "two.png")
    ]


def test_a_url_is_taken_that_is_pasted_or_dropped(visitor: Visitor, one: Front) -> None:
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url))
    give(visitor, "paste", "#input-prompt", text=elsewhere(one, "cat.png"))
    give(visitor, "paste", "body", text="a fox")
    give(visitor, "paste", "body", text=elsewhere(one, "house.png"))
    expect(visitor.name("image")).to_have_text("house.png")
    give(visitor, "drop", "#results", text=elsewhere(one, "car.png"))
    expect(visitor.name("image")).to_have_text("car.png")
    assert [url.endswith("/form/picture") for url in asked].count(True) == 2


def test_a_large_picture_says_that_it_is_being_read(visitor: Visitor) -> None:
    visitor.page.evaluate(
        """() => {
            const really = window.createImageBitmap;
            window.createImageBitmap = async (...given) => {
                await new Promise((goOn) => { window.goOn = goOn; });
                return really(...given);
            };
        }"""
    )
    visitor.choose("image", EXAMPLES / "flower.png")
    doing = visitor.page.locator('[data-name="image"] .doing')
    expect(doing).to_have_text("Reading flower.png …")
    assert violations(visitor.page) == []
    visitor.page.evaluate("window.goOn()")
    expect(visitor.name("image")).to_have_text("flower.png")
    expect(doing).to_have_text("")


def made_here(path: Path, **making: Any) -> Path:
    """A picture that carries how it was made."""
    chunk = PngInfo()
    chunk.add_text("Description", json.dumps(making))
    noise = numpy.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(numpy.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG", pnginfo=chunk)
    path.write_bytes(file.getvalue())
    return path


def test_a_picture_made_here_brings_its_settings_and_its_image_back(
    visitor: Visitor, cog: CogServer, tmp_path: Path
) -> None:
    made = made_here(tmp_path / "made.png", prompt="a rose", seed=5, guidance_scale=9.0)
    flower = (EXAMPLES / "flower.png").read_bytes()

    def answer(route: Route) -> None:
        body = route.fetch().body()
        route.fulfill(body=body if body == flower else made.read_bytes(), content_type="image/png")

    visitor.page.route(re.compile(r"/files/.+\.png"), answer)
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.more()
    visitor.field("Guidance scale").fill("9")
    visitor.field("Seed").fill("5")
    ask(visitor, "a rose")
    visitor.card()
    visitor.press("Reset")
    expect(visitor.name("image")).to_have_count(0)
    visitor.choose("image", made)
    visitor.press("Use its settings")
    expect(visitor.name("image")).to_have_text("image.png")
    expect(visitor.field("Prompt")).to_have_value("a rose")
    expect(visitor.field("Guidance scale")).to_have_value("9")
    expect(visitor.field("Seed")).to_have_value("5")
    visitor.field("Seed").fill("6")
    visitor.run()
    visitor.card()
    assert sent(cog) == sent(cog, -2)
    visitor.page.unroute_all(behavior="wait")


def test_where_the_image_is_gone_it_is_said_and_not_as_a_fault(
    visitor: Visitor, tmp_path: Path
) -> None:
    made = made_here(tmp_path / "made.png", prompt="a rose", seed=77, guidance_scale=9.0)
    visitor.choose("image", made)
    visitor.press("Use its settings")
    expect(visitor.field("Prompt")).to_have_value("a rose")
    expect(visitor.page.locator(".toast")).to_contain_text(
        "If it was made from an image, choose that too."
    )
    expect(visitor.page.locator("#fault")).to_have_text("")
