"""The databases that tests run with, as fixtures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import front, postgresql
from tests.support.postgresql import PostgreSQL
from tools.benchmark.server import free_port


@pytest.fixture(scope="session")
def server() -> Iterator[PostgreSQL]:
    """The PostgreSQL server of all tests; it takes seconds to start."""
    with postgresql.running(free_port()) as server:
        yield server


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def everywhere(request: pytest.FixtureRequest) -> Iterator[None]:
    """Has the tests of a module run twice: where `front.place` is in SQLite and in PostgreSQL."""
    if request.param == "sqlite":
        yield
    else:
        with front.placed_at(request.getfixturevalue("server")):
            yield
