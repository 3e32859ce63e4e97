"""The download, against a small hub on this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from huggingface_hub import constants

from cog_schema.schema import ROOT
from commands import hub as hub_files
from commands.download_weights import WEIGHTS, main, wanted
from commands.hub import DownloadError
from stable_diffusion import catalogue
from tests.support.hub import (
    CONFIGURATIONS,
    EVERYTHING,
    FIRST,
    FULL,
    HALF,
    INDEX,
    LOADED,
    OTHERS,
    SECOND,
    UNET,
    Hub,
    contents,
    is_large,
    record,
)
from tests.support.properties import given
from tests.support.properties import strategies as st

NAME, REPOSITORY = catalogue.TASKS["img2img"].preferred, "someone/tiny"


WRONG_ENTRIES: list[dict[str, Any]] = [
    {"repository": 5},
    {"revision": []},
    {"files": []},
    {"files": {"a": 5}},
    {"files": {"a": {"size": "5"}}},
    {"files": {"a": {"sha256": 5}}},
    {"files": {"../../a": {}}},
    {"files": {"/etc/a": {}}},
]
BROKEN_RECORDS = (
    *("", "{", "[]", "5", "null", '{"a": NaN}', "[" * 10**5, '{"a": 1e999}', '{"a": 5}'),
    *(
        json.dumps({NAME: {"task": "img2img", "native_size": 768} | wrong})
        for wrong in WRONG_ENTRIES
    ),
)
"""What may be found in place of a manifest and of a lock."""


@dataclass(frozen=True)
class Outcome:
    """What a run of the script ended with; `message` is its stderr."""

    status: int
    message: str


Download = Callable[..., Outcome]


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of weights, with a manifest that knows of one model where it is."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr(catalogue, "WEIGHTS", folder)
    declare()
    return folder


@pytest.fixture
def download(
    hub: Hub,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Download:
    def run(*names: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["scripts/download-weights", *names])
        status = main()
        return Outcome(status, capsys.readouterr().err)

    return run


def declare(**known: Any) -> None:
    """Writes the manifest; `known` is what it says of the model beside where it is."""
    model = {"task": "img2img", "repository": REPOSITORY, "licence": "Apache-2.0"}
    demo = {"task": "img2img", "licence": "Apache-2.0", "native_size": 128}
    manifest = {NAME: model | {"native_size": 768} | known, "demo": demo}
    (catalogue.WEIGHTS / "manifest.json").write_text(json.dumps(manifest))


def on_disk(folder: Path) -> dict[str, bytes]:
    """The content of each file under a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def assert_refused(outcome: Outcome, *told: str) -> None:
    """One plain sentence with the words that are `told`, and no model that looks complete."""
    assert outcome.status == 1
    assert re.fullmatch(f"{NAME}: .+\n", outcome.message)
    assert all(words in outcome.message for words in told), outcome.message
    assert not (catalogue.WEIGHTS / NAME / INDEX).exists()
    assert not (catalogue.WEIGHTS / "lock.json").exists()


def start(hub: Hub, folder: Path, **streams: Any) -> subprocess.Popen[bytes]:
    """Runs the script as a process of its own, on a project that is in `folder`."""
    for package in ("commands", "infotext", "stable_diffusion"):
        (folder / package).symlink_to(ROOT / package)
    environment = {
        "PYTHONPATH": str(folder),
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "huggingface"),
    }
    command = [sys.executable, "-P", "-m", "commands.download_weights", NAME]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, **streams)


# What is fetched


def test_only_what_is_loaded_is_fetched_in_half_precision(
    hub: Hub, weights: Path, download: Download
) -> None:
    assert download(NAME).status == 0
    assert on_disk(weights / NAME) == contents(*LOADED)
    assert sorted(hub.sent) == sorted((file, None) for file in LOADED)


def test_the_index_that_makes_a_model_complete_comes_last(hub: Hub, download: Download) -> None:
    download(NAME)
    assert hub.sent[-1] == (INDEX, None)


def test_the_lock_says_where_each_file_is_from_and_what_it_is(
    weights: Path, download: Download
) -> None:
    download(NAME)
    files = {file: record(content) for file, content in contents(*LOADED).items()}
    lock = {NAME: {"repository": REPOSITORY, "revision": FIRST, "files": files}}
    assert json.loads((weights / "lock.json").read_text()) == lock


def test_the_lock_keeps_what_it_says_of_other_models(weights: Path, download: Download) -> None:
    (weights / "lock.json").write_text('{"another": {"revision": "main"}}')
    download(NAME)
    assert catalogue.locked().keys() == {NAME, "another"}
    assert catalogue.locked()["another"] == {"revision": "main"}


def test_without_a_name_the_preferred_model_is_fetched(weights: Path, download: Download) -> None:
    assert download().status == 0
    assert on_disk(weights / catalogue.TASKS["img2img"].preferred) == contents(*LOADED)


@pytest.mark.parametrize("half", [(), (UNET,)], ids=["none", "one of three"])
def test_without_a_whole_set_in_half_precision_the_full_one_is_fetched(
    half: tuple[str, ...], hub: Hub, weights: Path, download: Download
) -> None:
    hub.commits[FIRST] = contents(*CONFIGURATIONS, *half, *FULL, *OTHERS, INDEX)
    assert download(NAME).status == 0
    assert on_disk(weights / NAME) == contents(*CONFIGURATIONS, *FULL, INDEX)


@pytest.mark.parametrize(
    ("there", "told"),
    [
        ((*CONFIGURATIONS, *OTHERS, INDEX), "can run code"),
        ((*CONFIGURATIONS, *HALF, *OTHERS), INDEX),
        ((), INDEX),
    ],
    ids=["only pickles", "no index", "nothing"],
)
def test_a_repository_without_what_is_loaded_is_refused(
    there: tuple[str, ...], told: str, hub: Hub, download: Download
) -> None:
    hub.commits[FIRST] = contents(*there)
    assert_refused(download(NAME), told)
    assert hub.sent == []


@given(st.sets(st.sampled_from(EVERYTHING)))
def test_what_is_wanted_is_there_and_is_one_safe_file_for_each_component(there: set[str]) -> None:
    if INDEX not in there or not ({*HALF} <= there or {*FULL} <= there):
        with pytest.raises(DownloadError):
            wanted(there, "img2img")
        return
    files = wanted(there, "img2img")
    assert {*files} <= there
    assert len({*files}) == len(files)
    assert {file for file in files if is_large(file)} in ({*HALF}, {*FULL})
    assert {*files} >= {*CONFIGURATIONS} & there
    assert files[-1] == INDEX


@pytest.mark.parametrize(
    ("task", "parts"),
    [
        ("inpainting", LOADED),
        (
            "depth",
            (
                *LOADED,
                "depth_estimator/config.json",
                "depth_estimator/model.fp16.safetensors",
                "feature_extractor/preprocessor_config.json",
            ),
        ),
        ("upscale", (*LOADED, "low_res_scheduler/scheduler_config.json")),
        (
            "safety",
            (
                "feature_extractor/preprocessor_config.json",
                "safety_checker/config.json",
                "safety_checker/model.fp16.safetensors",
                INDEX,
            ),
        ),
    ],
)
def test_each_task_gets_the_parts_that_it_needs(
    task: str, parts: tuple[str, ...], hub: Hub, weights: Path, download: Download
) -> None:
    declare(task=task)
    hub.commits[FIRST] = contents(*EVERYTHING, *parts, "depth_estimator/pytorch_model.bin")
    assert download(NAME) == Outcome(0, "")
    assert on_disk(weights / NAME) == contents(*parts)


def test_nothing_is_fetched_twice(hub: Hub, weights: Path, download: Download) -> None:
    download(NAME)
    hub.sent.clear()
    assert download(NAME) == Outcome(0, "")
    assert hub.sent == []
    assert on_disk(weights / NAME) == contents(*LOADED)


@pytest.mark.parametrize("names", [("unheard-of",), ("demo",), (NAME, "unheard-of")])
def test_a_name_without_a_source_is_told_before_anything_is_fetched(
    names: tuple[str, ...], hub: Hub, weights: Path, download: Download
) -> None:
    outcome = download(*names)
    assert outcome.status == 2
    assert outcome.message == f"there is no model {names[-1]!r} to download: see --help\n"
    assert hub.listed == []
    assert on_disk(weights).keys() == {"manifest.json"}


def test_the_help_lists_what_can_be_had(
    download: Download, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        download("--help")
    assert exit_.value.code == 0
    listed = capsys.readouterr().out.partition("models:\n")[2].splitlines()
    assert [line.split() for line in listed] == [[NAME, "img2img", "Apache-2.0"]]


# Going on


def test_a_broken_connection_goes_on_where_it_broke(
    hub: Hub, weights: Path, download: Download
) -> None:
    hub.breaks[UNET] = iter([1000, 1500, 3000])
    assert download(NAME).status == 0
    asked = [range_ for file, range_ in hub.sent if file == UNET]
    assert asked == [None, "bytes=1000-", "bytes=2500-"]
    assert on_disk(weights / NAME) == contents(*LOADED)


def test_after_a_lasting_failure_the_next_run_goes_on_where_it_broke(
    hub: Hub, weights: Path, download: Download
) -> None:
    hub.breaks[UNET] = chain([1000], repeat(0))
    assert_refused(download(NAME), "can't be reached", "run this again")
    del hub.breaks[UNET]
    hub.sent.clear()
    assert download(NAME).status == 0
    assert hub.sent[0] == (UNET, "bytes=1000-")
    assert on_disk(weights / NAME) == contents(*LOADED)


@pytest.mark.parametrize("ranges", [True, False], ids=["with ranges", "without ranges"])
def test_what_an_ended_process_left_is_gone_on_with(
    ranges: bool, hub: Hub, weights: Path, download: Download
) -> None:
    part = weights / NAME / f"{UNET}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(contents(UNET)[UNET][:1234])
    hub.ranges = ranges
    assert download(NAME).status == 0
    assert (UNET, "bytes=1234-") in hub.sent
    assert on_disk(weights / NAME) == contents(*LOADED)


def test_a_whole_file_that_an_ended_process_left_is_not_fetched_again(
    hub: Hub, weights: Path, download: Download
) -> None:
    part = weights / NAME / f"{UNET}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(contents(UNET)[UNET])
    assert download(NAME).status == 0
    assert UNET not in dict(hub.sent)
    assert on_disk(weights / NAME) == contents(*LOADED)


@pytest.mark.parametrize("size", [1234, 3000, 4000])
def test_remains_of_another_file_are_removed(size: int, weights: Path, download: Download) -> None:
    part = weights / NAME / f"{UNET}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"?" * size)
    assert_refused(download(NAME), f"{NAME}/{UNET} ", "run this again")
    assert not part.exists()
    assert download(NAME).status == 0
    assert on_disk(weights / NAME) == contents(*LOADED)


def test_an_interrupted_process_says_so_and_is_gone_on_with(
    hub: Hub, weights: Path, tmp_path: Path, download: Download
) -> None:
    hub.held = UNET
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = start(hub, tmp_path, stderr=subprocess.PIPE)
    signal.signal(signal.SIGINT, inherited)  # A child of a job in the background would ignore it.
    with process:
        assert hub.waiting.wait(timeout=60)
        process.send_signal(signal.SIGINT)
        message = process.communicate()[1].decode()
    assert process.returncode == 130
    assert message == f"\n{NAME}: stopped; run this again to resume\n"
    assert not (weights / NAME / INDEX).exists()
    hub.held = ""
    assert download(NAME).status == 0
    assert on_disk(weights / NAME) == contents(*LOADED)


def test_a_terminal_shows_how_far_each_file_is(hub: Hub, weights: Path, tmp_path: Path) -> None:
    terminal, stderr = os.openpty()
    termios.tcsetwinsize(stderr, (24, 100))
    with start(hub, tmp_path, stderr=stderr) as process:
        os.close(stderr)
        shown = b""
        try:
            while piece := os.read(terminal, 1024):
                shown += piece
        except OSError:  # how Linux says that nobody writes to it any more
            pass
    os.close(terminal)
    assert process.returncode == 0
    assert on_disk(weights / NAME) == contents(*LOADED)
    bars = shown.decode()
    for file in LOADED:
        assert re.search(re.escape(file[-30:]) + ": 100%.*3.00k/3.00k", bars), bars


# Not the file on record


@pytest.mark.parametrize("file", [UNET, "tokenizer/vocab.json", INDEX])
@pytest.mark.parametrize(
    "known",
    [{"sha256": "0" * 64}, {"size": 2999}, {"size": 3001}, {"size": 1}],
    ids=["hash", "less", "more", "little"],
)
def test_a_file_that_is_not_as_the_manifest_says_is_removed(
    file: str, known: dict[str, Any], weights: Path, download: Download
) -> None:
    declare(files={file: known})
    assert_refused(download(NAME), f"{NAME}/{file} ", "removed", "run this again")
    assert not {file, f"{file}.part"} & on_disk(weights / NAME).keys()
    declare(files={file: record(contents(file)[file])})
    assert download(NAME).status == 0
    assert on_disk(weights / NAME) == contents(*LOADED)


@pytest.mark.parametrize("size", [2000, 3000, 4000])
def test_a_file_that_is_not_as_the_hub_lists_it_is_removed(
    size: int, hub: Hub, weights: Path, download: Download
) -> None:
    hub.broken[UNET] = b"?" * size
    assert_refused(download(NAME), f"{NAME}/{UNET} ", "removed", "run this again")
    assert not {UNET, f"{UNET}.part"} & on_disk(weights / NAME).keys()


def test_the_manifest_s_revision_is_what_is_fetched(
    hub: Hub, weights: Path, download: Download
) -> None:
    hub.main, hub.commits[SECOND] = SECOND, contents(*EVERYTHING, edition="second")
    declare(revision=FIRST)
    assert download(NAME).status == 0
    assert hub.listed == [(REPOSITORY, FIRST)]
    assert on_disk(weights / NAME) == contents(*LOADED)


def test_a_later_download_gets_the_files_of_the_first(
    hub: Hub, weights: Path, download: Download
) -> None:
    download(NAME)
    lock = catalogue.locked()
    hub.main, hub.commits[SECOND] = SECOND, contents(*EVERYTHING, edition="second")
    shutil.rmtree(weights / NAME)
    assert download(NAME).status == 0
    assert hub.listed == [(REPOSITORY, "main"), (REPOSITORY, FIRST)]
    assert on_disk(weights / NAME) == contents(*LOADED)
    assert catalogue.locked() == lock


@pytest.mark.parametrize("file", [UNET, "tokenizer/vocab.json"])
def test_a_later_download_refuses_what_the_hub_has_changed(
    file: str, hub: Hub, weights: Path, download: Download
) -> None:
    download(NAME)
    lock = catalogue.locked()
    hub.commits[FIRST] |= contents(file, edition="changed")
    shutil.rmtree(weights / NAME)
    outcome = download(NAME)
    assert outcome.status == 1
    assert f"{NAME}/{file} is not the file on record" in outcome.message
    assert not {file, f"{file}.part", INDEX} & on_disk(weights / NAME).keys()
    assert catalogue.locked() == lock


@pytest.mark.parametrize("source", [{"revision": SECOND}, {"repository": "someone/else"}])
def test_a_new_source_in_the_manifest_replaces_the_files_of_the_old(
    source: dict[str, str], hub: Hub, weights: Path, download: Download
) -> None:
    download(NAME)
    hub.main, hub.commits[SECOND] = SECOND, contents(*EVERYTHING, edition="second")
    files = {file: record(content) for file, content in hub.commits[SECOND].items()}
    declare(**source, files=files)
    assert download(NAME).status == 0
    assert on_disk(weights / NAME) == contents(*LOADED, edition="second")
    assert catalogue.locked()[NAME]["repository"] == source.get("repository", REPOSITORY)
    assert catalogue.locked()[NAME]["revision"] == SECOND


def test_the_manifest_outweighs_the_lock(weights: Path, download: Download) -> None:
    download(NAME)
    declare(files={UNET: {"sha256": "0" * 64}})
    outcome = download(NAME)
    assert outcome.status == 1
    assert f"{NAME}/{UNET} is not the file on record" in outcome.message
    assert not (weights / NAME / UNET).exists()


# When the hub has nothing to give


@pytest.mark.parametrize("page", ["/api/models/", f"/{REPOSITORY}/"], ids=["listing", "files"])
@pytest.mark.parametrize(
    ("status", "headers", "told"),
    [
        (401, {"X-Error-Code": "GatedRepo"}, ["accept the licence", "set HF_TOKEN"]),
        (403, {"X-Error-Code": "GatedRepo"}, ["accept the licence", "set HF_TOKEN"]),
        (401, {"X-Error-Code": "RepoNotFound"}, [REPOSITORY, "put another source"]),
        (404, {"X-Error-Code": "RepoNotFound"}, [REPOSITORY, "put another source"]),
        (404, {"X-Error-Code": "RevisionNotFound"}, ["revision main", "put another source"]),
        (403, {"X-Error-Message": "Access to this resource is disabled."}, ["another source"]),
        (401, {"X-Error-Message": "Invalid credentials"}, ["Invalid cred", "check HF_TOKEN"]),
        (500, {}, ["500, It went wrong at line 1;", "run this again later"]),
        (503, {}, ["503, It went wrong at line 1;", "run this again later"]),
    ],
)
def test_a_refusal_of_the_hub_says_what_to_do(
    page: str,
    status: int,
    headers: dict[str, str],
    told: list[str],
    hub: Hub,
    download: Download,
) -> None:
    hub.refusals[page] = status, headers
    assert_refused(download(NAME), *told)
    assert hub.sent == []


def test_a_token_opens_a_model_whose_licence_was_accepted(
    hub: Hub, weights: Path, download: Download, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token = "hf_secret"
    assert_refused(download(NAME), "set HF_TOKEN")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert download(NAME).status == 0
    assert on_disk(weights / NAME) == contents(*LOADED)


def test_without_a_network_it_says_so(hub: Hub, download: Download) -> None:
    hub.stop()
    assert_refused(download(NAME), "can't be reached", "check the connection")


def test_in_the_library_s_offline_mode_it_says_so(
    hub: Hub, download: Download, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert_refused(download(NAME), "can't be reached", "unset the `HF_HUB_OFFLINE`")
    assert hub.listed == []


def test_a_disk_too_small_is_told_before_a_file_is_fetched(
    hub: Hub, download: Download, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = SimpleNamespace(free=3000 * len(LOADED) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: room)
    assert_refused(download(NAME), "GB", "free some space")
    assert hub.sent == []
    room.free += 1
    assert download(NAME).status == 0


def test_what_is_there_needs_no_room(
    hub: Hub, download: Download, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.breaks[UNET] = chain([1000], repeat(0))
    download(NAME)
    del hub.breaks[UNET]
    there = 3000 * LOADED.index(HALF[0]) + 3000 + 1000
    room = SimpleNamespace(free=3000 * len(LOADED) - there)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: room)
    assert download(NAME).status == 0


# What no hub should answer


SIBLINGS = [
    {"rfilename": file, "size": 3000, "lfs": record(content) | {"pointerSize": 134}}
    for file, content in contents(*LOADED).items()
]
LISTING: dict[str, Any] = {"id": REPOSITORY, "sha": FIRST, "siblings": SIBLINGS}


def listing(**values: Any) -> bytes:
    """A listing whose files all have these values."""
    return json.dumps(LISTING | {"siblings": [one | values for one in SIBLINGS]}).encode()


ANSWERS = {
    "nothing": b"",
    "a page": b"<!DOCTYPE html><html>Log in</html>",
    "cut off": json.dumps(LISTING).encode()[:200],
    "no text": b"\xff\xfe{",
    "null": b"null",
    "list": b"[]",
    "number": b"5",
    "nested": b"[" * 10**5 + b"]" * 10**5,
    "empty": b"{}",
    "no commit": json.dumps(LISTING | {"sha": None}).encode(),
    "a commit elsewhere": json.dumps(LISTING | {"sha": "../../main"}).encode(),
    "a number as commit": json.dumps(LISTING | {"sha": 5}).encode(),
    "files are a text": json.dumps(LISTING | {"siblings": "unet"}).encode(),
    "files are numbers": json.dumps(LISTING | {"siblings": [5]}).encode(),
    "files without names": json.dumps(LISTING | {"siblings": [{}]}).encode(),
    "no files": json.dumps(LISTING | {"siblings": None}).encode(),
    "names are numbers": listing(rfilename=5),
    "names are lists": listing(rfilename=["unet"]),
    "names lead out": listing(rfilename="unet/../../../config.json"),
    "names with a zero": listing(rfilename="unet/\0.json"),
    "sizes are texts": listing(size="3000"),
    "sizes are negative": listing(size=-1),
    "sizes are infinite": listing(size=float("inf")),
    "sizes are absurd": listing(size=10**30),
    "sizes are true": listing(size=True),
    "hashes are numbers": listing(lfs={"size": 3000, "sha256": 5, "pointerSize": 1}),
    "hashes are short": listing(lfs={"size": 3000, "sha256": "abc", "pointerSize": 1}),
    "hashes are missing": listing(lfs={"size": 3000}),
    "hashes are a list": listing(lfs=[5]),
    "dates": json.dumps(LISTING | {"lastModified": "never"}).encode(),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_listing_that_is_none_is_told(answer: str, hub: Hub, download: Download) -> None:
    hub.answers["/api/models/"] = ANSWERS[answer]
    assert_refused(download(NAME))
    assert hub.sent == []


@pytest.mark.parametrize("headers", [{"Content-Length": "x"}, {"Content-Range": "bytes x/y"}])
def test_files_with_broken_headers_are_told(
    headers: dict[str, str], hub: Hub, download: Download
) -> None:
    hub.refusals[f"/{REPOSITORY}/resolve/"] = 200, headers
    assert_refused(download(NAME))


@pytest.mark.parametrize("name", ["lock.json", "manifest.json"])
@pytest.mark.parametrize("text", BROKEN_RECORDS)
def test_a_broken_record_is_told(
    text: str, name: str, hub: Hub, weights: Path, download: Download
) -> None:
    (weights / name).write_text(text)
    outcome = download(NAME)
    assert outcome.status == 1
    assert re.fullmatch(rf".*{name} (can't be read|is broken) .+\n", outcome.message)
    assert hub.sent == []


def test_a_pipe_in_place_of_a_file_is_told(weights: Path, download: Download) -> None:
    for path in (weights / "lock.json", weights / NAME / "unet" / "config.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(path)
        outcome = download(NAME)
        path.unlink()
        assert (outcome.status, outcome.message.count("\n")) == (1, 1)
        assert f"{path} is not a regular file" in outcome.message


@pytest.mark.parametrize("page", ["/api/models/", f"/{REPOSITORY}/resolve/", "/network/"])
@pytest.mark.parametrize("target", ["http://plain.test/", "HTTP://plain.test/", "ftp://plain.test"])
def test_https_is_not_left_for_http(
    target: str,
    page: str,
    hub: Hub,
    download: Download,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The hub of this machine, as if by https; `page` leads to where nothing is encrypted."""
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(str(request.url))
        path = request.url.raw_path.decode()
        if path.startswith(page) or request.url.scheme != "https":
            return httpx2.Response(302, headers={"Location": target})
        if path.startswith("/api/"):
            return httpx2.Response(200, json=LISTING)
        if path.startswith("/network/"):
            return httpx2.Response(200, content=contents(path.split("/", 3)[3]).popitem()[1])
        return httpx2.Response(302, headers={"Location": f"/network{path.split('resolve')[1]}"})

    def client() -> httpx2.Client:
        return httpx2.Client(transport=httpx2.MockTransport(answer), follow_redirects=True)

    monkeypatch.setattr(hub_files, "default_client_factory", client)
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.test")
    template = "https://hub.test/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    assert_refused(download(NAME), "leads from https to", "nothing was fetched")
    assert all(url.startswith("https://hub.test/") for url in asked)
    page = "/nowhere/"
    assert download(NAME).status == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is full")
def test_a_disk_that_fills_up_is_told(weights: Path, download: Download) -> None:
    part = weights / NAME / f"{UNET}.part"
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    assert_refused(download(NAME), "No space left", "run this again")


# What the rest of the project finds


def test_a_downloaded_model_is_found(weights: Path, download: Download) -> None:
    download(NAME)
    found = catalogue.Weights(NAME, weights / NAME, 768)
    assert catalogue.find(NAME) == found
    assert catalogue.find(None) == found


def test_a_model_that_is_not_all_downloaded_is_found_missing(
    hub: Hub, weights: Path, download: Download
) -> None:
    missing = f"not in {weights / NAME}; run: scripts/download-weights {NAME}"
    with pytest.raises(catalogue.WeightsError, match=re.escape(missing)):
        catalogue.find(NAME)
    hub.refusals[f"/{REPOSITORY}/"] = 500, {}
    download(NAME)
    with pytest.raises(catalogue.WeightsError, match=re.escape(missing)):
        catalogue.find(NAME)


@pytest.mark.parametrize("file", LOADED)
@pytest.mark.parametrize("left", [None, 0, 2999])
def test_a_damaged_model_is_found_so_until_it_is_downloaded_again(
    file: str, left: int | None, weights: Path, download: Download
) -> None:
    download(NAME)
    path = weights / NAME / file
    if left is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(catalogue.WeightsError, match=f"run: scripts/download-weights {NAME}$"):
        catalogue.find(NAME)
    assert download(NAME) == Outcome(0, "")
    assert catalogue.find(NAME).path == weights / NAME
    assert on_disk(weights / NAME) == contents(*LOADED)


@pytest.mark.parametrize(
    "name", [name for name, entry in catalogue.entries().items() if "repository" in entry]
)
def test_the_manifest_is_sound(name: str) -> None:
    entry = catalogue.entries()[name]
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", entry["repository"])
    assert entry["licence"]
    assert entry["native_size"] in (224, 512, 768)
    weights = [
        f"{part}/{WEIGHTS[part]}{{}}.safetensors"
        for part in catalogue.components(entry["task"])
        if part in WEIGHTS
    ]
    there = [{INDEX, *(file.format(kind) for file in weights)} for kind in ("", ".fp16")]
    assert re.fullmatch("[0-9a-f]{40}", entry.get("revision", FIRST))
    for file, known in entry.get("files", {}).items():
        assert any(file in wanted({file, *files}, entry["task"]) for files in there)
        assert known.keys() & {"size", "sha256"}
        assert re.fullmatch("[0-9a-f]{64}", known.get("sha256", "0" * 64))
        assert type(known.get("size", 1)) is int
        assert known.get("size", 1) > 0
