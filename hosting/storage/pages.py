"""Long lists in pages: the newest first, and cursors that lead from each page to the next."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from hosting.storage.tables import PredictionRow, Upload

PAGE_ROWS = 100
"""Rows of a page."""

Row = TypeVar("Row", PredictionRow, Upload)
Listed = TypeVar("Listed")


class InvalidCursor(ValueError):
    """A cursor that no page has given. The message is for the client."""


@dataclass(frozen=True)
class Page(Generic[Listed]):
    """The rows of a page, and the cursors of the pages with newer and with older ones, if any."""

    rows: list[Listed]
    newer: str | None
    older: str | None


def read(
    session: Session,
    table: type[Row],
    is_listed: ColumnElement[bool],
    cursor: str | None = None,
) -> Page[Row]:
    """Return a page of those rows of a table that are listed.

    Args:
        cursor: as another page has it; without one it is the first page.

    Raises:
        InvalidCursor: when it is no cursor of ours.
    """
    listed = select(table).where(is_listed)
    older_than, newer_than = _places(cursor)
    if newer_than is None:
        wanted = listed if older_than is None else listed.where(table.number < older_than)
        rows = list(session.scalars(wanted.order_by(table.number.desc()).limit(PAGE_ROWS)))
    else:
        wanted = listed.where(table.number > newer_than).order_by(table.number)
        rows = list(session.scalars(wanted.limit(PAGE_ROWS)))[::-1]

    def some(more: Select[Row]) -> bool:
        return session.scalar(more.limit(1)) is not None

    if not rows:
        return Page(rows, None, None)
    first, last = rows[0].number, rows[-1].number
    return Page(
        rows,
        f"n{first}" if some(listed.where(table.number > first)) else None,
        f"o{last}" if some(listed.where(table.number < last)) else None,
    )


def _places(cursor: str | None) -> tuple[int | None, int | None]:
    """Return the number that the rows are older than, or the one that they are newer than."""
    if cursor is None:
        return None, None
    found = re.fullmatch(r"([on])([0-9]{1,18})", cursor)
    if found is None:
        raise InvalidCursor("It must be one that a page has given")
    number = int(found[2])
    return (number, None) if found[1] == "o" else (None, number)
