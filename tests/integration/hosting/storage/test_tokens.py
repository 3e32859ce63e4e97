from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hosting.storage import tokens
from hosting.storage.database import Database
from hosting.storage.tokens import TokenError
from tests.support.front import place


@pytest.fixture
def database(everywhere: None, tmp_path: Path) -> Iterator[Database]:
    database = Database(place(tmp_path))
    database.write_now(tokens.prepare)
    yield database
    database.close()


def name_of(database: Database, text: str | None) -> str | None:
    token = database.write_now(tokens.find, text)
    return token.name if token else None


def test_a_token_names_its_owner(database: Database) -> None:
    texts = {name: database.write_now(tokens.create, name) for name in ("ann", "bob")}
    assert len(set(texts.values())) == 2
    for name, text in texts.items():
        assert name_of(database, text) == name


def test_only_the_whole_token_is_one(database: Database) -> None:
    text = database.write_now(tokens.create, "ann")
    others = None, "", text[:-1], f"{text}x", text.upper(), f"{text} {text}", "None", "\udcff"
    for other in others:
        assert name_of(database, other) is None, other


def test_a_hash_is_no_token(database: Database) -> None:
    database.write_now(tokens.create, "ann")
    (token,) = database.write_now(tokens.all_tokens)
    assert name_of(database, token.hash) is None


def test_the_text_of_a_token_is_nowhere_kept(tmp_path: Path) -> None:
    database = Database(tmp_path / "predictions.db")
    text = database.write_now(tokens.create, "ann")
    assert text.startswith("sd_")
    assert len(text) >= 40
    assert name_of(database, text) == "ann"
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    assert any(b"ann" in path.read_bytes() for path in files)
    assert not any(text.removeprefix("sd_").encode() in path.read_bytes() for path in files)
    database.close()


def test_a_revoked_token_is_worthless_and_the_others_are_not(database: Database) -> None:
    ann, bob = (database.write_now(tokens.create, name) for name in ("ann", "bob"))
    database.write_now(tokens.revoke, "ann")
    assert name_of(database, ann) is None
    assert name_of(database, bob) == "bob"
    (first, second) = database.write_now(tokens.all_tokens)
    assert (first.name, first.revoked_at is not None) == ("ann", True)
    assert (second.name, second.revoked_at) == ("bob", None)
    database.write_now(tokens.revoke, "ann")
    assert database.write_now(tokens.all_tokens)[0].revoked_at == first.revoked_at


def test_revoking_the_last_token_does_not_open_the_door(database: Database) -> None:
    assert name_of(database, None) == tokens.LOCAL
    text = database.write_now(tokens.create, "ann")
    assert name_of(database, None) is None
    database.write_now(tokens.revoke, "ann")
    assert database.write_now(tokens.are_needed)
    assert name_of(database, None) is None
    assert name_of(database, text) is None


def test_without_tokens_there_is_one_visitor(database: Database) -> None:
    assert not database.write_now(tokens.are_needed)
    first = database.write_now(tokens.find, None)
    again = database.write_now(tokens.find, "whatever")
    assert first
    assert again
    assert (first.id, first.webhook_secret) == (again.id, again.webhook_secret)
    assert database.write_now(tokens.all_tokens) == []
    assert not database.write_now(tokens.are_needed)


def test_each_token_has_a_webhook_secret_of_its_own(database: Database) -> None:
    for name in ("ann", "bob"):
        database.write_now(tokens.create, name)
    secrets = {token.webhook_secret for token in database.write_now(tokens.all_tokens)}
    assert len(secrets) == 2
    assert all(one.startswith("whsec_") and len(one) == 38 for one in secrets)


@pytest.mark.parametrize("name", ["", "  ", "local"])
def test_some_names_are_none(database: Database, name: str) -> None:
    with pytest.raises(TokenError, match="can't be a token's name"):
        database.write_now(tokens.create, name)


def test_a_name_is_given_once_even_after_it_was_revoked(database: Database) -> None:
    database.write_now(tokens.create, "ann")
    database.write_now(tokens.revoke, "ann")
    with pytest.raises(TokenError, match="there is a token ann already, or was"):
        database.write_now(tokens.create, "ann")


@pytest.mark.parametrize("name", ["ann", "local"])
def test_what_is_not_there_cannot_be_revoked(database: Database, name: str) -> None:
    name_of(database, None)
    with pytest.raises(TokenError, match=f"there is no token {name}"):
        database.write_now(tokens.revoke, name)
