"""Small copies that somebody wants: what is told of them, and how many may wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from hosting.backends import thumbnailer
from hosting.prediction import Prediction
from hosting.queue import thumbnails
from hosting.queue.changes import Changes
from hosting.queue.thumbnails import Thumbnails
from hosting.storage.files import Files
from hosting.storage.tables import Token
from tests.support.front import prediction


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def drawn(files: Files, owner: str, prediction_id: str, count: int = 1) -> Prediction:
    """A prediction with pictures."""
    names = [f"out-{index}.png" for index in range(count)]
    for name in names:
        files.write(f"predictions/{prediction_id}/{name}", b"picture")
    token = Token(id=owner, name=owner, webhook_secret="")
    return replace(prediction(token, "fox", id=prediction_id), output=names)


def running(thumbnails: Thumbnails, test: Callable[[], Awaitable[None]]) -> None:
    """Run a test while copies are made."""

    async def both() -> None:
        making = asyncio.create_task(thumbnails.run())
        try:
            async with asyncio.timeout(60):
                await test()
        finally:
            making.cancel()
            with suppress(asyncio.CancelledError):
                await making

    asyncio.run(both())


def test_a_copy_that_another_front_has_made_is_told_of(files: Files) -> None:
    changes = Changes()
    one = Thumbnails(files, changes)
    fox = drawn(files, "ann", "fox")
    files.add("predictions/fox/thumb-0.webp", b"copy")

    async def told() -> None:
        with changes.watched("ann") as watch:
            one.want(fox, fox.output)
            await watch.happened.wait()
            assert watch.take() == ["fox"]

    running(one, told)


def test_a_token_has_so_many_places_and_takes_none_of_others(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []

    async def copies(paths: Sequence[str]) -> AsyncGenerator[bytes, None]:
        for path in paths:
            copied.append("/".join(path.split("/")[-2:]))
            yield b"copy"

    monkeypatch.setattr(thumbnailer, "copies", copies)
    monkeypatch.setattr(thumbnails, "MOST_WANTED", 2)
    changes = Changes()
    one = Thumbnails(files, changes)
    fox, cat = drawn(files, "ann", "fox", count=3), drawn(files, "bob", "cat")

    async def made() -> None:
        with changes.watched("bob") as watch:
            one.want(fox, fox.output)
            one.want(fox, fox.output)
            one.want(cat, cat.output)
            await watch.happened.wait()

    running(one, made)
    assert copied == ["fox/out-0.png", "fox/out-1.png", "cat/out-0.png"]
