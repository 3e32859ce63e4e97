"""The LoRAs and embeddings that the form offers."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Locator, expect

from tests.support.asking import shown
from tests.support.browser import Visit, Visitor, violations
from tests.support.front import Front, front
from tools.fake_cog import EMBEDDINGS, LORAS, CogServer
from tools.screenshots import LAPTOP, PHONE


@pytest.fixture
def cog() -> Iterator[CogServer]:
    with CogServer().served() as cog:
        yield cog


@pytest.fixture
def one(cog: CogServer, tmp_path: Path) -> Iterator[Front]:
    with front(tmp_path / "data", cog) as one:
        yield one


def offer(visitor: Visitor, name: str) -> Locator:
    return visitor.page.locator('[data-name="loras"] .chips').get_by_role(
        "button", name=name, exact=True
    )


def rows(visitor: Visitor) -> Locator:
    return visitor.page.locator(".loras > li")


def words(visitor: Visitor, name: str) -> Locator:
    return visitor.page.locator(f'[data-name="{name}"] .words button')


def fault(visitor: Visitor) -> Locator:
    """What is said of them all, or of the row that it is in."""
    return visitor.page.locator("#input-loras-fault")


def posted(visitor: Visitor) -> Any:
    """What the page asks for when Run is pressed, once it is drawn."""
    with visitor.page.expect_request(lambda request: request.method == "POST") as made:
        visitor.run()
    visitor.card()
    document: Any = made.value.post_data_json
    return document["input"]


def test_those_that_are_chosen_are_sent_with_their_weights(visitor: Visitor) -> None:
    expect(offer(visitor, "ink")).to_be_visible()
    assert shown(visitor)[:3] == ["Prompt", "LoRAs", "Image"]
    expect(visitor.page.locator('[data-name="loras"] .chips li')).to_have_text(
        ["blueprint", "ink", "wideit was made for Stable Diffusion XL"]
    )
    expect(offer(visitor, "wide")).to_be_disabled()
    visitor.field("Prompt").fill("a bus")
    assert posted(visitor) == {"prompt": "a bus"}
    offer(visitor, "ink").click()
    offer(visitor, "blueprint").click()
    expect(offer(visitor, "ink")).to_have_attribute("aria-pressed", "true")
    visitor.field("Weight of blueprint").fill("-0,75")
    expect(visitor.field("Weight of blueprint, slider")).to_have_value("-0.75")
    assert posted(visitor)["loras"] == ["ink", "blueprint:-0.75"]
    visitor.field("Weight of ink, slider").fill("1.35")
    expect(visitor.field("Weight of ink")).to_have_value("1.35")
    visitor.page.reload()
    assert posted(visitor)["loras"] == ["ink:1.35", "blueprint:-0.75"]
    visitor.page.get_by_role("button", name="Remove ink").click()
    expect(offer(visitor, "blueprint")).to_be_focused()
    expect(offer(visitor, "ink")).to_have_attribute("aria-pressed", "false")
    offer(visitor, "blueprint").click()
    expect(rows(visitor)).to_have_count(0)
    assert posted(visitor) == {"prompt": "a bus"}


@pytest.mark.parametrize("weight", ["2.01", "-3", "much", "", "1:2", "NaN", "Infinity"])
def test_a_weight_that_is_none_is_said_and_not_sent(visitor: Visitor, weight: str) -> None:
    visitor.field("Prompt").fill("a bus")
    offer(visitor, "ink").click()
    offer(visitor, "blueprint").click()
    visitor.field("Weight of blueprint").fill(weight)
    visitor.press("Run")
    expect(fault(visitor)).to_have_text("Enter a weight from -2 to 2 for blueprint.")
    expect(rows(visitor).last.locator(fault(visitor))).to_be_visible()
    expect(visitor.field("Weight of blueprint")).to_be_focused()
    expect(visitor.field("Weight of blueprint")).to_have_attribute("aria-invalid", "true")
    expect(visitor.field("Weight of blueprint")).to_have_accessible_description(
        "Enter a weight from -2 to 2 for blueprint."
    )
    expect(visitor.field("Weight of ink")).to_have_accessible_description("")
    expect(visitor.cards).to_have_count(0)
    visitor.field("Weight of blueprint").fill("0.0000001")
    expect(fault(visitor)).to_have_text("")
    assert posted(visitor)["loras"] == ["ink", "blueprint:0"]


def test_a_weight_that_is_none_is_kept_with_the_others(visitor: Visitor) -> None:
    for name, weight in (("ink", "0.5"), ("blueprint", "much")):
        offer(visitor, name).click()
        visitor.field(f"Weight of {name}").fill(weight)
    visitor.page.reload()
    expect(visitor.field("Weight of ink")).to_have_value("0.5")
    expect(visitor.field("Weight of blueprint")).to_have_value("much")
    visitor.field("Weight of blueprint").fill("")
    visitor.page.reload()
    expect(visitor.field("Weight of ink")).to_have_value("0.5")
    expect(visitor.field("Weight of blueprint")).to_have_value("")


def test_a_trigger_word_is_written_where_the_cursor_is(visitor: Visitor) -> None:
    prompt = visitor.field("Prompt")
    prompt.fill("a fox, red")
    offer(visitor, "ink").click()
    offer(visitor, "blueprint").click()
    expect(rows(visitor).get_by_role("button")).to_have_text(
        ["Remove", "Remove", "blueprint style"]
    )
    visitor.press("blueprint style")
    expect(prompt).to_have_value("a fox, red blueprint style")
    prompt.fill("a fox, red")
    for _ in ", red":
        prompt.press("ArrowLeft")
    visitor.press("blueprint style")
    expect(prompt).to_have_value("a fox blueprint style, red")
    expect(visitor.page.locator("#announcer")).to_have_text("blueprint style is in the prompt")
    assert posted(visitor)["prompt"] == "a fox blueprint style, red"


def test_the_words_of_embeddings_are_written_into_either_prompt(visitor: Visitor) -> None:
    visitor.more()
    expect(words(visitor, "prompt")).to_have_text(["pencil"])
    visitor.field("Prompt").fill("a bus")
    words(visitor, "prompt").click()
    words(visitor, "negative_prompt").click()
    expect(words(visitor, "negative_prompt")).to_be_focused()
    assert posted(visitor) == {"prompt": "a bus pencil", "negative_prompt": "pencil"}


def test_without_any_the_form_says_nothing_of_them(
    cog: CogServer, tmp_path: Path, visit: Visit
) -> None:
    cog.description |= {"loras": [], "embeddings": []}
    with front(tmp_path, cog) as one:
        visitor = visit(one.url)
        expect(visitor.field("Prompt")).to_be_visible()
        assert "LoRAs" not in shown(visitor)
        expect(visitor.page.locator(".words")).to_have_count(0)


def test_what_comes_and_goes_is_offered_once_the_page_is_seen_and_a_prediction_is_over(
    visitor: Visitor, one: Front, cog: CogServer
) -> None:
    offer(visitor, "ink").click()
    visitor.field("Weight of ink").fill("0.5")
    later = {**EMBEDDINGS[0], "name": "later", "tokens": ["later"]}
    cog.adapters = {
        "loras": [{**LORAS[0], "name": "new"}],
        "embeddings": [*EMBEDDINGS, later],
    }
    path = "/v1/models/stability-ai/stable-diffusion-img2img/predictions"
    one.client.post(path, json={"input": {"prompt": "a car"}}, headers={"prefer": "wait"})
    visitor.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(offer(visitor, "new")).to_be_visible()
    expect(offer(visitor, "ink")).to_have_count(0)
    expect(words(visitor, "prompt")).to_have_text(["pencil", "later"])
    expect(rows(visitor).locator(".fault")).to_have_text("This model has no LoRA of this name.")
    expect(visitor.field("Weight of ink")).to_have_value("0.5")
    expect(visitor.field("Weight of ink")).to_be_focused()
    cog.adapters = {"loras": LORAS, "embeddings": EMBEDDINGS}
    visitor.field("Prompt").fill("a bus")
    visitor.run()
    visitor.card()
    expect(offer(visitor, "ink")).to_have_attribute("aria-pressed", "true")
    expect(rows(visitor).locator(".fault")).to_have_text("")
    expect(words(visitor, "prompt")).to_have_text(["pencil"])


def test_a_file_that_is_another_than_then_is_said(visitor: Visitor, cog: CogServer) -> None:
    says = "This file has changed since."
    visitor.field("Prompt").fill("a bus")
    offer(visitor, "blueprint").click()
    visitor.run()
    card = visitor.card()
    other = {**LORAS[0], "hash": "ff" * 32}
    assert other["name"] == "blueprint"
    cog.adapters = {"loras": [other, *LORAS[1:]], "embeddings": EMBEDDINGS}
    assert posted(visitor)["loras"] == ["blueprint"]
    expect(rows(visitor).locator(".fault")).to_have_text([""])
    card.get_by_role("button", name="Use its settings").click()
    expect(rows(visitor).locator(".fault").first).to_have_text(says)
    expect(visitor.field("Weight of blueprint")).to_have_accessible_description(says)
    visitor.page.reload()
    expect(rows(visitor).locator(".fault").first).to_have_text(says)


def test_settings_that_are_restored_have_them_without_a_hash(visitor: Visitor) -> None:
    visitor.field("Prompt").fill("a bus")
    offer(visitor, "blueprint").click()
    visitor.field("Weight of blueprint").fill("0.7")
    visitor.run()
    card = visitor.card()
    visitor.press("Reset")
    expect(rows(visitor)).to_have_count(0)
    card.get_by_role("button", name="Use its settings").click()
    expect(rows(visitor).locator(".name")).to_have_text(["blueprint"])
    expect(visitor.field("Weight of blueprint")).to_have_value("0.7")


def test_a_picture_brings_back_those_that_are_gone_and_nothing_that_is_none(
    visitor: Visitor, tmp_path: Path
) -> None:
    loras = [
        f"ink@{LORAS[1]['hash'][:12]}:0.5",
        "gone",
        "wide:-1",
        "ink:2",
        7,
        None,
        {},
        "",
        "<b>:x",
    ]
    made = {"prompt": "a bus", "seed": 7, "loras": [*loras, *(f"n{place}" for place in range(9))]}
    chunk = PngInfo()
    chunk.add_text("Description", json.dumps(made))
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG", pnginfo=chunk)
    (tmp_path / "made.png").write_bytes(file.getvalue())
    visitor.choose("image", tmp_path / "made.png")
    visitor.press("Use its settings")
    names = rows(visitor).locator(".name")
    expect(names).to_have_text(["ink", "gone", "wide", "<b>", "n0", "n1", "n2", "n3"])
    expect(rows(visitor).locator(".fault")).to_have_text(
        [
            "",
            "This model has no LoRA of this name.",
            "It can't be used: it was made for Stable Diffusion XL",
            *["This model has no LoRA of this name."] * 5,
        ]
    )
    expect(visitor.field("Weight of <b>")).to_have_value("x")
    offer(visitor, "blueprint").click()
    expect(fault(visitor)).to_have_text("No more than 8 can be used at once.")
    for name in ("gone", "wide", "<b>", "n0", "n1", "n2", "n3"):
        visitor.page.get_by_role("button", name=f"Remove {name}", exact=True).click()
    assert posted(visitor)["loras"] == ["ink:0.5"]


def test_many_are_searched(cog: CogServer, tmp_path: Path, visit: Visit) -> None:
    many = [{**LORAS[1], "name": f"style {number}"} for number in range(40)]
    cog.description["loras"] = [LORAS[2], *many]
    with front(tmp_path, cog) as one:
        visitor = visit(one.url)
        offers = visitor.page.locator('[data-name="loras"] .chips li:visible')
        expect(offers).to_have_count(41)
        expect(offers.last).to_contain_text("wide")
        visitor.field("Find one of the LoRAs").fill("STYLE 3")
        expect(offers).to_have_count(11)
        visitor.field("Find one of the LoRAs").press("Enter")
        expect(visitor.fault("prompt")).to_have_text("")
        offer(visitor, "style 31").click()
        expect(rows(visitor).locator(".name")).to_have_text(["style 31"])
        assert violations(visitor.page) == []


def test_code_has_the_list_in_each_language(visitor: Visitor) -> None:
    visitor.field("Prompt").fill("a bus")
    offer(visitor, "blueprint").click()
    offer(visitor, "ink").click()
    visitor.field("Weight of blueprint").fill("0.7")
    visitor.page.get_by_role("tab", name="Code").click()

    def code(language: str) -> str:
        visitor.page.get_by_label("Language").select_option(language)
        return visitor.page.locator("#code code").inner_text()

    assert '"loras":["blueprint:0.7","ink"]' in code("curl")
    assert '"loras": ["blueprint:0.7","ink"],' in code("Python")
    assert 'loras: ["blueprint:0.7","ink"],' in code("JavaScript")
    command = code("cog predict").replace("\\\n", "").splitlines()[1]
    assert shlex.split(command)[3:] == [
        *("-i", "prompt=a bus"),
        *("-i", "loras=blueprint:0.7"),
        *("-i", "loras=ink"),
    ]


@pytest.mark.parametrize(
    "look",
    [
        {"viewport": LAPTOP},
        {"viewport": PHONE, "color_scheme": "dark", "has_touch": True, "is_mobile": True},
        {"viewport": LAPTOP, "forced_colors": "active"},
    ],
    ids=["laptop", "phone, dark", "forced colours"],
)
def test_they_are_for_everyone(
    cog: CogServer, tmp_path: Path, visit: Visit, look: dict[str, Any]
) -> None:
    longest = {**LORAS[0], "name": "n" * 100, "trigger": "t" * 100}
    cog.description["loras"] = [*LORAS, longest]
    cog.description["embeddings"] = [{**EMBEDDINGS[0], "tokens": ["e" * 100]}]
    with front(tmp_path, cog) as one:
        visitor = visit(one.url, **look)
        offer(visitor, "blueprint").focus()
        visitor.page.keyboard.press("Space")
        offer(visitor, "n" * 100).click()
        visitor.field("Weight of blueprint").fill("x")
        visitor.press("Run")
        visitor.more()
        assert violations(visitor.page) == []
        assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
