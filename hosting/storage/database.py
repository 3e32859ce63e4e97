"""The tables that outlive the process, and transactions on them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    String,
    TypeDecorator,
    func,
    select,
)
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from hosting import log
from hosting.storage import connection
from hosting.storage.migrations import UnknownTables, migrate

Result = TypeVar("Result")

THREADS = 8
"""Transactions, and so connections, at the same time. SQLite lets one of them write."""
COUNT = BigInteger().with_variant(Integer, "sqlite")
"""Integers beyond 2^31, which SQLite's are anyway."""
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


class DatabaseError(ValueError):
    """A sentence for whoever has chosen the database."""


def new_id() -> str:
    """An id that nobody can guess: 26 letters and digits, 134 bits."""
    return "".join(secrets.choice(ALPHABET) for _ in range(26))


class Text(TypeDecorator[str]):
    """Text without the character NUL, which PostgreSQL does not keep: it becomes U+FFFD."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """What is kept of a text, or sought."""
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if value else value


class Base(DeclarativeBase):
    """What all tables are made from. Times are seconds since 1970, UTC."""

    type_annotation_map: ClassVar = {str: Text}


class Token(Base):
    """Who may ask. Without tokens there is one without a hash, for whoever is on this machine."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)
    hash: Mapped[str | None] = mapped_column(unique=True)
    webhook_secret: Mapped[str]
    created_at: Mapped[float] = mapped_column(default=time.time)
    revoked_at: Mapped[float | None]


class Prediction(Base):
    """One prediction, from its acceptance on."""

    __tablename__ = "predictions"
    __table_args__ = (
        Index("queue", "status", "task", "number"),
        Index("of_token", "token_id", "number"),
        Index("of_token_by_status", "token_id", "status"),
        Index("given", "token_id", "given_id", unique=True),
        Index("of_model", "model"),
    )

    number: Mapped[int] = mapped_column(COUNT, primary_key=True, autoincrement=True)
    """Its place in the queue: first come first served."""
    id: Mapped[str] = mapped_column(unique=True, default=new_id)
    token_id: Mapped[str] = mapped_column(ForeignKey("tokens.id"))
    given_id: Mapped[str | None]
    """What the client calls it, where it chose an id by Cog's API."""
    task: Mapped[str]
    """What a Cog endpoint must serve to run it."""
    model: Mapped[str]
    version: Mapped[str]
    source: Mapped[str]
    """The URL at which the client reached the front."""
    input: Mapped[dict[str, Any]] = mapped_column(JSON)
    """The client's own inputs; files that came in them are named by their URL."""
    request: Mapped[dict[str, Any]] = mapped_column(JSON)
    """The inputs for Cog, checked, the seed drawn; what `files` has is not among them."""
    files: Mapped[dict[str, str]] = mapped_column(JSON)
    """Inputs that are files, by name: where they are to be had, in the end a file of ours."""
    ready: Mapped[bool]
    """Whether all of `files` lie in the prediction's folder."""
    status: Mapped[str] = mapped_column(default="starting")
    canceling: Mapped[bool] = mapped_column(default=False)
    crashes: Mapped[int] = mapped_column(default=0)
    """How often its worker died while it ran."""
    front_id: Mapped[str | None]
    """The front that runs it, or fetches its files. Nobody else may write what comes of it."""
    attempt: Mapped[int] = mapped_column(default=0)
    """How often it was begun."""
    output: Mapped[list[str]] = mapped_column(JSON, default=list)
    """The names of the files made, in their order."""
    error: Mapped[str | None]
    logs: Mapped[str] = mapped_column(default="")
    metrics: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    created_at: Mapped[float] = mapped_column(default=time.time)
    started_at: Mapped[float | None]
    completed_at: Mapped[float | None]
    api: Mapped[str] = mapped_column(default="replicate")
    """By which API it was asked for, and so what its webhook is told."""
    webhook: Mapped[str | None]
    webhook_events: Mapped[list[str]] = mapped_column(JSON, default=list)


class Upload(Base):
    """A file that a client sent, to be named as an input."""

    __tablename__ = "uploads"
    __table_args__ = (Index("uploads_of_token", "token_id", "number"),)

    number: Mapped[int] = mapped_column(COUNT, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True, default=new_id)
    token_id: Mapped[str] = mapped_column(ForeignKey("tokens.id"))
    name: Mapped[str]
    content_type: Mapped[str]
    size: Mapped[int] = mapped_column(COUNT)
    sha256: Mapped[str]
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[float] = mapped_column(default=time.time)
    expires_at: Mapped[float]


class Delivery(Base):
    """A call of a prediction's webhook that is to be made."""

    __tablename__ = "deliveries"

    number: Mapped[int] = mapped_column(COUNT, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True, default=new_id)
    prediction_id: Mapped[str] = mapped_column(index=True)
    event: Mapped[str]
    seen: Mapped[dict[str, Any]] = mapped_column(JSON)
    """What the event has changed in the prediction, as it was then."""
    tries: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[float]
    front_id: Mapped[str | None]
    """The front that makes the call."""


class Heartbeat(Base):
    """A front that is there. Whoever finds its row too old removes it, and so it is dead."""

    __tablename__ = "fronts"

    id: Mapped[str] = mapped_column(primary_key=True)
    seen_at: Mapped[float]
    """When it last said so, by `clock`."""


class Secret(Base):
    """What the front drew once and keeps: the key that signs links."""

    __tablename__ = "secrets"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


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
            self._engine = connection.connect(where, THREADS)
            try:
                migrate(self._engine, Base.metadata)
            except BaseException:
                self._engine.dispose()
                raise
        except UnknownTables as error:
            raise DatabaseError(f"{connection.shown(where)} {error}") from None
        except (SQLAlchemyError, OSError, ValueError) as error:
            reason = connection.reason(error, where)
            raise DatabaseError(f"{connection.shown(where)} can't be used: {reason}") from None
        self._threads = ThreadPoolExecutor(THREADS, "database")
        self._writers = sessionmaker(self._engine, expire_on_commit=False)
        self._readers = sessionmaker(connection.for_readers(self._engine), expire_on_commit=False)

    async def __call__(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Calls `work(session, *arguments)` in a transaction of its own; its answer, committed."""
        return await self._beside(self.now, work, *arguments)

    async def read(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """The same for what only reads, which waits for nobody who writes."""

        def look() -> Result:
            with self._readers.begin() as session:
                return work(session, *arguments)

        return await self._beside(look)

    def now(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Calls `work` in a transaction, while the caller waits."""
        with self._writers.begin() as session:
            return work(session, *arguments)

    async def surely(self, work: Callable[[Session], Result]) -> Result:
        """A transaction that must not be lost: tried until the database takes it."""
        while True:
            try:
                return await asyncio.shield(self(work))
            except OperationalError as error:
                log.info("the database does not answer", fault=str(error.orig))
                await asyncio.sleep(1)

    def close(self) -> None:
        """Closes its connections."""
        self._threads.shutdown()
        self._engine.dispose()

    async def _beside(self, call: Callable[..., Result], *arguments: Any) -> Result:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(call, *arguments))


def secret(session: Session, name: str) -> bytes:
    """32 random bytes that stay the same; drawn when first asked for."""
    lock(session, "secrets")
    kept = session.get(Secret, name)
    if kept is None:
        kept = Secret(name=name, value=secrets.token_hex(32))
        session.add(kept)
    return bytes.fromhex(kept.value)


def lock(session: Session, what: str) -> None:
    """Waits until no other transaction has locked the same, and has it to this one's end."""
    if is_shared(session):  # with SQLite, nobody else writes anyway
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(what, 0))))


def clock(session: Session) -> float:
    """The time by which fronts see whether others live: the database's, as theirs may differ."""
    if is_shared(session):
        return float(
            session.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one()
        )
    return time.time()


def is_shared(session: Session) -> bool:
    """Whether several fronts may have the database: PostgreSQL, not SQLite."""
    return session.get_bind().dialect.name == "postgresql"
