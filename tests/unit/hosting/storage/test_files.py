from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from hosting.storage.files import (
    OUTPUT,
    Files,
    InputFile,
    OutputFile,
    thumbnail_of,
    type_of,
)
from tools.fake_cog import data_url, pixels

HOSTILE = [
    "",
    ".",
    "/etc/passwd",
    "predictions.db",
    "predictions/",
    "predictions/..",
    "predictions/../predictions.db",
    "predictions/a1",
    "predictions/a1/",
    "predictions/a1/.",
    "predictions/a1/..",
    "predictions/a1/.in-image.part",
    "predictions/a1/../../lock",
    "predictions/a1/b/c",
    "predictions/A1/in-image",
    "predictions/a1/in image",
    "predictions/a1/in-image\n",
    "predictions/a1/in-image\0",
    "predictions//in-image",
    "predictions/../in-image",
    "./predictions/a1/in-image",
    "/predictions/a1/in-image",
    "uploads/a1/b",
    "uploads/..",
    "uploads/.a1.part",
    "uploads/a1\n",
    "uploads/" + "a" * 65,
    "uploads/ä",
    "other/a1",
]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "data")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_what_is_written_lies_under_its_name(files: Files, tmp_path: Path) -> None:
    files.write("predictions/a1/in-image", b"one")
    files.write("predictions/a1/out-0.png", b"two")
    files.write("uploads/b2", b"three")
    files.write("uploads/b2", b"four")
    assert contents(tmp_path / "data") == {
        "predictions/a1/in-image": b"one",
        "predictions/a1/out-0.png": b"two",
        "uploads/b2": b"four",
    }
    assert files.read("uploads/b2") == b"four"


def test_only_the_owner_can_read(files: Files, tmp_path: Path) -> None:
    files.write("predictions/a1/in-image", b"one")
    for folder in ("predictions", "predictions/a1", "uploads"):
        assert stat.S_IMODE((tmp_path / "data" / folder).stat().st_mode) == 0o700


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_is_none_of_ours_is_refused(files: Files, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is not a file of ours"):
        files.path(name)
    with pytest.raises(ValueError, match="is not a file of ours"):
        files.write(name, b"data")
    with pytest.raises(ValueError, match="is not a file of ours"):
        files.data_url(name)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    "name",
    [
        "",
        "predictions",
        "predictions/",
        "predictions/.",
        "predictions/..",
        "predictions/a1/..",
        "predictions/a1/in-image",
        "uploads/../predictions/a1",
        "uploads/a1\n",
        "other/a1",
        "/predictions/a1",
    ],
)
def test_nothing_is_removed_by_such_a_name(files: Files, tmp_path: Path, name: str) -> None:
    files.write("predictions/a1/in-image", b"one")
    files.write("uploads/a1", b"two")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="is not a file of ours"):
        files.remove(name)
    assert contents(tmp_path) == before


def test_a_prediction_is_removed_with_all_its_files_and_nothing_else(
    files: Files, tmp_path: Path
) -> None:
    for name in ("predictions/a1/in-image", "predictions/a1/out-0.png", "predictions/a2/in-image"):
        files.write(name, b"data")
    files.write("uploads/a1", b"data")
    files.remove("predictions/a1")
    files.remove("predictions/a1")
    assert sorted(contents(tmp_path / "data")) == ["predictions/a2/in-image", "uploads/a1"]
    files.remove("uploads/a1")
    files.remove("uploads/a1")
    assert sorted(contents(tmp_path / "data")) == ["predictions/a2/in-image"]


def test_what_a_link_in_the_folder_leads_to_is_not_removed(files: Files, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"data")
    data = tmp_path / "data"
    (data / "predictions" / "a1").symlink_to(outside)
    (data / "uploads" / "a1").symlink_to(outside / "precious")
    files.write("predictions/a2/in-image", b"data")
    (data / "predictions" / "a2" / "link").symlink_to(outside)
    for name in ("predictions/a1", "uploads/a1", "predictions/a2"):
        files.remove(name)
    assert contents(outside) == {"precious": b"data"}
    assert not list(data.rglob("*1"))
    assert not list(data.rglob("*2"))


def test_a_half_written_file_is_never_seen(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write("uploads/a1", b"old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    for name in ("uploads/a1", "predictions/a1/in-image"):
        with pytest.raises(OSError, match="No space left"):
            files.write(name, b"new")
    assert files.read("uploads/a1") == b"old"
    assert not files.is_there("predictions/a1/in-image")


def test_no_name_is_interned(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    interned: list[str] = []

    def intern(text: str) -> str:
        interned.append(text)
        return text

    monkeypatch.setattr(sys, "intern", intern)
    files.write("predictions/a1/out-0.png", b"data")
    files.write("predictions/a1/out-1.png", b"data")
    files.remove_outputs("a1", 1, ["out-0.png"])
    assert files.is_there("predictions/a1/out-0.png")
    assert files.read("predictions/a1/out-0.png") == b"data"
    assert interned == []


def test_what_is_older_is_told_and_what_is_not_ours_is_not(files: Files, tmp_path: Path) -> None:
    old, young, gone = ("o" * 26, "y" * 26, "g" * 26)
    for name in (old, young):
        files.write(f"uploads/{name}", b"data")
        files.write(f"predictions/{name}/in-image", b"data")
    data = tmp_path / "data"
    for name in (f".{old}.part", "lost+found", "thesis"):
        (data / "uploads" / name).write_bytes(b"data")
    (data / "uploads" / gone).symlink_to(tmp_path / "nowhere")
    for path in data.glob("*/*"):
        times = (100, 100) if path.name != young else (200, 200)
        os.utime(path, times, follow_symlinks=False)
    assert set(files.old(150)) == {
        ("predictions", old),
        ("uploads", old),
        ("uploads", gone),
        ("uploads", f".{old}.part"),
    }
    for kind, name in files.old(150):
        files.remove(f"{kind}/{name}")
    assert {path.name for path in data.glob("*/*")} == {young, "lost+found", "thesis"}


def test_a_picture_is_had_as_a_data_url(files: Files) -> None:
    picture = pixels("fox", 1)
    files.write("predictions/a1/out-0.png", picture)
    files.write("predictions/a1/in-image", b"text")
    assert files.data_url("predictions/a1/out-0.png") == data_url(picture)
    assert files.data_url("predictions/a1/in-image") == data_url(
        b"text", "application/octet-stream"
    )


def test_an_input_file_is_here_or_elsewhere() -> None:
    sent, elsewhere = InputFile.sent("image"), InputFile("https://example.com/in-image")
    assert (sent.is_stored, elsewhere.is_stored) == (True, False)
    assert sent.path("a1") == "predictions/a1/in-image"
    fetched = {InputFile.fetched("image") for _ in range(20)}
    assert len(fetched) == 20
    assert all(file.is_stored and file.location.startswith("in-image-") for file in fetched)


@pytest.mark.parametrize(
    ("attempt", "name"), [(0, "out-2.webp"), (1, "out-2.webp"), (3, "out-2-3.webp")]
)
def test_each_attempt_has_output_files_of_its_own(attempt: int, name: str) -> None:
    file = OutputFile(2, attempt, "webp")
    assert (file.name, file.path("a1")) == (name, f"predictions/a1/{name}")
    assert OUTPUT.fullmatch(file.path("a1"))


def test_a_thumbnail_is_named_by_its_picture_and_goes_with_it(tmp_path: Path) -> None:
    files = Files(tmp_path)
    for name in ("out-0.png", "out-1-2.webp", "in-image"):
        files.write(f"predictions/fox/{name}", b"data")
    for name in ("out-0.png", "out-1-2.webp"):
        path = thumbnail_of(f"predictions/fox/{name}")
        files.add(path, b"copy")
        assert type_of(path) == "image/webp"
    there = {path.name for path in (tmp_path / "predictions" / "fox").iterdir()}
    assert there == {"out-0.png", "thumb-0.webp", "out-1-2.webp", "thumb-1-2.webp", "in-image"}
    files.remove_outputs("fox", 2, keep=["out-0.png"])
    there = {path.name for path in (tmp_path / "predictions" / "fox").iterdir()}
    assert there == {"out-0.png", "thumb-0.webp", "in-image"}


def test_nothing_is_added_to_a_folder_that_is_gone(tmp_path: Path) -> None:
    files = Files(tmp_path)
    with pytest.raises(FileNotFoundError):
        files.add("predictions/fox/thumb-0.webp", b"copy")
    assert list((tmp_path / "predictions").iterdir()) == []


def test_only_what_we_encoded_has_a_type() -> None:
    assert type_of("predictions/fox/out-0-2.jpg") == "image/jpeg"
    for path in ("predictions/fox/in-image", "uploads/fox", "predictions/fox/thumb-0.png"):
        assert type_of(path) is None
