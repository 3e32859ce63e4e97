"""The viewer: a picture beside its input, larger, and beside any other."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.support.asking import ask
from tests.support.browser import Visit, Visitor, box_of, boxes_of, fingers, violations
from tests.support.front import Front
from tests.support.pictures import EXAMPLES
from tools.fake_cog import data_url
from tools.screenshots import LAPTOP, PHONE

MODEL = "/v1/models/stability-ai/stable-diffusion-img2img/predictions"
TOUCH: dict[str, Any] = {"viewport": PHONE, "has_touch": True, "is_mobile": True}
LOOKS: list[dict[str, Any]] = [
    {"viewport": LAPTOP, "color_scheme": "light"},
    {**TOUCH, "color_scheme": "dark"},
    {"viewport": {"width": 360, "height": 225}, "forced_colors": "active"},
]


def drawn(one: Front, prompt: str, **inputs: Any) -> None:
    """Has something drawn by the API."""
    body = {"input": {"prompt": prompt, "seed": 7, **inputs}}
    answer = one.client.post(MODEL, json=body, headers={"prefer": "wait"})
    assert answer.json()["status"] == "succeeded", answer.text


def opened(visitor: Visitor, place: int = 0) -> Locator:
    """The viewer, at one of the newest prediction's pictures."""
    visitor.card().locator(".picture").nth(place).click()
    dialog = visitor.page.get_by_role("dialog", name="Picture")
    expect(dialog.locator(".stage")).not_to_have_attribute("aria-busy", "true")
    return dialog


def percent(dialog: Locator) -> int:
    """How large the picture is shown, of its own size."""
    return int(dialog.locator(".zoom button").nth(1).inner_text().removesuffix(" %"))


@pytest.fixture
def compared(visitor: Visitor) -> Locator:
    """The viewer, where a picture is compared with its input."""
    visitor.choose("image", EXAMPLES / "car.png")
    ask(visitor, "a bus")
    dialog = opened(visitor)
    expect(dialog.get_by_label("How much of the input is shown")).to_be_visible()
    return dialog


def test_the_line_starts_in_the_middle_and_is_dragged_anywhere(
    visitor: Visitor, compared: Locator
) -> None:
    slider = compared.get_by_label("How much of the input is shown")
    expect(slider).to_have_value("50")
    picture, mouse = box_of(compared.locator(".after")), visitor.page.mouse
    middle = picture["y"] + picture["height"] / 2
    mouse.move(picture["x"] + picture["width"] * 0.9, picture["y"] + 20)
    mouse.down()
    mouse.move(picture["x"] + picture["width"] * 0.25, middle, steps=3)
    mouse.up()
    assert abs(float(slider.input_value()) - 25) < 1
    cut = compared.locator(".before").evaluate("one => getComputedStyle(one).clipPath")
    assert 74 < float(cut.split()[1].removesuffix("%")) < 76


def test_a_badge_is_there_while_its_side_is_seen(compared: Locator) -> None:
    slider = compared.get_by_label("How much of the input is shown")
    before, after = compared.get_by_text("Before"), compared.get_by_text("After")
    for value, seen in (("50", (True, True)), ("0", (False, True)), ("100", (True, False))):
        slider.fill(value)
        for badge, is_seen in zip((before, after), seen, strict=True):
            expect(badge).to_be_visible(visible=is_seen)


def test_what_was_made_without_an_image_is_compared_with_nothing(visitor: Visitor) -> None:
    ask(visitor, "a bus")
    dialog = opened(visitor)
    expect(dialog.locator(".settings")).to_be_visible()
    expect(dialog.get_by_role("slider")).to_have_count(0)
    expect(dialog.get_by_text("Before")).to_be_hidden()
    expect(dialog.get_by_role("button", name="Compare")).to_have_count(0)


def test_a_wheel_zooms_around_the_pointer_and_a_drag_moves_it(visitor: Visitor) -> None:
    ask(visitor, "a bus")
    dialog = opened(visitor)
    picture, mouse = dialog.locator(".after"), visitor.page.mouse
    before = box_of(picture)
    at = (before["x"] + before["width"] * 0.25, before["y"] + before["height"] * 0.5)
    mouse.move(*at)
    mouse.wheel(0, -500)
    expect(dialog.locator(".stage.zoomed")).to_be_visible()
    larger = box_of(picture)
    assert larger["width"] > 1.5 * before["width"]
    assert abs((at[0] - larger["x"]) / larger["width"] - 0.25) < 0.01
    mouse.down()
    mouse.move(at[0] - 100, at[1] - 50, steps=4)
    mouse.up()
    moved = box_of(picture)
    assert abs(larger["x"] - 100 - moved["x"]) < 1
    assert abs(larger["y"] - 50 - moved["y"]) < 1
    mouse.dblclick(*at)
    expect(dialog.locator(".stage.zoomed")).to_have_count(0)
    assert box_of(picture) == before


def test_a_zoomed_picture_is_not_moved_beyond_its_edges(visitor: Visitor) -> None:
    ask(visitor, "a bus")
    dialog = opened(visitor)
    for _ in range(4):
        dialog.get_by_role("button", name="Larger").click()
    mouse, stage = visitor.page.mouse, box_of(dialog.locator(".stage"))
    mouse.move(stage["x"] + 300, stage["y"] + 300)
    mouse.down()
    mouse.move(stage["x"] + 9000, stage["y"] + 9000, steps=3)
    mouse.up()
    picture = box_of(dialog.locator(".after"))
    assert (picture["x"], picture["y"]) == (stage["x"], stage["y"])


def test_keys_zoom_move_and_fit(visitor: Visitor) -> None:
    ask(visitor, "a bus")
    dialog, keyboard = opened(visitor), visitor.page.keyboard
    fitting = percent(dialog)
    keyboard.press("+")
    assert percent(dialog) == round(fitting * 1.5)
    before = box_of(dialog.locator(".after"))
    keyboard.press("Shift+ArrowRight")
    keyboard.press("ArrowDown")
    after = box_of(dialog.locator(".after"))
    assert (before["x"] - after["x"], before["y"] - after["y"]) == (80, 80)
    keyboard.press("1")
    assert percent(dialog) == 100
    keyboard.press("0")
    assert percent(dialog) == fitting


def test_the_arrows_lead_through_all_pictures_with_their_settings(
    visitor: Visitor, one: Front
) -> None:
    drawn(one, "first", negative_prompt="rain")
    drawn(one, "second", num_outputs=2)
    visitor.page.reload()
    dialog, keyboard = opened(visitor), visitor.page.keyboard
    seen: list[tuple[str, str]] = []
    for _ in range(3):
        expect(dialog.locator(".counter")).to_have_text(f"{len(seen) + 1} of 3")
        expect(dialog.locator("[aria-busy=false] .settings")).to_contain_text("Seed")
        expect(dialog.locator(".layers")).to_be_visible()
        seen.append(
            (
                dialog.get_by_role("heading").inner_text(),
                dialog.locator(".settings dt:text('Seed') + dd").inner_text(),
            )
        )
        keyboard.press("ArrowRight")
    expect(dialog.locator(".counter")).to_have_text("1 of 3")
    assert seen == [("second", "7"), ("second", "8"), ("first", "7")]
    keyboard.press("ArrowLeft")
    expect(dialog.locator(".settings")).to_contain_text("rain")
    dialog.get_by_role("button", name="Next picture").click()
    expect(dialog.locator(".settings")).not_to_contain_text("rain")
    expect(dialog.locator("[role=status]")).to_have_text("Picture 1 of 3, seed 7, second")


def test_any_two_are_compared(visitor: Visitor, one: Front) -> None:
    drawn(one, "first")
    drawn(one, "second", num_outputs=2)
    visitor.page.reload()
    dialog = opened(visitor)
    dialog.get_by_role("button", name="Compare").click()
    strip = dialog.get_by_role("group", name="Compare with")
    expect(strip.get_by_role("button", name="Its input")).to_be_hidden()
    expect(strip.locator("img")).to_have_count(3)
    expect(strip.locator("img:visible")).to_have_count(2)  # the picture itself is none of them
    strip.get_by_role("button", name="Picture 1 of first").click()
    slider = dialog.get_by_label("How much of the other picture is shown")
    expect(slider).to_have_value("50")
    expect(dialog.get_by_alt_text("The other picture: seed 7")).to_be_visible()
    visitor.page.keyboard.press("ArrowRight")
    expect(dialog.get_by_text("seed 8", exact=True)).to_be_visible()  # the same one stays beside it
    expect(slider).to_be_visible()
    strip.get_by_role("button", name="Nothing").click()
    expect(slider).to_be_hidden()


def test_a_double_click_opens_it_once(visitor: Visitor) -> None:
    ask(visitor, "a bus")
    visitor.card().locator(".picture").dblclick()
    expect(visitor.page.locator("dialog.viewer .settings")).to_be_visible()
    expect(visitor.page.locator("dialog.viewer")).to_have_count(1)


def test_a_picture_becomes_a_favourite_there_too(visitor: Visitor, one: Front) -> None:
    drawn(one, "first")
    drawn(one, "second", num_outputs=2)
    visitor.page.reload()
    dialog = opened(visitor)
    favourite = dialog.get_by_role("button", name="Favourite")
    favourite.click()
    expect(favourite).to_have_attribute("aria-pressed", "true")
    visitor.page.keyboard.press("ArrowRight")
    expect(favourite).to_have_attribute("aria-pressed", "false")
    with visitor.page.expect_download() as saved:
        dialog.get_by_role("button", name="Download all").click()
    assert saved.value.suggested_filename == "second.zip"
    visitor.press("Close")
    star = visitor.page.get_by_role("button", name="Favourite: Picture 1 of second")
    expect(star).to_have_attribute("aria-pressed", "true")


def test_what_is_still_loaded_does_not_undo_the_choice_of_nothing(
    visitor: Visitor, one: Front
) -> None:
    drawn(one, "first")
    drawn(one, "second")
    visitor.page.reload()
    dialog = opened(visitor)
    dialog.get_by_role("button", name="Compare").click()
    visitor.page.evaluate(
        """() => {
            const decode = HTMLImageElement.prototype.decode;
            const waiting = new Promise((go) => { window.go = go; });
            HTMLImageElement.prototype.decode = async function () {
                await waiting;
                return decode.call(this);
            };
        }"""
    )
    dialog.get_by_role("button", name="Picture 1 of first").click()
    dialog.get_by_role("button", name="Nothing").click()
    visitor.page.evaluate("window.go()")
    visitor.page.wait_for_timeout(300)
    expect(dialog.get_by_role("slider")).to_have_count(0)


def test_the_focus_stays_in_it_and_goes_back_to_the_picture(visitor: Visitor, one: Front) -> None:
    drawn(one, "first")
    drawn(one, "second")
    visitor.page.reload()
    dialog, keyboard = opened(visitor), visitor.page.keyboard
    dialog.get_by_role("button", name="Compare").click()
    choice = dialog.get_by_role("button", name="Picture 1 of first")
    choice.focus()
    keyboard.press("ArrowRight")
    expect(choice).to_be_hidden()  # as it is what is shown now
    assert visitor.page.evaluate("document.activeElement.className").startswith("stage")
    keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert visitor.page.evaluate("document.activeElement.className") == "picture"


def test_a_swipe_turns_and_two_fingers_zoom(one: Front, visit: Visit) -> None:
    drawn(one, "first")
    drawn(one, "second")
    visitor = visit(one.url, **TOUCH)
    dialog, touch = opened(visitor), fingers(visitor.page)
    expect(dialog.locator(".counter")).to_have_text("1 of 2")
    for start, by, expected in ((300, -120, "2 of 2"), (100, 120, "1 of 2"), (200, -20, "1 of 2")):
        touch("Start", (start, 400))
        touch("Move", (start + by / 2, 402))
        touch("Move", (start + by, 404))
        touch("End")
        expect(dialog.locator(".counter")).to_have_text(expected)
        expect(dialog.locator(".layers")).to_be_visible()
    fitting = percent(dialog)
    touch("Start", (150, 400))
    touch("Start", (150, 400), (250, 400))
    touch("Move", (100, 400), (300, 400))
    touch("End")
    assert abs(percent(dialog) / fitting - 2) < 0.05
    expect(dialog.locator(".counter")).to_have_text("1 of 2")


def test_a_finger_drags_the_line(one: Front, visit: Visit) -> None:
    drawn(one, "bus", image=data_url((EXAMPLES / "car.png").read_bytes()))
    visitor = visit(one.url, **TOUCH)
    dialog, touch = opened(visitor), fingers(visitor.page)
    slider = dialog.get_by_label("How much of the input is shown")
    expect(slider).to_be_visible()
    touch("Start", (200, 400))
    touch("Move", (150, 400))
    touch("Move", (78, 400))
    touch("End")
    assert abs(float(slider.input_value()) - 20) < 1


SIDE = 128
"""Of an input, in px."""


@pytest.mark.parametrize(
    ("settings", "result", "place"),
    [
        ({}, (2, 1), (0, -0.5, 1, 2)),
        ({"resize_mode": "pad"}, (2, 1), (0.25, 0, 0.5, 1)),
        ({"resize_mode": "stretch"}, (2, 1), (0, 0, 1, 1)),
        ({"crop": "64,0,64,64"}, (2, 2), (-1, 0, 2, 2)),
        ({"extend_left": 128, "extend_bottom": 64}, (256, 192), (0.5, 0, 0.5, 2 / 3)),
        ({"extend_right": 128, "keep_size": True}, (128, 64), (0, 0, 0.5, 1)),
    ],
)
def test_an_input_lies_where_it_was_used(
    visitor: Visitor,
    settings: dict[str, Any],
    result: tuple[int, int],
    place: tuple[float, ...],
) -> None:
    found = visitor.page.evaluate(
        """async ([settings, side, [width, height]]) => {
            const { placeOf } = await import("/form/viewer/placing.js");
            return placeOf(settings, { width: side, height: side }, { width, height });
        }""",
        [settings, SIDE, result],
    )
    assert [found[name] for name in ("left", "top", "width", "height")] == pytest.approx(place)


def test_of_a_crop_only_what_was_used_is_shown(visitor: Visitor, one: Front) -> None:
    car = data_url((EXAMPLES / "car.png").read_bytes())
    drawn(one, "bus", image=car, crop="128,256,256,256")
    visitor.page.reload()
    dialog = opened(visitor)
    dialog.get_by_label("How much of the input is shown").fill("100")
    picture, over = boxes_of(*map(dialog.locator, (".after", ".before img")))
    assert over["width"] == pytest.approx(2 * picture["width"], abs=1)
    assert picture["x"] - over["x"] == pytest.approx(picture["width"] / 2, abs=1)
    assert picture["y"] - over["y"] == pytest.approx(picture["height"], abs=1)


def test_a_picture_whose_file_is_gone_leads_on(visitor: Visitor, one: Front) -> None:
    drawn(one, "first")
    drawn(one, "gone")
    visitor.page.reload()
    expect(visitor.cards.first.locator("img")).to_have_js_property("complete", True)
    for path in one.services.settings.data.glob("predictions/*/out-0.png"):
        if path.parent.name == visitor.cards.first.get_attribute("data-id"):
            path.unlink()
    visitor.expect_refusals()
    visitor.page.reload()
    dialog = opened(visitor)
    expect(dialog.locator(".settings")).to_contain_text("Seed")
    visitor.page.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("heading")).to_have_text("first")
    expect(dialog.locator(".after")).to_have_js_property("naturalWidth", 2)


def test_a_picture_that_can_not_be_loaded_says_so(visitor: Visitor, one: Front) -> None:
    drawn(one, "first")
    visitor.page.reload()
    visitor.card()
    visitor.page.route("**/files/**", lambda route: route.fulfill(status=404))
    visitor.expect_refusals()
    dialog = opened(visitor)
    expect(dialog.get_by_role("alert")).to_have_text("The picture can't be loaded.")
    visitor.page.keyboard.press("1")
    visitor.page.set_viewport_size({"width": 1000, "height": 700})
    expect(dialog.locator(".zoom button").nth(1)).to_have_text("– %")


@pytest.mark.parametrize("look", LOOKS, ids=["laptop, light", "phone, dark", "400 %, forced"])
def test_each_state_is_for_everyone(one: Front, visit: Visit, look: dict[str, Any]) -> None:
    drawn(one, "first")
    drawn(one, "second", image=data_url((EXAMPLES / "car.png").read_bytes()))
    visitor = visit(one.url, **look)
    dialog, page = opened(visitor), visitor.page
    expect(dialog.get_by_label("How much of the input is shown")).to_be_visible()
    assert violations(page) == []
    dialog.get_by_role("button", name="Compare").click()
    dialog.get_by_role("button", name="Picture 1 of first").click()
    expect(dialog.get_by_label("How much of the other picture is shown")).to_be_visible()
    dialog.get_by_role("button", name="Settings", exact=True).click()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert box_of(dialog.locator(".stage"))["height"] > 100
    if look.get("has_touch"):
        boxes = boxes_of(*dialog.locator("button:visible").all())
        assert min(min(box["width"], box["height"]) for box in boxes) >= 44


def test_it_is_loaded_when_it_is_opened(visitor: Visitor) -> None:
    ask(visitor, "a bus")
    visitor.card()
    loaded = "performance.getEntriesByType('resource').map(({ name }) => name).join()"
    names = ("viewer.js", "viewer.css", "stage.js", "shared.js", "share.js", "zip.js")
    assert not any(name in visitor.page.evaluate(loaded) for name in names)
    opened(visitor)
    assert "viewer.css" in visitor.page.evaluate(loaded)
