from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import free_port
from tests.hosting import front, postgresql
from tests.hosting.front import quick
from tests.hosting.postgresql import PostgreSQL

__all__ = ["quick"]


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
        return
    front.server = request.getfixturevalue("server")
    yield
    front.server.forget()
    front.server = None


@pytest.fixture
def on_postgresql(server: PostgreSQL) -> Iterator[None]:
    """Has `front.place` be in PostgreSQL."""
    front.server = server
    yield
    server.forget()
    front.server = None
