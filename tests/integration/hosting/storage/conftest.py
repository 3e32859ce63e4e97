from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from hosting.storage import tokens
from hosting.storage.database import Database
from hosting.storage.tables import Token
from tests.support.front import place


@pytest.fixture
def session(everywhere: None, tmp_path: Path) -> Iterator[Session]:
    database = Database(place(tmp_path))
    for name in ("ann", "bob"):
        database.write_now(tokens.create, name)
    sessions: sessionmaker[Session] = database._writers
    with sessions() as session:
        yield session
    database.close()


@pytest.fixture
def ann(session: Session) -> Token:
    return tokens.all_tokens(session)[0]


@pytest.fixture
def bob(session: Session) -> Token:
    return tokens.all_tokens(session)[1]
