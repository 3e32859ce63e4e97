"""The record of each file that a client has sent. Each function is one transaction's work."""

from __future__ import annotations

import time

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from hosting.storage import pages
from hosting.storage.pages import Page
from hosting.storage.tables import Token, Upload

MIB = 2**20


class QuotaExceeded(Exception):
    """A token keeps as much as it may. The message is for the client."""


def add(session: Session, upload: Upload, most: int) -> None:
    """Store an upload's record.

    Args:
        most: bytes that its token may keep at a time.

    Raises:
        QuotaExceeded: when it would keep more with this one.
    """
    # One at a time: two at once would both find room.
    token = select(Token.id).where(Token.id == upload.token_id)
    session.execute(token.with_for_update(key_share=True))
    check_quota(session, upload.token_id, upload.size, most)
    session.add(upload)


def check_quota(session: Session, token_id: str, size: int, most: int) -> None:
    """Check that a token may keep so much more.

    Args:
        size: bytes of what comes.
        most: bytes that the token may keep at a time.

    Raises:
        QuotaExceeded: when it may not.
    """
    stored = int(session.scalar(select(func.sum(Upload.size)).where(_are_kept(token_id))) or 0)
    if stored + size > most:
        raise QuotaExceeded(
            f"Your uploaded files have {stored / MIB:.1f} MiB, this one has {size / MIB:.1f} MiB, "
            f"and together they may have {most / MIB:g} MiB; delete some, or wait until they expire"
        )


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
