from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
    else:
        with _placed_at(request.getfixturevalue("server")):
            yield


@pytest.fixture
def on_postgresql(server: PostgreSQL) -> Iterator[None]:
    """Has `front.place` be in PostgreSQL."""
    with _placed_at(server):
        yield


@contextmanager
def _placed_at(server: PostgreSQL) -> Iterator[None]:
    before, front.server = front.server, server
    yield
    front.server = before
    server.forget()
