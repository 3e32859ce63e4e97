"""The quota of the files that a token keeps: its uploads, and the inputs of its predictions."""

from __future__ import annotations

import time

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from hosting.storage.tables import PredictionRow, Token, Upload

MIB = 2**20


class QuotaExceeded(Exception):
    """A token keeps as much as it may. The message is for the client."""


def lock(session: Session, token_id: str) -> None:
    """Count and add for a token one at a time: two at once would both find room."""
    token = select(Token.id).where(Token.id == token_id)
    session.execute(token.with_for_update(key_share=True))


def check(session: Session, token_id: str, size: int, most: float) -> None:
    """Check that a token may keep so much more.

    Args:
        size: bytes of what comes.
        most: bytes that the token may keep at a time.

    Raises:
        QuotaExceeded: when it may not.
    """
    uploads = select(func.sum(Upload.size)).where(
        Upload.token_id == token_id, Upload.expires_at > time.time()
    )
    inputs = select(func.sum(PredictionRow.input_bytes)).where(
        PredictionRow.token_id == token_id, PredictionRow.input_bytes > 0
    )
    stored = sum(int(session.scalar(sizes) or 0) for sizes in (uploads, inputs))
    if stored + size > most:
        raise QuotaExceeded(
            f"Your uploads and the input files of your predictions have {stored / MIB:.1f} MiB, "
            f"what you send has {size / MIB:.1f} MiB, and together they may have {most / MIB:g} "
            "MiB; delete uploads, or wait until files expire"
        )
