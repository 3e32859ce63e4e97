from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from hosting.storage import database, tables
from hosting.storage.database import Database, DatabaseError
from hosting.storage.tables import Secret, new_id


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Database]:
    store = Database(file(tmp_path))
    yield store
    store.close()


def file(folder: Path) -> Path:
    return folder / "deep" / "predictions.db"


def add(session: Session, name: str) -> None:
    session.add(Secret(name=name, value="0"))


def names(session: Session) -> list[str]:
    return list(session.scalars(select(Secret.name).order_by(Secret.name)))


def count_up(session: Session) -> None:
    """Reads and then writes: two that do so at once must not read the same."""
    kept = session.get_one(Secret, "count")
    kept.value = str(int(kept.value) + 1)


def count_in_a_process(folder: str, times: int) -> None:
    store = Database(file(Path(folder)))
    for _ in range(times):
        store.write_now(count_up)
    store.close()


def test_what_is_done_is_there_after_the_next_start(tmp_path: Path, store: Database) -> None:
    store.write_now(add, "a")
    store.close()
    again = Database(file(tmp_path))
    assert again.write_now(names) == ["a"]
    again.close()


def test_a_transaction_is_done_whole_or_not_at_all(store: Database) -> None:
    def fails(session: Session) -> None:
        add(session, "a")
        session.flush()
        raise ZeroDivisionError

    def twice(session: Session) -> None:
        add(session, "b")
        session.flush()
        session.connection().exec_driver_sql("INSERT INTO secrets VALUES ('b', '0')")

    with pytest.raises(ZeroDivisionError):
        store.write_now(fails)
    with pytest.raises(IntegrityError):
        store.write_now(twice)
    assert store.write_now(names) == []


def test_a_fault_does_not_tell_what_was_to_be_written(store: Database) -> None:
    store.write_now(add, "a")
    with pytest.raises(IntegrityError) as refused:
        store.write_now(lambda session: session.add(Secret(name="a", value="a red fox")))
    assert "fox" not in str(refused.value)


def test_the_file_is_written_ahead_and_only_its_owner_can_read_the_folder(
    tmp_path: Path, store: Database
) -> None:
    store.write_now(add, "a")
    with sqlite3.connect(tmp_path / "deep" / "predictions.db") as raw:
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    raw.close()
    assert stat.S_IMODE((tmp_path / "deep").stat().st_mode) == 0o700

    def pragmas(session: Session) -> list[Any]:
        connection = session.connection()
        asked = ("synchronous", "foreign_keys")
        return [connection.exec_driver_sql(f"PRAGMA {one}").scalar() for one in asked]

    assert store.write_now(pragmas) == [2, 1]  # FULL: what was told to be done survives a power cut


def test_threads_that_write_at_once_do_not_lose_one_another(store: Database) -> None:
    store.write_now(add, "count")

    def count() -> None:
        for _ in range(20):
            store.write_now(count_up)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.write_now(lambda session: session.get_one(Secret, "count").value) == "80"


def test_processes_that_write_at_once_do_not_lose_one_another(
    tmp_path: Path, store: Database
) -> None:
    store.write_now(add, "count")
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=count_in_a_process, args=(str(tmp_path), 25))
    process.start()
    for _ in range(25):
        store.write_now(count_up)
    process.join()
    assert process.exitcode == 0
    assert store.write_now(lambda session: session.get_one(Secret, "count").value) == "50"


def test_it_can_be_awaited_many_times_at_once(store: Database) -> None:
    async def main() -> None:
        await asyncio.gather(*(store.write(add, f"{number:02}") for number in range(40)))

    asyncio.run(main())
    assert store.write_now(names) == [f"{number:02}" for number in range(40)]


def test_a_secret_is_drawn_once(tmp_path: Path, store: Database) -> None:
    first = store.write_now(database.secret, "links")
    assert len(first) == 32
    assert store.write_now(database.secret, "links") == first
    assert store.write_now(database.secret, "other") != first


def test_ids_are_long_and_never_the_same() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(one) == 26 and one.isalnum() and one == one.lower() for one in ids)
    assert set("".join(ids)) == set(tables.ALPHABET)


def test_who_reads_does_not_wait_for_who_writes(store: Database) -> None:
    store.write_now(add, "before")

    def write(session: Session) -> list[str]:
        add(session, "after")
        session.flush()
        return asyncio.run(store.read(names))

    assert store.write_now(write) == ["before"]
    assert store.write_now(names) == ["after", "before"]


def test_tables_of_another_version_are_refused(tmp_path: Path, store: Database) -> None:
    store.close()
    with sqlite3.connect(file(tmp_path)) as raw:
        raw.execute("ALTER TABLE predictions DROP COLUMN crashes")
    raw.close()
    with pytest.raises(DatabaseError, match="another version of this project"):
        Database(file(tmp_path))


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "predictions.db").write_bytes(b"hello" * 1000)
    with pytest.raises(DatabaseError, match="file is not a database; docs/hosting.md says"):
        Database(tmp_path / "predictions.db")
