"""What Replicate's API has besides predictions: pages, empty where there is nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.front import Front, front
from tools.fake_cog import CogServer

MODEL = "stability-ai/stable-diffusion"
INPAINTING = "stability-ai/stable-diffusion-inpainting"
VERSION = "ac732df83cea7fff18b8472768c88ad041fa750ff7682a21affe81863cbe77e4"
EMPTY: dict[str, Any] = {"previous": None, "next": None, "results": []}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with CogServer().served() as cog, front(tmp_path_factory.mktemp("front"), cog) as one:
        yield one


@pytest.mark.parametrize("path", ["collections", "trainings", f"models/{MODEL}/examples"])
def test_a_page_of_nothing_is_empty(one: Front, path: str) -> None:
    answer = one.client.get(f"/v1/{path}")
    assert (answer.status_code, answer.json()) == (200, EMPTY)


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("GET", "collections/none", "There is no collection none"),
        ("GET", "trainings/none", "There is no training none"),
        ("POST", "trainings/none/cancel", "There is no training none"),
        ("POST", f"models/{MODEL}/versions/none/trainings", f"There is no model {MODEL}:none"),
        ("GET", "models/a/b/readme", "There is no model a/b"),
        ("GET", "models/a/b/examples", "There is no model a/b"),
        ("GET", f"models/{INPAINTING}/readme", "does not run here"),
        ("GET", f"models/{INPAINTING}/examples", "does not run here"),
        ("GET", "deployments/a/b", "There is no model a/b"),
        ("GET", f"deployments/{INPAINTING}", "does not run here"),
        ("GET", "files/none/download", "There is no file none"),
    ],
)
def test_what_is_named_and_is_not_there_is_404(
    one: Front, method: str, path: str, words: str
) -> None:
    answer = one.client.request(method, f"/v1/{path}")
    assert answer.status_code == 404
    assert words in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("POST", "models", "Models and their versions are chosen by whoever runs this server"),
        ("PATCH", f"models/{MODEL}", "Models and their versions are chosen"),
        ("DELETE", f"models/{MODEL}", "Models and their versions are chosen"),
        ("DELETE", f"models/{MODEL}/versions/{VERSION}", "Models and their versions are chosen"),
        ("POST", f"models/{MODEL}/versions/{VERSION}/trainings", "No model is trained here"),
        ("POST", "deployments", "What is deployed is chosen by whoever runs this server"),
        ("PATCH", f"deployments/{MODEL}", "What is deployed is chosen"),
        ("DELETE", f"deployments/{MODEL}", "What is deployed is chosen"),
    ],
)
def test_what_is_never_done_is_refused_in_words(
    one: Front, method: str, path: str, words: str
) -> None:
    answer = one.client.request(
        method, f"/v1/{path}", json={"name": "fox"} if "P" in method else None
    )
    assert answer.status_code == 403
    assert words in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"ai/stable-diffusion-img2img", {"stability-ai/stable-diffusion-img2img"}),
        (b'"STABILITY-AI img2img"', {"stability-ai/stable-diffusion-img2img"}),
        (b"x4-upscaler", set()),
        (b"[" * 100_000, set()),
        (b"\xff\xfe", set()),
    ],
)
def test_models_are_searched_for(one: Front, body: bytes, expected: set[str]) -> None:
    for kind in ("text/plain", "application/json"):
        answer = one.client.request(
            "QUERY", "/v1/models", content=body, headers={"content-type": kind}
        )
        assert answer.status_code == 200
        found = {f"{model['owner']}/{model['name']}" for model in answer.json()["results"]}
        assert found == expected


def test_a_search_has_models_only(one: Front) -> None:
    found = one.client.get("/v1/search", params={"query": "img2img stability"}).json()
    assert [item["model"]["name"] for item in found["models"]] == ["stable-diffusion-img2img"]
    assert (found["query"], found["collections"], found["pages"]) == ("img2img stability", [], [])
    few = one.client.get("/v1/search", params={"query": "", "limit": 2}).json()
    assert len(few["models"]) == 2
    listed = one.client.get("/v1/models").json()["results"]
    assert [item["model"] for item in few["models"]] == listed[:2]


def test_a_readme_is_text(one: Front) -> None:
    answer = one.client.get(f"/v1/models/{MODEL}/readme")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text == f"# {MODEL}\n\nA picture from a text prompt.\n"


def test_each_model_that_runs_is_a_deployment(one: Front) -> None:
    listed = one.client.get("/v1/deployments").json()["results"]
    models = one.client.get("/v1/models").json()["results"]
    assert [(item["owner"], item["name"]) for item in listed] == [
        (item["owner"], item["name"]) for item in models
    ]
    deployment = one.client.get(f"/v1/deployments/{MODEL}").json()
    assert deployment == listed[0]
    release = deployment["current_release"]
    assert (release["model"], release["version"]) == (MODEL, models[0]["latest_version"]["id"])
    (hardware,) = one.client.get("/v1/hardware").json()
    assert release["configuration"] == {
        "hardware": hardware["sku"],
        "min_instances": 1,
        "max_instances": 1,
    }


def test_a_deployments_prediction_is_the_models(one: Front) -> None:
    path, body = f"/v1/deployments/{MODEL}/predictions", {"input": {"prompt": "fox"}}
    answer = one.client.post(path, json=body, headers={"prefer": "wait"})
    assert answer.status_code == 201
    made = answer.json()
    assert (made["status"], made["model"]) == ("succeeded", MODEL)
    assert one.client.post("/v1/deployments/a/b/predictions", json=body).status_code == 404
    refused = one.client.post(path, json={"input": {"seed": "many"}})
    assert refused.status_code == 422
    assert refused.json()["invalid_fields"][0]["field"] == "input.seed"
