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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test that a busy machine fails has another try, and is told of as one that had it."""
    if config.pluginmanager.hasplugin("pytest_rerunfailures"):
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Closes what pytest-rerunfailures leaves open, of which Python would complain at the end."""
    if connection := getattr(getattr(config, "failures_db", None), "sock", None):
        connection.close()


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
