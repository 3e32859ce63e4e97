"""The tables that outlive the process."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    String,
    TypeDecorator,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hosting.prediction import Prediction
from hosting.states import FailureKind, Priority, Status

COUNT = BigInteger().with_variant(Integer, "sqlite")
"""Integers beyond 2^31, which SQLite's are anyway."""
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def new_id() -> str:
    """Return an id that nobody can guess: 26 letters and digits, 134 bits."""
    return "".join(secrets.choice(ALPHABET) for _ in range(26))


class Text(TypeDecorator[str]):
    """Text without the character NUL, which PostgreSQL does not keep: it becomes U+FFFD."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Return the text as it is stored."""
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if value else value


class Word(TypeDecorator[StrEnum]):
    """One of the words of an enumeration, as text: another may come without a migration."""

    impl = String
    cache_ok = True

    def __init__(self, words: type[StrEnum]) -> None:
        super().__init__()
        self.words = words

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Return the text that is stored."""
        return None if value is None else self.words(value).value

    def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:  # noqa: ARG002
        """Return the word that was stored."""
        return None if value is None else self.words(value)


class Base(DeclarativeBase):
    """The base of all tables. Times are seconds since 1970, UTC."""

    type_annotation_map: ClassVar = {
        str: Text,
        Status: Word(Status),
        FailureKind: Word(FailureKind),
        Priority: Word(Priority),
    }


class Token(Base):
    """A client's token. Until one is made there is one without a hash, for this machine."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)
    hash: Mapped[str | None] = mapped_column(unique=True)
    webhook_secret: Mapped[str]
    created_at: Mapped[float] = mapped_column(default=time.time)
    revoked_at: Mapped[float | None]
    weight: Mapped[float] = mapped_column(default=1.0)
    """The share of the models that it has while others wait too, by those of the others."""
    limits: Mapped[Mapping[str, Any]] = mapped_column(JSON, default=dict)
    """Its own, as `TokenLimits.of` reads them."""


class PredictionRow(Base):
    """A `hosting.prediction.Prediction` in the database."""

    __tablename__ = "predictions"
    __table_args__ = (
        Index("queue", "status", "task", "turn", "number"),
        Index("of_token", "token_id", "number"),
        Index("of_token_by_status", "token_id", "status", "task", "priority", "turn", "cost"),
        Index("given", "token_id", "given_id", unique=True),
        Index("of_model", "model"),
        Index("of_batch", "batch_id"),
        Index(
            "with_inputs",
            "token_id",
            "input_bytes",
            sqlite_where=text("input_bytes > 0"),
            postgresql_where=text("input_bytes > 0"),
        ),
    )

    number: Mapped[int] = mapped_column(COUNT, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    token_id: Mapped[str] = mapped_column(ForeignKey("tokens.id"))
    given_id: Mapped[str | None]
    task: Mapped[str]
    model: Mapped[str]
    version: Mapped[str]
    source: Mapped[str]
    input: Mapped[Mapping[str, Any]] = mapped_column(JSON)
    request: Mapped[Mapping[str, Any]] = mapped_column(JSON)
    files: Mapped[Mapping[str, str]] = mapped_column(JSON)
    ready: Mapped[bool]
    input_bytes: Mapped[int] = mapped_column(COUNT)
    priority: Mapped[Priority]
    cost: Mapped[float]
    turn: Mapped[float]
    status: Mapped[Status]
    canceling: Mapped[bool]
    crashes: Mapped[int]
    front_id: Mapped[str | None]
    attempt: Mapped[int]
    output: Mapped[Sequence[str]] = mapped_column(JSON)
    error: Mapped[str | None]
    failure: Mapped[FailureKind | None]
    logs: Mapped[str]
    metrics: Mapped[Mapping[str, Any]] = mapped_column(JSON)
    checkpoint: Mapped[Mapping[str, Any]] = mapped_column(JSON)
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    completed_at: Mapped[float | None]
    has_begun: Mapped[bool]
    deadline: Mapped[float | None]
    api: Mapped[str]
    webhook: Mapped[str | None]
    webhook_events: Mapped[Sequence[str]] = mapped_column(JSON)
    makes_files: Mapped[bool]
    batch_id: Mapped[str | None]
    traceparent: Mapped[str | None]

    @classmethod
    def of(cls, prediction: Prediction) -> PredictionRow:
        """Return a new row for a prediction."""
        return cls(**vars(prediction))

    def frozen(self) -> Prediction:
        """Return the prediction as it is now."""
        names = (column.key for column in self.__mapper__.columns)
        return Prediction(**{name: getattr(self, name) for name in names})


class Batch(Base):
    """Predictions that a client asked for together."""

    __tablename__ = "batches"
    __table_args__ = (
        Index("batches_of_token", "token_id", "number"),
        Index("given_batch", "token_id", "given_id", unique=True),
    )

    number: Mapped[int] = mapped_column(COUNT, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True, default=new_id)
    token_id: Mapped[str] = mapped_column(ForeignKey("tokens.id"))
    given_id: Mapped[str | None]
    """The client's own id for it."""
    requests: Mapped[Sequence[Mapping[str, Any]]] = mapped_column(JSON)
    """In their order: the `prediction` that each has become, by its id, the `id` that the client
    gave it, and by OpenAI's form what its answer needs."""
    endpoint: Mapped[str | None]
    """The path of OpenAI's API that its requests are for; None where they are in our own form."""
    input_file_id: Mapped[str | None]
    """The upload that had them."""
    details: Mapped[dict[str, str]] = mapped_column(JSON)
    """The client's description of it."""
    created_at: Mapped[float] = mapped_column(default=time.time)
    canceled_at: Mapped[float | None]


class TaskQueue(Base):
    """How far the queue of a task has come."""

    __tablename__ = "queues"

    task: Mapped[str] = mapped_column(primary_key=True)
    turn: Mapped[float]
    """The largest that was claimed."""


class Flow(Base):
    """How far what a token has had of a task, with one priority, reaches on the queue's clock."""

    __tablename__ = "flows"

    token_id: Mapped[str] = mapped_column(ForeignKey("tokens.id"), primary_key=True)
    task: Mapped[str] = mapped_column(primary_key=True)
    priority: Mapped[Priority] = mapped_column(primary_key=True)
    turn: Mapped[float]


class Spending(Base):
    """What a token with a daily quota has asked for; it outlives the prediction."""

    __tablename__ = "spendings"
    __table_args__ = (Index("spendings_of_token", "token_id", "spent_at"),)

    number: Mapped[int] = mapped_column(COUNT, primary_key=True, autoincrement=True)
    token_id: Mapped[str] = mapped_column(ForeignKey("tokens.id"))
    prediction_id: Mapped[str] = mapped_column(unique=True)
    cost: Mapped[float]
    spent_at: Mapped[float]
    """By `clock`."""


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
    purpose: Mapped[str | None]
    """What it was sent for, by OpenAI's API: batch. None by Replicate's."""


class Share(Base):
    """A link by which whoever has it sees a prediction. The database removes it with that."""

    __tablename__ = "shares"

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    """Stands in its URL: whoever knows it may look."""
    prediction_id: Mapped[str] = mapped_column(
        ForeignKey("predictions.id", ondelete="CASCADE"), index=True
    )
    created_at: Mapped[float] = mapped_column(default=time.time)
    expires_at: Mapped[float | None]
    """None: with its prediction."""


class Delivery(Base):
    """A call of a prediction's webhook that is to be made."""

    __tablename__ = "deliveries"

    number: Mapped[int] = mapped_column(COUNT, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True, default=new_id)
    prediction_id: Mapped[str] = mapped_column(index=True)
    event: Mapped[str]
    seen: Mapped[dict[str, Any]] = mapped_column(JSON)
    """The fields of the prediction that may have changed, as they were at the event."""
    tries: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[float]
    front_id: Mapped[str | None]
    """The front that makes the call."""


class Removal(Base):
    """A prediction that was removed: until its files are gone, and each front could tell of it."""

    __tablename__ = "removals"
    __table_args__ = (
        Index("removals_of_token", "token_id", "number"),
        {"sqlite_autoincrement": True},  # no number twice: followers go by them
    )

    number: Mapped[int] = mapped_column(COUNT, primary_key=True, autoincrement=True)
    prediction_id: Mapped[str] = mapped_column(unique=True)
    given_id: Mapped[str | None]
    """The client's own id for it."""
    token_id: Mapped[str] = mapped_column(ForeignKey("tokens.id"))
    front_id: Mapped[str | None]
    """The front that had it, and may still write files of it."""
    has_files: Mapped[bool]
    """Whether files may be left of it."""
    removed_at: Mapped[float]
    """By `clock`."""


class Heartbeat(Base):
    """A front that is there. Whoever finds its row too old removes it, and so it is dead."""

    __tablename__ = "fronts"

    id: Mapped[str] = mapped_column(primary_key=True)
    seen_at: Mapped[float]
    """When it last said so, by `clock`."""


class Secret(Base):
    """A random value that stays the same: the key that signs links."""

    __tablename__ = "secrets"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
