"""Predictions that were asked for, and what is done with them."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Route, expect

from tests.support.asking import ask, caught, file_of
from tests.support.browser import Visit, Visitor
from tests.support.front import Front, front
from tests.support.pictures import EXAMPLES
from tools.fake_cog import NOTES, CogServer, data_url


def test_the_settings_are_copied_as_the_api_takes_them(visitor: Visitor, cog: CogServer) -> None:
    visitor.choose("image", EXAMPLES / "car.png")
    visitor.more()
    visitor.field("Seed").fill("8")
    visitor.field("Number of images").fill("2")
    ask(visitor, "a bus")
    visitor.card().get_by_role("button", name="Copy settings").click()
    copied = json.loads(visitor.page.evaluate("navigator.clipboard.readText()"))
    assert copied == {"prompt": "a bus", "seed": 8, "num_images": 2}
    visitor.card().locator(".picture").nth(1).click()
    visitor.page.get_by_role("dialog").get_by_role("button", name="Copy settings").click()
    copied = json.loads(visitor.page.evaluate("navigator.clipboard.readText()"))
    assert copied == {"prompt": "a bus", "seed": 9, "num_images": 1}


def test_one_step_without_a_prompt_is_said_in_english(visitor: Visitor, one: Front) -> None:
    expect(visitor.page.locator("#welcome")).to_be_visible()
    path = "/v1/models/stability-ai/stable-diffusion-img2img/predictions"
    one.client.post(path, json={"input": {"num_inference_steps": 1}})
    expect(visitor.card().locator(".about")).to_contain_text("1 step ·")
    expect(visitor.page.locator("#announcer")).to_have_text("Done: 1 picture")


def test_three_queue_and_one_that_waits_is_stopped(visitor: Visitor, cog: CogServer) -> None:
    cog.tell("slow", "hold")
    for prompt in ("slow", "second", "third"):
        ask(visitor, prompt)
    status = visitor.cards.locator(".status")
    expect(visitor.card("processing", 2).locator(".status")).to_have_text("Step 1 of 2, 1 s left")
    expect(status.nth(1)).to_contain_text("Waiting: next in the queue")
    expect(status.nth(0)).to_contain_text("Waiting: number 2 in the queue")
    visitor.cards.nth(1).get_by_role("button", name="Stop").click()
    visitor.card("canceled", 1)
    expect(status.nth(0)).to_contain_text("Waiting: next in the queue")
    cog.let_go("slow")
    visitor.card("succeeded", 2)
    visitor.card("succeeded", 0)
    assert cog.prompts == ["slow", "third"]
    expect(visitor.page.locator("#announcer")).to_have_text("Done: 1 picture of third")


def test_what_a_model_notes_is_said_on_the_card_and_to_those_who_do_not_see_it(
    visitor: Visitor, cog: CogServer
) -> None:
    cog.tell("a bus", "note")
    ask(visitor, "a bus")
    expect(visitor.card().locator(".notes li")).to_have_text(NOTES)
    expect(visitor.page.locator("#announcer")).to_have_text(
        f"Done: 1 picture of a bus {NOTES[0]} {NOTES[1]}"
    )
    ask(visitor, "a car")
    expect(visitor.card().locator(".notes")).to_be_hidden()


def test_what_the_model_finds_wrong_is_said_at_the_field_and_on_the_card(
    visitor: Visitor, cog: CogServer
) -> None:
    cog.tell("a bus", "fail")
    ask(visitor, "a bus")
    expect(visitor.card("failed").locator(".fault")).to_have_text("image: it is not a picture")
    expect(visitor.fault("image")).to_have_text("it is not a picture")


def test_what_the_front_finds_wrong_is_said_at_the_field(
    cog: CogServer, tmp_path: Path, visit: Visit
) -> None:
    with front(tmp_path / "data", cog, image_megabytes=1) as one:
        visitor = visit(one.url)
        heavy = file_of(Image.new("RGB", (800, 800)), tmp_path / "heavy.bmp")
        visitor.choose("image", heavy)
        expect(visitor.name("image")).to_have_text("heavy.bmp")
        visitor.field("Prompt").fill("a bus")
        visitor.press("Run")
        expect(visitor.fault("image")).to_have_text("The file has more than 1 MiB")
        expect(visitor.cards).to_have_count(0)
    visitor.expect_refusals()


def test_too_many_in_the_queue_is_said_above_the_button(
    cog: CogServer, tmp_path: Path, visit: Visit
) -> None:
    cog.tell("slow", "hold")
    with front(tmp_path, cog, queue_limit=1) as one:
        visitor = visit(one.url)
        ask(visitor, "slow")
        visitor.card("processing")
        visitor.press("Run")
        expect(visitor.page.locator("#fault")).to_contain_text("1 unfinished prediction")
        cog.let_go("slow")
        visitor.card()
    visitor.expect_refusals()


def test_one_that_was_left_out_says_so(visitor: Visitor, one: Front, cog: CogServer) -> None:
    ask(visitor, "a bus")
    visitor.card()

    def flag(session: Any) -> None:
        from hosting.storage.tables import PredictionRow

        record = session.query(PredictionRow).one()
        flagged = {"index": 1, "seed": 8, "nsfw": True, "file": None}
        record.metrics = {**record.metrics, "images": [*record.metrics["images"], flagged]}

    one.database.write_now(flag)
    visitor.page.reload()
    expect(visitor.card().locator(".left-out")).to_have_text(re.compile("the NSFW checker flagged"))
    expect(visitor.card().locator(".seed").nth(1)).to_have_text("seed 8")


def test_the_history_comes_in_pages(visitor: Visitor, one: Front) -> None:
    for number in range(30):
        body = {"input": {"prompt": f"number {number}"}}
        one.client.post("/v1/models/stability-ai/stable-diffusion-img2img/predictions", json=body)
    visitor.page.reload()
    expect(visitor.cards).to_have_count(24)
    expect(visitor.cards.first.locator("h3")).to_have_text("number 29")
    visitor.press("Show older")
    expect(visitor.cards).to_have_count(30)
    expect(visitor.page.get_by_role("button", name="Show older")).to_be_hidden()


def test_all_pictures_of_a_prediction_are_saved_at_once(visitor: Visitor) -> None:
    visitor.field("Number of images").fill("3")
    ask(visitor, "a bus")
    card = visitor.card()
    expect(card.locator("img")).to_have_count(3)
    with visitor.page.expect_download() as download:
        card.get_by_role("button", name="Download all").click()
    assert download.value.suggested_filename == "a-bus.zip"
    with zipfile.ZipFile(download.value.path()) as archive:
        names = archive.namelist()
    assert len(names) == 3
    assert all(re.fullmatch(r"a-bus-seed-\d+\.png", name) for name in names)


def test_what_another_client_asked_for_is_made_again_as_it_was(
    visitor: Visitor, one: Front, cog: CogServer
) -> None:
    car = data_url((EXAMPLES / "car.png").read_bytes())
    asked = {"prompt": "a bus", "num_outputs": 2, "prompt_strength": 0.4, "init_image": car}
    asked |= {"image_dimensions": "128x256", "scheduler": "K-LMS", "seed": 7}
    model = "/v1/models/stability-ai/stable-diffusion/predictions"
    one.client.post(model, json={"input": asked}, headers={"prefer": "wait"})
    before = cog.runs[-1].input
    visitor.page.reload()
    card = visitor.card()
    expect(card.locator("img")).to_have_count(2)
    card.locator(".picture").first.click()
    expect(visitor.page.get_by_label("How much of the input is shown")).to_be_visible()
    visitor.press("Close")
    card.get_by_role("button", name="Use its settings").click()
    expect(visitor.name("image")).to_have_text("image.png")
    visitor.run()
    visitor.card()
    assert before["num_inference_steps"] == 50
    # The form leaves out what is the endpoint's own default, too.
    assert {"guidance_scale": 7.5, **cog.runs[-1].input} == before


def test_settings_whose_image_is_gone_say_so(visitor: Visitor, one: Front) -> None:
    visitor.choose("image", EXAMPLES / "car.png")
    ask(visitor, "a bus")
    card = visitor.card()
    for path in one.services.settings.data.glob("predictions/*/in-image"):
        path.unlink()
    card.get_by_role("button", name="Use its settings").click()
    expect(visitor.page.locator("#fault")).to_have_text("The image is no longer on the server.")
    visitor.expect_refusals()


def test_a_prediction_has_one_card_though_the_history_comes_late(visitor: Visitor) -> None:
    expect(visitor.page.locator("#welcome")).to_be_visible()
    held: list[Route] = []
    visitor.page.route("**/form/predictions", lambda route: held.append(route))
    visitor.page.reload()
    ask(visitor, "a bus")
    visitor.card()
    route = caught(visitor, held)
    with visitor.page.expect_response("**/form/predictions") as listed:
        route.continue_()
    assert [made["input"]["prompt"] for made in listed.value.json()["results"]] == ["a bus"]
    expect(visitor.cards).to_have_count(1)
