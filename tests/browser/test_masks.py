"""Masks that are painted."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.support.asking import arrived, ask, sent
from tests.support.browser import Visit, Visitor
from tests.support.front import Front
from tests.support.pictures import EXAMPLES, opened
from tools.fake_cog import CogServer, data_url
from tools.screenshots import PHONE


def painted(visitor: Visitor, *marks: tuple[float, float, float, float]) -> None:
    """Paints straight lines, in shares of the picture's sides."""
    box = visitor.page.locator(".paper canvas").bounding_box()
    assert box
    mouse = visitor.page.mouse
    for left, top, right, bottom in marks:
        mouse.move(box["x"] + left * box["width"], box["y"] + top * box["height"])
        mouse.down()
        mouse.move(box["x"] + right * box["width"], box["y"] + bottom * box["height"], steps=4)
        mouse.up()


def mask_sent(cog: CogServer) -> Image.Image:
    with arrived(cog, "mask") as mask:
        return mask.convert("L")


def test_a_mask_is_painted_erased_undone_inverted_and_painted_on(
    visitor: Visitor, cog: CogServer
) -> None:
    page = visitor.page
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.press("Paint on the image")
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    painted(visitor, (0.1, 0.2, 0.9, 0.2), (0.1, 0.5, 0.9, 0.5), (0.1, 0.8, 0.9, 0.8))
    visitor.press("Undo")
    visitor.press("Undo")
    visitor.press("Redo")
    visitor.press("Eraser")
    painted(visitor, (0.5, 0.2, 0.5, 0.2))
    visitor.press("Use this mask")
    ask(visitor, "a rose")
    visitor.card()
    mask = mask_sent(cog)
    side = opened(EXAMPLES / "flower.png").width
    assert mask.size == (side, side)

    def at(x: float, y: float) -> Any:
        return mask.getpixel((int(x * side), int(y * side)))

    assert [at(0.2, 0.2), at(0.5, 0.2), at(0.5, 0.5), at(0.5, 0.8)] == [255, 0, 255, 0]

    visitor.press("Paint on")
    visitor.press("Invert")
    visitor.press("Use this mask")
    ask(visitor, "another rose")
    visitor.card()
    mask = mask_sent(cog)
    assert [at(0.2, 0.2), at(0.5, 0.2), at(0.5, 0.5), at(0.5, 0.8)] == [0, 255, 0, 255]

    visitor.press("Paint on")
    visitor.press("Clear")
    visitor.press("Use this mask")
    told = page.get_by_role("dialog").get_by_role("status")
    expect(told).to_contain_text("Nothing is painted yet.")
    painted(visitor, (0.5, 0.5, 0.5, 0.5))
    visitor.press("Back")  # a question, which is answered with no
    expect(page.get_by_role("dialog")).to_be_visible()
    page.once("dialog", lambda question: question.accept())
    visitor.press("Back")
    expect(page.get_by_role("dialog")).to_be_hidden()
    ask(visitor, "the same rose")
    visitor.card()
    assert mask_sent(cog).tobytes() == mask.tobytes()


def test_painting_can_be_close_up(visitor: Visitor, cog: CogServer) -> None:
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.press("Paint on the image")
    paper = visitor.page.locator(".paper")
    before = paper.bounding_box()
    for _ in range(3):
        visitor.press("Zoom in")
    after = paper.bounding_box()
    assert before
    assert after
    assert after["width"] == pytest.approx(before["width"] * 1.5**3, rel=0.01)
    # What was in the middle still is.
    middle = before["x"] + before["width"] / 2
    assert after["x"] + after["width"] / 2 == pytest.approx(middle, abs=3)
    painted(visitor, (0.5, 0.5, 0.5, 0.5))
    visitor.press("Use this mask")
    ask(visitor, "a rose")
    visitor.card()
    mask = mask_sent(cog)
    assert mask.getpixel((mask.width // 2, mask.height // 2)) == 255
    assert mask.getpixel((10, 10)) == 0


def test_a_finger_paints_and_two_fingers_move_the_paper(one: Front, visit: Visit) -> None:
    visitor = visit(one.url, viewport=PHONE, has_touch=True, is_mobile=True)
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.press("Paint on the image")
    canvas = visitor.page.locator(".paper canvas")
    box = canvas.bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = visitor.context.new_cdp_session(visitor.page)

    def fingers(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": px, "y": py, "id": number} for number, (px, py) in enumerate(places)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", (x, y))
    fingers("touchMove", (x + 20, y))
    fingers("touchEnd")
    undo = visitor.page.get_by_role("button", name="Undo")
    expect(undo).to_be_enabled()
    undo.click()
    fingers("touchStart", (x - 20, y), (x + 20, y))
    fingers("touchMove", (x - 60, y), (x + 60, y))
    fingers("touchEnd")
    expect(undo).to_be_disabled()
    wider = canvas.bounding_box()
    assert wider
    assert wider["width"] > 2 * box["width"]


def test_a_mask_can_be_a_file_and_needs_an_image(visitor: Visitor, cog: CogServer) -> None:
    visitor.choose("mask", EXAMPLES / "flower-mask.png")
    visitor.field("Prompt").fill("a rose")
    visitor.press("Run")
    expect(visitor.fault("image")).to_have_text("A mask needs an image to be laid on.")
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.run()
    visitor.card()
    assert sent(cog)["mask"] == data_url((EXAMPLES / "flower-mask.png").read_bytes())


def test_how_a_mask_is_meant_can_be_said_where_there_is_one(
    visitor: Visitor, cog: CogServer
) -> None:
    visitor.more()
    names = ("Mask source", "Invert mask", "Mask blur", "Mask grow", "Only masked")
    for name in names:
        expect(visitor.field(name)).to_be_hidden()
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.choose("mask", EXAMPLES / "flower-mask.png")
    visitor.field("Mask source").select_option("alpha")
    visitor.field("Invert mask").check()
    visitor.field("Mask blur").fill("9")
    visitor.field("Mask grow").fill("-3")
    visitor.field("Only masked").check()
    expect(visitor.page.get_by_text("becomes 512 × 512 px")).to_be_visible()
    ask(visitor, "a rose")
    visitor.card()
    said = {"mask_source": "alpha", "invert_mask": True, "mask_blur": 9, "mask_grow": -3}
    assert sent(cog).items() >= (said | {"only_masked": True}).items()
