"""The frame on a chosen picture: it is what the server uses, and can be moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image
from playwright.sync_api import expect

from stable_diffusion.canvas import canvas_of
from stable_diffusion.request import Request
from tests.support.asking import arrived, ask, file_of, sent
from tests.support.browser import Visit, Visitor, box_of, boxes_of, fingers, violations
from tests.support.front import Front
from tools.fake_cog import CogServer
from tools.screenshots import LAPTOP, PHONE

NATIVE = 768
"""The side of the square that the fake server's model was trained on."""
SHAPES = {
    "3:2": (600, 400),
    "16:9": (640, 360),
    "2:1": (600, 300),
    "3:1": (720, 240),
    "9:16": (360, 640),
    "square": (400, 400),
}


def places(size: tuple[int, int]) -> Image.Image:
    """A picture whose red says how far to the right a pixel is, and whose green how far down."""
    across, down = (numpy.linspace(0, 255, side) for side in size)
    pixels = numpy.zeros((size[1], size[0], 3))
    pixels[..., 0], pixels[..., 1] = across[None, :], down[:, None]
    return Image.fromarray(pixels.round().astype(numpy.uint8))


def shown(visitor: Visitor) -> list[float]:
    """The edges of what the frame leaves of the picture as one sees both, in shares of it."""
    expect(visitor.page.locator(".crop")).to_be_visible()
    found: list[float] = visitor.page.evaluate(
        """() => {
            const image = document.querySelector(".preview img").getBoundingClientRect();
            const box = document.querySelector(".crop").getBoundingClientRect();
            return [
                (box.left - image.left) / image.width,
                (box.top - image.top) / image.height,
                (box.right - image.left) / image.width,
                (box.bottom - image.top) / image.height,
            ];
        }"""
    )
    return found


def used(cog: CogServer) -> list[float]:
    """What the model makes of what was sent last: the same of the picture that it fits."""
    inputs: dict[str, Any] = sent(cog)
    with arrived(cog, "image") as image:
        request = Request.of(inputs | {"image": image.convert("RGB")})
    fitted = canvas_of(request, NATIVE).picture
    assert fitted
    pixels = numpy.asarray(fitted).astype(float) / 255
    edges: list[float] = []
    for channel, axis in ((0, 0), (1, 1)):
        values = pixels[..., channel].mean(axis=axis)
        inside = numpy.arange(len(values))[4:-4]  # at its edges a filter sees beyond them
        slope, start = numpy.polyfit(inside + 0.5, values[4:-4], 1)
        edges += [start, start + slope * len(values)]
    left, right, top, bottom = edges
    return [left, top, right, bottom]


def is_true(visitor: Visitor, cog: CogServer) -> None:
    """What is shown is what is used, to half a percent of the picture."""
    frame = shown(visitor)
    ask(visitor, "a bus")
    visitor.card()
    assert frame == pytest.approx(used(cog), abs=0.005)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("look", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_the_frame_is_what_the_server_uses(
    one: Front, visit: Visit, cog: CogServer, tmp_path: Path, shape: str, look: dict[str, int]
) -> None:
    visitor = visit(one.url, viewport=look)
    visitor.choose("image", file_of(places(SHAPES[shape]), tmp_path / "photo.png"))
    preview, image = boxes_of(*map(visitor.page.locator, (".preview", ".preview img")))
    assert preview == pytest.approx(image, abs=0.6)
    is_true(visitor, cog)
    visitor.more()
    visitor.field("Width").select_option("512")
    visitor.field("Height").select_option("512")
    is_true(visitor, cog)
    visitor.page.locator(".crop").focus()
    visitor.page.keyboard.press("+")
    for _ in range(3):
        visitor.page.keyboard.press("ArrowRight")
        visitor.page.keyboard.press("ArrowUp")
    frame = shown(visitor)
    assert frame[2] - frame[0] < 0.99
    is_true(visitor, cog)
    assert sent(cog)["crop"]


def test_a_photo_that_lies_on_its_side_is_framed_as_one_sees_it(
    visitor: Visitor, cog: CogServer, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right
    lying = places((300, 640)).rotate(90, expand=True)
    visitor.choose("image", file_of(lying, tmp_path / "photo.jpg", quality=95, exif=exif))
    expect(visitor.page.get_by_text("300 × 640 px")).to_be_visible()
    visitor.more()
    visitor.field("Width").select_option("512")
    visitor.field("Height").select_option("512")
    is_true(visitor, cog)
    drag(visitor, 0, 1000)
    assert shown(visitor)[3] == pytest.approx(1, abs=0.005)
    is_true(visitor, cog)
    assert sent(cog)["crop"] == "0,340,300,300"


def drag(visitor: Visitor, right: float, down: float) -> None:
    """Drags the frame by so many pixels of the window."""
    visitor.page.locator(".preview").scroll_into_view_if_needed()
    box = box_of(visitor.page.locator(".crop"))
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    visitor.page.mouse.move(x, y)
    visitor.page.mouse.down()
    visitor.page.mouse.move(x + right, y + down, steps=4)
    visitor.page.mouse.up()


def wide(visitor: Visitor, tmp_path: Path) -> None:
    """A picture of 600 × 300 px, for a square result."""
    visitor.choose("image", file_of(places((600, 300)), tmp_path / "wide.png"))
    expect(visitor.name("image")).to_be_visible()  # its field takes the focus
    visitor.more()
    visitor.field("Width").select_option("512")
    visitor.field("Height").select_option("512")
    expect(visitor.page.get_by_text("becomes 512 × 512 px")).to_be_visible()


def test_a_dragged_frame_is_what_the_server_uses(
    visitor: Visitor, cog: CogServer, tmp_path: Path
) -> None:
    wide(visitor, tmp_path)
    drag(visitor, 1000, 0)
    expect(visitor.field("Crop")).to_have_value("300,0,300,300")
    is_true(visitor, cog)
    drag(visitor, -20, 5)
    assert 0 < shown(visitor)[0] < 0.5
    is_true(visitor, cog)


def test_ctrl_and_the_wheel_zoom_the_frame(
    visitor: Visitor, cog: CogServer, tmp_path: Path
) -> None:
    wide(visitor, tmp_path)
    visitor.page.locator(".crop").hover()
    visitor.page.keyboard.down("Control")
    visitor.page.mouse.wheel(0, -200)
    visitor.page.keyboard.up("Control")
    left, top, right, bottom = shown(visitor)
    assert right - left == pytest.approx(0.5 / 2.718**0.5, abs=0.01)
    assert bottom - top == pytest.approx(2 * (right - left), abs=0.01)
    is_true(visitor, cog)


def test_two_fingers_zoom_the_frame_and_one_moves_it(
    one: Front, visit: Visit, cog: CogServer, tmp_path: Path
) -> None:
    visitor = visit(one.url, viewport=PHONE, has_touch=True, is_mobile=True)
    wide(visitor, tmp_path)
    visitor.page.locator(".preview").scroll_into_view_if_needed()
    box = box_of(visitor.page.locator(".crop"))
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = fingers(visitor.page)
    touch("Start", (x, y))
    touch("Move", (x + 200, y))
    touch("End")
    expect(visitor.field("Crop")).to_have_value("300,0,300,300")
    touch("Start", (x - 10, y), (x + 10, y))
    touch("Move", (x - 20, y), (x + 20, y))
    touch("End")
    left, _, right, _ = shown(visitor)
    assert right - left == pytest.approx(0.25, abs=0.02)
    is_true(visitor, cog)


def test_another_shape_keeps_the_middle_and_how_close_it_is(
    visitor: Visitor, cog: CogServer, tmp_path: Path
) -> None:
    wide(visitor, tmp_path)
    drag(visitor, 1000, 0)
    visitor.field("Width").select_option("1024")
    assert shown(visitor) == pytest.approx([0, 0, 1, 1], abs=0.005)
    expect(visitor.field("Crop")).to_have_value("")
    visitor.field("Width").select_option("512")
    expect(visitor.field("Crop")).to_have_value("300,0,300,300")
    visitor.press("Pad")
    expect(visitor.page.get_by_role("button", name="Pad")).to_have_attribute("aria-pressed", "true")
    assert shown(visitor) == pytest.approx([0, 0, 1, 1], abs=0.005)
    ask(visitor, "a bus")
    visitor.card()
    assert sent(cog)["resize_mode"] == "pad"
    assert "crop" not in sent(cog)
    visitor.press("Crop")
    expect(visitor.field("Crop")).to_have_value("300,0,300,300")
    is_true(visitor, cog)


def test_a_part_that_somebody_else_has_chosen_stays_as_it_is(
    visitor: Visitor, tmp_path: Path
) -> None:
    wide(visitor, tmp_path)
    visitor.field("Crop").fill("100,50,100,200")
    visitor.field("Width").select_option("1024")
    expect(visitor.field("Crop")).to_have_value("100,50,100,200")
    visitor.press("Use more of the picture")
    left, top, right, bottom = shown(visitor)
    assert (right - left) * 600 == pytest.approx(2 * (bottom - top) * 300, abs=3)


def extend(visitor: Visitor, side: str) -> None:
    visitor.page.get_by_role("button", name=f"Extend the picture {side}").click()


def test_the_picture_is_extended_on_any_side(
    visitor: Visitor, cog: CogServer, tmp_path: Path
) -> None:
    wide(visitor, tmp_path)
    extend(visitor, "left")
    extend(visitor, "left")
    extend(visitor, "bottom")
    expect(visitor.page.get_by_text("becomes 768 × 640 px")).to_be_visible()
    for _ in range(6):
        extend(visitor, "right")
    expect(visitor.page.get_by_text("becomes 1536 × 640 px")).to_be_visible()
    most = visitor.page.get_by_role("button", name="Extend the picture right, now 768 px")
    expect(most).to_be_disabled()
    expect(visitor.page.get_by_role("button", name="Extend the picture top")).to_be_enabled()
    ask(visitor, "a bus")
    visitor.card()
    said = {"extend_left": 256, "extend_bottom": 128, "extend_right": 768}
    assert sent(cog).items() >= said.items()
    visitor.press("Extend nothing")
    expect(visitor.page.get_by_text("becomes 512 × 512 px")).to_be_visible()
    expect(visitor.page.get_by_role("button", name="Extend the picture left")).to_be_focused()


def test_the_frame_is_for_everyone(one: Front, visit: Visit, tmp_path: Path) -> None:
    for look in (LAPTOP, {"width": 360, "height": 225}):
        visitor = visit(one.url, viewport=look, forced_colors="active")
        wide(visitor, tmp_path)
        visitor.press("Extend the picture top")
        visitor.press("Use less of the picture")
        expect(visitor.page.locator("#announcer")).to_contain_text(
            "240 × 240 px of the picture are used, from 180, 30"
        )
        assert violations(visitor.page) == []
        assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_what_is_done_with_a_finger_is_large_enough_for_one(
    one: Front, visit: Visit, tmp_path: Path
) -> None:
    visitor = visit(one.url, viewport=PHONE, has_touch=True, is_mobile=True)
    wide(visitor, tmp_path)
    visitor.choose("mask", file_of(Image.new("L", (600, 300), 255), tmp_path / "mask.png"))
    expect(visitor.page.get_by_role("button", name="Set strength to 1")).to_be_visible()
    sizes = visitor.page.evaluate(
        """() => [...document.querySelectorAll(
            '[data-name="image"] button, [data-name="mask"] button')]
            .map((one) => one.getBoundingClientRect())
            .filter(({ width }) => width)
            .map(({ width, height }) => Math.min(width, height))"""
    )
    assert len(sizes) > 15
    assert min(sizes) >= 44


def test_the_crop_of_a_picture_goes_with_it(visitor: Visitor, tmp_path: Path) -> None:
    wide(visitor, tmp_path)
    crop = visitor.field("Crop")
    crop.fill("100,50,100,200")
    visitor.choose("image", file_of(Image.new("RGB", (600, 300), "red"), tmp_path / "other.png"))
    expect(visitor.name("image")).to_have_text("other.png")
    expect(crop).to_have_value("100,50,100,200")
    visitor.choose("image", file_of(Image.new("RGB", (80, 60)), tmp_path / "small.png"))
    expect(visitor.name("image")).to_have_text("small.png")
    expect(crop).to_have_value("")
    crop.fill("0,0,40,40")
    visitor.press("Remove")
    visitor.choose("image", tmp_path / "other.png")
    expect(visitor.name("image")).to_have_text("other.png")
    expect(crop).to_have_value("")
