"""Folders of LoRAs and embeddings: what is seen in them, and when it is read."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from stable_diffusion import catalogue, installed
from stable_diffusion.installed import Folder
from stable_diffusion.json_files import FileError

SUFFIXES = (".safetensors", ".pt")


class Checks:
    """Checks files by their content, and notes which."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def __call__(self, path: Path) -> str | tuple[str, ...] | None:
        self.paths.append(path.name)
        content = path.read_text()
        if content == "bad":
            raise FileError(f"{path} is bad")
        return (path.stem, content) if path.suffix == ".pt" else content or None


@pytest.fixture
def checks() -> Checks:
    return Checks()


@pytest.fixture
def folder(tmp_path: Path, checks: Checks) -> Folder:
    return Folder(tmp_path / "loras", SUFFIXES, checks)


def write(folder: Folder, name: str, content: str = "", age: float = 60) -> Path:
    """Write a file that looks as if it had been left alone for some seconds."""
    folder.path.mkdir(exist_ok=True)
    path = folder.path / name
    path.write_text(content)
    os.utime(path, (path.stat().st_mtime - age,) * 2)
    return path


def test_files_come_and_go_without_a_restart(folder: Folder) -> None:
    assert folder.files() == {}
    write(folder, "b.safetensors", "sks")
    write(folder, "A.PT", "<a>")
    files = folder.files()
    assert list(files) == ["A", "b"]
    assert files["b"].trigger == "sks"
    assert files["b"].tokens == ()
    assert files["b"].hash == hashlib.sha256(b"sks").hexdigest()
    assert files["b"].reason is None
    (folder.path / "b.safetensors").unlink()
    assert list(folder.files()) == ["A"]


def test_what_cannot_be_used_is_listed_with_the_reason_and_no_path(folder: Folder) -> None:
    write(folder, "a.safetensors", "bad")
    assert folder.files()["a"].reason == "a.safetensors is bad"
    write(folder, "a.safetensors", "good")
    assert folder.files()["a"].reason is None


def test_only_new_or_changed_files_are_read(
    folder: Folder, checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "SETTLED_SECONDS", 0)
    for name in ("a", "b"):
        write(folder, f"{name}.safetensors", name)
    folder.files()
    folder.files()
    assert checks.paths == ["a.safetensors", "b.safetensors"]
    path = write(folder, "b.safetensors", "c")
    assert folder.files()["b"].trigger == "c"
    # The same size, number and time of change; what it was before is not what it is.
    status = path.stat()
    path.write_text("d")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert folder.files()["b"].trigger == "d"
    assert checks.paths.count("a.safetensors") == 1


def test_a_young_file_is_read_again(folder: Folder, checks: Checks) -> None:
    write(folder, "a.safetensors", age=0)
    folder.files()
    folder.files()
    assert checks.paths == ["a.safetensors"] * 2


def test_a_file_that_changes_while_it_is_read_is_left_out_until_it_does_not(
    tmp_path: Path,
) -> None:
    grows = [True]

    def check(path: Path) -> str | None:
        if grows.pop():
            path.write_text("more")
        grows.append(False)
        return None

    folder = Folder(tmp_path, SUFFIXES, check)
    (tmp_path / "a.safetensors").write_text("")
    assert folder.files() == {}
    assert folder.files()["a"].hash == hashlib.sha256(b"more").hexdigest()


def test_a_file_that_goes_while_it_is_read_is_left_out(tmp_path: Path) -> None:
    folder = Folder(tmp_path, SUFFIXES, lambda path: path.unlink())
    (tmp_path / "a.safetensors").touch()
    assert folder.files() == {}


def test_what_is_no_file_in_the_folder_is_left_out(folder: Folder, tmp_path: Path) -> None:
    inside = write(folder, "a.safetensors", "a")
    outside = tmp_path / "secret.safetensors"
    outside.write_text("secret")
    below = folder.path / "below"
    below.mkdir()
    (below / "c.safetensors").touch()
    (folder.path / "folder.safetensors").mkdir()
    os.mkfifo(folder.path / "pipe.safetensors")
    (folder.path / "out.safetensors").symlink_to(outside)
    (folder.path / "up.safetensors").symlink_to("../secret.safetensors")
    (folder.path / "down.safetensors").symlink_to("below/c.safetensors")
    (folder.path / "device.safetensors").symlink_to("/dev/zero")
    (folder.path / "nowhere.safetensors").symlink_to("nothing")
    (folder.path / "circle.safetensors").symlink_to("circle.safetensors")
    (folder.path / "notes.txt").touch()
    (folder.path / "linked.safetensors").symlink_to(inside)
    assert list(folder.files()) == ["a", "linked"]


def test_a_folder_that_is_a_link_is_looked_into(tmp_path: Path, checks: Checks) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "a.safetensors").touch()
    (tmp_path / "link").symlink_to(real)
    assert list(Folder(tmp_path / "link", SUFFIXES, checks).files()) == ["a"]
    (tmp_path / "self").symlink_to("self")
    assert Folder(tmp_path / "self", SUFFIXES, checks).files() == {}


@pytest.mark.parametrize(
    "name", ["a:b", "a@b", "a<b", "a,b", 'a"b', "a|b", ".a", "x" * 101, "a\tb"]
)
def test_a_name_that_cannot_be_asked_for_is_left_out_and_told_once(
    folder: Folder, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write(folder, f"{name}.safetensors")
    write(folder, "good name é 1.2.safetensors")
    assert list(folder.files()) == ["good name é 1.2"]
    folder.files()
    assert capfd.readouterr().err.count("is left out: its name must have") == 1


def test_a_file_as_large_as_a_model_is_not_read(
    folder: Folder, checks: Checks, capfd: pytest.CaptureFixture[str]
) -> None:
    os.truncate(write(folder, "a.safetensors"), 2**40)
    assert folder.files() == {}
    assert checks.paths == []
    assert "a.safetensors' in" in capfd.readouterr().err


def test_a_name_that_is_no_text_is_left_out(folder: Folder) -> None:
    folder.path.mkdir()
    (folder.path / os.fsdecode(b"\xff.safetensors")).touch()
    assert folder.files() == {}


def test_of_two_files_of_one_name_the_first_suffix_counts(folder: Folder) -> None:
    write(folder, "a.pt", "<a>")
    write(folder, "a.safetensors", "sks")
    assert folder.files()["a"].path.suffix == ".safetensors"


def test_many_threads_may_ask(folder: Folder) -> None:
    for number in range(20):
        write(folder, f"{number}.safetensors", str(number))
    seen: list[dict[str, installed.Installed]] = []
    threads = [threading.Thread(target=lambda: seen.append(folder.files())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(files) for files in seen] == [20] * 8


def test_the_folders_lie_beside_the_models(
    tmp_path: Path, checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "WEIGHTS", tmp_path)
    for kind in ("loras", "embeddings"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "a.safetensors").touch()
        (tmp_path / kind / "b.pt").touch()
    assert list(catalogue.loras(checks).files()) == ["a"]
    assert list(catalogue.embeddings(checks).files()) == ["a", "b"]


def test_the_environment_names_other_folders(
    tmp_path: Path, checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.safetensors").touch()
    monkeypatch.setenv("LORAS", str(tmp_path))
    assert list(catalogue.loras(checks).files()) == ["a"]
    monkeypatch.setenv("LORAS", str(tmp_path / "none"))
    with pytest.raises(catalogue.SetupError, match="^LORAS is '.*none', which is no folder$"):
        catalogue.loras(checks)
