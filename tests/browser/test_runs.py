"""What follows from a picture, and what is not drawn twice."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, expect

from tests.support.asking import ask, do, sent
from tests.support.browser import Visit, Visitor
from tests.support.front import Front, front
from tests.support.pictures import EXAMPLES
from tools.fake_cog import CogServer, pixels

REPEATED = "Same settings and seed: the same picture."


def image_of(inputs: dict[str, object]) -> bytes:
    """The file of the input `image` as the model had it."""
    return base64.b64decode(str(inputs["image"]).partition(",")[2])


def repeated(visitor: Visitor) -> Locator:
    """What says that nothing was drawn since it would be the same."""
    return visitor.page.locator(".repeat")


def test_more_like_a_picture_begins_with_it_and_leaves_the_form_alone(
    visitor: Visitor, cog: CogServer
) -> None:
    visitor.more()
    visitor.field("Negative prompt").fill("a cat")
    visitor.field("Seed").fill("5")
    ask(visitor, "a bus")
    visitor.card()
    visitor.field("Prompt").fill("another thing")
    do(visitor, "More like this: a little")
    expect(visitor.cards).to_have_count(2)
    visitor.card()
    inputs = cog.runs[-1].input
    assert image_of(inputs) == pixels("a bus", 5)
    assert {"prompt": "a bus", "negative_prompt": "a cat"}.items() <= inputs.items()
    assert (inputs["strength"], inputs["num_images"]) == (0.3, 4)
    assert inputs["keep_size"] is True  # of a size that no model draws
    assert inputs["seed"] not in range(2, 9)
    expect(visitor.field("Prompt")).to_have_value("another thing")
    expect(visitor.field("Seed")).to_have_value("5")
    expect(visitor.page.locator(".toast")).to_contain_text("4 pictures are in the queue")
    do(visitor, "More like this: much", 1)
    expect(visitor.cards).to_have_count(3)
    visitor.card()
    assert cog.runs[-1].input["strength"] == 0.7
    assert cog.runs[-1].input["seed"] != inputs["seed"]


def test_of_what_a_mask_has_repainted_more_is_the_same_by_other_seeds(
    visitor: Visitor, cog: CogServer
) -> None:
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.choose("mask", EXAMPLES / "flower-mask.png")
    expect(visitor.name("mask")).to_be_visible()
    visitor.field("Strength").fill("0.9")
    ask(visitor, "a rose")
    visitor.card()
    before = cog.runs[-1].input
    do(visitor, "More like this: more")
    expect(visitor.cards).to_have_count(2)
    visitor.card()
    after = cog.runs[-1].input
    assert after["seed"] != before["seed"]
    assert {**after, "seed": 0} == {**before, "seed": 0, "num_images": 4}


def test_a_picture_is_enlarged_by_the_upscaler_where_one_runs(
    cog: CogServer, tmp_path: Path, visit: Visit
) -> None:
    with CogServer("upscale").served() as upscale, front(tmp_path, cog, upscale) as one:
        visitor = visit(one.url)
        visitor.more()
        visitor.page.locator("#input-num_inference_steps").fill("7")
        ask(visitor, "a bus")
        visitor.card()
        drawn = cog.runs[-1].input["seed"]
        do(visitor, "Enlarge")
        expect(visitor.cards).to_have_count(2)
        visitor.card()
        assert image_of(upscale.runs[-1].input) == pixels("a bus", drawn)
        assert sent(upscale).keys() == {"prompt", "image"}
        expect(visitor.page.get_by_label("Model")).to_have_value(
            "stability-ai/stable-diffusion-2-1"
        )


def test_without_an_upscaler_a_second_pass_enlarges_it(
    cog: CogServer, tmp_path: Path, visit: Visit
) -> None:
    cog.description["upscalers"] = ["4x_Foolhardy"]
    with front(tmp_path, cog) as one:
        visitor = visit(one.url)
        ask(visitor, "a bus")
        visitor.card()
        do(visitor, "Enlarge")
        expect(visitor.cards).to_have_count(2)
        visitor.card()
        second = {"strength": 0, "refine_scale": 2, "refine_strength": 0}
        assert {**second, "upscaler": "4x_Foolhardy", "prompt": "a bus"}.items() <= sent(
            cog
        ).items()


def test_what_failed_is_tried_again_as_it_was(visitor: Visitor, cog: CogServer) -> None:
    cog.tell("a bus", "err", "succeed")
    visitor.choose("image", EXAMPLES / "car.png")
    visitor.more()
    visitor.field("Seed").fill("5")
    ask(visitor, "a bus")
    card = visitor.card("failed")
    visitor.field("Prompt").fill("another thing")
    card.get_by_role("button", name="Try again").click()
    expect(visitor.cards).to_have_count(2)
    visitor.card()
    assert cog.runs[-1].input == cog.runs[-2].input
    expect(visitor.field("Prompt")).to_have_value("another thing")


def test_a_picture_is_painted_on_and_extended(visitor: Visitor, cog: CogServer) -> None:
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.choose("mask", EXAMPLES / "flower-mask.png")
    expect(visitor.name("mask")).to_be_visible()
    ask(visitor, "a bus")
    visitor.card()
    do(visitor, "Paint on it")
    expect(visitor.page.locator("dialog.editor")).to_be_visible()
    visitor.page.keyboard.press("Escape")
    expect(visitor.name("image")).to_contain_text("a-bus-seed-")
    expect(visitor.name("mask")).to_be_hidden()
    do(visitor, "Extend")
    expect(visitor.field("Extend left")).to_be_focused()


def test_a_picture_is_copied_to_the_clipboard(visitor: Visitor, cog: CogServer) -> None:
    ask(visitor, "a bus")
    visitor.card()
    do(visitor, "Copy")
    expect(visitor.page.locator(".toast")).to_contain_text("The picture is copied")
    copied = visitor.page.evaluate(
        """async () => {
            const [item] = await navigator.clipboard.read();
            const blob = await item.getType("image/png");
            return [...new Uint8Array(await blob.arrayBuffer())];
        }"""
    )
    with Image.open(io.BytesIO(bytes(copied))) as picture:
        drawn = Image.open(io.BytesIO(pixels("a bus", cog.runs[-1].input["seed"])))
        assert picture.convert("RGB").tobytes() == drawn.tobytes()


def test_the_same_settings_and_seed_are_not_drawn_twice(visitor: Visitor, cog: CogServer) -> None:
    visitor.choose("image", EXAMPLES / "car.png")
    visitor.more()
    visitor.field("Seed").fill("5")
    ask(visitor, "a bus")
    visitor.card()
    visitor.press("Run")
    expect(repeated(visitor)).to_contain_text(REPEATED)
    assert len(cog.runs) == 1
    visitor.field("Guidance scale").fill("3")
    expect(repeated(visitor)).to_be_hidden()
    visitor.run()
    visitor.card()
    visitor.field("Guidance scale").fill("7.5")
    visitor.press("Run")
    visitor.press("Draw it anyway")
    expect(visitor.cards).to_have_count(3)
    visitor.card()
    assert cog.runs[-1].input == cog.runs[0].input
    visitor.press("Run")
    visitor.press("Draw another")
    expect(visitor.cards).to_have_count(4)
    visitor.card()
    expect(visitor.page.get_by_role("button", name="Run", exact=True)).to_be_focused()
    expect(visitor.field("Seed")).to_have_value("")
    assert {**cog.runs[-1].input, "seed": 5} == cog.runs[0].input


def test_a_picture_of_a_random_seed_is_not_drawn_again_by_its_seed(
    visitor: Visitor, cog: CogServer
) -> None:
    visitor.page.locator("#input-num_images").fill("3")
    ask(visitor, "a bus")
    visitor.run()  # with another seed
    expect(visitor.cards).to_have_count(2)
    card = visitor.card()
    card.locator(".tile").nth(1).hover()
    card.locator(".menu-button").nth(1).click()
    visitor.page.get_by_role("menuitem", name="Use its settings and seed").click()
    expect(visitor.field("Seed")).to_have_value(str(cog.runs[-1].input["seed"] + 1))
    visitor.press("Run")
    expect(repeated(visitor)).to_contain_text(REPEATED)
    assert len(cog.runs) == 2


def test_what_was_stopped_or_deleted_is_drawn_again(visitor: Visitor, cog: CogServer) -> None:
    visitor.more()
    visitor.field("Seed").fill("5")
    cog.tell("a bus", "hold", "succeed")
    ask(visitor, "a bus")
    visitor.card("processing")
    visitor.press("Stop")
    visitor.card("canceled")
    visitor.run()
    visitor.card()
    visitor.cards.first.get_by_role("button", name="Delete", exact=True).click()
    expect(visitor.cards).to_have_count(1)
    visitor.run()
    visitor.card()
    assert len(cog.runs) == 3


def test_an_example_leaves_the_seed_to_chance(visitor: Visitor, cog: CogServer) -> None:
    visitor.press("Examples")
    visitor.press("Take car.png and the prompt a blue car")
    expect(visitor.name("image")).to_have_text("car.png")
    visitor.run()
    visitor.card()
    visitor.run()
    expect(visitor.cards).to_have_count(2)
    visitor.card()
    assert cog.runs[0].input["seed"] != cog.runs[1].input["seed"]
    assert image_of(sent(cog)) == (EXAMPLES / "car.png").read_bytes()


def test_an_example_that_is_tried_runs(visitor: Visitor, cog: CogServer) -> None:
    visitor.press("Try car.png and the prompt a blue car")
    visitor.card()
    assert sent(cog)["prompt"] == "a blue car"


def test_examples_are_listed_by_thumbnails(one: Front, visit: Visit) -> None:
    visitor = visit(one.url)
    expect(visitor.page.locator("#welcome img").first).to_have_js_property("complete", True)
    sizes = dict(
        visitor.page.evaluate(
            """() => performance.getEntriesByType("resource")
                .filter(({ name }) => name.includes("/examples/"))
                .map(({ name, decodedBodySize }) => [new URL(name).pathname, decodedBodySize])"""
        )
    )
    assert sizes
    assert all(path.startswith("/form/examples/thumbnails/") for path in sizes)
    folder = EXAMPLES / "thumbnails"
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 25_000


def test_the_inpainting_model_has_an_example_with_a_mask(tmp_path: Path, visit: Visit) -> None:
    with CogServer("inpainting").served() as inpainting, front(tmp_path, inpainting) as one:
        visitor = visit(one.url)
        offered = visitor.page.locator("#welcome .examples button:visible")
        expect(offered).to_have_text(["a red rose"])
        visitor.press("Try flower.png and the prompt a red rose")
        visitor.card()
        mask = base64.b64decode(sent(inpainting)["mask"].partition(",")[2])
        assert mask == (EXAMPLES / "flower-mask.png").read_bytes()
        assert sent(inpainting)["prompt"] == "a red rose"


def test_a_dropped_picture_brings_the_image_that_it_was_made_from(
    visitor: Visitor, cog: CogServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    making = {
        "prompt": "a bus",
        "negative_prompt": "a cat",
        "seed": 9,
        "model": "m",
        "version": "1",
    }

    def signed(prompt: str, seed: int, index: int = 0) -> bytes:
        from PIL.PngImagePlugin import PngInfo

        file, info = io.BytesIO(), PngInfo()
        info.add_text("Description", json.dumps({**making, "seed": seed}))
        Image.open(io.BytesIO(pixels(prompt, seed, index))).save(file, "PNG", pnginfo=info)
        return file.getvalue()

    monkeypatch.setattr("tools.fake_cog.pixels", signed)
    visitor.choose("image", EXAMPLES / "car.png")
    visitor.more()
    visitor.field("Negative prompt").fill("a cat")
    visitor.field("Seed").fill("9")
    ask(visitor, "a bus")
    visitor.card()
    result = tmp_path / "result.png"
    result.write_bytes(signed("a bus", 9))
    visitor.press("Reset")
    visitor.choose("image", result)
    visitor.page.locator('[data-name="image"]').get_by_text("Use its settings").click()
    expect(visitor.name("image")).to_have_text("image.png")
    expect(visitor.field("Prompt")).to_have_value("a bus")
    expect(visitor.page.locator("#fault")).to_be_empty()
    visitor.field("Seed").fill("10")
    visitor.run()
    visitor.card()
    assert image_of(sent(cog)) == (EXAMPLES / "car.png").read_bytes()

    stranger = tmp_path / "stranger.png"
    stranger.write_bytes(signed("a bus", 11))
    visitor.choose("image", stranger)
    visitor.page.locator('[data-name="image"]').get_by_text("Use its settings").click()
    expect(visitor.field("Seed")).to_have_value("11")
    expect(visitor.name("image")).to_be_hidden()
    expect(visitor.page.locator(".toast")).to_contain_text("If it was made from an image")
