"""Grids of settings, and the form run on several pictures."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Route, expect

from tests.support.asking import ask, sent
from tests.support.browser import Visit, Visitor, violations
from tests.support.front import front
from tests.support.pictures import EXAMPLES
from tools.fake_cog import CogServer, pixels


@pytest.fixture
def strip(visitor: Visitor) -> Locator:
    """The first strip."""
    return visitor.page.locator(".strip").first


def compare(visitor: Visitor) -> Locator:
    """Opens the dialog that asks for a grid."""
    visitor.more()
    visitor.press("Compare settings …")
    return visitor.page.get_by_role("dialog")


def drop(visitor: Visitor, *files: tuple[str, bytes]) -> None:
    """Gives several pictures at once."""
    expect(visitor.field("Prompt")).to_be_visible()
    visitor.page.evaluate(
        """async (files) => {
            const { runEach } = await import("/form/runs/runs.js");
            runEach(files.map(([name, bytes]) =>
                new File([new Uint8Array(bytes)], name, { type: "image/png" })));
        }""",
        [[name, list(data)] for name, data in files],
    )


def test_strengths_are_tried_side_by_side_and_one_is_picked(
    visitor: Visitor, cog: CogServer, strip: Locator
) -> None:
    visitor.choose("image", EXAMPLES / "car.png")
    visitor.page.locator("#input-num_images").fill("2")
    visitor.field("Prompt").fill("a bus")
    visitor.page.evaluate("import('/form/runs/runs.js').then(({ tryStrengths }) => tryStrengths())")
    expect(strip.locator("img")).to_have_count(4)
    expect(strip.locator("figcaption")).to_have_text(
        [f"Strength {one}" for one in (0.3, 0.5, 0.7, 0.9)]
    )
    expect(visitor.page.locator(".card")).to_have_count(1)
    assert [run.input["strength"] for run in cog.runs] == [0.3, 0.5, 0.7, 0.9]
    assert len({run.input["seed"] for run in cog.runs}) == 1
    car = base64.b64encode((EXAMPLES / "car.png").read_bytes()).decode()
    for run in cog.runs:
        assert run.input["image"].partition(",")[2] == car
        assert run.input["num_images"] == 1
    visitor.press("Use the settings of Strength 0.5")
    expect(visitor.field("Strength")).to_have_value("0.5")
    expect(visitor.field("Seed")).to_have_value(str(cog.runs[0].input["seed"]))
    expect(visitor.name("image")).to_have_text("image.png")


def test_a_grid_of_two_settings_is_there_after_a_reload(
    visitor: Visitor, cog: CogServer, strip: Locator
) -> None:
    visitor.field("Prompt").fill("a bus")
    dialog = compare(visitor)
    dialog.get_by_label("Across", exact=True).select_option("guidance_scale")
    dialog.get_by_label("Values of Guidance scale, across").fill("3, 7.5")
    dialog.get_by_label("Down", exact=True).select_option("scheduler")
    for name in ("DPMSolverMultistep", "K_EULER"):
        dialog.get_by_label(name, exact=True).uncheck()
    dialog.get_by_label("PNDM").check()
    expect(dialog.get_by_role("button", name="Draw 4 pictures")).to_be_visible()
    assert violations(visitor.page) == []
    visitor.press("Draw 4 pictures")
    expect(strip.locator("img")).to_have_count(4)
    expect(strip.get_by_role("columnheader")).to_have_text(
        ["Guidance scale 3", "Guidance scale 7.5"]
    )
    expect(strip.get_by_role("rowheader")).to_have_text(["DDIM", "PNDM"])
    drawn = [(run.input["scheduler"], run.input["guidance_scale"]) for run in cog.runs]
    assert drawn == [("DDIM", 3), ("DDIM", 7.5), ("PNDM", 3), ("PNDM", 7.5)]
    assert violations(visitor.page) == []

    visitor.page.reload()
    expect(strip.locator("img")).to_have_count(4)
    expect(strip.locator("table")).to_have_css("border-collapse", "separate")
    expect(strip.locator("table")).to_have_css("border-spacing", "8px")
    expect(visitor.page.locator(".card")).to_have_count(1)
    visitor.press("Use the settings of Guidance scale 3, PNDM")
    expect(visitor.field("Guidance scale")).to_have_value("3")
    visitor.press("Ungroup")
    expect(strip).to_be_hidden()
    expect(visitor.cards).to_have_count(4)
    visitor.page.reload()
    expect(visitor.cards).to_have_count(4)


def test_nothing_waits_for_how_a_kept_strip_looks(visitor: Visitor, strip: Locator) -> None:
    visitor.field("Prompt").fill("a bus")
    dialog = compare(visitor)
    dialog.get_by_label("Down", exact=True).select_option("")
    visitor.press("Draw 4 pictures")
    expect(strip.locator("img")).to_have_count(4)
    visitor.page.route("**/runs/strip.css", lambda route: None)
    visitor.page.reload(wait_until="commit")
    expect(strip.locator("img")).to_have_count(4)


def test_prompts_seeds_and_switches_are_compared(
    visitor: Visitor, cog: CogServer, strip: Locator
) -> None:
    visitor.field("Prompt").fill("a bus")
    dialog = compare(visitor)
    dialog.get_by_label("Across", exact=True).select_option("prompt")
    dialog.get_by_label("Values of Prompt, across").fill("a bus, red\na car\n")
    dialog.get_by_label("Down", exact=True).select_option("seed")
    dialog.get_by_label("Values of Seed, down").fill("4 9")
    visitor.press("Draw 4 pictures")
    expect(strip.locator("img")).to_have_count(4)
    drawn = [(run.prompt, run.input["seed"]) for run in cog.runs]
    assert drawn == [("a bus, red", 4), ("a car", 4), ("a bus, red", 9), ("a car", 9)]


@pytest.mark.parametrize(
    ("setting", "values", "says"),
    [
        ("Guidance scale", "3, 21", "Guidance scale: 21 is not from 1 to 20."),
        ("Guidance scale", "three", "Guidance scale: three is not a number."),
        (
            "Steps",
            "10, 2.5",
            "Steps: 2.5 is not a whole number.",
        ),
        ("Guidance scale", " ", "Guidance scale: give at least one value."),
        ("Seed", ", ".join(map(str, range(37))), "That is 37 pictures; a grid has at most 36."),
    ],
)
def test_what_is_wrong_with_a_grid_is_said(
    visitor: Visitor, cog: CogServer, setting: str, values: str, says: str
) -> None:
    visitor.field("Prompt").fill("a bus")
    dialog = compare(visitor)
    dialog.get_by_label("Down", exact=True).select_option("")
    dialog.get_by_label("Across", exact=True).select_option(setting)
    dialog.get_by_label(f"Values of {setting}, across").fill(values)
    expect(dialog.get_by_role("alert")).to_have_text(says)
    visitor.press("Draw")
    expect(dialog).to_be_visible()
    expect(visitor.page.locator(".strip")).to_have_count(0)
    assert cog.runs == []


def test_a_grid_is_stopped_as_one(visitor: Visitor, cog: CogServer, strip: Locator) -> None:
    cog.tell("a bus", "succeed", "hold")
    visitor.field("Prompt").fill("a bus")
    dialog = compare(visitor)
    dialog.get_by_label("Down", exact=True).select_option("")
    visitor.press("Draw 4 pictures")
    expect(strip.locator(".status")).to_have_text("1 of 4 done")
    expect(strip.get_by_text("Step 1 of 2")).to_be_visible()
    strip.get_by_role("button", name="Stop all").click()
    expect(strip.get_by_text(re.compile("Stopped|Not asked for"))).to_have_count(3)
    expect(strip.get_by_role("button", name="Stop all")).to_be_hidden()
    expect(strip.locator("h3")).to_be_focused()
    assert len(cog.runs) == 2


def test_what_can_not_be_stopped_does_not_keep_the_others_going(
    visitor: Visitor, cog: CogServer, strip: Locator
) -> None:
    cog.tell("a bus", "hold")
    visitor.field("Prompt").fill("a bus")
    dialog = compare(visitor)
    dialog.get_by_label("Down", exact=True).select_option("")
    visitor.press("Draw 4 pictures")
    expect(strip.get_by_text("Step 1 of 2")).to_be_visible()
    ids = "JSON.parse(localStorage.getItem('strips'))[0].ids.filter((one) => one).length"
    visitor.page.wait_for_function(f"{ids} === 4")
    refused: list[str] = []

    def refuse(route: Route) -> None:
        if refused:
            return route.fallback()
        refused.append(route.request.url)
        problem = "application/problem+json"
        return route.fulfill(status=500, content_type=problem, json={"detail": "Something broke."})

    visitor.page.route("**/cancel", refuse)
    visitor.expect_refusals()
    strip.get_by_role("button", name="Stop all").click()
    expect(strip.locator(".fault")).to_have_text("Something broke.")
    expect(strip.get_by_text("Stopped", exact=True)).to_have_count(3)
    cog.let_go("a bus")


def test_several_pictures_are_several_runs_when_that_is_wanted(
    visitor: Visitor, cog: CogServer, strip: Locator
) -> None:
    files = [(f"{name}.png", pixels(name, 1)) for name in ("one", "two", "three")]
    visitor.field("Prompt").fill("a bus")
    drop(visitor, *files)
    dialog = visitor.page.get_by_role("dialog", name="Run the form on 3 pictures?")
    expect(dialog.get_by_role("listitem")).to_have_text(["one.png", "two.png", "three.png"])
    dialog.get_by_role("button", name="Cancel").click()
    expect(visitor.page.locator(".strip")).to_have_count(0)
    drop(visitor, *files)
    assert violations(visitor.page) == []
    dialog.get_by_role("button", name="Run").click()
    expect(strip.locator("img")).to_have_count(3)
    expect(strip.locator("figcaption")).to_have_text(["one.png", "two.png", "three.png"])
    for place, (_, data) in enumerate(files):
        assert base64.b64decode(sent(cog, place)["image"].partition(",")[2]) == data
        assert sent(cog, place)["prompt"] == "a bus"
    assert len(cog.runs) == 3
    assert violations(visitor.page) == []


def test_a_full_queue_is_waited_for(cog: CogServer, tmp_path: Path, visit: Visit) -> None:
    cog.tell("a bus", "hold", "succeed")
    with front(tmp_path, cog, cog_slots=1, queue_limit=1) as one:
        visitor = visit(one.url)
        visitor.field("Prompt").fill("a bus")
        drop(visitor, ("one.png", pixels("one", 1)), ("two.png", pixels("two", 1)))
        visitor.page.get_by_role("dialog").get_by_role("button", name="Run").click()
        status = visitor.page.locator(".strip > .status")
        expect(status).to_have_text("0 of 2 done")
        with visitor.page.expect_response(lambda answer: answer.status == 429):
            pass
        cog.let_go("a bus")
        expect(visitor.page.locator(".strip img")).to_have_count(2)
    visitor.expect_refusals()


def test_a_busy_server_is_waited_for(visitor: Visitor, cog: CogServer, strip: Locator) -> None:
    refused: list[str] = []

    def refuse(route: Route) -> None:
        if refused or route.request.method != "POST":
            return route.fallback()
        refused.append(route.request.url)
        problem = "application/problem+json"
        return route.fulfill(status=503, content_type=problem, json={"detail": "It is busy."})

    visitor.page.route("**/v1/models/**/predictions", refuse)
    visitor.expect_refusals()
    visitor.field("Prompt").fill("a bus")
    drop(visitor, ("one.png", pixels("one", 1)), ("two.png", pixels("two", 1)))
    visitor.page.get_by_role("dialog").get_by_role("button", name="Run").click()
    expect(strip.locator("img")).to_have_count(2)
    assert len(refused) == 1


def test_what_is_deleted_goes_from_its_strip(
    visitor: Visitor, cog: CogServer, strip: Locator
) -> None:
    visitor.field("Prompt").fill("a bus")
    dialog = compare(visitor)
    dialog.get_by_label("Down", exact=True).select_option("")
    dialog.get_by_label("Values of Guidance scale, across").fill("3, 5")
    visitor.press("Draw 2 pictures")
    expect(strip.locator("img")).to_have_count(2)
    visitor.page.evaluate(
        """async () => {
            const history = await import("/form/gallery/history.js");
            history.remove(history.all()[0]);
        }"""
    )
    expect(strip.get_by_text("Deleted")).to_be_visible()
    expect(strip.locator("img")).to_have_count(1)
    visitor.press("Undo")
    expect(strip.locator("img")).to_have_count(2)


def test_one_prediction_beside_a_strip_has_its_card(visitor: Visitor, strip: Locator) -> None:
    visitor.field("Prompt").fill("a bus")
    dialog = compare(visitor)
    dialog.get_by_label("Down", exact=True).select_option("")
    visitor.press("Draw 4 pictures")
    expect(strip.locator("img")).to_have_count(4)
    ask(visitor, "a car")
    expect(visitor.cards).to_have_count(2)
    visitor.page.reload()
    expect(strip.locator("img")).to_have_count(4)
    expect(visitor.cards).to_have_count(2)
    expect(visitor.cards.nth(0).locator("h3")).to_have_text("a car")
