from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import front
from tests.support.databases import everywhere, server
from tests.support.postgresql import PostgreSQL

__all__ = ["everywhere", "server"]


@pytest.fixture
def on_postgresql(server: PostgreSQL) -> Iterator[None]:
    """Has `front.place` be in PostgreSQL."""
    with front.placed_at(server):
        yield
