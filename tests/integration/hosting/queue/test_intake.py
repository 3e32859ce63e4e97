from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hosting.storage.database import Unavailable
from tests.support.front import Front, front, wait_until
from tools.fake_cog import CogServer, data_url, pixels

NAME = "stability-ai/stable-diffusion"
BLACK_REPAINTED = "27b93a2413e7f36cd83da926f3656280b2931564ff050bf9575f1fdf9bcd7478"
INPUTS = {"prompt": "fox", "init_image": data_url(pixels("image", 1))}
MASK = {"mask": data_url(pixels("mask", 1))}


@pytest.fixture(scope="module")
def one(everywhere: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with CogServer().served() as cog, front(tmp_path_factory.mktemp("front"), cog) as one:
        yield one


@pytest.mark.parametrize(
    "path", [f"/v1/models/{NAME}/predictions", "/v1/predictions", "/predictions"]
)
def test_inputs_beyond_what_a_token_may_keep_are_refused_and_leave_no_file(
    everywhere: None, tmp_path: Path, path: str
) -> None:
    inputs = {"prompt": "fox", "image": data_url(pixels("image", 1) + bytes(600 * 1024))}
    body: dict[str, Any] = {"input": inputs}
    if path == "/v1/predictions":
        body["version"] = NAME
    with CogServer().served() as cog, front(tmp_path, cog, kept_megabytes=1) as one:
        assert one.client.post(path, json=body).is_success
        kept = {folder.name for folder in (tmp_path / "predictions").iterdir()}
        refused = one.client.post(path, json=body)
        assert refused.status_code == 413
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["detail"] == (
            "Your uploads and the input files of your predictions have 0.6 MiB, what you send has "
            "0.6 MiB, and together they may have 1 MiB; delete uploads, or wait until files expire"
        )
        assert {folder.name for folder in (tmp_path / "predictions").iterdir()} == kept
        upload = {"content": ("a", bytes(600 * 1024), "a/b")}
        assert one.client.post("/v1/files", files=upload).status_code == 413
        assert one.client.post(path, json={**body, "input": {"prompt": "fox"}}).is_success


def test_a_text_that_is_too_large_is_not_copied_to_find_out(one: Front) -> None:
    tracemalloc.start()
    try:
        body = b'{"input": {"prompt": "' + b"x" * 2**24 + b'"}}'
        headers = {"content-type": "application/json"}
        answer = one.client.post(f"/v1/models/{NAME}/predictions", content=body, headers=headers)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "The inputs have more than 1 MiB" in answer.text
    # Of each character: in the client's body and in ours, in a text of it, and in its value.
    assert peak < 4.5 * 2**24


def test_a_picture_is_not_kept_in_memory_while_its_prediction_runs(tmp_path: Path) -> None:
    picture = data_url(pixels("image", 1) + bytes(2**24))
    with CogServer().served() as cog, front(tmp_path, cog) as one:
        cog.tell("endless", "hold")
        body = {"input": {"prompt": "endless", "image": picture}}
        tracemalloc.start()
        try:
            made = one.client.post(f"/v1/models/{NAME}/predictions", json=body).json()
            wait_until(lambda: cog.runs_of("endless"))
            time.sleep(0.5)
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        one.client.post(made["urls"]["cancel"])
    # In base64 a picture has a third more. The Cog server here has it twice, as body and input.
    assert kept < 3.5 * 2**24


def test_what_the_database_does_not_take_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any) -> None:
        raise Unavailable("database or disk is full")

    with CogServer().served() as cog, front(tmp_path, cog) as one:
        monkeypatch.setattr(one.services.store.predictions, "add", full)
        answer = one.client.post(f"/v1/models/{NAME}/predictions", json={"input": INPUTS})
        assert answer.status_code == 503
        assert list((tmp_path / "predictions").iterdir()) == []


@pytest.mark.parametrize("version", [BLACK_REPAINTED, f"{NAME}:{BLACK_REPAINTED}"])
def test_a_mask_whose_black_was_to_be_repainted_is_refused(one: Front, version: str) -> None:
    asked = {"version": version, "input": INPUTS | MASK}
    answer = one.client.post("/v1/predictions", json=asked)
    assert answer.status_code == 422
    assert answer.json()["invalid_fields"] == [
        {
            "type": "conflict",
            "field": "input.mask",
            "description": f"In version 27b93a24 of {NAME} black was repainted, here white is; "
            f"invert the mask, and name {NAME} without that version",
        }
    ]


@pytest.mark.parametrize(
    ("version", "mask"), [(BLACK_REPAINTED, {}), (BLACK_REPAINTED, {"mask": None}), (NAME, MASK)]
)
def test_without_a_mask_or_without_that_version_it_is_taken(
    one: Front, version: str, mask: dict[str, str | None]
) -> None:
    asked = {"version": version, "input": INPUTS | mask}
    assert one.client.post("/v1/predictions", json=asked).status_code == 201
