"""The fields of the form that are more than a field: the seed, shapes, numbers, and Reset."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Locator, Route, expect

from tests.support.asking import ask, sent, shown
from tests.support.browser import Visit, Visitor, boxes_of, violations
from tests.support.front import Front, front
from tests.support.pictures import EXAMPLES
from tools.fake_cog import CogServer
from tools.screenshots import PHONE

SHORT = {"width": 1440, "height": 700}


def pressed(visitor: Visitor, name: str) -> Locator:
    return visitor.page.get_by_role("button", name=name, exact=True, pressed=True)


def seed_of(cog: CogServer) -> int:
    return int(cog.runs[-1].input["seed"])


def test_the_seed_is_seen_beside_run_random_or_kept(visitor: Visitor, cog: CogServer) -> None:
    seed, release = visitor.field("Seed"), "A new seed each time"
    expect(seed).to_have_attribute("placeholder", "random")
    ask(visitor, "a bus")
    visitor.card()
    drawn = seed_of(cog)
    visitor.run()
    visitor.card()
    assert seed_of(cog) != drawn
    visitor.press("Keep a random seed")
    expect(visitor.page.get_by_role("button", name=release)).to_be_focused()
    kept = int(seed.input_value())
    visitor.page.reload()
    expect(seed).to_have_value(str(kept))
    visitor.field("Prompt").fill("a car")
    visitor.run()
    visitor.card()
    assert seed_of(cog) == kept
    visitor.press(release)
    expect(seed).to_have_value("")
    expect(visitor.page.get_by_role("button", name="Keep a random seed")).to_be_focused()
    seed.fill("4")
    expect(visitor.page.get_by_role("button", name=release)).to_be_visible()
    seed.fill("x")
    visitor.press("Run")
    expect(visitor.fault("seed")).to_have_text("Enter a whole number from 0 to 9007199254740991.")
    expect(seed).to_be_focused()


def test_the_number_of_images_is_chosen_by_buttons_or_written(
    visitor: Visitor, cog: CogServer
) -> None:
    box = visitor.field("Number of images")
    expect(pressed(visitor, "1")).to_be_visible()
    visitor.press("3")
    expect(box).to_have_value("3")
    ask(visitor, "a bus")
    visitor.card()
    assert sent(cog)["num_images"] == 3
    box.fill("2")
    expect(pressed(visitor, "2")).to_be_visible()
    expect(pressed(visitor, "3")).to_have_count(0)
    box.fill("0")
    visitor.press("Run")
    expect(visitor.fault("num_images")).to_contain_text("Enter a whole number from 1 to")


def test_a_shape_is_chosen_by_a_button_and_turned_by_another(
    visitor: Visitor, cog: CogServer
) -> None:
    visitor.more()
    said = visitor.page.locator(".shapes .hint")
    expect(said).to_have_text("768 × 768 px")
    visitor.press("4:3")
    expect(visitor.field("Width")).to_have_value("1024")
    expect(visitor.field("Height")).to_have_value("768")
    expect(said).to_have_text("1024 × 768 px")
    visitor.press("Swap width and height")
    expect(pressed(visitor, "3:4")).to_be_visible()
    ask(visitor, "a bus")
    visitor.card()
    assert sent(cog).items() >= {"width": 768, "height": 1024}.items()
    visitor.press("2:3")
    expect(said).to_have_text("640 × 960 px")
    visitor.field("Width").select_option("64")
    expect(said).to_have_text("64 × 960 px")
    expect(visitor.page.locator(".shapes [aria-pressed=true]")).to_have_count(0)
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.press("Auto")
    expect(said).to_have_text("as the image")
    expect(visitor.field("Width")).to_have_value("")


@pytest.mark.parametrize(
    ("native", "offered"),
    [
        (768, ["Auto", "1:1", "4:3", "3:2", "16:9", "2:1"]),
        (512, ["Auto", "1:1", "4:3", "3:2", "16:9", "2:1"]),
        (128, ["Auto", "1:1", "3:2", "2:1"]),
    ],
)
def test_shapes_are_those_that_the_model_draws_well(
    cog: CogServer, tmp_path: Path, visit: Visit, native: int, offered: list[str]
) -> None:
    cog.description["native_size"] = native
    with front(tmp_path, cog) as one:
        visitor = visit(one.url)
        expect(visitor.page.locator(".shapes button")).to_have_text([*offered, ""])
        for name in offered[1:]:
            visitor.press(name)
            wide, high = (int(side) for side in name.split(":"))
            sizes = [visitor.field(side).input_value() for side in ("Width", "Height")]
            width, height = map(int, sizes)
            assert width / height == pytest.approx(wide / high, rel=0.08)
            assert 0.6 <= width * height / native**2 <= 2


def test_a_slider_ends_where_more_is_rarely_of_use_and_its_ends_are_words(
    visitor: Visitor, cog: CogServer
) -> None:
    visitor.more()
    slider = visitor.field("Steps, slider")
    expect(slider).to_have_attribute("max", "60")
    slider.fill("40")
    expect(visitor.field("Steps")).to_have_value("40")
    visitor.field("Steps").fill("150")
    ask(visitor, "a bus")
    visitor.card()
    assert sent(cog)["num_inference_steps"] == 150
    visitor.choose("image", EXAMPLES / "flower.png")
    strength = visitor.field("Strength")
    expect(strength).to_have_accessible_description("keep the image … follow the prompt")


def test_the_quality_of_a_file_is_asked_for_where_it_has_one(
    visitor: Visitor, cog: CogServer
) -> None:
    visitor.more()
    expect(visitor.field("Output quality")).to_be_hidden()
    visitor.field("Output format").select_option("webp")
    visitor.field("Output quality").fill("60")
    ask(visitor, "a bus")
    visitor.card()
    assert sent(cog).items() >= {"output_format": "webp", "output_quality": 60}.items()
    visitor.field("Output format").select_option("png")
    visitor.run()
    visitor.card()
    assert sent(cog) == {"prompt": "a bus"}


def test_reset_can_be_undone_pictures_and_all(visitor: Visitor, cog: CogServer) -> None:
    visitor.field("Prompt").fill("a bus")
    visitor.field("Seed").fill("4")
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.choose("mask", EXAMPLES / "flower-mask.png")
    expect(visitor.name("mask")).to_be_visible()
    visitor.press("Reset")
    expect(visitor.field("Prompt")).to_have_value("")
    expect(visitor.field("Seed")).to_have_value("")
    expect(visitor.name("image")).to_be_hidden()
    visitor.press("Undo")
    expect(visitor.name("image")).to_have_text("flower.png")
    expect(visitor.name("mask")).to_have_text("flower-mask.png")
    expect(visitor.field("Prompt")).to_have_value("a bus")
    visitor.run()
    visitor.card()
    assert cog.runs[-1].input.keys() == {"prompt", "seed", "image", "mask"}
    assert seed_of(cog) == 4


def test_the_way_to_advanced_is_always_in_sight_and_what_opens_is_too(
    one: Front, visit: Visit
) -> None:
    visitor = visit(one.url, viewport=SHORT)
    page = visitor.page
    visitor.choose("image", EXAMPLES / "flower.png")
    expect(visitor.name("image")).to_be_visible()
    heading = page.locator("#advanced > summary")
    expect(heading).not_to_be_in_viewport()
    sign = page.get_by_role("button", name="Advanced ↓")
    expect(sign).to_be_in_viewport(ratio=1)
    assert violations(page) == []
    sign.click()
    expect(heading).to_be_focused()
    expect(sign).to_be_hidden()
    expect(visitor.field("Negative prompt")).to_be_in_viewport(ratio=1)
    assert page.evaluate("scrollY") == 0
    heading.click()  # shut, and open again
    heading.click()
    expect(visitor.field("Negative prompt")).to_be_in_viewport(ratio=1)


def test_while_a_model_starts_or_is_away_it_is_said_beside_run(
    cog: CogServer, one: Front, visit: Visit
) -> None:
    visitor = visit(one.url)
    state = visitor.page.locator("#state")
    expect(visitor.field("Prompt")).to_be_visible()
    expect(state).to_have_text("")
    cog.status = "STARTING"
    visitor.page.reload()
    for _ in range(100):
        if state.inner_text():
            break
        visitor.page.wait_for_timeout(100)
        visitor.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(state).to_contain_text("The model is")
    cog.status = "READY"
    expect(state).to_have_text("")


def test_a_prompt_that_is_too_long_is_said_in_a_sentence(visitor: Visitor) -> None:
    visitor.field("Prompt").fill("word " * 30_000)
    visitor.press("Run")
    expect(visitor.fault("prompt")).to_have_text("150,000 characters; at most 100,000 are read.")


def test_a_model_of_fewer_inputs_has_no_shapes(visit: Visit, tmp_path: Path) -> None:
    with CogServer("upscale").served() as cog, front(tmp_path, cog) as one:
        visitor = visit(one.url)
        expect(visitor.field("Prompt")).to_be_visible()
        assert "Width" not in shown(visitor)
        expect(visitor.page.get_by_role("button", name="Auto")).to_have_count(0)


def test_where_a_finger_points_everything_is_large_enough(one: Front, visit: Visit) -> None:
    visitor = visit(one.url, viewport=PHONE, has_touch=True, is_mobile=True)
    visitor.choose("image", EXAMPLES / "flower.png")
    expect(visitor.name("image")).to_be_visible()
    visitor.more()
    small = visitor.page.evaluate(
        """() => [...document.querySelectorAll("#form :is(button, select, summary, input)")]
            .filter((one) => one.checkVisibility() && !["file", "checkbox"].includes(one.type))
            .filter((one) => one.getBoundingClientRect().height < 43.5)
            .map((one) => one.outerHTML.slice(0, 100))"""
    )
    assert small == []


def test_run_stays_in_sight_on_a_phone(one: Front, visit: Visit) -> None:
    visitor = visit(one.url, viewport=PHONE, has_touch=True, is_mobile=True)
    expect(visitor.field("Prompt")).to_be_visible()
    run = visitor.page.get_by_role("button", name="Run", exact=True)
    expect(run).to_be_in_viewport(ratio=1)
    visitor.more()
    visitor.field("Guidance scale").focus()
    expect(run).to_be_in_viewport(ratio=1)
    covered = visitor.page.evaluate(
        """() => {
            const { bottom } = document.activeElement.getBoundingClientRect();
            return bottom > document.querySelector(".run").getBoundingClientRect().top;
        }"""
    )
    assert not covered


def test_at_400_percent_the_form_is_whole_and_nothing_lies_on_it(one: Front, visit: Visit) -> None:
    visitor = visit(one.url, viewport={"width": 360, "height": 225}, device_scale_factor=4)
    visitor.more()
    expect(visitor.page.locator(".run")).to_have_css("position", "static")
    assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert violations(visitor.page) == []


def test_in_forced_colours_what_is_chosen_can_be_told(one: Front, visit: Visit) -> None:
    visitor = visit(one.url, forced_colors="active")
    expect(visitor.field("Prompt")).to_be_visible()
    page = visitor.page
    chosen, other = page.get_by_role("tab", name="Form"), page.get_by_role("tab", name="Code")

    def ground(element: Locator) -> str:
        colour: str = element.evaluate("(one) => getComputedStyle(one).backgroundColor")
        return colour

    assert ground(chosen) != ground(other)
    assert ground(pressed(visitor, "1")) == ground(chosen)
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_enabled()
    assert ground(page.get_by_role("button", name="Run", exact=True)) == ground(chosen)


def test_in_the_dark_the_chosen_tab_is_lighter_than_the_other(one: Front, visit: Visit) -> None:
    visitor = visit(one.url, color_scheme="dark")
    expect(visitor.field("Prompt")).to_be_visible()
    lights = visitor.page.evaluate(
        """() => ["[role=tab][aria-selected=true]", "[role=tablist]"]
            .map((one) => getComputedStyle(document.querySelector(one)).backgroundColor)
            .map((colour) => Number(/\\d+/.exec(colour)[0]))"""
    )
    assert lights[0] > lights[1]


def test_on_a_wide_screen_the_header_is_above_what_it_heads(one: Front, visit: Visit) -> None:
    visitor = visit(one.url, viewport={"width": 2560, "height": 1300})
    form, title = boxes_of(*map(visitor.page.locator, ("#form", "h1")))
    assert abs(form["x"] - title["x"]) < 1


def test_a_browser_that_keeps_nothing_more_still_runs(visitor: Visitor, cog: CogServer) -> None:
    expect(visitor.field("Prompt")).to_be_visible()
    visitor.page.evaluate(
        """() => {
            for (let size = 2 ** 22; size >= 1; size /= 2)
                try {
                    for (let place = 0; ; place++)
                        localStorage.setItem(`full ${size} ${place}`, "x".repeat(size));
                } catch {}
        }"""
    )
    ask(visitor, "a bus with many wheels")
    visitor.card()
    assert cog.prompts == ["a bus with many wheels"]


def test_the_oldest_prompts_make_room_for_new_ones(visitor: Visitor) -> None:
    expect(visitor.field("Prompt")).to_be_visible()
    kept = visitor.page.evaluate(
        """async () => {
            const { keepPrompt, earlierPrompts } = await import("/form/inputs/earlier.js");
            for (const letter of "abcd") keepPrompt(letter.repeat(60_000));
            return earlierPrompts().map((prompt) => prompt[0]);
        }"""
    )
    assert kept == ["d", "c", "b"]


def test_an_example_can_be_taken_back(visitor: Visitor) -> None:
    visitor.field("Prompt").fill("a bus")
    visitor.field("Seed").fill("4")
    visitor.choose("image", EXAMPLES / "house.png")
    expect(visitor.name("image")).to_have_text("house.png")
    visitor.page.get_by_role("button", name="Try cat.png and the prompt a fox").click()
    expect(visitor.name("image")).to_have_text("cat.png")
    expect(visitor.field("Prompt")).to_have_value("a fox")
    visitor.press("Undo")
    expect(visitor.name("image")).to_have_text("house.png")
    expect(visitor.field("Prompt")).to_have_value("a bus")
    expect(visitor.field("Seed")).to_have_value("4")


def test_after_an_undone_reset_the_focus_is_where_it_was(visitor: Visitor) -> None:
    visitor.field("Prompt").fill("a bus")
    visitor.page.get_by_role("button", name="Reset").press("Enter")
    expect(visitor.page.locator(".toast")).to_contain_text("Form reset.")
    visitor.page.get_by_role("button", name="Undo").press("Enter")
    expect(visitor.field("Prompt")).to_have_value("a bus")
    expect(visitor.page.get_by_role("button", name="Reset")).to_be_focused()


def test_who_types_while_the_model_gets_ready_types_on(visitor: Visitor) -> None:
    visitor.more()
    prompt = visitor.field("Prompt")
    prompt.fill("a bus")
    prompt.press("ArrowLeft")

    def got_ready(route: Route) -> None:
        models = route.fetch().json()
        models[0]["description"]["upscalers"] = ["4x-sharp"]
        route.fulfill(json=models)

    visitor.page.route("**/form/models", got_ready)
    visitor.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(visitor.field("Upscaler")).to_have_count(1)
    visitor.page.keyboard.type("l")
    expect(prompt).to_have_value("a buls")
    expect(visitor.page.locator(".group[open]")).not_to_have_count(0)


def test_a_slider_shows_what_its_box_means(visitor: Visitor) -> None:
    visitor.more()
    slider, box = visitor.field("Guidance scale, slider"), visitor.field("Guidance scale")
    own = box.input_value()
    box.fill("12,5")
    expect(slider).to_have_value("12.5")
    box.fill("")
    expect(slider).to_have_value(own)


def test_a_group_that_is_opened_at_the_lower_edge_comes_into_sight(
    one: Front, visit: Visit
) -> None:
    visitor = visit(one.url, viewport=SHORT)
    visitor.page.locator("#advanced > summary").press("Enter")
    heading = visitor.page.locator(".group > summary", has_text="Sampling")
    heading.evaluate("(one) => one.scrollIntoView({ block: 'end' })")
    heading.click()
    expect(visitor.field("Clip skip")).to_be_in_viewport(ratio=1)
    expect(heading).to_be_in_viewport(ratio=1)


def test_a_field_that_is_hidden_keeps_what_it_holds(visitor: Visitor) -> None:
    visitor.more()
    visitor.field("Output format").select_option("webp")
    visitor.field("Output quality").fill("60")
    visitor.field("Output format").select_option("png")
    visitor.page.reload()
    visitor.more()
    visitor.field("Output format").select_option("webp")
    expect(visitor.field("Output quality")).to_have_value("60")


def test_that_nothing_new_would_come_is_said_as_long_as_it_is_true(visitor: Visitor) -> None:
    visitor.field("Seed").fill("4")
    ask(visitor, "a bus")
    visitor.card()
    visitor.press("Run")
    notice = visitor.page.locator(".repeat")
    expect(notice).to_be_visible()
    visitor.press("4:3")
    expect(notice).to_have_count(0)


def test_the_shape_is_the_result_size_where_there_is_one(visitor: Visitor) -> None:
    visitor.more()
    visitor.field("Result size").fill("100x200")
    expect(visitor.page.locator(".shapes .hint")).to_have_text("100 × 200 px, the result size")


def test_on_a_phone_there_is_no_empty_room_above_run(one: Front, visit: Visit) -> None:
    visitor = visit(one.url, viewport=PHONE)
    expect(visitor.field("Prompt")).to_be_visible()
    expect(visitor.page.locator(".to-advanced")).to_have_css("display", "none")
