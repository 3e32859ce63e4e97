"""Connections to the database: a SQLite file, or a PostgreSQL server."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from psycopg.errors import DataCorrupted, IdleInTransactionSessionTimeout, IndexCorrupted
from sqlalchemy import create_engine, event, make_url
from sqlalchemy.engine import Connection, Engine, ExceptionContext
from sqlalchemy.exc import OperationalError

OPTIONS = {
    "client_encoding": "utf8",
    "connect_timeout": "10",
    # A server that is gone without a word is given up after 20 s, in the middle of a wait too.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "2",
    "tcp_user_timeout": "20000",
    # A process that is frozen in a transaction must not hold the others up: the server ends it.
    "options": "-c lock_timeout=20s -c idle_in_transaction_session_timeout=10s",
}
"""The options of connections to PostgreSQL, where the URL does not give them."""
BUSY_MILLISECONDS = 20000
"""Milliseconds that a transaction waits for another that writes to the SQLite file."""
DAMAGES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
"""SQLite's codes of a file that is no database, or no longer a whole one."""
CACHE_KIBIBYTES = 128
"""KiB of the SQLite file that each connection keeps. The system keeps it for all of them."""


def connect(where: Path | str, most: int) -> Engine:
    """Return an engine, which connects when it is first used.

    Args:
        where: the SQLite file, or PostgreSQL's URL.
        most: connections at the same time.

    Raises:
        ValueError, SQLAlchemyError: when the URL is none.
    """
    if isinstance(where, Path):
        engine = create_engine(
            f"sqlite:///{where}", pool_size=most, max_overflow=0, hide_parameters=True
        )
        event.listen(engine, "connect", _configure)
        event.listen(engine, "begin", _begin)
        return engine
    url = make_url(where)
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=most,
        max_overflow=0,
        hide_parameters=True,  # a fault must not bring clients' prompts into the log
        pool_pre_ping=True,  # a server that was started again is no fault
        connect_args={name: text for name, text in OPTIONS.items() if name not in url.query},
    )
    event.listen(engine, "handle_error", _of_the_server, retval=True)
    return engine


def for_readers(engine: Engine) -> Engine:
    """Return one for transactions that only read: they see one moment, and wait for nobody."""
    if engine.dialect.name == "sqlite":
        return engine.execution_options(is_reader=True)
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def shown(where: Path | str) -> str:
    """Return the database's name for messages: without the password."""
    if isinstance(where, Path):
        return f"the database {where}"
    return "the database that DATABASE_URL names"


def reason(error: BaseException, where: Path | str) -> str:
    """Why a database can't be used, in a line, without the password."""
    text = str(getattr(error, "orig", None) or error).strip()
    line = "; ".join(part.strip() for part in text.splitlines() if part.strip())
    # Drivers quote what they could not make sense of.
    password = str(where).rpartition("@")[0].partition("//")[2].partition(":")[2]
    return line.replace(password, "…") if password else line


def is_damaged(error: BaseException) -> bool:
    """Return whether an error of SQLAlchemy's says that the database itself is damaged."""
    cause = getattr(error, "orig", None)
    if isinstance(cause, sqlite3.Error):
        # The bits above tell the details; an error of Python's own module has no code.
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in DAMAGES
    return isinstance(cause, (DataCorrupted, IndexCorrupted))


def _of_the_server(context: ExceptionContext) -> OperationalError | None:
    """Raise a transaction's fault as the error that is tried again."""
    error = context.original_exception
    if not isinstance(error, IdleInTransactionSessionTimeout):
        return None
    context.is_disconnect = True
    return OperationalError(context.statement, context.parameters, error)


def _configure(connection: Any, _record: object) -> None:
    # Transactions are begun by us: the driver's own would begin too late to read in them.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_MILLISECONDS}",
        f"cache_size=-{CACHE_KIBIBYTES}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    # A transaction that reads and then writes must not find out late that another wrote.
    is_reader = connection.get_execution_options().get("is_reader")
    connection.exec_driver_sql("BEGIN" if is_reader else "BEGIN IMMEDIATE")
