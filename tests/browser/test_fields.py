"""The form of a model: what it has, and what of it is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from tests.support.asking import ask, caught, sent, shown
from tests.support.browser import LONGEST, Visit, Visitor
from tests.support.front import front
from tests.support.pictures import EXAMPLES
from tools.fake_cog import FAILURES, CogServer


def test_it_is_drawn_from_the_schema_and_a_new_input_appears_by_itself(
    cog: CogServer, tmp_path: Path, visit: Visit
) -> None:
    inputs = cog.schema["components"]["schemas"]["Input"]
    sharpness = {"type": "integer", "minimum": 2, "maximum": 8, "default": 3, "x-order": 99}
    described = {**inputs["properties"], "sharpness": {**sharpness, "description": "how sharp"}}
    schemas = cog.schema["components"]["schemas"] | {"Input": {**inputs, "properties": described}}
    cog.schema = cog.schema | {"components": {"schemas": schemas}}
    with front(tmp_path, cog) as one:
        visitor = visit(one.url)
        expect(visitor.field("Prompt")).to_be_visible()
        assert shown(visitor) == ["Prompt", "LoRAs", "Image", "Number of images"]
        visitor.more()
        expect(visitor.page.get_by_text("how sharp")).to_be_visible()
        assert shown(visitor)[4:] == [
            *("Negative prompt", "Steps", "Guidance scale", "Width", "Height"),
            *("Weighted words", "Sharpness", "Refine scale"),
            *("Sampler", "Spacing", "Eta", "Clip skip"),
            *("Result size", "Resample", "Tiling", "Output format"),
        ]
        visitor.field("Sharpness").fill("9")
        visitor.field("Prompt").fill("a bus")
        visitor.press("Run")
        expect(visitor.fault("sharpness")).to_have_text("Enter a whole number from 2 to 8.")
        visitor.field("Sharpness").fill("4")
        visitor.run()
        visitor.card()
        assert sent(cog) == {"prompt": "a bus", "sharpness": 4}
        visitor.page.reload()
        expect(visitor.field("Sharpness")).to_have_value("4")


def test_it_sends_what_differs_from_the_models_own_choice(visitor: Visitor, cog: CogServer) -> None:
    visitor.more()
    visitor.field("Negative prompt").fill("a cat")
    visitor.field("Guidance scale").fill("7,25")
    visitor.field("Width").select_option("256")
    visitor.field("Sampler").select_option("PNDM")
    visitor.field("Weighted words").check()
    visitor.field("Seed").fill("9007199254740991")
    visitor.field("Result size").fill("520x776")
    ask(visitor, "a bus")
    visitor.card()
    assert cog.runs[-1].input == {
        "prompt": "a bus",
        "negative_prompt": "a cat",
        "guidance_scale": 7.25,
        "width": 256,
        "result_size": "520x776",
        "scheduler": "PNDM",
        "use_compel": True,
        "seed": 9007199254740991,
    }


def test_what_needs_an_image_a_mask_or_another_input_is_there_and_sent_with_it(
    visitor: Visitor, cog: CogServer
) -> None:
    visitor.more()
    headings = visitor.page.locator(".group:visible > summary")
    expect(headings).to_have_text(["Second pass", "Sampling", "Result"])
    expect(visitor.field("Refine strength")).to_be_hidden()
    visitor.field("Refine scale").fill("1,5")
    visitor.field("Refine strength").fill("0.3")
    ask(visitor, "a bus")
    visitor.card()
    refined = {"prompt": "a bus", "refine_scale": 1.5, "refine_strength": 0.3}
    assert sent(cog) == refined

    visitor.choose("image", EXAMPLES / "flower.png")
    image = ["Fit of the image", "Beyond the image"]
    expect(headings).to_have_text([*image, "Second pass", "Sampling", "Result"])
    visitor.field("Extend right").fill("64")
    visitor.run()
    visitor.card()
    assert sent(cog).items() >= {**refined, "extend_right": 64}.items()
    visitor.choose("mask", EXAMPLES / "flower-mask.png")
    expect(headings).to_have_text(["Mask", *image, "Second pass", "Sampling", "Result"])
    expect(visitor.field("Only masked padding")).to_be_hidden()
    visitor.field("Only masked").check()
    visitor.field("Only masked padding").fill("8")
    visitor.field("Extend right").fill("0")
    visitor.field("Refine scale").fill("1")
    visitor.run()
    visitor.card()
    masked = {"only_masked": True, "only_masked_padding": 8}
    assert sent(cog).items() >= masked.items()
    assert not sent(cog).keys() & {"extend_right", *refined} - {"prompt"}

    visitor.field("Keep size").check()
    visitor.page.locator('[data-name="image"]').get_by_text("Remove").click()
    visitor.page.locator('[data-name="mask"]').get_by_text("Remove").click()
    expect(visitor.field("Keep size")).to_be_hidden()
    visitor.run()
    visitor.card()
    assert sent(cog) == {"prompt": "a bus"}


def test_what_is_wrong_with_a_folded_input_is_shown_at_it(
    visitor: Visitor, cog: CogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold = "for (const one of document.querySelectorAll('details')) one.open = false"
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.more()
    visitor.field("Extend right").fill("2000")
    visitor.page.evaluate(fold)
    visitor.field("Prompt").fill("a bus")
    visitor.press("Run")
    expect(visitor.fault("extend_right")).to_have_text("Enter a whole number from 0 to 1472.")
    expect(visitor.field("Extend right")).to_be_focused()
    visitor.field("Extend right").fill("12")
    visitor.page.evaluate(fold)
    found = "12 is not a multiple of 8"  # which only the model sees
    monkeypatch.setitem(FAILURES, "fail", ("inputs", f"InputError: extend_right: {found}"))
    cog.tell("a bus", "fail")
    visitor.run()
    visitor.card("failed")
    expect(visitor.fault("extend_right")).to_have_text(found)
    expect(visitor.field("Extend right")).to_be_visible()


def test_news_of_the_model_leave_what_it_finds_wrong_to_be_shown(
    visitor: Visitor, cog: CogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAILURES, "trip", ("inputs", "InputError: guidance_scale: too much"))
    cog.tell("a bus", "trip")
    ask(visitor, "a bus")

    def renamed(route: Route) -> None:
        models = route.fetch().json()
        route.fulfill(json=[{**models[0], "name": "another"}])

    visitor.page.route("**/form/models", renamed)
    visitor.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(visitor.page.locator("#model option")).to_contain_text("another")
    cog.let_go("a bus")
    visitor.card("failed")
    expect(visitor.fault("guidance_scale")).to_have_text("too much")


def test_the_picker_has_the_models_that_run_and_keeps_what_they_share(
    cog: CogServer, tmp_path: Path, visit: Visit
) -> None:
    with (
        CogServer("inpainting").served() as inpainting,
        CogServer("upscale").served() as upscale,
        front(tmp_path, cog, inpainting, upscale) as one,
    ):
        visitor = visit(one.url)
        picker = visitor.page.get_by_label("Model")
        expect(picker.locator("option")).to_have_text(
            [
                "stable-diffusion-2-1: image to image, text to image",
                "stable-diffusion-2-inpainting: inpainting",
                "stable-diffusion-x4-upscaler: upscaling",
            ]
        )
        visitor.field("Prompt").fill("a bus")
        visitor.choose("image", EXAMPLES / "car.png")
        expect(visitor.field("Strength")).to_have_value("0.8")
        picker.select_option("stability-ai/stable-diffusion-2-inpainting")
        expect(visitor.field("Strength")).to_have_value("1")
        expect(visitor.field("Prompt")).to_have_value("a bus")
        picker.select_option("stability-ai/stable-diffusion-x4-upscaler")
        visitor.more()
        expect(visitor.field("Noise level")).to_have_value("20")
        assert "Strength" not in shown(visitor)
        expect(visitor.name("image")).to_have_text("car.png")
        visitor.run()
        visitor.card()
        assert sent(upscale).keys() == {"prompt", "image"}

        picker.select_option("stability-ai/stable-diffusion-2-inpainting")
        expect(visitor.field("Strength")).to_have_value("1")
        visitor.press("Run")
        expect(visitor.fault("mask")).to_have_text("This model needs a mask.")
        visitor.page.reload()
        expect(picker).to_have_value("stability-ai/stable-diffusion-2-inpainting")
        visitor.card().get_by_role("button", name="Use its settings").click()
        expect(picker).to_have_value("stability-ai/stable-diffusion-x4-upscaler")
        expect(visitor.name("image")).to_have_text("image.png")


def test_what_one_model_has_is_there_again_when_it_is_chosen_again(
    cog: CogServer, tmp_path: Path, visit: Visit
) -> None:
    with CogServer("upscale").served() as upscale, front(tmp_path, cog, upscale) as one:
        visitor = visit(one.url)
        visitor.choose("image", EXAMPLES / "flower.png")
        visitor.choose("mask", EXAMPLES / "flower-mask.png")
        visitor.field("Strength").fill("0.5")
        picker = visitor.page.get_by_label("Model")
        picker.select_option("stability-ai/stable-diffusion-x4-upscaler")
        expect(visitor.field("Strength")).to_have_count(0)
        picker.select_option("stability-ai/stable-diffusion-2-1")
        expect(visitor.field("Strength")).to_have_value("0.5")
        expect(visitor.name("mask")).to_have_text("flower-mask.png")


def test_of_two_models_the_one_chosen_last_has_the_form(
    cog: CogServer, tmp_path: Path, visit: Visit
) -> None:
    with (
        CogServer("inpainting").served() as inpainting,
        CogServer("upscale").served() as upscale,
        front(tmp_path, cog, inpainting, upscale) as one,
    ):
        visitor = visit(one.url)
        expect(visitor.field("Prompt")).to_be_visible()
        held: list[Route] = []
        visitor.page.route("**/openapi.json?*upscaler", lambda route: held.append(route))
        picker = visitor.page.get_by_label("Model")
        picker.select_option("stability-ai/stable-diffusion-x4-upscaler")
        picker.select_option("stability-ai/stable-diffusion-2-inpainting")
        expect(visitor.field("Strength")).to_have_value("1")
        with visitor.page.expect_response("**/openapi.json?*upscaler") as late:
            caught(visitor, held).continue_()
        late.value.finished()
        assert "Mask" in shown(visitor)


def test_while_no_model_is_known_it_says_so_and_shows_what_there_is(
    tmp_path: Path, visit: Visit
) -> None:
    with CogServer().served() as cog:
        cog.status = "STARTING"
        with front(tmp_path, cog, wait=False) as one:
            visitor = visit(one.url)
            expect(visitor.page.get_by_text("The models are starting")).to_be_visible()
            expect(visitor.page.get_by_role("button", name="Run")).to_be_disabled()
            cog.status = "READY"
            expect(visitor.field("Prompt")).to_be_visible(timeout=LONGEST)
            ask(visitor, "a bus")
            visitor.card()


def test_the_upscalers_that_are_installed_are_its_choices(
    cog: CogServer, tmp_path: Path, visit: Visit
) -> None:
    cog.description["upscalers"] = ["4x_Foolhardy", "RealESRGAN_x2plus"]
    with front(tmp_path, cog) as one:
        visitor = visit(one.url)
        visitor.more()
        visitor.field("Refine scale").fill("2")
        field = visitor.field("Upscaler")
        expect(field.locator("option")).to_have_text(["Lanczos", *cog.description["upscalers"]])
        field.select_option("RealESRGAN_x2plus")
        ask(visitor, "a bus")
        visitor.card()
        assert sent(cog) == {
            "prompt": "a bus",
            "refine_scale": 2,
            "upscaler": "RealESRGAN_x2plus",
        }


def test_without_upscalers_there_is_no_choice_of_them(visitor: Visitor) -> None:
    visitor.more()
    visitor.field("Refine scale").fill("2")
    expect(visitor.field("Refine strength")).to_be_visible()
    expect(visitor.field("Upscaler")).to_have_count(0)


def test_what_is_needed_is_heard(visitor: Visitor) -> None:
    expect(visitor.field("Prompt")).to_have_attribute("aria-required", "true")
    expect(visitor.field("Seed")).to_have_attribute("aria-required", "false")


def test_it_offers_no_more_than_the_token_may_have(
    cog: CogServer, tmp_path: Path, visit: Visit
) -> None:
    with front(tmp_path, cog, token_steps=10, token_images=2, token_side=128) as one:
        visitor = visit(one.url)
        expect(visitor.field("Prompt")).to_be_visible()
        visitor.more()
        sides = visitor.field("Width").locator("option")
        expect(sides).to_have_text(["automatic", "64", "128"])
        expect(visitor.page.locator(".shapes .hint")).to_have_text("128 × 128 px")
        visitor.field("Prompt").fill("a bus")
        visitor.field("Steps").fill("11")
        visitor.press("Run")
        expect(visitor.fault("num_inference_steps")).to_have_text(
            "Enter a whole number from 1 to 10."
        )
        visitor.field("Steps").fill("10")
        visitor.run()
        visitor.card()
        drawn = cog.runs[-1].input
        assert (drawn["width"], drawn["height"], drawn["num_inference_steps"]) == (128, 128, 10)
