from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hosting import predictions, tokens, uploads
from hosting.database import new_id
from tests.hosting.cog_server import CogServer
from tests.hosting.front import Queue, in_queue, upload

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def cog() -> Iterator[CogServer]:
    with CogServer(slots=4).served() as cog:
        yield cog


def predictions_folder(folder: Path) -> set[str]:
    return {path.name for path in (folder / "predictions").iterdir()}


def age(path: Path, seconds: float) -> None:
    os.utime(path, times=(time.time() - seconds,) * 2)


async def with_files(queue: Queue, **fields: Any) -> str:
    one = new_id()
    queue.files.write(f"predictions/{one}/in-image", b"image")
    await queue.ask("fox", id=one, **fields)
    return one


def test_what_is_older_than_it_is_kept_is_removed_and_nothing_else(
    tmp_path: Path, cog: CogServer
) -> None:
    cog.status = "STARTING"

    @in_queue(tmp_path, cog, retention_days=2)
    async def _(queue: Queue) -> None:
        day, now = 86400, time.time()
        kept = [
            await with_files(queue, status="succeeded", completed_at=now - 2 * day + 600),
            await with_files(queue, created_at=now - 9 * day),
            await with_files(queue, created_at=now - 9 * day, status="succeeded", completed_at=now),
        ]
        old = [
            await with_files(queue, status=status, completed_at=now - 2 * day - 600)
            for status in predictions.FINISHED
        ]
        for one in kept:
            age(tmp_path / "predictions" / one, 9 * day)
        await queue.sweep()
        assert predictions_folder(tmp_path) == set(kept)
        assert [await queue.database(predictions.find, one) for one in old] == [None] * 3


def test_without_a_retention_everything_is_kept(tmp_path: Path, cog: CogServer) -> None:
    @in_queue(tmp_path, cog, retention_days=0)
    async def _(queue: Queue) -> None:
        one = await with_files(queue, status="succeeded", completed_at=1.0)
        age(tmp_path / "predictions" / one, 10**8)
        await queue.sweep()
        assert predictions_folder(tmp_path) == {one}
        await queue.found(one)


def test_uploads_are_removed_when_their_time_is_over(tmp_path: Path, cog: CogServer) -> None:
    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        owner = await queue.database(lambda session: tokens.of_header(session, None))
        assert owner
        old, young = upload(owner, expires_at=time.time() - 1), upload(owner)
        for one in (old, young):
            await queue.database(uploads.add, one, 100)
            queue.files.write(f"uploads/{one.id}", b"data")
            age(tmp_path / "uploads" / one.id, 10**6)
        await queue.sweep()
        assert [path.name for path in (tmp_path / "uploads").iterdir()] == [young.id]


def test_files_of_nothing_that_is_known_are_removed_after_a_while(
    tmp_path: Path, cog: CogServer
) -> None:
    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        young, old = new_id(), new_id()
        for one in (young, old):
            queue.files.write(f"predictions/{one}/in-image", b"image")
            queue.files.write(f"uploads/{one}", b"data")
        half = tmp_path / "uploads" / f".{new_id()}.part"
        half.write_bytes(b"hal")
        for path in (tmp_path / "predictions" / old, tmp_path / "uploads" / old, half):
            age(path, 31 * 86400)
        await queue.sweep()
        assert predictions_folder(tmp_path) == {young}
        assert [path.name for path in (tmp_path / "uploads").iterdir()] == [young]


def test_what_somebody_else_put_there_stops_nothing_and_stays(
    tmp_path: Path, cog: CogServer
) -> None:
    for kind in ("predictions", "uploads"):
        path = tmp_path / kind / "lost+found"
        path.mkdir(parents=True)
        age(path, 10**6)

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        await queue.sweep()
        assert [one.status for one in await queue.over(await queue.ask("fox"))] == ["succeeded"]
        assert (tmp_path / "uploads" / "lost+found").is_dir()
