from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from hosting import predictions, tokens, uploads
from hosting.database import Database, Token
from tests.hosting.front import upload


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    database = Database(tmp_path / "predictions.db")
    for name in ("ann", "bob"):
        database.now(tokens.create, name)
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


def test_an_upload_is_there_for_its_owner_until_its_time_is_over(
    session: Session, ann: Token, bob: Token
) -> None:
    young, old = upload(ann), upload(ann, expires_at=time.time() - 1)
    for one in (young, old):
        uploads.add(session, one)
    assert uploads.find(session, young.id, ann.id) is young
    assert uploads.find(session, young.id, bob.id) is None
    assert uploads.find(session, old.id, ann.id) is None
    uploads.forget(session, young.id)
    assert uploads.find(session, young.id, ann.id) is None


def test_uploads_expire_when_their_time_is_over(session: Session, ann: Token) -> None:
    old, young = upload(ann, expires_at=99.0), upload(ann, expires_at=101.0)
    for one in (old, young):
        uploads.add(session, one)
    assert uploads.expire(session, 100.0) == [old.id]
    assert predictions.strangers(session, [old.id, young.id, "none"]) == {old.id, "none"}
