"""Masks that are painted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.support.asking import arrived, ask, file_of, sent
from tests.support.browser import Visit, Visitor, box_of, fingers, violations
from tests.support.front import Front
from tests.support.pictures import EXAMPLES, opened
from tools.fake_cog import CogServer, data_url
from tools.screenshots import PHONE


def painted(visitor: Visitor, *marks: tuple[float, float, float, float]) -> None:
    """Paints straight lines, in shares of the picture's sides."""
    box = box_of(visitor.page.locator(".paper canvas"))
    mouse = visitor.page.mouse
    for left, top, right, bottom in marks:
        mouse.move(box["x"] + left * box["width"], box["y"] + top * box["height"])
        mouse.down()
        mouse.move(box["x"] + right * box["width"], box["y"] + bottom * box["height"], steps=4)
        mouse.up()


def mask_sent(cog: CogServer) -> Image.Image:
    with arrived(cog, "mask") as mask:
        return mask.convert("L")


def test_an_editor_that_does_not_come_is_said_at_the_field(visitor: Visitor) -> None:
    visitor.page.route("**/form/mask/editor.js", lambda route: route.abort())
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.press("Paint on the image")
    said = "A part of this page could not be loaded. Reload the page and try again."
    expect(visitor.fault("mask")).to_have_text(said)


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

    visitor.press("Edit mask")
    visitor.press("Invert")
    visitor.press("Use this mask")
    ask(visitor, "another rose")
    visitor.card()
    mask = mask_sent(cog)
    assert [at(0.2, 0.2), at(0.5, 0.2), at(0.5, 0.5), at(0.5, 0.8)] == [0, 255, 0, 255]

    visitor.press("Edit mask")
    visitor.press("Clear")
    visitor.press("Use this mask")
    told = page.get_by_role("dialog").get_by_role("status")
    expect(told).to_contain_text("Paint over what should change first.")
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
    before = box_of(paper)
    for _ in range(3):
        visitor.press("Zoom in")
    after = box_of(paper)
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
    box = box_of(canvas)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = fingers(visitor.page)
    touch("Start", (x, y))
    touch("Move", (x + 20, y))
    touch("End")
    undo = visitor.page.get_by_role("button", name="Undo")
    expect(undo).to_be_enabled()
    undo.click()
    touch("Start", (x - 20, y), (x + 20, y))
    touch("Move", (x - 60, y), (x + 60, y))
    touch("End")
    expect(undo).to_be_disabled()
    wider = box_of(canvas)
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


def at(mask: Image.Image, x: float, y: float) -> Any:
    """The grey of a mask at a place, in shares of its sides."""
    return mask.getpixel((int(x * mask.width), int(y * mask.height)))


def test_an_area_is_marked_by_a_lasso_and_by_a_rectangle_and_erased_likewise(
    visitor: Visitor, cog: CogServer
) -> None:
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.press("Paint on the image")
    visitor.press("Rectangle")
    painted(visitor, (0.1, 0.1, 0.6, 0.6))
    visitor.page.keyboard.press("e")
    painted(visitor, (0.3, 0.3, 0.4, 0.4))
    visitor.page.keyboard.press("e")
    visitor.page.keyboard.press("l")
    expect(visitor.page.get_by_role("button", name="Lasso")).to_have_attribute(
        "aria-pressed", "true"
    )
    box = box_of(visitor.page.locator(".paper canvas"))
    corners = [(0.7, 0.7), (0.95, 0.7), (0.95, 0.95)]
    for place, (x, y) in enumerate(corners):
        visitor.page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        if place == 0:
            visitor.page.mouse.down()
    visitor.page.mouse.up()
    painted(visitor, (0.2, 0.9, 0.2, 0.9))  # no area
    visitor.press("Use this mask")
    ask(visitor, "a rose")
    visitor.card()
    mask = mask_sent(cog)
    assert [at(mask, *place) for place in ((0.2, 0.2), (0.35, 0.35), (0.59, 0.59))] == [255, 0, 255]
    assert [at(mask, *place) for place in ((0.9, 0.8), (0.75, 0.9), (0.2, 0.9))] == [255, 0, 0]


def test_a_painted_mask_is_a_greyscale_file(visitor: Visitor, cog: CogServer) -> None:
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.press("Paint on the image")
    painted(visitor, (0.3, 0.3, 0.6, 0.6))
    visitor.press("Use this mask")
    ask(visitor, "a rose")
    visitor.card()
    with arrived(cog, "mask") as mask:
        mask.load()
        assert mask.mode == "L"
        assert mask.getextrema() == (0, 255)
        assert mask.info == {}


def test_keys_and_the_wheel_change_the_size_of_the_brush(visitor: Visitor) -> None:
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.press("Paint on the image")
    size = visitor.page.get_by_label("Size of the brush")
    expect(size).to_have_attribute("aria-valuetext", "64 px")
    visitor.page.locator(".paper canvas").click()
    for _ in range(3):
        visitor.page.keyboard.press("]")
    expect(size).to_have_value("37")
    visitor.page.keyboard.press("[")
    expect(size).to_have_value("33")
    visitor.page.mouse.wheel(0, -100)
    expect(size).to_have_value("37")
    visitor.page.mouse.wheel(0, 100)
    expect(size).to_have_value("33")
    visitor.press("Lasso")
    visitor.page.locator(".paper canvas").hover()
    visitor.page.mouse.wheel(0, 100)
    expect(size).to_have_value("33")


def test_what_is_done_is_undone_and_done_again_by_keys(visitor: Visitor) -> None:
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.press("Paint on the image")
    undo, redo = (visitor.page.get_by_role("button", name=name) for name in ("Undo", "Redo"))
    painted(visitor, (0.3, 0.3, 0.6, 0.6))
    visitor.page.keyboard.press("Control+z")
    expect(undo).to_be_disabled()
    visitor.page.keyboard.press("Control+y")
    expect(redo).to_be_disabled()
    visitor.page.keyboard.press("Control+z")
    visitor.page.keyboard.press("Control+Shift+z")
    expect(redo).to_be_disabled()
    expect(undo).to_be_enabled()


def test_with_space_held_the_paper_is_moved(visitor: Visitor) -> None:
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.press("Paint on the image")
    for _ in range(3):
        visitor.press("Zoom in")
    visitor.page.keyboard.down("Space")
    paper = visitor.page.locator(".paper")
    before = box_of(paper)
    stage = box_of(visitor.page.locator(".editor .stage"))
    x, y = stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2
    visitor.page.mouse.move(x, y)
    visitor.page.mouse.down()
    visitor.page.mouse.move(x + 60, y + 30, steps=3)
    visitor.page.mouse.up()
    visitor.page.keyboard.up("Space")
    after = box_of(paper)
    assert after["x"] - before["x"] == pytest.approx(60, abs=2)
    assert after["y"] - before["y"] == pytest.approx(30, abs=2)
    expect(visitor.page.get_by_role("button", name="Undo")).to_be_disabled()


def test_the_feather_is_the_blur_that_is_asked_for(visitor: Visitor, cog: CogServer) -> None:
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.press("Paint on the image")
    painted(visitor, (0.3, 0.3, 0.6, 0.6))
    visitor.page.get_by_label("Feather of the mask's edge").fill("12")
    expect(visitor.page.locator(".paper canvas")).to_have_css("filter", re.compile(r"^blur\("))
    visitor.press("Use this mask")
    ask(visitor, "a rose")
    visitor.card()
    assert sent(cog)["mask_blur"] == 12
    visitor.press("Edit mask")
    expect(visitor.page.get_by_label("Feather of the mask's edge")).to_have_value("12")


def test_a_mask_is_painted_with_the_keyboard_alone(visitor: Visitor, cog: CogServer) -> None:
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.press("Paint on the image")
    visitor.page.locator(".paper canvas").focus()
    keyboard = visitor.page.keyboard
    for key in ("ArrowLeft",) * 10 + ("Enter",) + ("ArrowDown",) * 8 + ("Enter",):
        keyboard.press(key)
    keyboard.press("r")
    for key in ("ArrowRight",) * 14 + ("Enter",) + ("ArrowRight", "ArrowUp") * 3 + ("Enter",):
        keyboard.press(key)
    visitor.press("Use this mask")
    ask(visitor, "a rose")
    visitor.card()
    mask = mask_sent(cog)
    assert [at(mask, *place) for place in ((0.25, 0.5), (0.25, 0.7), (0.5, 0.5))] == [255, 255, 0]
    assert [at(mask, *place) for place in ((0.63, 0.66), (0.63, 0.75))] == [255, 0]


def test_strength_1_is_proposed_for_a_mask(visitor: Visitor, cog: CogServer) -> None:
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.choose("mask", EXAMPLES / "flower-mask.png")
    visitor.press("Set strength to 1")
    expect(visitor.field("Strength")).to_have_value("1")
    expect(visitor.page.get_by_role("button", name="Set strength to 1")).to_have_count(0)
    expect(visitor.page.get_by_role("button", name="Edit mask")).to_be_focused()
    visitor.field("Strength").fill("0.8")
    expect(visitor.page.get_by_role("button", name="Set strength to 1")).to_be_visible()
    visitor.field("Strength").fill("0.6")  # a choice of one's own
    expect(visitor.page.get_by_role("button", name="Set strength to 1")).to_have_count(0)


def test_another_image_asks_what_becomes_of_the_mask(visitor: Visitor, cog: CogServer) -> None:
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.choose("mask", EXAMPLES / "flower-mask.png")
    expect(visitor.name("mask")).to_be_visible()
    question = visitor.page.locator(".notice", has_text="made for another picture")
    visitor.choose("image", EXAMPLES / "flower.png")
    expect(visitor.page.get_by_role("button", name="Set strength to 1")).to_be_visible()
    expect(question).to_have_count(0)
    visitor.choose("image", EXAMPLES / "car.png")
    expect(question).to_be_visible()
    visitor.field("Prompt").fill("a bus")
    visitor.press("Run")
    expect(visitor.fault("mask")).to_have_text(
        "It was made for another picture: keep it, or remove it."
    )
    visitor.press("Keep it")
    expect(question).to_have_count(0)
    ask(visitor, "a bus")
    visitor.card()
    assert sent(cog)["mask"] == data_url((EXAMPLES / "flower-mask.png").read_bytes())
    visitor.choose("image", EXAMPLES / "house.png")
    visitor.press("Remove it")
    expect(visitor.name("mask")).to_have_count(0)
    expect(visitor.page.get_by_role("button", name="Choose a mask")).to_be_focused()


def test_the_mask_of_another_image_is_not_painted_on(visitor: Visitor) -> None:
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.choose("mask", EXAMPLES / "flower-mask.png")
    expect(visitor.name("mask")).to_be_visible()
    visitor.choose("image", EXAMPLES / "car.png")
    visitor.press("Edit mask")
    visitor.press("Use this mask")
    told = visitor.page.get_by_role("dialog").get_by_role("status")
    expect(told).to_have_text("Paint over what should change first.")


def test_a_mask_that_lies_outside_what_is_used_is_said(
    visitor: Visitor, cog: CogServer, tmp_path: Path
) -> None:
    visitor.choose("image", file_of(Image.new("RGB", (600, 300)), tmp_path / "wide.png"))
    visitor.more()
    visitor.field("Width").select_option("512")
    visitor.field("Height").select_option("512")
    visitor.press("Paint on the image")
    expect(visitor.page.get_by_text("What is dark is cut off.")).to_be_visible()
    visitor.press("Rectangle")
    painted(visitor, (0.02, 0.2, 0.15, 0.6))
    visitor.press("Use this mask")
    told = visitor.page.get_by_role("dialog").get_by_role("status")
    expect(told).to_contain_text("All that you have painted is cut off")
    visitor.press("Use this mask")
    expect(visitor.page.get_by_role("dialog")).to_be_hidden()
    whole = visitor.page.locator(".notice", has_text="The mask lies outside what is used")
    expect(whole).to_be_visible()
    visitor.press("Move the frame")
    expect(visitor.field("Crop")).to_have_value("0,0,300,300")
    expect(whole).to_have_count(0)
    visitor.field("Crop").fill("60,0,540,300")
    visitor.press("Use all of it")
    expect(visitor.field("Crop")).to_have_value("")
    expect(visitor.field("Resize mode")).to_have_value("pad")
    expect(visitor.page.locator(".notice", has_text="outside what is used")).to_have_count(0)
    ask(visitor, "a rose")
    visitor.card()
    assert sent(cog)["resize_mode"] == "pad"


def test_an_image_that_the_browser_does_not_show_is_not_painted_on(
    visitor: Visitor, tmp_path: Path
) -> None:
    visitor.choose("image", file_of(Image.new("RGB", (80, 40)), tmp_path / "scan.tiff"))
    expect(visitor.name("image")).to_be_visible()
    visitor.press("Paint on the image")
    expect(visitor.fault("mask")).to_have_text(
        "This browser can't show the image, so nothing can be painted on it."
    )


def test_there_is_room_to_paint_at_400_percent(one: Front, visit: Visit, cog: CogServer) -> None:
    visitor = visit(one.url, viewport={"width": 360, "height": 225}, device_scale_factor=4)
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.press("Paint on the image")
    stage = box_of(visitor.page.locator(".editor .stage"))
    assert stage["height"] > 100
    assert violations(visitor.page) == []
    visitor.page.locator(".paper canvas").scroll_into_view_if_needed()
    painted(visitor, (0.5, 0.5, 0.6, 0.5))
    visitor.press("Use this mask")
    ask(visitor, "a rose")
    visitor.card()
    assert at(mask_sent(cog), 0.5, 0.5) == 255


def test_a_mask_that_is_meant_otherwise_is_painted_on_as_it_is_meant(
    visitor: Visitor, cog: CogServer, tmp_path: Path
) -> None:
    half = Image.new("L", (64, 64), 0)
    half.paste(255, (0, 0, 32, 64))
    visitor.choose("image", file_of(Image.new("RGB", (64, 64), "red"), tmp_path / "red.png"))
    visitor.choose("mask", file_of(half, tmp_path / "half.png"))
    visitor.more()
    visitor.field("Invert mask").check()
    visitor.press("Edit mask")
    painted(visitor, (0.1, 0.1, 0.1, 0.1))
    visitor.press("Use this mask")
    expect(visitor.field("Invert mask")).not_to_be_checked()
    ask(visitor, "a rose")
    visitor.card()
    assert "invert_mask" not in sent(cog)
    mask = mask_sent(cog)
    assert [at(mask, *place) for place in ((0.1, 0.1), (0.25, 0.9), (0.75, 0.5))] == [255, 0, 255]

    holes = Image.new("RGBA", (64, 64), "white")
    holes.paste((0, 0, 0, 0), (0, 0, 32, 64))
    visitor.choose("mask", file_of(holes, tmp_path / "holes.png"))
    visitor.field("Mask source").select_option("alpha")
    visitor.press("Edit mask")
    painted(visitor, (0.9, 0.9, 0.9, 0.9))
    visitor.press("Use this mask")
    ask(visitor, "another rose")
    visitor.card()
    assert "mask_source" not in sent(cog)
    mask = mask_sent(cog)
    assert [at(mask, *place) for place in ((0.2, 0.5), (0.75, 0.2), (0.9, 0.9))] == [255, 0, 255]


def test_whose_mask_it_is_outlasts_a_reload_and_an_undone_reset(visitor: Visitor) -> None:
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.choose("mask", EXAMPLES / "flower-mask.png")
    expect(visitor.name("mask")).to_be_visible()
    visitor.choose("image", EXAMPLES / "car.png")
    question = visitor.page.locator(".notice", has_text="made for another picture")
    expect(question).to_be_visible()
    visitor.page.reload()
    expect(question).to_be_visible()
    visitor.press("Reset")
    expect(question).to_have_count(0)
    visitor.press("Undo")
    expect(visitor.name("image")).to_have_text("car.png")
    expect(question).to_be_visible()
    visitor.press("Keep it")
    visitor.page.reload()
    expect(visitor.page.get_by_role("button", name="Set strength to 1")).to_be_visible()
    expect(question).to_have_count(0)


def test_what_is_said_of_a_mask_goes_with_its_image(visitor: Visitor) -> None:
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.choose("mask", EXAMPLES / "flower-mask.png")
    notice = visitor.page.locator('[data-name="mask"] .notice')
    expect(notice).to_have_count(2)
    visitor.press("Remove")
    expect(notice).to_have_count(0)
    expect(visitor.name("mask")).to_be_visible()


def test_a_mask_leads_to_the_prompt(visitor: Visitor) -> None:
    visitor.field("Prompt").fill("a castle")
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.choose("mask", EXAMPLES / "flower-mask.png")
    visitor.press("Write it")
    expect(visitor.field("Prompt")).to_be_focused()
    visitor.page.keyboard.type("a sun")
    expect(visitor.field("Prompt")).to_have_value("a sun")


def test_escape_pressed_twice_loses_no_mask(visitor: Visitor) -> None:
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.press("Paint on the image")
    painted(visitor, (0.3, 0.3, 0.6, 0.6))
    for _ in range(3):  # a question each time, which is answered with no
        visitor.page.keyboard.press("Escape")
    expect(visitor.page.get_by_role("dialog")).to_be_visible()
    visitor.press("Undo")
    visitor.page.keyboard.press("Escape")
    expect(visitor.page.get_by_role("dialog")).to_be_hidden()
