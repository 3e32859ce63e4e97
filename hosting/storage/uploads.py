"""The record of each file that a client has sent. Each function is one transaction's work."""

from __future__ import annotations

import time

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from hosting.storage import pages, quota
from hosting.storage.pages import Page
from hosting.storage.tables import Upload


def add(session: Session, upload: Upload, most: int) -> None:
    """Store an upload's record.

    Args:
        most: bytes of files that its token may keep at a time.

    Raises:
        QuotaExceeded: when it would keep more with this one.
    """
    quota.lock(session, upload.token_id)
    quota.check(session, upload.token_id, upload.size, most)
    session.add(upload)


def find(session: Session, upload_id: str, token_id: str) -> Upload | None:
    """Return an upload that a token has now."""
    return session.scalar(select(Upload).where(Upload.id == upload_id, _are_kept(token_id)))


def page(session: Session, token_id: str, cursor: str | None = None) -> Page[Upload]:
    """Return a page of the uploads that a token has now, the newest first.

    Raises:
        InvalidCursor: when no page has given the cursor.
    """
    return pages.read(session, Upload, _are_kept(token_id), cursor)


def forget(session: Session, upload_id: str) -> None:
    """Remove the record of an upload."""
    session.execute(delete(Upload).where(Upload.id == upload_id))


def expire(session: Session, now: float) -> list[str]:
    """Forget uploads that have expired; return their ids."""
    return list(session.scalars(delete(Upload).where(Upload.expires_at < now).returning(Upload.id)))


def _are_kept(token_id: str) -> ColumnElement[bool]:
    """Return the condition for a token's uploads that have not expired."""
    return (Upload.token_id == token_id) & (Upload.expires_at > time.time())
