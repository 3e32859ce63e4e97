from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hosting.queue import sweep
from hosting.settings import Settings
from hosting.states import FINISHED
from hosting.storage import predictions, shares, tokens, uploads
from hosting.storage.database import Database
from hosting.storage.files import Files
from hosting.storage.store import Store
from hosting.storage.tables import Share, Token, new_id
from tests.support.front import place, prediction, upload

DAY = 86400


@dataclass
class House:
    """What is swept."""

    folder: Path
    database: Database
    files: Files

    @property
    def owner(self) -> Token:
        token = self.database.write_now(tokens.find, None)
        assert token
        return token

    def add(self, **fields: Any) -> str:
        """A prediction with a file; its id."""
        record = prediction(self.owner, "fox", **fields)
        self.files.write(f"predictions/{record.id}/in-image", b"image")
        self.database.write_now(predictions.add, record, 100)
        return record.id

    def there(self, kind: str) -> set[str]:
        return {path.name for path in (self.folder / kind).iterdir()}

    def sweep(self, **settings: Any) -> None:
        store, told = Store(self.database), Settings(data=self.folder, **settings)
        asyncio.run(sweep.sweep(told, store, self.files))


@pytest.fixture
def house(everywhere: None, tmp_path: Path) -> Iterator[House]:
    database = Database(place(tmp_path))
    database.write_now(tokens.prepare)
    yield House(tmp_path, database, Files(tmp_path))
    database.close()


def age(path: Path, seconds: float) -> None:
    os.utime(path, times=(time.time() - seconds,) * 2)


def test_what_is_older_than_it_is_kept_is_removed_and_nothing_else(house: House) -> None:
    now = time.time()
    kept = {
        house.add(status="succeeded", completed_at=now - 2 * DAY + 600),
        house.add(created_at=now - 9 * DAY),
        house.add(created_at=now - 9 * DAY, status="succeeded", completed_at=now),
    }
    old = [house.add(status=status, completed_at=now - 2 * DAY - 600) for status in FINISHED]
    for one in kept:
        age(house.folder / "predictions" / one, 9 * DAY)
    house.sweep(retention_days=2)
    assert house.there("predictions") == kept
    assert [house.database.write_now(predictions.find, one) for one in old] == [None for _ in old]


def test_inputs_of_what_failed_or_was_cancelled_are_removed_after_an_hour(house: House) -> None:
    now = time.time()
    ids = {
        (status, hours): house.add(status=status, completed_at=now - hours * 3600, input_bytes=5)
        for status in FINISHED
        for hours in (0.9, 1.1)
    }
    for one in ids.values():
        house.files.write(f"predictions/{one}/out-0.png", b"output")
    house.sweep(retention_days=0)
    for (status, hours), one in ids.items():
        names = {path.name for path in (house.folder / "predictions" / one).iterdir()}
        is_kept = status == "succeeded" or hours < 1
        assert names == ({"in-image", "out-0.png"} if is_kept else {"out-0.png"})
        record = house.database.write_now(predictions.find, one)
        assert record is not None
        assert record.input_bytes == (5 if is_kept else 0)


def test_without_a_retention_everything_is_kept(house: House) -> None:
    one = house.add(status="succeeded", completed_at=1.0)
    age(house.folder / "predictions" / one, 10**8)
    house.sweep(retention_days=0)
    assert house.there("predictions") == {one}
    assert house.database.write_now(predictions.find, one)


def test_uploads_are_removed_when_their_time_is_over(house: House) -> None:
    old, young = upload(house.owner, expires_at=time.time() - 1), upload(house.owner)
    for one in (old, young):
        house.database.write_now(uploads.add, one, 100)
        house.files.write(f"uploads/{one.id}", b"data")
        age(house.folder / "uploads" / one.id, 10**6)
    house.sweep()
    assert house.there("uploads") == {young.id}


def test_shares_are_removed_when_their_time_is_over_or_their_prediction_is_removed(
    house: House,
) -> None:
    now = time.time()
    kept = house.add(status="succeeded", completed_at=now)
    old = house.add(status="succeeded", completed_at=now - 3 * DAY)
    for one, expires_at in ((kept, now - 1), (kept, None), (kept, now + DAY), (old, None)):
        share = Share(prediction_id=one, expires_at=expires_at)
        assert house.database.write_now(shares.add, share)
    house.sweep(retention_days=2)
    left = house.database.write_now(lambda session: session.query(Share).all())
    assert {(one.prediction_id, one.expires_at) for one in left} == {
        (kept, None),
        (kept, now + DAY),
    }


def test_files_of_nothing_that_is_known_are_removed_after_a_while(house: House) -> None:
    young, old = new_id(), new_id()
    for one in (young, old):
        house.files.write(f"predictions/{one}/in-image", b"image")
        house.files.write(f"uploads/{one}", b"data")
    half = house.folder / "uploads" / f".{new_id()}.part"
    half.write_bytes(b"hal")
    for path in (house.folder / "predictions" / old, house.folder / "uploads" / old, half):
        age(path, 31 * DAY)
    house.sweep()
    assert house.there("predictions") == house.there("uploads") == {young}


def test_what_somebody_else_put_there_stops_nothing_and_stays(house: House) -> None:
    for kind in ("predictions", "uploads"):
        path = house.folder / kind / "lost+found"
        path.mkdir()
        age(path, 31 * DAY)
    house.sweep()
    assert house.there("predictions") == house.there("uploads") == {"lost+found"}
