"""A token's predictions as a person looks for them: by words of their prompts, the newest first."""

from __future__ import annotations

import unicodedata

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from hosting.storage import pages
from hosting.storage.pages import Page
from hosting.storage.tables import PredictionRow

PAGE_ROWS = 24
"""Predictions of a page, at most."""
ROWS_AT_ONCE = 50
"""Rows that are read at a time: the inputs of each may have a MiB."""


def page(
    session: Session, token_id: str, text: str = "", cursor: str | None = None
) -> Page[PredictionRow]:
    """Return a page of those of a token's predictions whose prompts have all words of a text.

    Args:
        text: words, or parts of words, in any case; all predictions have those of an empty one.

    Raises:
        InvalidCursor: when no page has given the cursor.
    """
    listed = PredictionRow.token_id == token_id
    if words := _folded(text).split():
        listed &= PredictionRow.number.in_(_numbers(session, listed, words, cursor))
    return pages.read(session, PredictionRow, listed, cursor, PAGE_ROWS)


def _numbers(
    session: Session, listed: ColumnElement[bool], words: list[str], cursor: str | None
) -> list[int]:
    """Return the numbers of the found rows of a page, and of one beyond it if there is one.

    It is Python that compares: databases differ in which letters they know the case of, and
    PostgreSQL reads no text out of JSON that has the character NUL.
    """
    rows = select(PredictionRow.number, PredictionRow.request).where(listed)
    rows = pages.from_cursor(rows, PredictionRow, cursor)
    found: list[int] = []
    with session.execute(rows.execution_options(yield_per=ROWS_AT_ONCE)) as read:
        for number, request in read:
            prompt = _folded(str(request.get("prompt", "")))
            if all(word in prompt for word in words):
                found.append(number)
            if len(found) > PAGE_ROWS:
                break
    return found


def _folded(text: str) -> str:
    """Return a text in the form in which two are the same that people take for the same."""
    return unicodedata.normalize("NFKC", text).casefold()
