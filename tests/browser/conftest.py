from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.support.browser import Visit, Visitor
from tests.support.front import Front, front
from tools import screenshots
from tools.fake_cog import CogServer


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Ends with the module: beside it no other test could have a loop of its own."""
    with screenshots.browser() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Opens the page of a front; when the test ends, it must not have complained."""
    visitors: list[Visitor] = []

    def visit(url: str, **options: Any) -> Visitor:
        visitors.append(Visitor(browser, url, **options))
        return visitors[-1]

    yield visit
    for visitor in visitors:
        visitor.close()


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
