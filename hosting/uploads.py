"""The record of each file that a client has sent. Each function is one transaction's work."""

from __future__ import annotations

import time

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from hosting.database import Upload


def add(session: Session, upload: Upload) -> None:
    """Keeps an upload."""
    session.add(upload)


def are_kept(token_id: str) -> ColumnElement[bool]:
    """Which uploads a token has now: its own, whose time is not over."""
    return (Upload.token_id == token_id) & (Upload.expires_at > time.time())


def find(session: Session, upload_id: str, token_id: str) -> Upload | None:
    """An upload that a token has now."""
    return session.scalar(select(Upload).where(Upload.id == upload_id, are_kept(token_id)))


def forget(session: Session, upload_id: str) -> None:
    """Removes the record of an upload."""
    session.execute(delete(Upload).where(Upload.id == upload_id))


def expire(session: Session, now: float) -> list[str]:
    """Forgets uploads whose time is over; their ids."""
    return list(session.scalars(delete(Upload).where(Upload.expires_at < now).returning(Upload.id)))
