from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from hosting.api import pagination
from hosting.api.problems import Problem
from hosting.storage import tokens
from hosting.storage.database import Database
from hosting.storage.tables import Prediction, Token, Upload
from tests.support.front import place, prediction, upload

URL = "https://sd.example.com/v1/list"


@pytest.fixture
def database(
    everywhere: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    monkeypatch.setattr(pagination, "SIZE", 2)
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

    def work(session: Session) -> pagination.Part[Prediction] | pagination.Part[Upload]:
        own: Token = tokens.all_tokens(session)[0]
        if table is Prediction:
            is_own = Prediction.token_id == own.id
            return pagination.read(session, Prediction, is_own, URL, cursor)
        return pagination.read(session, Upload, Upload.token_id == own.id, URL, cursor)

    part = database.now(work)
    names = [one.name if isinstance(one, Upload) else one.input["prompt"] for one in part.rows]
    return " ".join(names), _cursor(part.previous), _cursor(part.next)


def _cursor(url: str | None) -> str | None:
    if url is None:
        return None
    assert url.startswith(f"{URL}?cursor=")
    return url.removeprefix(f"{URL}?cursor=")


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
    with pytest.raises(Problem, match="cursor: It is none that a page has given") as refused:
        read(database, Prediction, cursor)
    assert refused.value.status == 422
