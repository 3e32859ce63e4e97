"""The page before Cog servers without a model: what it shows, says and sends."""

from __future__ import annotations

import base64
import io
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Route, expect

from scripts.screenshots import PHONE
from stable_diffusion import images
from stable_diffusion.request import SIZES
from tests.conftest import EXAMPLES, difference, opened
from tests.form.browser import LONGEST, Visitor
from tests.form.conftest import Visit
from tests.hosting.cog_server import CogServer, data_url, pixels
from tests.hosting.front import Front, front


@pytest.fixture
def cog() -> Iterator[CogServer]:
    with CogServer(slots=1).served() as cog:
        yield cog


@pytest.fixture
def one(cog: CogServer, tmp_path: Path) -> Iterator[Front]:
    with front(tmp_path, cog, cog_slots=1, allowed_networks=("127.0.0.0/8",)) as one:
        yield one
        cog.let_go("slow")


@pytest.fixture
def visitor(one: Front, visit: Visit) -> Visitor:
    return visit(one.url)


def ask(visitor: Visitor, prompt: str) -> None:
    visitor.field("Prompt").fill(prompt)
    visitor.run()


def sent(cog: CogServer, place: int = -1) -> dict[str, Any]:
    """The inputs of a prediction as the model had them, the seed left aside."""
    return {name: value for name, value in cog.runs[place].input.items() if name != "seed"}


def caught(visitor: Visitor, held: list[Route]) -> Route:
    """A request that is held back, once it is made."""
    for _ in range(500):
        if held:
            break
        visitor.page.wait_for_timeout(20)
    return held[0]


def elsewhere(one: Front, example: str) -> str:
    """The URL of an example, by a name of the front that makes it another site to the page."""
    return f"{one.url.replace('127.0.0.1', 'localhost')}/form/examples/{example}"


def arrived(cog: CogServer, name: str) -> Image.Image:
    """A picture of the last prediction, as the model had it."""
    return Image.open(io.BytesIO(base64.b64decode(sent(cog)[name].partition(",")[2])))


def shown(visitor: Visitor) -> list[str]:
    """The labels of the inputs that can be seen."""
    labels = visitor.page.locator("[data-name]:visible > label, [data-name]:visible > .label")
    return labels.all_inner_texts()


def file_of(picture: Image.Image, path: Path, **options: Any) -> Path:
    picture.save(path, **options)
    return path


# What the form is


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
        assert shown(visitor) == ["Prompt", "Image", "Number of images"]
        visitor.more()
        expect(visitor.page.get_by_text("how sharp")).to_be_visible()
        assert shown(visitor)[3:] == [
            *("Negative prompt", "Number of inference steps", "Guidance scale", "Width", "Height"),
            *("Seed", "Use compel", "Scheduler", "Output format", "Output quality", "Sharpness"),
        ]
        visitor.field("Sharpness").fill("9")
        visitor.field("Prompt").fill("a bus")
        visitor.press("Run")
        expect(visitor.fault("sharpness")).to_have_text("Give a whole number from 2 to 8.")
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
    visitor.field("Scheduler").select_option("PNDM")
    visitor.field("Use compel").check()
    visitor.field("Seed").fill("9007199254740991")
    ask(visitor, "a bus")
    visitor.card()
    assert cog.runs[-1].input == {
        "prompt": "a bus",
        "negative_prompt": "a cat",
        "guidance_scale": 7.25,
        "width": 256,
        "scheduler": "PNDM",
        "use_compel": True,
        "seed": 9007199254740991,
    }


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
                "stable-diffusion-img2img: image to image, text to image",
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
        visitor.card().get_by_role("button", name="Use these settings").click()
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
        picker.select_option("stability-ai/stable-diffusion-img2img")
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
        caught(visitor, held).continue_()
        visitor.page.wait_for_load_state("networkidle")
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


# Pictures that go in


def test_what_the_chosen_size_leaves_of_a_picture_is_shown(
    visitor: Visitor, tmp_path: Path
) -> None:
    visitor.choose("image", file_of(Image.new("RGB", (600, 300)), tmp_path / "wide.png"))
    visitor.more()
    visitor.field("Width").select_option("256")
    visitor.field("Height").select_option("256")
    expect(visitor.page.get_by_text("becomes 256 × 256 px")).to_be_visible()
    crop = visitor.page.locator(".crop")
    assert crop.evaluate("box => [box.style.width, box.style.height]") == ["50%", "100%"]


def test_the_size_that_is_foretold_is_the_one_that_the_model_chooses(visitor: Visitor) -> None:
    generator = random.Random(1)
    asked: list[tuple[int | None, int | None, tuple[int, int] | None, int]] = []
    for _ in range(400):
        side = generator.choice((128, 512, 768))
        chosen = [generator.choice((None, None, *SIZES)) for _ in range(2)]
        shape = generator.randint(1, 2000), generator.randint(1, 2000)
        shapes = (None, shape, (1000, 1000), (1500, 1000), (1, 5000))
        asked.append((chosen[0], chosen[1], generator.choice(shapes), side))
    foretold = visitor.page.evaluate(
        """async ([asked, sides]) => {
            const { sizeOf } = await import("/form/schema.js");
            return asked.map(([width, height, shape, native]) => {
                const picture = shape && { width: shape[0], height: shape[1] };
                return sizeOf(width, height, picture, sides, native);
            });
        }""",
        [asked, SIZES],
    )
    assert foretold == [list(images.choose_size(*one)) for one in asked]


def test_a_photo_is_upright_and_what_its_camera_wrote_stays_here(
    visitor: Visitor, cog: CogServer, tmp_path: Path
) -> None:
    photo = Image.new("RGB", (80, 40), "white")
    ImageDraw.Draw(photo).rectangle((0, 0, 39, 39), fill="red")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right
    exif.get_ifd(0x8825)[1] = "N"
    visitor.choose("image", file_of(photo, tmp_path / "photo.jpg", exif=exif))
    expect(visitor.page.get_by_text("40 × 80 px")).to_be_visible()
    preview = visitor.page.get_by_alt_text("The picture that was chosen")
    size = preview.evaluate("image => [image.naturalWidth, image.naturalHeight]")
    assert size == [40, 80]
    ask(visitor, "a bus")
    visitor.card()
    with arrived(cog, "image") as picture:
        assert picture.size == (40, 80)
        assert not picture.getexif()
        red, green, _ = picture.convert("RGB").getpixel((20, 20))  # type: ignore[misc]
        assert red > 200 > 60 > green


def test_a_picture_without_such_goes_as_it_is(visitor: Visitor, cog: CogServer) -> None:
    visitor.choose("image", EXAMPLES / "orange.jpg")
    ask(visitor, "a bus")
    visitor.card()
    data = (EXAMPLES / "orange.jpg").read_bytes()
    assert sent(cog)["image"] == data_url(data, "image/jpeg")


def test_a_huge_photo_is_scaled_before_it_is_sent(
    visitor: Visitor, cog: CogServer, tmp_path: Path
) -> None:
    photo = Image.linear_gradient("L").resize((4000, 3000)).convert("RGB")
    visitor.choose("image", file_of(photo, tmp_path / "photo.jpg"))
    expect(visitor.page.get_by_text("1365 × 1024 px")).to_be_visible()
    ask(visitor, "a bus")
    visitor.card()
    assert sent(cog)["image"].startswith("data:image/jpeg;base64,")
    with arrived(cog, "image") as picture:
        assert picture.size == (1365, 1024)
        assert difference(picture, photo.resize(picture.size))[1] < 2


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("notes.pdf", b"%PDF-1.7 nothing", "notes.pdf is no picture that can be read. Give PNG"),
        ("empty.png", b"", "empty.png is no picture that can be read."),
        ("half.png", pixels("a", 1)[:60], "half.png is damaged: it can't be read as PNG."),
    ],
)
def test_a_bad_file_is_said_at_the_field(
    visitor: Visitor, tmp_path: Path, name: str, data: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(data)
    visitor.choose("image", tmp_path / name)
    expect(visitor.fault("image")).to_contain_text(says)
    visitor.choose("image", EXAMPLES / "car.png")
    expect(visitor.fault("image")).to_have_text("")
    expect(visitor.name("image")).to_have_text("car.png")


def test_a_tiff_that_the_browser_does_not_show_goes_to_the_model(
    visitor: Visitor, cog: CogServer, tmp_path: Path
) -> None:
    path = file_of(Image.new("RGB", (80, 40)), tmp_path / "scan.tiff")
    visitor.choose("image", path)
    expect(visitor.page.get_by_text("this browser can't show it, the model can")).to_be_visible()
    ask(visitor, "a bus")
    visitor.card()
    assert sent(cog)["image"] == data_url(path.read_bytes(), "image/tiff")


def test_a_picture_comes_by_drop_by_paste_and_from_a_url(
    visitor: Visitor, one: Front, cog: CogServer
) -> None:
    page = visitor.page
    name = visitor.name("image")
    expect(visitor.field("Prompt")).to_be_visible()
    give = """([kind, target, bytes, name]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
        const element = document.querySelector(target);
        const options = { bubbles: true, cancelable: true };
        element.dispatchEvent(kind === "drop"
            ? new DragEvent("drop", { ...options, dataTransfer: data })
            : new ClipboardEvent("paste", { ...options, clipboardData: data }));
    }"""
    page.evaluate(give, ["drop", "#results", list(pixels("a", 1)), "dropped.png"])
    expect(name).to_have_text("dropped.png")
    page.evaluate(give, ["paste", "#input-prompt", list(pixels("a", 1)), "pasted.png"])
    expect(name).to_have_text("pasted.png")
    visitor.press("Remove")

    visitor.press("From a URL")
    address = page.get_by_label("URL of the picture")
    address.fill(elsewhere(one, "house.png"))
    address.press("Enter")
    expect(name).to_have_text("house.png")
    ask(visitor, "a castle")
    visitor.card()
    assert sent(cog)["image"] == data_url((EXAMPLES / "house.png").read_bytes())


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "Give the address of a picture"),
        ("file:///etc/hostname", "Give the address of a picture"),
        ("https://[bad/cat.png", "Give the address of a picture"),
        ("http://10.0.0.1/cat.png", "10.0.0.1"),
        ("http://10.0.0.1/files/cat.png", "10.0.0.1"),
        ("http://127.0.0.1:9/cat.png", "127.0.0.1"),
    ],
)
def test_a_url_that_leads_to_no_picture_is_said_at_the_field(
    visitor: Visitor, url: str, says: str
) -> None:
    visitor.press("From a URL")
    visitor.page.get_by_label("URL of the picture").fill(url)
    visitor.press("Get it")
    expect(visitor.fault("image")).to_contain_text(says, timeout=LONGEST)
    visitor.expect_refusals()


def test_a_picture_that_is_still_coming_is_waited_for(
    visitor: Visitor, one: Front, cog: CogServer
) -> None:
    held: list[Route] = []
    visitor.page.route("**/form/picture", lambda route: held.append(route))
    visitor.press("From a URL")
    visitor.page.get_by_label("URL of the picture").fill(elsewhere(one, "car.png"))
    visitor.press("Get it")
    expect(visitor.fault("image")).to_have_text("Getting it …")
    visitor.field("Prompt").fill("a bus")
    visitor.press("Run")
    expect(visitor.page.get_by_role("button", name="Run")).to_have_attribute("aria-busy", "true")
    caught(visitor, held).continue_()
    visitor.card()
    assert sent(cog)["image"] == data_url((EXAMPLES / "car.png").read_bytes())


def test_of_two_pictures_the_one_given_last_stays(visitor: Visitor, one: Front) -> None:
    held: list[Route] = []
    visitor.page.route("**/form/picture", lambda route: held.append(route))
    visitor.press("From a URL")
    visitor.page.get_by_label("URL of the picture").fill(elsewhere(one, "car.png"))
    visitor.press("Get it")
    visitor.choose("image", EXAMPLES / "flower.png")
    expect(visitor.name("image")).to_have_text("flower.png")
    caught(visitor, held).continue_()
    visitor.page.wait_for_load_state("networkidle")
    expect(visitor.name("image")).to_have_text("flower.png")


def test_a_reload_keeps_the_pictures_that_were_chosen(visitor: Visitor, cog: CogServer) -> None:
    visitor.choose("image", EXAMPLES / "flower.png")
    visitor.choose("mask", EXAMPLES / "flower-mask.png")
    expect(visitor.name("mask")).to_be_visible()
    visitor.field("Prompt").fill("a rose")
    visitor.page.reload()
    expect(visitor.name("image")).to_have_text("flower.png")
    visitor.run()
    visitor.card()
    assert sent(cog)["image"] == data_url((EXAMPLES / "flower.png").read_bytes())
    assert sent(cog)["mask"] == data_url((EXAMPLES / "flower-mask.png").read_bytes())


# Masks


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


# Predictions


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


def test_three_queue_and_one_that_waits_is_stopped(visitor: Visitor, cog: CogServer) -> None:
    cog.tell("slow", "hold")
    for prompt in ("slow", "second", "third"):
        ask(visitor, prompt)
    status = visitor.cards.locator(".status")
    expect(visitor.card("processing", 2).locator(".status")).to_have_text("50 %")
    expect(status.nth(1)).to_have_text("Waiting: next in the queue")
    expect(status.nth(0)).to_have_text("Waiting: number 2 in the queue")
    visitor.cards.nth(1).get_by_role("button", name="Stop").click()
    visitor.card("canceled", 1)
    expect(status.nth(0)).to_have_text("Waiting: next in the queue", timeout=LONGEST)
    cog.let_go("slow")
    visitor.card("succeeded", 2)
    visitor.card("succeeded", 0)
    assert cog.prompts == ["slow", "third"]
    expect(visitor.page.locator("#announcer")).to_have_text("Done: 1 picture of third")


def test_what_the_model_finds_wrong_is_said_at_the_field_and_on_the_card(
    visitor: Visitor, cog: CogServer
) -> None:
    cog.tell("a bus", "fail")
    ask(visitor, "a bus")
    expect(visitor.card("failed").locator(".fault")).to_have_text("image: it is no picture")
    expect(visitor.fault("image")).to_have_text("it is no picture")


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
        from hosting.database import Prediction

        record = session.query(Prediction).one()
        flagged = {"index": 1, "seed": 8, "nsfw": True, "file": None}
        record.metrics = {**record.metrics, "images": [*record.metrics["images"], flagged]}

    one.dispatcher.database.now(flag)
    visitor.page.reload()
    expect(visitor.card().locator(".left-out")).to_have_text(re.compile("the NSFW checker flagged"))
    expect(visitor.card().locator(".seed").nth(1)).to_have_text("seed 8")


def test_the_history_comes_in_pages(visitor: Visitor, one: Front) -> None:
    for number in range(30):
        body = {"input": {"prompt": f"number {number}"}}
        one.client.post("/v1/models/stability-ai/stable-diffusion-img2img/predictions", json=body)
    visitor.page.reload()
    expect(visitor.cards).to_have_count(12)
    expect(visitor.cards.first.locator("h3")).to_have_text("number 29")
    visitor.press("Show older ones")
    expect(visitor.cards).to_have_count(24)
    visitor.press("Show older ones")
    expect(visitor.cards).to_have_count(30)
    expect(visitor.page.get_by_role("button", name="Show older ones")).to_be_hidden()


def test_all_pictures_of_a_prediction_are_saved_at_once(visitor: Visitor) -> None:
    visitor.field("Number of images").fill("3")
    ask(visitor, "a bus")
    card = visitor.card()
    expect(card.locator("img")).to_have_count(3)
    saved: list[str] = []
    visitor.page.on("download", lambda download: saved.append(download.suggested_filename))
    card.get_by_role("button", name="Download all").click()
    while len(saved) < 3:
        visitor.page.wait_for_event("download")
    assert len(set(saved)) == 3


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
    card.get_by_role("button", name="Use these settings").click()
    expect(visitor.name("image")).to_have_text("image.png")
    visitor.run()
    visitor.card()
    assert before["num_inference_steps"] == 50
    assert cog.runs[-1].input == before


def test_nothing_is_varied_when_its_image_is_gone(
    visitor: Visitor, one: Front, cog: CogServer
) -> None:
    visitor.choose("image", EXAMPLES / "car.png")
    ask(visitor, "a bus")
    visitor.card().locator(".picture").click()
    for path in one.dispatcher.settings.data.glob("predictions/*/in-image"):
        path.unlink()
    visitor.press("Vary")
    expect(visitor.page.locator("#fault")).to_have_text("The image could not be had again.")
    assert len(cog.runs) == 1
    visitor.expect_refusals()


def test_a_prediction_has_one_card_though_the_history_comes_late(visitor: Visitor) -> None:
    expect(visitor.field("Prompt")).to_be_visible()
    held: list[Route] = []
    visitor.page.route("**/v1/predictions", lambda route: held.append(route))
    visitor.page.reload()
    ask(visitor, "a bus")
    visitor.card()
    caught(visitor, held).continue_()
    visitor.page.wait_for_load_state("networkidle")
    expect(visitor.cards).to_have_count(1)


# Sharing


def test_a_link_shows_one_prediction_to_who_has_no_token(one: Front, visit: Visit) -> None:
    token = one.token("ada")["authorization"].partition(" ")[2]
    ada = visit(one.url)
    ada.page.get_by_label("Token").fill("sd_wrong")
    ada.press("Continue")
    expect(ada.page.locator("#token-fault")).to_have_text("The server does not know this token.")
    ada.page.get_by_label("Token").fill(token)
    ada.press("Continue")
    ask(ada, "a bus")
    ada.card().get_by_role("button", name="Copy link").click()
    link = ada.page.evaluate("navigator.clipboard.readText()")
    ada.expect_refusals()

    other = visit(one.url)
    other.complaints.clear()
    page = other.open(link.removeprefix(one.url))
    expect(page.locator(".card h3")).to_have_text("a bus")
    expect(page.locator(".card img")).to_have_js_property("naturalWidth", 2)
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    spoiled = other.open(link.removeprefix(one.url).replace("signature=", "signature=0"))
    expect(spoiled.get_by_role("alert")).to_contain_text("The link's time is over")
    other.expect_refusals()


def test_shared_settings_are_handed_on_to_the_form(visitor: Visitor) -> None:
    visitor.choose("image", EXAMPLES / "car.png")
    ask(visitor, "a bus")
    visitor.card().get_by_role("button", name="Copy link").click()
    visitor.press("Reset")
    page = visitor.page
    page.goto(page.evaluate("navigator.clipboard.readText()"))
    visitor.press("Use these settings")
    page.wait_for_url(visitor.url + "/")
    expect(visitor.field("Prompt")).to_have_value("a bus")
    expect(visitor.name("image")).to_have_text("image.png")


def test_a_token_stays_in_the_browser_until_it_is_forgotten(one: Front, visit: Visit) -> None:
    visitor = visit(one.url)
    token = one.token("ada")["authorization"].partition(" ")[2]
    visitor.page.reload()
    visitor.page.get_by_label("Token").fill(token)
    visitor.press("Continue")
    expect(visitor.field("Prompt")).to_be_visible()
    visitor.page.reload()
    expect(visitor.field("Prompt")).to_be_visible()
    expect(visitor.page.get_by_role("dialog")).to_be_hidden()
    visitor.press("Forget the token")
    expect(visitor.page.get_by_role("dialog")).to_be_visible()
    visitor.expect_refusals()


# The page itself


def test_its_policy_lets_in_nothing_from_elsewhere(one: Front) -> None:
    answer = one.client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "script-src 'self';" in policy
    assert "://" not in re.sub(r'xmlns="[^"]*"', "", answer.text)


def test_it_weighs_less_than_60_kilobytes(one: Front, visit: Visit) -> None:
    visitor = visit(one.url)
    expect(visitor.field("Prompt")).to_be_visible()
    sizes = visitor.page.evaluate(
        """() => performance.getEntries()
            .filter(({ entryType }) => ["navigation", "resource"].includes(entryType))
            .filter(({ name }) => !/examples|icon|models|openapi|v1/.test(name))
            .map(({ name, transferSize }) => [name, transferSize])"""
    )
    assert len(sizes) >= 10
    assert sum(size for _, size in sizes) < 60_000
    assert all(size > 0 for _, size in sizes), sizes


def test_each_file_of_the_page_is_there_and_nothing_beside_it(one: Front) -> None:
    page = one.client.get("/").text
    found = re.findall(r'(?:src|href)="(/form/[^"]+)"', page)
    assert len(found) > 10
    for path in found:
        answer = one.client.get(path)
        assert answer.status_code == 200, path
        again = one.client.get(path, headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304
    for path in ("/form/../app.py", "/form/%2e%2e/app.py", "/form/", "/form/nothing.js"):
        assert one.client.get(path).status_code == 404, path
    assert json.loads(one.client.get("/form/nothing.js").text)["status"] == 404
