"""A worker that serves several models: each is found, asked and listed by the names people use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.front import Front, front, wait_until
from tools.fake_cog import CogServer

USUAL, PUBLISHED, OWN = "stable-diffusion-2-1", "stable-diffusion-v1-5", "my mix"
MODELS: list[dict[str, Any]] = [
    {"name": USUAL, "native_size": 768, "token_limit": 75},
    {
        "name": PUBLISHED,
        "native_size": 512,
        "token_limit": 75,
        "unusable": {"loras": {"ink": "it is for Stable Diffusion 2"}},
    },
    {"name": OWN},
]


@pytest.fixture
def cog() -> Iterator[CogServer]:
    with CogServer().served() as cog:
        cog.description["models"] = MODELS
        yield cog


@pytest.fixture
def one(cog: CogServer, tmp_path: Path) -> Iterator[Front]:
    with front(tmp_path, cog) as one:
        one.client.headers.update(one.token("ann"))
        yield one


def drawn_by(cog: CogServer) -> Any:
    """The model that the last prediction asked the worker for."""
    return cog.runs[-1].input.get("model")


def predict(one: Front, path: str, **inputs: Any) -> dict[str, Any]:
    body = {"input": {"prompt": "fox", **inputs}}
    answer = one.client.post(path, json=body, headers={"prefer": "wait=20"})
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    assert document["status"] in ("succeeded", "processing"), document
    return document


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("stability-ai/stable-diffusion", USUAL),
        (f"stabilityai/{USUAL}", USUAL),
        (f"runwayml/{PUBLISHED}", PUBLISHED),
        (f"local/{OWN}", OWN),
    ],
)
def test_a_name_leads_to_the_weights_of_that_name_or_to_the_usual_ones(
    name: str, weights: str, one: Front, cog: CogServer
) -> None:
    predict(one, f"/v1/models/{name}/predictions")
    assert drawn_by(cog) == weights
    found = one.client.get(f"/v1/models/{name}").json()
    version = found["latest_version"]["id"]
    body = {"version": version, "input": {"prompt": "fox"}}
    assert one.client.post("/v1/predictions", json=body).status_code == 201
    wait_until(lambda: len(cog.runs) == 2)
    assert drawn_by(cog) == weights


def test_the_input_model_counts_more_than_the_name(one: Front, cog: CogServer) -> None:
    predict(one, f"/v1/models/runwayml/{PUBLISHED}/predictions", model=OWN)
    assert drawn_by(cog) == OWN


def test_without_a_size_pictures_of_a_shape_have_the_models_own_area(
    one: Front, cog: CogServer
) -> None:
    predict(one, "/v1/models/stability-ai/stable-diffusion/predictions", aspect_ratio="1:1")
    usual = cog.runs[-1].input
    predict(one, f"/v1/models/runwayml/{PUBLISHED}/predictions", aspect_ratio="1:1")
    smaller = cog.runs[-1].input
    assert (usual.get("width"), smaller.get("width")) == (768, 512)


def test_all_are_listed(one: Front) -> None:
    named = {f"{each['owner']}/{each['name']}" for each in listed(one)}
    assert {f"local/{OWN}", f"runwayml/{PUBLISHED}"} <= named
    offered = one.client.get("/form/models").json()
    assert [each["name"] for each in offered] == [USUAL, PUBLISHED, OWN]
    assert len({each["id"] for each in offered}) == 3
    assert [each["description"]["native_size"] for each in offered] == [768, 512, 768]
    titles = [each["model_name"] for each in one.client.get("/sdapi/v1/sd-models").json()]
    assert titles == [USUAL, PUBLISHED, OWN]


def listed(one: Front) -> list[dict[str, Any]]:
    found, page = list[dict[str, Any]](), "/v1/models"
    while page:
        document = one.client.get(page).json()
        found += document["results"]
        page = document["next"]
    return found


def test_a_lora_is_usable_with_some_of_them(one: Front) -> None:
    usual, published, own = (
        {lora["name"]: lora["reason"] for lora in each["description"]["loras"]}
        for each in one.client.get("/form/models").json()
    )
    assert usual == {"blueprint": None, "ink": None, "wide": "it was made for Stable Diffusion XL"}
    assert published == {"blueprint": None, "ink": "it is for Stable Diffusion 2", "wide": None}
    assert own == dict.fromkeys(usual)  # nobody knows before it has drawn


def test_other_dialects_choose_by_their_own_names(one: Front, cog: CogServer) -> None:
    for path, body in (
        ("/v1/images/generations", {"prompt": "fox", "model": OWN}),
        ("/v1/inference/runwayml/stable-diffusion-v1-5", {"prompt": "fox"}),
        (
            "/sdapi/v1/txt2img",
            {"prompt": "fox", "override_settings": {"sd_model_checkpoint": OWN}},
        ),
        ("/sdapi/v1/txt2img", {"prompt": "fox", "override_settings": {}}),
    ):
        answer = one.client.post(path, json=body)
        assert answer.status_code == 200, answer.text
    assert [run.input["model"] for run in cog.runs] == [OWN, PUBLISHED, OWN, USUAL]


def test_one_that_comes_or_goes_is_known_from_the_next_prediction_on(
    one: Front, cog: CogServer
) -> None:
    path = "/v1/models/local/new/predictions"
    assert one.client.post(path, json={"input": {"prompt": "fox"}}).status_code == 404
    cog.models = [MODELS[0], {"name": "new", "native_size": 64}]
    document = predict(one, "/v1/models/stability-ai/stable-diffusion/predictions")
    assert "models" not in document["metrics"]
    predict(one, path)
    assert drawn_by(cog) == "new"
    gone = one.client.post(f"/v1/models/local/{OWN}/predictions", json={"input": {"prompt": "fox"}})
    assert gone.status_code == 404


def test_a_worker_of_one_model_is_asked_for_none(tmp_path: Path) -> None:
    with CogServer().served() as cog, front(tmp_path, cog) as one:
        one.client.headers.update(one.token("ann"))
        predict(one, "/v1/models/stability-ai/stable-diffusion/predictions")
        assert drawn_by(cog) is None
