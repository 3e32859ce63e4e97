"""Pictures that go in, by each way."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Route, expect

from stable_diffusion import images
from stable_diffusion.canvas import canvas_of
from stable_diffusion.request import SIZES, Request
from tests.support.asking import arrived, ask, caught, elsewhere, file_of, sent
from tests.support.browser import Visitor
from tests.support.front import Front
from tests.support.pictures import EXAMPLES, difference
from tools.fake_cog import CogServer, data_url, pixels


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
    visitor.field("Result size").fill("100x200")
    expect(visitor.page.get_by_text("becomes 100 × 200 px")).to_be_visible()
    assert crop.evaluate("box => [box.style.width, box.style.height]") == ["25%", "100%"]
    visitor.field("Result size").fill("")
    expect(visitor.page.get_by_text("becomes 256 × 256 px")).to_be_visible()
    visitor.field("Crop").fill("150,0,450,150")
    places = "box => [box.style.left, box.style.top, box.style.width, box.style.height]"
    assert crop.evaluate(places) == ["50%", "0%", "25%", "50%"]
    visitor.field("Resize mode").select_option("pad")
    assert crop.evaluate(places) == ["25%", "0%", "75%", "50%"]
    visitor.field("Extend left").fill("64")
    expect(visitor.page.get_by_text("becomes 320 × 256 px")).to_be_visible()
    visitor.field("Keep size").check()
    expect(visitor.page.get_by_text("becomes 514 × 150 px")).to_be_visible()


def test_a_second_pass_makes_what_becomes_of_a_picture_larger(
    visitor: Visitor, tmp_path: Path
) -> None:
    def becomes(size: str) -> None:
        expect(visitor.page.get_by_text(f"becomes {size} px")).to_be_visible()

    visitor.choose("image", file_of(Image.new("RGB", (301, 151)), tmp_path / "wide.png"))
    visitor.more()
    visitor.field("Width").select_option("512")
    visitor.field("Height").select_option("256")
    visitor.field("Refine scale").fill("1.5")
    becomes("768 × 384")
    visitor.field("Result size").fill("520x260")
    becomes("520 × 260")
    visitor.field("Result size").fill("")
    visitor.field("Keep size").check()
    becomes("301 × 151")
    visitor.field("Keep size").uncheck()
    visitor.field("Strength").fill("0")
    visitor.field("Refine strength").fill("0")
    becomes("768 × 384")
    visitor.field("Width").select_option("")
    visitor.field("Height").select_option("")
    own = Image.new("RGB", (301, 151))
    asked = {"prompt": "", "image": own, "strength": 0, "refine_strength": 0, "refine_scale": 1.5}
    width, height = canvas_of(Request.of(asked), 768).refined(1.5, grows=True).size
    becomes(f"{width} × {height}")
    visitor.field("Refine strength").fill("0.4")
    becomes("1536 × 768")


def test_the_size_of_a_result_is_shown_once_the_model_has_said_what_it_is(
    visitor: Visitor, tmp_path: Path
) -> None:
    def still_starting(route: Route) -> None:
        models = route.fetch().json()
        route.fulfill(json=[one | {"status": "STARTING", "description": None} for one in models])

    visitor.page.route("**/form/models", still_starting)
    visitor.page.reload()
    visitor.choose("image", file_of(Image.new("RGB", (600, 300)), tmp_path / "wide.png"))
    expect(visitor.page.get_by_text("(starting)")).to_be_attached()
    crop = visitor.page.get_by_text("becomes 1024 × 512 px")
    expect(crop).to_be_hidden()
    visitor.page.unroute_all(behavior="ignoreErrors")  # it is asked for again and again
    expect(crop).to_be_visible()
    expect(visitor.page.get_by_text("(starting)")).not_to_be_attached()


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
        """async (asked) => {
            const { sizeOf } = await import("/form/inputs/schema.js");
            return asked.map(([width, height, shape, native]) => {
                const picture = shape && { width: shape[0], height: shape[1] };
                return sizeOf(width, height, picture, native);
            });
        }""",
        asked,
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
        ("notes.pdf", b"%PDF-1.7 nothing", "notes.pdf can't be read as a picture. Use PNG"),
        ("empty.png", b"", "empty.png can't be read as a picture."),
        (
            "photo.heic",
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            "photo.heic is a HEIC picture, which can't be read here. Export it as JPEG",
        ),
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
        ("", "Enter the address of a picture"),
        ("file:///etc/hostname", "Enter the address of a picture"),
        ("https://[bad/cat.png", "Enter the address of a picture"),
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
    visitor.press("Load")
    expect(visitor.fault("image")).to_contain_text(says)
    visitor.expect_refusals()


def test_a_picture_that_is_still_coming_is_waited_for(
    visitor: Visitor, one: Front, cog: CogServer
) -> None:
    held: list[Route] = []
    visitor.page.route("**/form/picture", lambda route: held.append(route))
    visitor.press("From a URL")
    visitor.page.get_by_label("URL of the picture").fill(elsewhere(one, "car.png"))
    visitor.press("Load")
    expect(visitor.page.locator('[data-name="image"] .doing')).to_have_text("Loading it …")
    expect(visitor.fault("image")).to_have_text("")
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
    visitor.press("Load")
    visitor.choose("image", EXAMPLES / "flower.png")
    expect(visitor.name("image")).to_have_text("flower.png")
    with visitor.page.expect_response("**/form/picture"):
        caught(visitor, held).continue_()
    expect(visitor.page.locator('[data-name="image"] .doing')).to_have_text("")
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


def test_a_url_with_a_stray_percent_sign_leads_to_its_picture(visitor: Visitor) -> None:
    data = (EXAMPLES / "house.png").read_bytes()
    visitor.page.route(
        "**/form/picture", lambda route: route.fulfill(body=data, content_type="image/png")
    )
    visitor.press("From a URL")
    address = visitor.page.get_by_label("URL of the picture")
    address.fill("https://example.com/100%.png")
    address.press("Enter")
    expect(visitor.name("image")).to_have_text("100%.png")


def test_a_picture_of_another_format_than_before_is_named_by_it(
    visitor: Visitor, tmp_path: Path
) -> None:
    visitor.choose("image", file_of(Image.new("RGB", (1500, 1500)), tmp_path / "a.photo.webp"))
    expect(visitor.name("image")).to_have_text("a.photo.png")
    with visitor.page.expect_download() as saved:
        visitor.press("Download")
    assert saved.value.suggested_filename == "a.photo.png"
    with Image.open(saved.value.path()) as picture:
        assert picture.format == "PNG"
