"""The cache: what is written to it is whole, or not there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from stable_diffusion import cache


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    cache.write_whole(tmp_path / "table", b"data")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("table", b"data")]


def test_what_can_not_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.fdopen

    def full(*arguments: Any) -> Any:
        opened(*arguments).close()
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(OSError, match="No space"):
        cache.write_whole(tmp_path / "table", b"data")
    assert list(tmp_path.iterdir()) == []
