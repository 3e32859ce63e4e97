"""Transactions on the tables."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from hosting import log
from hosting.storage import connection
from hosting.storage.migrate import UnknownTables, migrate
from hosting.storage.tables import Base, Secret

Given = ParamSpec("Given")
Result = TypeVar("Result")
Work = Callable[Concatenate[Session, Given], Result]
"""The work of one transaction."""

THREADS = 8
"""Transactions at the same time that write, and as many that read; each has a connection."""
RETRY_SECONDS = 1.0
"""Before a database is asked again that could not answer."""

RESTORE = "docs/hosting.md says how to put a back-up in its place"


class DatabaseError(ValueError):
    """A sentence for whoever has chosen the database."""


class Unavailable(Exception):
    """The database can't do it now: it is away, locked, or its disk is full. The message says."""


class Damaged(Unavailable):
    """The database can't be read any more: a part of it is lost. The message says what to do."""


class Database:
    """Runs functions as transactions, beside the loop.

    Args:
        where: the SQLite file, which is made with its folder if it is not there; or the URL of
            PostgreSQL.

    Raises:
        DatabaseError: when it can't be used.
    """

    def __init__(self, where: Path | str) -> None:
        try:
            if isinstance(where, Path):
                where.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._engine = connection.connect(where, 2 * THREADS)
            try:
                migrate(self._engine, Base.metadata)
            except BaseException:
                self._engine.dispose()
                raise
        except UnknownTables as error:
            raise DatabaseError(f"{connection.shown(where)} {error}") from None
        except (SQLAlchemyError, OSError, ValueError) as error:
            reason = connection.reason(error, where)
            if connection.is_damaged(error):
                reason = f"{reason}; {RESTORE}"
            raise DatabaseError(f"{connection.shown(where)} can't be used: {reason}") from None
        self.is_damaged = False
        """Whether a transaction has found it damaged, since the start."""
        # Who reads does not wait for those who wait to write.
        self._threads = ThreadPoolExecutor(THREADS, "database")
        self._reading_threads = ThreadPoolExecutor(THREADS, "database-reader")
        self._writers = sessionmaker(self._engine, expire_on_commit=False)
        self._readers = sessionmaker(connection.for_readers(self._engine), expire_on_commit=False)

    async def write(
        self, work: Work[Given, Result], *arguments: Given.args, **options: Given.kwargs
    ) -> Result:
        """Call `work(session, …)` in a transaction of its own; return its result, committed.

        Raises:
            Unavailable: when the database can't do it now. So do the others, but `write_surely`.
        """
        call = partial(self.write_now, work, *arguments, **options)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def read(
        self, work: Work[Given, Result], *arguments: Given.args, **options: Given.kwargs
    ) -> Result:
        """Do the same for work that only reads; it waits for no writer."""

        def look() -> Result:
            with self._asking(), self._readers.begin() as session:
                return work(session, *arguments, **options)

        return await asyncio.get_running_loop().run_in_executor(self._reading_threads, look)

    def write_now(
        self, work: Work[Given, Result], *arguments: Given.args, **options: Given.kwargs
    ) -> Result:
        """Call `work` in a transaction, while the caller waits."""
        with self._asking(), self._writers.begin() as session:
            return work(session, *arguments, **options)

    async def write_surely(
        self, work: Work[Given, Result], *arguments: Given.args, **options: Given.kwargs
    ) -> Result:
        """Write what must not be lost: tried until the database takes it."""
        while True:
            try:
                return await asyncio.shield(self.write(work, *arguments, **options))
            except Unavailable as error:
                log.warning("the database does not answer", reason=str(error))
                await asyncio.sleep(RETRY_SECONDS)

    def close(self) -> None:
        """Close its connections."""
        self._threads.shutdown()
        self._reading_threads.shutdown()
        self._engine.dispose()

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Raise Unavailable for SQLAlchemy's error, which is unknown outside of this package."""
        try:
            yield
        except DBAPIError as error:
            if connection.is_damaged(error):
                self.is_damaged = True
                raise Damaged(f"the database is damaged ({error.orig}); {RESTORE}") from error
            if isinstance(error, OperationalError):
                raise Unavailable(str(error.orig)) from error
            raise


def secret(session: Session, name: str) -> bytes:
    """32 random bytes that stay the same; drawn when first asked for."""
    lock(session, "secrets")
    row = session.get(Secret, name)
    if row is None:
        row = Secret(name=name, value=secrets.token_hex(32))
        session.add(row)
    return bytes.fromhex(row.value)


def lock(session: Session, what: str) -> None:
    """Wait until no other transaction has locked the same, and lock it to this one's end."""
    if is_shared(session):  # with SQLite, nobody else writes anyway
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(what, 0))))


def clock(session: Session) -> float:
    """Return the time that heartbeats go by: the database's, as the fronts' may differ."""
    if is_shared(session):
        return float(
            session.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one()
        )
    return time.time()


def is_shared(session: Session) -> bool:
    """Return whether several fronts may have the database: PostgreSQL, not SQLite."""
    return session.get_bind().dialect.name == "postgresql"
