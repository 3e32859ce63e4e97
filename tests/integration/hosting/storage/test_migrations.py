from __future__ import annotations

import multiprocessing
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from hosting.states import FailureKind, Priority, Status
from hosting.storage import database, migrate, predictions, shares, tokens, uploads
from hosting.storage.connection import connect
from hosting.storage.database import Database, DatabaseError
from hosting.storage.tables import Base, Share, Upload
from tests.support import front
from tests.support.postgresql import PostgreSQL

FOLDER = migrate.STEPS
BEFORE = """
CREATE TABLE tokens (id VARCHAR NOT NULL, name VARCHAR NOT NULL, hash VARCHAR,
    webhook_secret VARCHAR NOT NULL, created_at DOUBLE NOT NULL, revoked_at DOUBLE,
    PRIMARY KEY (id), UNIQUE (name), UNIQUE (hash));
CREATE TABLE deliveries (number INTEGER NOT NULL, id VARCHAR NOT NULL,
    prediction_id VARCHAR NOT NULL, event VARCHAR NOT NULL, seen JSON NOT NULL,
    tries INTEGER NOT NULL, due_at DOUBLE NOT NULL, PRIMARY KEY (number), UNIQUE (id));
CREATE INDEX ix_deliveries_prediction_id ON deliveries (prediction_id);
CREATE TABLE secrets (name VARCHAR NOT NULL, value VARCHAR NOT NULL, PRIMARY KEY (name));
CREATE TABLE predictions (number INTEGER NOT NULL, id VARCHAR NOT NULL, token_id VARCHAR NOT NULL,
    given_id VARCHAR, task VARCHAR NOT NULL, model VARCHAR NOT NULL, version VARCHAR NOT NULL,
    source VARCHAR NOT NULL, input JSON NOT NULL, request JSON NOT NULL, files JSON NOT NULL,
    ready BOOLEAN NOT NULL, status VARCHAR NOT NULL, canceling BOOLEAN NOT NULL,
    crashes INTEGER NOT NULL, output JSON NOT NULL, error VARCHAR, logs VARCHAR NOT NULL,
    metrics JSON NOT NULL, created_at DOUBLE NOT NULL, started_at DOUBLE, completed_at DOUBLE,
    webhook VARCHAR, webhook_events JSON NOT NULL, PRIMARY KEY (number), UNIQUE (id),
    FOREIGN KEY(token_id) REFERENCES tokens (id));
CREATE INDEX queue ON predictions (status, number);
CREATE INDEX of_token ON predictions (token_id, number);
CREATE UNIQUE INDEX given ON predictions (token_id, given_id);
CREATE INDEX of_model ON predictions (model);
CREATE TABLE uploads (id VARCHAR NOT NULL, token_id VARCHAR NOT NULL, name VARCHAR NOT NULL,
    content_type VARCHAR NOT NULL, size INTEGER NOT NULL, sha256 VARCHAR NOT NULL,
    details JSON NOT NULL, created_at DOUBLE NOT NULL, expires_at DOUBLE NOT NULL, PRIMARY KEY (id),
    FOREIGN KEY(token_id) REFERENCES tokens (id));
INSERT INTO tokens VALUES ('local', 'local', NULL, 'whsec_', 1.5, NULL);
INSERT INTO secrets VALUES ('links', 'abcd');
INSERT INTO deliveries VALUES (1, 'd1', 'done', 'completed', '{"status": "succeeded"}', 0, 2.5);
"""
"""A file as the versions made it that knew no steps, before uploads had numbers; with rows."""
PREDICTION = """
INSERT INTO predictions VALUES (?, ?, 'local', ?, 'img2img', 'a/b', 'v', 'http://localhost',
    '{"prompt": "fox"}', '{"prompt": "fox", "seed": 9007199254740991}', '{}', 1, ?, 0, 0, ?, NULL,
    '', '{}', 1.25, NULL, ?, 'https://example.com', '[]')
"""


def older(folder: Path) -> Path:
    """A file of before there were steps."""
    file = folder / "predictions.db"
    with sqlite3.connect(file) as raw:
        raw.executescript(BEFORE)
        raw.execute(PREDICTION, (1, "done", "mine", "succeeded", '["out-0.png"]', 2.5))
        raw.execute(PREDICTION, (2, "runs", None, "processing", "[]", None))
        raw.execute(PREDICTION, (3, "waits", None, "starting", "[]", None))
        for name, created_at in (("b", 20.0), ("c", 30.0), ("a", 10.0)):
            values = (name * 26, "local", name, "image/png", 4, "0", "{}", created_at, 1e12)
            raw.execute("INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    raw.close()
    return file


def test_what_is_in_an_older_file_is_there_and_works(tmp_path: Path) -> None:
    store = Database(older(tmp_path))

    def look(session: Session) -> None:
        token = tokens.find(session, None)
        assert token is not None
        assert database.secret(session, "links") == b"\xab\xcd"
        assert (token.weight, token.limits) == (1, {})
        done = predictions.find(session, "mine", "local")
        assert done is not None
        assert (done.id, done.status, done.output, done.api) == (
            "done", "succeeded", ["out-0.png"], "replicate",
        )  # fmt: skip
        assert (done.input_bytes, done.makes_files) == (0, False)
        assert (done.cost, done.turn, done.priority) == (0, 0, Priority.INTERACTIVE)
        assert (done.created_at, done.request["seed"]) == (1.25, 2**53 - 1)
        listed = uploads.page(session, "local")
        assert [one.name for one in listed.rows] == ["c", "b", "a"]
        assert uploads.find(session, "a" * 26, "local") is not None
        assert predictions.requeue_orphans(session) == ["runs"]
        for expected in ("runs", "waits"):
            claimed = predictions.claim(session, "img2img", False, "this")
            assert claimed is not None
            assert (claimed.id, claimed.attempt) == (expected, 1)
            assert predictions.conclude(session, claimed, Status.SUCCEEDED) is not None
        added = predictions.add(session, front.prediction(token, "owl"), 10)
        assert added is not None
        assert added.number == 4

    store.write_now(look)
    store.close()


def test_a_file_of_yesterday_is_brought_up_too(tmp_path: Path) -> None:
    file = older(tmp_path)
    _run_steps(file, "2")
    with sqlite3.connect(file) as raw:
        raw.execute("DROP TABLE alembic_version")
    raw.close()
    store = Database(file)
    assert store.write_now(lambda session: session.get_one(Upload, 1).name) == "a"
    store.close()


ERRORS = {
    "worker": "The worker died whenever it ran this prediction, 3 times alone: ReadError",
    "nsfw": "NSFW content detected. Try running it again, or try a different prompt.",
    "internal": "The files of its inputs are gone",
    "inputs": "image: it is no picture",
}


def test_of_what_failed_before_the_kind_is_read_from_its_sentence(tmp_path: Path) -> None:
    file = older(tmp_path)
    with sqlite3.connect(file) as raw:
        for number, (kind, error) in enumerate(ERRORS.items(), 10):
            raw.execute(PREDICTION, (number, kind, None, "failed", "[]", 2.5))
            raw.execute("UPDATE predictions SET error = ? WHERE id = ?", (error, kind))
        # A worker that died of another's fault does not make this one's inputs any better.
        raw.execute("UPDATE predictions SET crashes = 1 WHERE id = 'inputs'")
    raw.close()
    _failures_are_known(Database(file))


def test_the_same_on_postgresql(server: PostgreSQL) -> None:
    url = server.url(server.create())
    _run_steps(url, "5")
    engine = connect(url, 1)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO tokens VALUES ('local', 'local', NULL, 'w', 1.5)"))
        rows: dict[str, tuple[str, str | None]] = {
            "done": ("succeeded", None),
            "runs": ("processing", None),
            **{kind: ("failed", error) for kind, error in ERRORS.items()},
        }
        for number, (name, (status, error)) in enumerate(rows.items()):
            connection.execute(
                text(
                    "INSERT INTO predictions (number, id, token_id, task, model, version, source, "
                    "input, request, files, ready, status, canceling, crashes, output, error, "
                    "logs, metrics, created_at, webhook_events) VALUES (:number, :name, 'local', "
                    "'img2img', 'a/b', 'v', '', '{}', '{}', '{}', true, :status, false, 0, '[]', "
                    ":error, '', '{}', 1.5, '[]')"
                ),
                {"number": number, "name": name, "status": status, "error": error},
            )
    engine.dispose()
    _failures_are_known(Database(url))


def _failures_are_known(store: Database) -> None:
    for name in (*ERRORS, "done", "runs"):
        found = store.write_now(predictions.find, name)
        assert found is not None
        assert found.failure == (FailureKind(name) if name in ERRORS else None)
    store.close()


@pytest.mark.usefixtures("everywhere")
def test_the_steps_lead_to_the_tables_that_the_code_has(tmp_path: Path) -> None:
    where = front.place(tmp_path)
    Database(where).close()
    assert _differences(where) == []


def test_the_steps_lead_there_from_an_older_file_too(tmp_path: Path) -> None:
    file = older(tmp_path)
    assert _differences(file) != []
    Database(file).close()
    assert _differences(file) == []


def test_steps_are_taken_on_postgresql_with_rows_there(server: PostgreSQL) -> None:
    url = server.url(server.create())
    _run_steps(url, "1")
    engine = connect(url, 1)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO tokens VALUES ('local', 'local', NULL, 'w', 1.5)"))
        for name, created_at in (("b", 20.0), ("a", 10.0)):
            connection.execute(
                text("INSERT INTO uploads VALUES (:name, 'local', :name, '', 4, '', '{}', :at, 9)"),
                {"name": name, "at": created_at},
            )
    engine.dispose()
    store = Database(url)
    rows = store.write_now(lambda session: [session.get_one(Upload, n) for n in (1, 2)])
    names = [row.name for row in rows]
    assert names == ["a", "b"]
    token = store.write_now(tokens.find, None)
    assert token is not None
    store.write_now(uploads.add, front.upload(token), 100)
    store.close()


@pytest.mark.usefixtures("everywhere")
def test_predictions_of_before_there_were_shares_can_be_shared(tmp_path: Path) -> None:
    store = _with_prediction(tmp_path, "10")
    share = store.write_now(shares.add, Share(prediction_id="done", expires_at=None))
    assert share
    store.write_now(lambda session: session.execute(text("DELETE FROM predictions")))
    assert store.write_now(lambda session: session.get(Share, share.id)) is None
    store.close()


@pytest.mark.usefixtures("everywhere")
def test_predictions_of_before_there_were_traces_are_in_none(tmp_path: Path) -> None:
    store = _with_prediction(tmp_path, "11")
    found = store.write_now(predictions.find, "done")
    assert found is not None
    assert found.traceparent is None
    store.close()


@pytest.mark.usefixtures("everywhere")
def test_a_database_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    where = front.place(tmp_path)
    store = Database(where)
    store.write_now(
        lambda session: session.execute(text("UPDATE alembic_version SET version_num = '99'"))
    )
    store.close()
    with pytest.raises(DatabaseError, match="was made by a newer version of this project"):
        Database(where)
    engine = connect(where, 1)
    with engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == "99"
    engine.dispose()


def test_a_database_of_nobody_knows_what_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = older(tmp_path)
    with sqlite3.connect(file) as raw:
        raw.execute("ALTER TABLE predictions DROP COLUMN crashes")
    raw.close()
    before = _schema(file)
    with pytest.raises(DatabaseError, match="another version .* table predictions differs"):
        Database(file)
    assert _schema(file) == before


def test_fronts_that_start_together_take_the_steps_once(server: PostgreSQL) -> None:
    url = server.url(server.create())
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_open, args=(url,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]


def _with_prediction(folder: Path, step: str) -> Database:
    """A database of the age of a step, with a prediction `done`, brought up to date."""
    where = front.server.url(front.server.create()) if front.server else folder / "old.db"
    _run_steps(where, step, start="base")
    engine = connect(where, 1)
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO tokens VALUES ('local', 'local', NULL, 'w', 1.5, NULL)")
        )
        connection.execute(
            text(
                "INSERT INTO predictions (number, id, token_id, task, model, version, source, "
                "input, request, files, ready, status, canceling, crashes, output, logs, metrics, "
                "created_at, webhook_events) VALUES (1, 'done', 'local', 'img2img', 'a/b', 'v', "
                "'', '{}', '{}', '{}', true, 'succeeded', false, 0, '[]', '', '{}', 1.5, '[]')"
            )
        )
    engine.dispose()
    return Database(where)


def _differences(where: Path | str) -> list[Any]:
    """What a database's tables lack of the code's, or have besides."""
    engine = connect(where, 1)
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    engine.dispose()
    return list(found)


def _open(url: str) -> None:
    store = Database(url)
    store.write_now(tokens.prepare)
    store.write_now(database.secret, "links")
    store.close()


def _run_steps(where: Path | str, to: str, start: str | None = None) -> None:
    """Brings a database to a step, as an older version did.

    Args:
        start: the step that it is at; a file is at the first one, anything else at none, unless
            it is given.
    """
    steps = ScriptDirectory(str(FOLDER))
    engine = connect(where, 1)

    def upgrade(connection: Connection) -> None:
        context = MigrationContext.configure(connection)
        with Operations.context(context):
            base: Any = start or ("1" if isinstance(where, Path) else "base")
            for step in reversed(list(steps.iterate_revisions(to, base))):
                step.module.upgrade()
        context.stamp(steps, to)

    with engine.begin() as connection:
        upgrade(connection)
    engine.dispose()


def _schema(file: Path) -> list[Any]:
    with sqlite3.connect(file) as raw:
        found = raw.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
    raw.close()
    return found
