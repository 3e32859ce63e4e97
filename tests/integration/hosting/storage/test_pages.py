from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from hosting.storage import pages, predictions, tokens, uploads
from hosting.storage.database import Database
from hosting.storage.pages import InvalidCursor, Page
from hosting.storage.tables import Prediction, Token, Upload
from tests.support.front import place, prediction, upload


@pytest.fixture
def database(
    everywhere: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    monkeypatch.setattr(pages, "SIZE", 2)
    database = Database(place(tmp_path))
    database.now(tokens.create, "own")
    database.now(tokens.create, "other")
    database.now(_fill)
    yield database
    database.close()


def _fill(session: Session) -> None:
    """Five of each of `own`, in their order, and those of another between them."""
    own, other = tokens.all_tokens(session)
    for name in ("0", "1", "2", "3", "4"):
        for owner, text in ((own, name), (other, "other")):
            session.add(prediction(owner, text))
            session.add(upload(owner, name=text))
            session.flush()


def read(
    database: Database, table: type[Prediction] | type[Upload], cursor: str | None = None
) -> tuple[str, str | None, str | None]:
    """The names on a page, and the cursors that lead on."""

    def work(session: Session) -> Page[Prediction] | Page[Upload]:
        own: Token = tokens.all_tokens(session)[0]
        if table is Prediction:
            return predictions.page(session, own.id, cursor)
        return uploads.page(session, own.id, cursor)

    page = database.now(work)
    names = [one.name if isinstance(one, Upload) else one.input["prompt"] for one in page.rows]
    return " ".join(names), page.newer, page.older


@pytest.mark.parametrize("table", [Prediction, Upload])
def test_pages_are_newest_first_and_lead_to_one_another(
    database: Database, table: type[Prediction] | type[Upload]
) -> None:
    names, newer, older = read(database, table)
    assert (names, newer) == ("4 3", None)
    names, newer, older = read(database, table, older)
    assert names == "2 1"
    last, newer_than_last, older = read(database, table, older)
    assert (last, older) == ("0", None)
    assert read(database, table, newer)[::2] == ("4 3", read(database, table)[2])
    assert read(database, table, newer_than_last)[0] == "2 1"


def test_beyond_the_last_there_is_nothing(database: Database) -> None:
    assert read(database, Prediction, "o1") == ("", None, None)
    assert read(database, Prediction, "n999999999999999999") == ("", None, None)


@pytest.mark.parametrize("cursor", ["", "abc", "o", "5", "o-1", "p5", "o" + "9" * 19, "o٣", "o1\n"])
def test_a_cursor_of_nobody_is_refused(database: Database, cursor: str) -> None:
    for table in (Prediction, Upload):
        with pytest.raises(InvalidCursor, match="It is none that a page has given"):
            read(database, table, cursor)
