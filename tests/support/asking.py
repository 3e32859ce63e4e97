"""What people do at the page before Cog servers without a model, and what comes of it there."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Route

from tests.support.browser import Visitor
from tests.support.front import Front
from tools.fake_cog import CogServer


def ask(visitor: Visitor, prompt: str) -> None:
    visitor.field("Prompt").fill(prompt)
    visitor.run()


def sent(cog: CogServer, place: int = -1) -> dict[str, Any]:
    """The inputs of a prediction as the model had them, the seed left aside."""
    return {name: value for name, value in cog.runs[place].input.items() if name != "seed"}


def caught(visitor: Visitor, held: list[Route]) -> Route:
    """A request that is held back, once it is made; not one that a reload has ended."""
    for _ in range(500):
        if waiting := [route for route in held if not route.request.failure]:
            return waiting[0]
        visitor.page.wait_for_timeout(20)
    raise TimeoutError("nothing was asked for")


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


def do(visitor: Visitor, name: str, card: int = 0) -> None:
    """Chooses something in the menu of a card's first picture."""
    tile = visitor.card("succeeded", card).locator(".tile").first
    tile.hover()
    tile.locator(".menu-button").click()
    visitor.page.get_by_role("menuitem", name=name, exact=True).click()
