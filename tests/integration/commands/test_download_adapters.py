"""The download of LoRAs and embeddings, against a small hub on this machine."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch

from commands.download_weights import main
from stable_diffusion import catalogue
from tests.support.hub import FIRST, SECOND, Hub, record

REPOSITORY = "someone/Ink-Style"
FILE = "pytorch_lora_weights.safetensors"
Download = Callable[..., tuple[int, str]]


def tensors(value: float = 1) -> bytes:
    """A file of about 3 kB in safetensors' format."""
    return safetensors.torch.save({"a": torch.full((700,), value)})


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of weights, with the project's manifest."""
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "manifest.json").write_bytes((catalogue.WEIGHTS / "manifest.json").read_bytes())
    monkeypatch.setattr(catalogue, "WEIGHTS", folder)
    return folder


@pytest.fixture
def download(
    hub: Hub, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Download:
    """Runs the script; returns its status and what it wrote to stderr."""
    hub.commits[FIRST] = {FILE: tensors(), "README.md": b"# Ink"}

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["scripts/download-weights", *arguments])
        status = main()
        return status, capsys.readouterr().err

    return run


def adapters(weights: Path) -> dict[str, bytes]:
    """The content of each file in the folders of LoRAs and embeddings."""
    paths = [*weights.glob("loras/*"), *weights.glob("embeddings/*")]
    return {str(path.relative_to(weights)): path.read_bytes() for path in paths}


# What is fetched


def test_a_lora_is_fetched_under_its_repositorys_name_where_its_own_says_nothing(
    weights: Path, hub: Hub, download: Download
) -> None:
    assert download("--lora", REPOSITORY) == (0, "")
    assert adapters(weights) == {"loras/Ink-Style.safetensors": tensors()}
    assert hub.sent == [(FILE, None)]


def test_it_goes_where_the_server_looks_for_it(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, download: Download
) -> None:
    elsewhere = tmp_path / "Lora"
    monkeypatch.setenv("LORAS", str(elsewhere))
    status, said = download("--lora", REPOSITORY)
    assert status == 1
    assert "which is no folder" in said
    elsewhere.mkdir()
    assert download("--lora", REPOSITORY) == (0, "")
    assert [path.name for path in elsewhere.iterdir()] == ["Ink-Style.safetensors"]
    assert adapters(weights) == {}
    (elsewhere / "Ink-Style.safetensors").write_bytes(tensors(2))
    assert "is there and is another file" in download("--lora", REPOSITORY)[1]


def test_the_lock_says_where_it_is_from_and_what_it_is(weights: Path, download: Download) -> None:
    (weights / "lock.json").write_text('{"another": {"revision": "main"}}')
    download("--lora", REPOSITORY)
    assert json.loads((weights / "lock.json").read_text()) == {
        "another": {"revision": "main"},
        "loras/Ink-Style.safetensors": {
            "repository": REPOSITORY,
            "revision": FIRST,
            "files": {FILE: record(tensors())},
        },
    }


def test_a_file_of_several_is_named_and_may_get_another_name(
    weights: Path, hub: Hub, download: Download
) -> None:
    hub.commits[FIRST] |= {"more/deep/Thin ink (v2).safetensors": tensors(2)}
    assert download("--lora", f"{REPOSITORY}/more/deep/Thin ink (v2).safetensors") == (0, "")
    assert download("--lora", f"{REPOSITORY}/{FILE}", "--as", "ink") == (0, "")
    assert adapters(weights) == {
        "loras/Thin ink (v2).safetensors": tensors(2),
        "loras/ink.safetensors": tensors(1),
    }


@pytest.mark.parametrize("file", ["learned_embeds.safetensors", "learned_embeds.bin", "ugly.pt"])
def test_an_embedding_may_be_of_any_format(
    file: str, weights: Path, hub: Hub, download: Download
) -> None:
    hub.commits[FIRST] = {file: tensors(), "concept_images/1.jpeg": b"?"}
    assert download("--embedding", REPOSITORY, "--as", "ink") == (0, "")
    assert adapters(weights) == {f"embeddings/ink{Path(file).suffix}": tensors()}


def test_of_two_formats_it_is_the_safe_one(weights: Path, hub: Hub, download: Download) -> None:
    hub.commits[FIRST] = {"ink.bin": b"?", "ink.safetensors": tensors(), "ink.pt": b"?"}
    assert download("--embedding", REPOSITORY) == (0, "")
    assert adapters(weights) == {"embeddings/ink.safetensors": tensors()}


def test_several_are_fetched_at_once_and_no_model(
    weights: Path, hub: Hub, download: Download
) -> None:
    hub.commits[FIRST] = {"a.safetensors": tensors(1), "b.safetensors": tensors(2)}
    asked = ("--lora", f"{REPOSITORY}/a.safetensors", "--embedding", f"{REPOSITORY}/b.safetensors")
    assert download(*asked) == (0, "")
    assert adapters(weights).keys() == {"loras/a.safetensors", "embeddings/b.safetensors"}
    assert {repository for repository, _ in hub.listed} == {REPOSITORY}


# What is there


def test_nothing_is_fetched_twice(weights: Path, hub: Hub, download: Download) -> None:
    download("--lora", REPOSITORY)
    hub.sent.clear()
    assert download("--lora", REPOSITORY) == (0, "")
    assert hub.sent == []


def test_a_later_download_is_held_to_the_same_file(
    weights: Path, hub: Hub, download: Download
) -> None:
    download("--lora", REPOSITORY)
    (weights / "loras" / "Ink-Style.safetensors").unlink()
    hub.commits[SECOND], hub.main = {FILE: tensors(2)}, SECOND
    assert download("--lora", REPOSITORY) == (0, "")
    assert adapters(weights) == {"loras/Ink-Style.safetensors": tensors(1)}


@pytest.mark.parametrize("there", ["ink.safetensors", "ink.pt"])
def test_no_other_file_loses_its_name(
    there: str, weights: Path, hub: Hub, download: Download
) -> None:
    path = weights / "embeddings" / there
    path.parent.mkdir()
    path.write_bytes(b"mine")
    status, message = download("--embedding", REPOSITORY, "--as", "ink")
    assert status == 1
    assert re.fullmatch(rf"{REPOSITORY}: .*{there} is there and is another file: .*\n", message)
    assert adapters(weights) == {f"embeddings/{there}": b"mine"}
    assert hub.sent == []


def test_a_link_is_not_followed_out_of_the_folder(
    weights: Path, tmp_path: Path, hub: Hub, download: Download
) -> None:
    (weights / "loras").mkdir()
    (weights / "loras" / "ink.safetensors").symlink_to(tmp_path / "outside")
    status, message = download("--lora", REPOSITORY, "--as", "ink")
    assert (status, "is another file" in message) == (1, True)
    assert not (tmp_path / "outside").exists()


# Going on, and refusing


def test_only_a_whole_file_gets_its_name_and_the_next_run_goes_on(
    weights: Path, hub: Hub, download: Download
) -> None:
    hub.breaks[FILE] = chain([1000], repeat(0))
    status, message = download("--lora", REPOSITORY)
    assert (status, "run this again to resume" in message) == (1, True)
    assert adapters(weights) == {"loras/Ink-Style.safetensors.part": tensors()[:1000]}
    assert not (weights / "lock.json").exists()
    del hub.breaks[FILE]
    hub.sent.clear()
    assert download("--lora", REPOSITORY) == (0, "")
    assert hub.sent == [(FILE, "bytes=1000-")]
    assert adapters(weights) == {"loras/Ink-Style.safetensors": tensors()}


def test_a_file_that_is_not_what_the_hub_lists_is_removed(
    weights: Path, hub: Hub, download: Download
) -> None:
    hub.broken[FILE] = tensors(2)
    status, message = download("--lora", REPOSITORY)
    assert (status, "is not the file on record" in message) == (1, True)
    assert adapters(weights) == {}


@pytest.mark.parametrize("content", [b"PK\x03\x04" * 500, b"<html>" * 500, tensors() + b"behind"])
def test_a_file_that_is_not_in_safetensors_format_is_removed(
    content: bytes, weights: Path, hub: Hub, download: Download
) -> None:
    hub.commits[FIRST] = {FILE: content}
    status, message = download("--lora", REPOSITORY)
    assert (status, message.count("\n")) == (1, 1)
    assert adapters(weights) == {}
    assert not (weights / "lock.json").exists()


@pytest.mark.parametrize(
    ("files", "asked", "told"),
    [
        (("a.safetensors", "b.safetensors"), REPOSITORY, "several files: add the name of one, /a"),
        (("lora.bin", "lora.ckpt"), REPOSITORY, "has no file that ends in .safetensors"),
        (("a.safetensors",), f"{REPOSITORY}/b.safetensors", "no such file; it has a.safetensors"),
        (("a.safetensors", "a.ckpt"), f"{REPOSITORY}/a.ckpt", "no such file; it has a.safet"),
        (("../../a.safetensors",), REPOSITORY, "has no file"),
        (("a:b.safetensors",), REPOSITORY, "'a:b' can't be its name"),
        ((), REPOSITORY, "has no file"),
    ],
)
def test_a_repository_without_the_file_is_told(
    files: tuple[str, ...], asked: str, told: str, weights: Path, hub: Hub, download: Download
) -> None:
    hub.commits[FIRST] = dict.fromkeys(files, tensors())
    status, message = download("--lora", asked)
    assert (status, message.count("\n")) == (1, 1)
    assert told in message
    assert hub.sent == []
    assert adapters(weights) == {}


def test_a_repository_that_is_not_there_is_told(hub: Hub, download: Download) -> None:
    hub.refusals["/api/models/"] = 404, {"X-Error-Code": "RepoNotFound"}
    status, message = download("--lora", REPOSITORY)
    assert status == 1
    assert f"no public repository {REPOSITORY}" in message
    assert message.endswith("else name another repository\n")


def test_a_full_disk_is_told(hub: Hub, download: Download, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    status, message = download("--lora", REPOSITORY)
    assert (status, "free some space" in message) == (1, True)
    assert hub.sent == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("--lora", "ink"),
        ("--lora", "https://civitai.com/models/1"),
        ("--lora", "a/b/../../c.safetensors"),
        ("--lora", "a/b/"),
        ("--lora", REPOSITORY, "--as", "../ink"),
        ("--lora", REPOSITORY, "--as", ".ink"),
        ("--lora", REPOSITORY, "--as", ""),
        ("--lora", REPOSITORY, "--as", "ink:1"),
        ("--lora", REPOSITORY, "--lora", REPOSITORY, "--as", "ink"),
        ("--as", "ink"),
    ],
)
def test_what_cannot_be_asked_for_is_told_before_anything_is_fetched(
    arguments: tuple[str, ...], weights: Path, hub: Hub, download: Download
) -> None:
    status, message = download(*arguments)
    assert (status, message.count("\n")) == (2, 1)
    assert hub.listed == []
    assert adapters(weights) == {}
