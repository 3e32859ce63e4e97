"""Small copies of pictures, made by a process that may be killed by any of them."""

from __future__ import annotations

import asyncio
import io
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hosting.backends import child, thumbnailer
from tests.support.pictures import EXAMPLES


def copied(*paths: Path) -> list[bytes | None]:
    async def all_copies() -> list[bytes | None]:
        return [copy async for copy in thumbnailer.copies([str(path) for path in paths])]

    return asyncio.run(all_copies())


def saved(path: Path, size: tuple[int, int], **options: Any) -> Path:
    Image.new("RGB", size, "teal").save(path, **options)
    return path


def test_each_has_320_px_on_its_longer_side_or_its_own_size(tmp_path: Path) -> None:
    wide = saved(tmp_path / "wide.png", (1024, 512))
    high = saved(tmp_path / "high.jpg", (256, 640))
    small = saved(tmp_path / "small.webp", (64, 32), lossless=True)
    pictures = [Image.open(io.BytesIO(copy or b"")) for copy in copied(wide, high, small)]
    assert [picture.size for picture in pictures] == [(320, 160), (128, 320), (64, 32)]
    assert {picture.format for picture in pictures} == {"WEBP"}


def test_it_looks_like_the_picture() -> None:
    (copy,) = copied(EXAMPLES / "cat.png")
    small = Image.open(io.BytesIO(copy or b"")).convert("RGB")
    cat = Image.open(EXAMPLES / "cat.png").convert("RGB").resize(small.size)
    differences = [abs(a - b) for a, b in zip(small.tobytes(), cat.tobytes(), strict=True)]
    assert sum(differences) / len(differences) < 6


def test_what_is_no_picture_spoils_no_other(tmp_path: Path) -> None:
    text, cut = tmp_path / "text.png", tmp_path / "cut.png"
    text.write_text("a fox")
    cut.write_bytes((EXAMPLES / "cat.png").read_bytes()[:5000])
    good = saved(tmp_path / "good.png", (64, 64))
    found = copied(text, cut, tmp_path / "none.png", good)
    assert [copy is None for copy in found] == [True, True, True, False]


def test_where_the_command_fails_none_is_said_to_have_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = saved(tmp_path / "good.png", (64, 64))
    monkeypatch.setattr(child, "ROOT", tmp_path)
    assert copied(good, good) == []
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(OSError, match="none"):
        copied(good)


def processes() -> set[str]:
    """Those that this one has started, also if they have ended and nobody knows."""
    children = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
    return set(" ".join(children).split())


@pytest.mark.parametrize("done", [0, 1])
def test_who_is_cancelled_leaves_no_process(done: int, tmp_path: Path) -> None:
    good = saved(tmp_path / "good.png", (64, 64))
    before = processes()

    async def cancelled(turns: int) -> None:
        copies = thumbnailer.copies([str(good)])
        for _ in range(done):
            await anext(copies)
        going_on = asyncio.create_task(anext(copies))
        for _ in range(turns):
            await asyncio.sleep(0)
        going_on.cancel()
        with suppress(asyncio.CancelledError):
            await going_on
        assert processes() <= before

    async def several() -> None:
        for turns in range(12):
            await cancelled(turns)

    asyncio.run(several())  # a warning of what is left fails the test
