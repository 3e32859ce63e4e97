"""A token's predictions as a person looks for them: by words of their prompts, the newest first."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from hosting.storage import pages
from hosting.storage.pages import Page
from hosting.storage.tables import PredictionRow

PAGE_ROWS = 24
"""Predictions of a page, at most."""
MOST_ROWS = 2000
"""Rows that are looked through for a page; a page that has found little by then is short."""
MOST_CHARACTERS = 2**24
"""Of the prompts that are looked through for a page; the last one may exceed it."""


def page(
    session: Session, token_id: str, text: str = "", cursor: str | None = None
) -> Page[PredictionRow]:
    """Return a page of those of a token's predictions whose prompts have all words of a text.

    It may have none, and lead on to older ones: only so many are looked through at a time.

    Args:
        text: words, or parts of words, in any case; all predictions have those of an empty one.

    Raises:
        InvalidCursor: when no page has given the cursor.
    """
    listed = PredictionRow.token_id == token_id
    words = _folded(text).split()
    if not words:
        return pages.read(session, PredictionRow, listed, cursor, PAGE_ROWS)
    found, last = _numbers(session, listed, words, cursor)
    listed &= PredictionRow.number.in_(found)
    page = pages.read(session, PredictionRow, listed, cursor, PAGE_ROWS)
    return page if page.older or last is None else replace(page, older=f"o{last}")


def _numbers(
    session: Session, listed: ColumnElement[bool], words: list[str], cursor: str | None
) -> tuple[list[int], int | None]:
    """Return the numbers of the found rows of a page, and of one beyond it if there is one.

    After them the number of the last row that was looked at, where the others were not.

    It is Python that compares: databases differ in which letters they know the case of, and
    PostgreSQL reads no text out of JSON that has the character NUL.
    """
    rows = select(PredictionRow.number, PredictionRow.request).where(listed)
    rows = pages.from_cursor(rows, PredictionRow, cursor)
    found: list[int] = []
    characters = 0
    with session.execute(rows.execution_options(yield_per=pages.ROWS_AT_ONCE)) as read:
        for count, (number, request) in enumerate(read, 1):
            prompt = str(request.get("prompt", ""))
            folded = _folded(prompt)
            if all(word in folded for word in words):
                found.append(number)
            characters += len(prompt)
            is_enough = len(found) > PAGE_ROWS or count >= MOST_ROWS
            if is_enough or characters >= MOST_CHARACTERS:
                return found, number
    return found, None


def _folded(text: str) -> str:
    """Return a text in the form in which two are the same that people take for the same."""
    return unicodedata.normalize("NFKC", text).casefold()
