from __future__ import annotations

import copy
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hosting.backends.endpoints import ServedModel
from hosting.storage.database import Unavailable
from tests.support.front import Front, front, wait_until
from tools.fake_cog import CogServer, data_url, pixels

NAME = "stability-ai/stable-diffusion"
BLACK_REPAINTED = "27b93a2413e7f36cd83da926f3656280b2931564ff050bf9575f1fdf9bcd7478"
INVERTIBLE = "e490d072a34a94a11e9711ed5a6ba621c3fab884eda1665d9d3a282d65a21180"
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


def settings(one: Front, version: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """What Cog is given for a prediction."""
    answer = one.client.post("/v1/predictions", json={"version": version, "input": inputs})
    assert answer.status_code == 201
    document = one.client.get(answer.json()["urls"]["web"]).json()
    return dict(document["settings"])


@pytest.mark.parametrize("version", [BLACK_REPAINTED, f"{NAME}:{BLACK_REPAINTED}"])
def test_a_version_that_repainted_black_inverts_the_mask(one: Front, version: str) -> None:
    assert settings(one, version, INPUTS | MASK)["invert_mask"] is True
    assert "invert_mask" not in settings(one, version, INPUTS)
    assert settings(one, version, INPUTS | MASK | {"invert_mask": False})["invert_mask"] is False
    assert "invert_mask" not in settings(one, NAME, INPUTS | MASK)


@pytest.mark.parametrize(
    ("task", "version", "inputs", "advice"),
    [
        ("img2img", BLACK_REPAINTED, {}, f"and name {NAME} without version 27b93a24"),
        ("inpainting", INVERTIBLE, {"invert_mask": True}, "and leave invert_mask out"),
    ],
)
def test_where_no_mask_can_be_inverted_one_that_has_to_be_is_refused(
    tmp_path: Path, task: str, version: str, inputs: dict[str, Any], advice: str
) -> None:
    cog = CogServer(task)
    cog.schema = copy.deepcopy(cog.schema)
    del cog.schema["components"]["schemas"]["Input"]["properties"]["invert_mask"]
    with cog.served(), front(tmp_path, cog) as one:
        asked = {"version": version, "input": {**INPUTS, **MASK, **inputs}}
        answer = one.client.post("/v1/predictions", json=asked)
        assert answer.status_code == 422
        (fault,) = answer.json()["invalid_fields"]
        assert (fault["type"], fault["field"]) == ("conflict", "input.mask")
        assert fault["description"].startswith("Black is to be repainted, and what serves ")
        assert fault["description"].endswith(f" here repaints white; invert the mask, {advice}")


def test_an_own_name_is_served_with_its_own_defaults(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(
        f"""
- name: PromptHero/Openjourney
  task: img2img
  description: In the style of others.
  defaults: {{num_inference_steps: 30, output_format: webp}}
  versions: [{{id: "{"a" * 64}"}}]
"""
    )
    with CogServer().served() as cog, front(tmp_path, cog) as one:
        for version in ("prompthero/openjourney", "prompthero/openjourney:latest", "a" * 64):
            given = settings(one, version, {"prompt": "fox", "num_outputs": 2, "seed": 1})
            assert given == {
                "prompt": "fox",
                "seed": 1,
                "num_images": 2,
                "num_inference_steps": 30,
                "output_format": "webp",
            }
        answer = one.client.get("/v1/models/prompthero/openjourney").json()
        assert (answer["owner"], answer["name"]) == ("PromptHero", "Openjourney")
        assert answer["description"] == "In the style of others."
        inputs = answer["latest_version"]["openapi_schema"]["components"]["schemas"]["Input"]
        assert inputs["properties"]["num_inference_steps"]["default"] == 30
        assert "PromptHero/Openjourney" in [
            f"{model['owner']}/{model['name']}"
            for model in one.client.get("/v1/models").json()["results"]
        ]
        drawn = one.client.post("/v1/inference/prompthero/openjourney", json={"prompt": "cat"})
        assert drawn.status_code == 200
        (run,) = cog.runs_of("cat")
        assert run.input["num_inference_steps"] == 30


@pytest.mark.parametrize("reference", [f"{NAME}:latest", NAME])
def test_latest_is_the_newest_version(one: Front, reference: str) -> None:
    asked = {"version": reference, "input": {"prompt": "fox"}}
    document = one.client.post("/v1/predictions", json=asked).json()
    newest = one.client.get(f"/v1/models/{NAME}").json()["latest_version"]["id"]
    assert (document["model"], document["version"]) == (NAME, newest)


@pytest.mark.parametrize(("native_size", "side"), [(512, 512), (128, 128), (None, 768)])
@pytest.mark.parametrize("path", ["/v1/predictions", "/predictions", f"/v1/inference/{NAME}"])
def test_an_aspect_ratio_is_near_the_native_size_of_what_is_served(
    one: Front,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    native_size: int | None,
    side: int,
) -> None:
    monkeypatch.setattr(ServedModel, "native_size", native_size)
    inputs = {"prompt": f"{path} {side}", "aspect_ratio": "1:1"}
    body = inputs if "inference" in path else {"version": NAME, "input": inputs}
    if path == "/predictions":
        del body["version"]
    assert one.client.post(path, json=body, headers={"Prefer": "wait"}).is_success
    newest = one.client.get("/v1/predictions").json()["results"][0]
    settings = one.client.get(newest["urls"]["web"]).json()["settings"]
    assert (settings["prompt"], settings["width"], settings["height"]) == (
        inputs["prompt"],
        side,
        side,
    )
