"""The page at the real server: what it draws is what was asked for."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Locator, expect

from stable_diffusion.images import read_metadata
from tests.support.asking import do
from tests.support.browser import LONGEST, Visit, Visitor, box_of
from tests.support.pictures import EXAMPLES, difference, opened, same
from tests.support.server import Server, start


def serve(folder: Path, port: int | None = None) -> Server:
    """The demo model. With more threads, steps take ages where other work has the cores too."""
    return start(folder, "--model", "demo", port=port, OMP_NUM_THREADS="1")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = serve(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture
def visitor(server: Server, visit: Visit) -> Visitor:
    """Someone with few steps to wait for."""
    visitor = visit(f"http://127.0.0.1:{server.port}")
    visitor.more()
    visitor.field("Steps").fill("8")
    return visitor


def drawn(visitor: Visitor, place: int = 0, **inputs: Any) -> Image.Image:
    """The picture that comes of inputs, by their labels with _ for spaces."""
    for label, value in inputs.items():
        visitor.field(label.replace("_", " ")).fill(str(value))
    visitor.run()
    return picture(visitor, visitor.card().locator("img").nth(place))


def picture(visitor: Visitor, image: Locator) -> Image.Image:
    """What an element of the page shows."""
    expect(image).to_have_js_property("complete", True)
    path = image.get_attribute("src")
    return Image.open(io.BytesIO(visitor.context.request.get(visitor.url + str(path)).body()))


def followed(visitor: Visitor, name: str) -> Locator:
    """The card of what an entry of the newest picture's menu has drawn."""
    with visitor.page.expect_response(lambda answer: answer.request.method == "POST") as created:
        do(visitor, name)
    card = visitor.page.locator(f'.card[data-id="{created.value.json()["id"]}"]')
    expect(card).to_have_attribute("data-status", "succeeded")
    return card


def test_an_example_makes_a_fox_of_a_cat(server: Server, visit: Visit) -> None:
    visitor = visit(f"http://127.0.0.1:{server.port}")
    visitor.press("Examples")
    visitor.press("Take cat.png and the prompt a fox")
    expect(visitor.page.get_by_alt_text("The picture that was chosen")).to_be_visible()
    expect(visitor.page.get_by_text("becomes 128 × 128 px")).to_be_visible()
    visitor.field("Seed").fill("0")
    visitor.run()
    fox = picture(visitor, visitor.card().locator("img"))
    assert fox.size == (128, 128)
    red, green, blue = fox.convert("RGB").resize((1, 1), box=(48, 40, 80, 72)).getpixel((0, 0))  # type: ignore[misc]
    assert red > green > blue
    assert red - blue > 80


def test_the_prompt_changes_the_picture_and_the_seed_gives_it_back(visitor: Visitor) -> None:
    apple = drawn(visitor, Prompt="a red apple", Seed=5)
    bus = drawn(visitor, Prompt="a bus")
    assert difference(apple, bus)[1] > 10
    visitor.page.reload()  # the page itself would not draw it twice
    assert same(apple, drawn(visitor, Prompt="a red apple"))
    assert not same(apple, drawn(visitor, Seed=6))


def test_it_says_what_the_model_does_not_know_and_lists_what_it_does(visitor: Visitor) -> None:
    drawn(visitor, Prompt="a bicycle repair shop")
    note = visitor.card().locator(".notes li")
    expect(note).to_contain_text('"a bicycle repair shop" names none of them; nearest: bicycle.')
    visitor.page.get_by_text("What this model can draw").click()
    things = visitor.page.locator(".vocabulary").get_by_role("group", name="Things")
    expect(things).to_contain_text("bicyclebikebird")
    drawn(visitor, Prompt="a bike")
    expect(visitor.card().locator(".notes")).to_be_hidden()


def test_each_picture_tells_the_seed_that_gives_it_back_alone(visitor: Visitor) -> None:
    second = drawn(visitor, 1, Prompt="a house", Seed=7, Number_of_images=3)
    seeds = visitor.card().locator(".seed")
    expect(seeds).to_have_text(["seed 7", "seed 8", "seed 9"])
    visitor.card().locator(".tile").nth(1).hover()
    visitor.card().locator(".menu-button").nth(1).click()
    visitor.page.get_by_role("menuitem", name="Use its settings and seed").click()
    expect(visitor.field("Seed")).to_have_value("8")
    expect(visitor.page.locator("#input-num_images")).to_have_value("1")
    visitor.page.reload()  # the page itself would not draw it twice
    visitor.run()
    assert same(second, picture(visitor, visitor.card().locator("img")))


def test_more_like_a_picture_is_like_it(visitor: Visitor) -> None:
    apple = drawn(visitor, Prompt="a red apple", Seed=5)
    images = followed(visitor, "More like this: a little").locator("img")
    expect(images).to_have_count(4)
    near, other = [picture(visitor, images.nth(place)) for place in (0, 1)]
    assert near.size == apple.size
    assert not same(near, other)
    assert 0 < difference(near, apple)[1] < difference(drawn(visitor, Seed=6), apple)[1]


def test_a_picture_is_enlarged_by_a_second_pass(visitor: Visitor) -> None:
    apple = drawn(visitor, Prompt="a red apple", Seed=5)
    large = picture(visitor, followed(visitor, "Enlarge").locator("img"))
    assert large.size == (256, 256)
    assert difference(large.resize(apple.size), apple)[1] < 12


def test_an_upload_is_followed_and_strength_0_gives_it_back(visitor: Visitor) -> None:
    visitor.choose("image", EXAMPLES / "car.png")
    car = opened(EXAMPLES / "car.png").convert("RGB").resize((128, 128), Image.Resampling.LANCZOS)
    exact = drawn(visitor, Prompt="a bus", Strength=0)
    assert difference(exact, car)[0] <= 1
    assert difference(drawn(visitor, Strength=1, Seed=1), car)[1] > 10


def test_only_what_was_painted_is_repainted(visitor: Visitor) -> None:
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.press("Paint on the image")
    page = visitor.page
    paper = page.locator(".paper canvas")
    expect(paper).to_be_visible()
    box = box_of(paper)
    page.get_by_label("Size of the brush").fill("100")
    # A stroke from the left to the right, in the upper half.
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.3)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.3, steps=5)
    page.mouse.up()
    visitor.press("Use this mask")
    expect(page.get_by_alt_text("The mask that was chosen")).to_be_visible()
    made = drawn(visitor, Prompt="a red rose", Strength=1, Seed=1).convert("RGB")
    flower = (
        opened(EXAMPLES / "flower.png").convert("RGB").resize((128, 128), Image.Resampling.LANCZOS)
    )
    below, above = (0, 80, 128, 128), (44, 20, 84, 56)
    assert difference(made.crop(below), flower.crop(below))[0] <= 1
    assert difference(made.crop(above), flower.crop(above))[1] > 10


def test_a_picture_is_compared_with_its_input_and_becomes_the_next(visitor: Visitor) -> None:
    visitor.choose("image", EXAMPLES / "cat.png")
    drawn(visitor, Prompt="a fox", Seed=4)
    visitor.card().locator(".picture").click()
    slider = visitor.page.get_by_label("How much of the input is shown")
    before = visitor.page.locator(".before")
    expect(before.get_by_alt_text("The input", exact=True)).to_be_visible()
    expect(before).to_have_css("clip-path", "inset(0px 50% 0px 0px)")
    slider.fill("100")
    expect(before).to_have_css("clip-path", "inset(0px 0% 0px 0px)")
    visitor.press("Use as input")
    expect(visitor.name("image")).to_have_text(re.compile("seed-4.png"))
    expect(visitor.page.get_by_text("This picture was made here.")).to_be_visible()


@pytest.mark.parametrize("file_format", ["png", "webp", "jpg"])
def test_a_picture_that_comes_back_brings_its_settings(
    visitor: Visitor, tmp_path: Path, file_format: str
) -> None:
    visitor.field("Output format").select_option(file_format)
    drawn(visitor, Prompt="a „blue“ house", Negative_prompt="red", Seed=9, Guidance_scale=3)
    visitor.card().locator(".picture").click()
    with visitor.page.expect_download() as download:
        visitor.press("Download")
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name.endswith(f"-seed-9.{file_format}")
    assert read_metadata(path)["seed"] == 9
    visitor.press("Close")
    visitor.press("Reset")
    expect(visitor.field("Prompt")).to_have_value("")

    visitor.choose("image", path)
    visitor.press("Use its settings")
    expect(visitor.field("Prompt")).to_have_value("a „blue“ house")
    expect(visitor.field("Negative prompt")).to_have_value("red")
    expect(visitor.field("Guidance scale")).to_have_value("3")
    expect(visitor.field("Seed")).to_have_value("9")
    expect(visitor.field("Steps")).to_have_value("8")
    expect(visitor.page.get_by_alt_text("The picture that was chosen")).to_be_hidden()


def test_it_goes_on_when_the_page_is_reloaded_in_the_middle(visitor: Visitor) -> None:
    visitor.field("Prompt").fill("a castle")
    visitor.field("Steps").fill("150")
    visitor.run()
    visitor.card("processing")
    expect(visitor.cards.first.locator(".status")).to_have_text(
        re.compile(r"Step \d+ of 150, \d+ s left"), timeout=LONGEST
    )
    visitor.page.reload()
    card = visitor.card("processing")
    expect(card.locator("h3")).to_have_text("a castle")
    expect(card.locator(".status")).to_have_text(re.compile(r"Step \d+ of 150"))
    expect(visitor.field("Prompt")).to_have_value("a castle")
    visitor.card().get_by_role("button", name="Use its settings").click()
    expect(visitor.field("Steps")).to_have_value("150")


def test_stop_stops_it_between_two_steps(visitor: Visitor) -> None:
    visitor.field("Prompt").fill("a castle")
    visitor.field("Steps").fill("512")
    visitor.run()
    visitor.card("processing")
    visitor.press("Stop")
    expect(visitor.card("canceled").locator(".status")).to_have_text("Stopped")
    expect(visitor.cards.first.locator("img")).to_have_count(0)


def test_it_says_that_the_server_is_away_and_goes_on_when_it_is_back(
    tmp_path: Path, visit: Visit
) -> None:
    server = serve(tmp_path)
    visitor = visit(f"http://127.0.0.1:{server.port}")
    visitor.field("Prompt").fill("a bus")
    visitor.more()
    visitor.field("Steps").fill("150")
    visitor.field("Seed").fill("3")
    visitor.run()
    visitor.card("processing")
    connection = visitor.page.locator("#connection")
    connection.evaluate(
        """shown => {
            window.told = [];
            const tell = () => told.push(shown.textContent);
            new MutationObserver(tell).observe(shown, { childList: true });
        }"""
    )
    server.process.kill()
    server.process.wait()
    expect(connection).to_have_text(re.compile("does not answer"))
    visitor.field("Seed").fill("4")
    visitor.press("Run")
    expect(visitor.page.locator("#fault")).to_have_text(re.compile("does not answer"))
    server = serve(tmp_path, server.port)
    try:
        expect(visitor.card().locator(".seed")).to_have_text("seed 3")
        told = visitor.page.evaluate("told")
        assert "The server is back. Press Run again if nothing new is there." in told
        expect(connection).to_have_text("")
        visitor.expect_refusals()
    finally:
        server.stop()
