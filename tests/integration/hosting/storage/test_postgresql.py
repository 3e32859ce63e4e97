"""What is PostgreSQL's own: its errors, its types, and its patience."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from commands.tokens import main
from hosting.states import Status
from hosting.storage import predictions, quota, tokens
from hosting.storage.connection import reason
from hosting.storage.database import Database, DatabaseError, Unavailable, clock
from hosting.storage.tables import PredictionRow, Secret
from tests.support.front import count, front, place, prediction, upload
from tests.support.postgresql import PostgreSQL
from tools.benchmark.server import free_port
from tools.fake_cog import CogServer


@pytest.fixture
def store(server: PostgreSQL, on_postgresql: None, tmp_path: Path) -> Iterator[Database]:
    store = Database(place(tmp_path))
    store.write_now(tokens.prepare)
    yield store
    store.close()


def own(session: Session) -> Any:
    return tokens.find(session, None)


# What can't be used


def test_a_server_that_is_not_there_is_told_without_the_password() -> None:
    url = f"postgresql://me:Geheim@127.0.0.1:{free_port()}/sd"
    with pytest.raises(DatabaseError) as caught:
        Database(url)
    told = str(caught.value)
    assert told.startswith("the database that DATABASE_URL names can't be used: ")
    assert "onnection refused" in told
    assert "Geheim" not in told


def test_a_wrong_password_is_told_without_it(server: PostgreSQL) -> None:
    server.run("CREATE ROLE me LOGIN PASSWORD 'right'")
    server.run("CREATE DATABASE {}", "locked")
    with pytest.raises(DatabaseError, match="password authentication failed") as caught:
        Database(server.url("locked", "me:Geheim"))
    assert "Geheim" not in str(caught.value)


def test_a_database_that_is_not_there_is_told(server: PostgreSQL) -> None:
    with pytest.raises(DatabaseError, match='database "none" does not exist'):
        Database(server.url("none"))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:Geheim@db:port/sd",
        "postgresql://me:Geheim@127.0.0.1:1/sd?nonsense=1",
        "postgresql://me:Geheim/x@127.0.0.1/sd",
        "postgresql://[me:Geheim@x",
    ],
)
def test_a_url_that_is_none_is_told_without_the_password(url: str) -> None:
    with pytest.raises(DatabaseError, match="can't be used: ") as caught:
        Database(url)
    assert "Geheim" not in str(caught.value)


def test_what_a_driver_quotes_of_the_password_is_left_out() -> None:
    error = ValueError("no port: Geheim@db\nin postgresql://me:Geheim@db/sd")
    assert (
        reason(error, "postgresql://me:Geheim@db/sd") == "no port: …@db; in postgresql://me:…@db/sd"
    )


def test_tokens_are_made_where_the_url_says(
    store: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_URL", str(place(tmp_path)))
    monkeypatch.setattr("sys.argv", ["tokens", "create", "ann"])
    assert main() == 0
    text = capsys.readouterr().out.strip()
    ann = store.write_now(tokens.find, text)
    assert ann is not None
    assert ann.name == "ann"
    monkeypatch.setenv("DATABASE_URL", f"postgresql://me:Geheim@127.0.0.1:{free_port()}/sd")
    assert main() == 1
    told = capsys.readouterr().err
    assert "refused" in told
    assert "Geheim" not in told


# What is kept


def test_numbers_and_times_are_kept_to_the_last_bit(store: Database) -> None:
    seed, moment = 2**53 - 1, 1_790_000_000.123456

    def add(session: Session) -> str:
        asked = prediction(own(session), "fox", seed, created_at=moment, number=2**40)
        session.add(upload(own(session), size=2**40))
        session.add(PredictionRow.of(asked))
        return asked.id

    kept = store.write_now(lambda session: predictions.find(session, add(session)))
    found = store.write_now(predictions.find, kept.id)  # type: ignore[union-attr]
    assert found is not None
    assert (found.request["seed"], found.created_at, found.number) == (seed, moment, 2**40)
    with pytest.raises(quota.QuotaExceeded):
        store.write_now(quota.check, own_id(store), 1, 2**40)


def own_id(store: Database) -> str:
    return str(store.write_now(own).id)


def test_what_json_can_hold_is_kept_in_its_order(store: Database) -> None:
    inputs = {"z": [1, 1.5, None, True], "a": "\0 ü 🦊 \\u0000", "m": {"b": 1, "a": 2}}

    def add(session: Session) -> str:
        asked = prediction(own(session), "fox", input=inputs)
        session.add(PredictionRow.of(asked))
        return asked.id

    found = store.write_now(predictions.find, store.write_now(add))
    assert found is not None
    assert (found.input, list(found.input)) == (inputs, ["z", "a", "m"])


def test_the_character_that_it_does_not_keep_becomes_another(store: Database) -> None:
    asked = store.write_now(
        lambda session: predictions.add(session, prediction(own(session), "a"), 9)
    )
    assert asked is not None
    live = store.write_now(predictions.claim, "img2img", False, "this")
    assert live is not None
    live.logs = "half\0way"
    store.write_now(predictions.conclude, live, Status.FAILED, "it\0died")
    found = store.write_now(predictions.find, asked.id)
    assert found is not None
    assert (found.logs, found.error) == ("half\N{REPLACEMENT CHARACTER}way", "it\ufffddied")
    assert store.write_now(predictions.find, "\0", "\0") is None


def test_the_character_that_it_does_not_keep_is_no_fault_of_a_request(
    on_postgresql: None, tmp_path: Path
) -> None:
    with CogServer().served() as cog, front(tmp_path, cog) as one:
        asked = {"model": "stability-ai/stable-diffusion", "input": {"prompt": "a\0b"}}
        made = one.client.post("/v1/predictions", json=asked, headers={"prefer": "wait"})
        assert (made.status_code, made.json()["input"]) == (201, {"prompt": "a\0b"})
        assert cog.prompts == ["a\0b"]
        for path in ("/v1/predictions/%00", "/v1/files/%00", "/v1/predictions/%00/stream"):
            assert one.client.get(path).status_code == 404
        sent: Any = {"content": ("fox\0.png", b"data", "image/png"), "filename": (None, "a\0b")}
        assert one.client.post("/v1/files", files=sent).json()["name"] in ("a\0b", "a\ufffdb")


def test_any_character_is_kept_by_a_server_that_knows_of_none(server: PostgreSQL) -> None:
    server.run("CREATE DATABASE {} TEMPLATE template0 ENCODING 'SQL_ASCII'", "ascii")
    store = Database(server.url("ascii"))
    store.write_now(lambda session: session.add(Secret(name="ü 🦊", value="")))
    assert store.write_now(lambda session: session.scalar(select(Secret.name))) == "ü 🦊"
    store.close()


# Its patience


def test_a_process_that_is_frozen_in_a_transaction_holds_nobody_up(
    server: PostgreSQL, on_postgresql: None, tmp_path: Path
) -> None:
    store = Database(f"{place(tmp_path)}?options=-c%20idle_in_transaction_session_timeout%3D200ms")
    store.write_now(lambda session: session.add(Secret(name="a", value="0")))

    def change(session: Session, value: str, seconds: float) -> None:
        wanted = select(Secret).where(Secret.name == "a").with_for_update()
        kept = session.scalars(wanted).one()
        time.sleep(seconds)
        kept.value = value

    frozen = threading.Thread(target=_fails, args=(store, change, "frozen", 1.0))
    frozen.start()
    time.sleep(0.1)
    store.write_now(change, "other", 0.0)
    frozen.join()
    assert store.write_now(lambda session: session.get_one(Secret, "a").value) == "other"
    store.close()


def _fails(store: Database, *arguments: Any) -> None:
    with pytest.raises(Unavailable):
        store.write_now(*arguments)


def test_a_server_that_was_started_again_is_no_fault(
    store: Database, server: PostgreSQL, tmp_path: Path
) -> None:
    with psycopg.connect(str(place(tmp_path)), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert store.write_now(own) is not None


def test_who_reads_sees_one_moment_and_can_not_write(store: Database) -> None:
    def look(session: Session) -> tuple[int, int]:
        before = count(session, "starting")
        store.write_now(lambda other: predictions.add(other, prediction(own(other), "fox"), 9))
        return before, count(session, "starting")

    assert asyncio.run(store.read(look)) == (0, 0)
    assert store.write_now(count, "starting") == 1

    def write(session: Session) -> None:
        session.add(Secret(name="a", value="0"))
        session.flush()

    with pytest.raises(Exception, match="read-only"):
        asyncio.run(store.read(write))


def test_the_time_is_the_servers(store: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: 5.0)
    assert abs(store.write_now(clock) - now) < 60
