from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stable_diffusion import results


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The temporary folder of all accounts."""
    shared = tmp_path / "tmp"
    shared.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    results._other_root.cache_clear()
    yield shared
    results._other_root.cache_clear()


def test_folders_are_new_and_in_one_that_only_its_owner_can_read(shared: Path) -> None:
    first, second = results.new_folder(), results.new_folder()
    assert first != second
    assert first.parent == second.parent == shared / f"stable-diffusion-{os.getuid()}"
    assert stat.S_IMODE(first.parent.stat().st_mode) == 0o700


def readable_by_all(root: Path) -> None:
    root.mkdir()
    root.chmod(0o777)


def link(root: Path) -> None:
    (root.parent / "elsewhere").mkdir(mode=0o700)
    root.symlink_to(root.parent / "elsewhere")


def anothers(root: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give folders away")
    root.mkdir(mode=0o700)
    os.chown(root, 12345, 12345)


@pytest.mark.parametrize("take", [readable_by_all, link, anothers, Path.touch])
def test_a_folder_that_another_account_may_have_made_is_not_used(
    shared: Path, take: Callable[[Path], None]
) -> None:
    root = shared / f"stable-diffusion-{os.getuid()}"
    take(root)
    first, second = results.new_folder(), results.new_folder()
    assert first.parent == second.parent
    assert first.parent.parent == shared
    assert first.parent != root
    assert stat.S_IMODE(first.parent.stat().st_mode) == 0o700
    if root.is_dir():
        assert list(root.iterdir()) == []
