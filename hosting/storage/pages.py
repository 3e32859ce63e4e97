"""Long lists in pages: the newest first, and cursors that lead from each page to the next."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, String, cast, func, select
from sqlalchemy.orm import Session

from hosting.storage.tables import Batch, PredictionRow, Upload

PAGE_ROWS = 100
"""Rows of a page, at most."""
ROWS_AT_ONCE = 50
"""Rows that are read at a time where whole columns are: the inputs of each may have a MiB."""
LARGEST_PAGE_CHARACTERS = 4 * 2**20
"""Characters that the rows of a page have together, as text. A row that has more is a page alone.
JSON is stored as ASCII: characters are bytes, except in logs and errors."""

Row = TypeVar("Row", PredictionRow, Upload, Batch)
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
    most_rows: int | None = None,
) -> Page[Row]:
    """Return a page of those rows of a table that are listed.

    Args:
        cursor: as another page has it; without one it is the first page.
        most_rows: of the page; None: `PAGE_ROWS`.

    Raises:
        InvalidCursor: when it is no cursor of ours.
    """
    listed = select(table.number).where(is_listed)
    wanted = from_cursor(listed, table, cursor)
    # How large they are is asked before any is read: a hundred may have a hundred MiB.
    sizes = session.execute(
        wanted.add_columns(_characters(table)).limit(most_rows or PAGE_ROWS)
    ).all()
    numbers = _those_that_fit([(number, size) for number, size in sizes])
    if not numbers:
        return Page([], None, None)

    newest_first = select(table).where(table.number.in_(numbers)).order_by(table.number.desc())
    rows = list(session.scalars(newest_first))
    first, last = max(numbers), min(numbers)

    def are_there(condition: ColumnElement[bool]) -> bool:
        return session.scalar(listed.where(condition).limit(1)) is not None

    return Page(
        rows,
        f"n{first}" if are_there(table.number > first) else None,
        f"o{last}" if are_there(table.number < last) else None,
    )


def from_cursor(listed: Select[Any], table: type[Row], cursor: str | None) -> Select[Any]:
    """Return a selection of rows as the page of a cursor takes them, the nearest to it first.

    Raises:
        InvalidCursor: when it is no cursor of ours.
    """
    older_than, newer_than = _places(cursor)
    if newer_than is not None:
        return listed.where(table.number > newer_than).order_by(table.number)
    older = listed if older_than is None else listed.where(table.number < older_than)
    return older.order_by(table.number.desc())


def _characters(table: type[Row]) -> ColumnElement[int]:
    """Return the characters that a row has, as text."""
    lengths = (func.length(cast(column, String)) for column in table.__table__.columns)
    return reduce(add, (func.coalesce(length, 0) for length in lengths))


def _those_that_fit(sizes: list[tuple[int, int]]) -> list[int]:
    """Return the numbers of the first rows that fit on a page: one at least, if there is any.

    Args:
        sizes: the rows' numbers and characters, in the order in which they are taken.
    """
    totals = itertools.accumulate(size for _, size in sizes)
    fitting = sum(total <= LARGEST_PAGE_CHARACTERS for total in totals)
    return [number for number, _ in sizes[: max(1, fitting)]]


def _places(cursor: str | None) -> tuple[int | None, int | None]:
    """Return the number that the rows are older than, or the one that they are newer than."""
    if cursor is None:
        return None, None
    found = re.fullmatch(r"([on])([0-9]{1,18})", cursor)
    if found is None:
        raise InvalidCursor("It must be one that a page has given")
    number = int(found[2])
    return (number, None) if found[1] == "o" else (None, number)
