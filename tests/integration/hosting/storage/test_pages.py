from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from hosting.storage import pages, predictions, tokens, uploads
from hosting.storage.database import Database
from hosting.storage.pages import InvalidCursor, Page
from hosting.storage.tables import PredictionRow, Token, Upload
from tests.support.front import place, prediction, upload


@pytest.fixture
def database(
    everywhere: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    monkeypatch.setattr(pages, "PAGE_ROWS", 2)
    database = Database(place(tmp_path))
    database.write_now(tokens.create, "own")
    database.write_now(tokens.create, "other")
    database.write_now(_fill)
    yield database
    database.close()


def _fill(session: Session) -> None:
    """Five of each of `own`, in their order, and those of another between them."""
    own, other = tokens.all_tokens(session)
    for name in ("0", "1", "2", "3", "4"):
        for owner, text in ((own, name), (other, "other")):
            predictions.add(session, prediction(owner, text), 100)
            session.add(upload(owner, name=text))
            session.flush()


def read(
    database: Database, table: type[PredictionRow] | type[Upload], cursor: str | None = None
) -> tuple[str, str | None, str | None]:
    """The names on a page, and the cursors that lead on."""

    def work(session: Session) -> Page[PredictionRow] | Page[Upload]:
        own: Token = tokens.all_tokens(session)[0]
        if table is PredictionRow:
            return predictions.page(session, own.id, cursor)
        return uploads.page(session, own.id, cursor)

    page = database.write_now(work)
    names = [one.name if isinstance(one, Upload) else one.input["prompt"] for one in page.rows]
    return " ".join(names), page.newer, page.older


@pytest.mark.parametrize("table", [PredictionRow, Upload])
def test_pages_are_newest_first_and_lead_to_one_another(
    database: Database, table: type[PredictionRow] | type[Upload]
) -> None:
    names, newer, older = read(database, table)
    assert (names, newer) == ("4 3", None)
    names, newer, older = read(database, table, older)
    assert names == "2 1"
    last, newer_than_last, older = read(database, table, older)
    assert (last, older) == ("0", None)
    assert read(database, table, newer)[::2] == ("4 3", read(database, table)[2])
    assert read(database, table, newer_than_last)[0] == "2 1"


@pytest.mark.parametrize("table", [PredictionRow, Upload])
def test_a_page_ends_early_when_its_rows_are_large_but_has_one_at_least(
    database: Database,
    table: type[PredictionRow] | type[Upload],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pages, "PAGE_ROWS", 100)
    monkeypatch.setattr(pages, "LARGEST_PAGE_CHARACTERS", 10_000)
    database.write_now(_make_large, "2", 6_000)
    database.write_now(_make_large, "1", 60_000)
    names, _, older = read(database, table)
    assert names == "4 3 2"
    names, _, older = read(database, table, older)
    assert names == "1"
    names, newer, older = read(database, table, older)
    assert (names, older) == ("0", None)
    names, newer, _ = read(database, table, newer)
    assert names == "1"
    assert read(database, table, newer)[0] == "4 3 2"


def _make_large(session: Session, name: str, characters: int) -> None:
    """Make those of `own` with a name large."""
    for one in session.scalars(select(PredictionRow)):
        if one.input["prompt"] == name:
            one.logs = "x" * characters
    for file in session.scalars(select(Upload).where(Upload.name == name)):
        file.details = {"about": "x" * characters}


def test_beyond_the_last_there_is_nothing(database: Database) -> None:
    assert read(database, PredictionRow, "o1") == ("", None, None)
    assert read(database, PredictionRow, "n999999999999999999") == ("", None, None)


@pytest.mark.parametrize("cursor", ["", "abc", "o", "5", "o-1", "p5", "o" + "9" * 19, "o٣", "o1\n"])
def test_a_cursor_of_nobody_is_refused(database: Database, cursor: str) -> None:
    for table in (PredictionRow, Upload):
        with pytest.raises(InvalidCursor, match="It must be one that a page has given"):
            read(database, table, cursor)
