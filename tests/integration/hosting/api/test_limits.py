"""What a token may ask for: by each API, in the schema that it sees, and in a day."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from hosting.states import Priority
from hosting.storage import predictions, tokens
from hosting.storage.spendings import DAY_SECONDS
from hosting.storage.tables import Spending
from tests.support.front import Front, front, wait_until
from tools.fake_cog import CogServer

NAME = "stability-ai/stable-diffusion-2-1"
OLD = "stability-ai/stable-diffusion"
PATH = f"/v1/models/{NAME}/predictions"

Headers = dict[str, str]
Ask = Callable[[Front, Headers, dict[str, Any]], httpx2.Response]


def replicate(one: Front, headers: Headers, inputs: dict[str, Any]) -> httpx2.Response:
    wait = {**headers, "prefer": "wait"}
    return one.client.post(PATH, json={"input": {"prompt": "fox", **inputs}}, headers=wait)


def cog_api(one: Front, headers: Headers, inputs: dict[str, Any]) -> httpx2.Response:
    body = {"input": {"prompt": "fox", **inputs}}
    return one.client.post("/predictions", json=body, headers=headers)


def deepinfra(one: Front, headers: Headers, inputs: dict[str, Any]) -> httpx2.Response:
    path = "/v1/inference/stabilityai/stable-diffusion-2-1"
    return one.client.post(path, json={"prompt": "fox", **inputs}, headers=headers)


def openai(one: Front, headers: Headers, inputs: dict[str, Any]) -> httpx2.Response:
    body = {"prompt": "fox", **inputs}
    return one.client.post("/v1/images/generations", json=body, headers=headers)


def huggingface(one: Front, headers: Headers, inputs: dict[str, Any]) -> httpx2.Response:
    body = {"inputs": "fox", "parameters": inputs}
    return one.client.post(f"/models/{NAME}", json=body, headers=headers)


def stability(one: Front, headers: Headers, inputs: dict[str, Any]) -> httpx2.Response:
    body = {"text_prompts": [{"text": "fox"}], **inputs}
    if "num_inference_steps" in body:
        body["steps"] = body.pop("num_inference_steps")
    path = "/v1/generation/stable-diffusion-2-1/text-to-image"
    return one.client.post(path, json=body, headers=headers)


def a1111(one: Front, headers: Headers, inputs: dict[str, Any]) -> httpx2.Response:
    body = {"prompt": "fox", "steps": inputs.get("num_inference_steps", 5), "width": 256}
    return one.client.post("/sdapi/v1/txt2img", json={**body, "height": 256}, headers=headers)


APIS = (replicate, cog_api, deepinfra, openai, huggingface, stability, a1111)


@pytest.fixture
def cog() -> Iterator[CogServer]:
    with CogServer().served() as cog:
        yield cog


@pytest.fixture
def one(everywhere: None, tmp_path: Path, cog: CogServer) -> Iterator[Front]:
    with front(tmp_path, cog) as one:
        yield one


def limited(one: Front, name: str, weight: float | None = None, **limits: Any) -> Headers:
    """A new token with limits, as the header that has it."""
    headers = one.token(name)
    one.database.write_now(tokens.limit, name, weight, limits)
    return headers


def fault(answer: httpx2.Response) -> tuple[str, str]:
    assert answer.status_code == 422, answer.text
    (found,) = answer.json()["invalid_fields"]
    return found["field"], found["description"]


# At all


@pytest.mark.parametrize("ask", APIS)
def test_each_api_refuses_more_steps_than_a_token_may_have(
    one: Front, cog: CogServer, ask: Ask
) -> None:
    ann, bob = limited(one, "ann", steps=10), one.token("bob")
    answer = ask(one, ann, {"num_inference_steps": 11})
    assert answer.status_code in (400, 422)
    text = json.dumps(answer.json())
    assert "steps" in text
    assert "10: more is beyond the limit of your token" in text
    assert not cog.runs
    for headers, steps in ((ann, 10), (bob, 11)):
        answer = ask(one, headers, {"num_inference_steps": steps})
        assert answer.is_success, answer.text
        assert cog.runs[-1].input["num_inference_steps"] == steps


def test_each_limit_is_named_with_its_input(one: Front, cog: CogServer) -> None:
    ann = limited(one, "ann", steps=10, images=2, side=512)
    for inputs, field, says in (
        ({"num_inference_steps": 11}, "num_inference_steps", "a whole number from 1 to 10"),
        ({"refine_scale": 1, "refine_steps": 11}, "refine_steps", "a whole number from 1 to 10"),
        ({"num_images": 3}, "num_images", "a whole number from 1 to 2"),
        ({"num_outputs": 3}, "num_outputs", "a whole number from 1 to 2"),
        ({"width": 576, "height": 512}, "width", ", 448, 512: more is beyond the limit"),
        ({"size": "512x576"}, "height", ", 448, 512: more is beyond the limit"),
        ({"width": 512, "height": 64, "refine_scale": 2}, "refine_scale", "give at most 1"),
        ({"result_size": "600x600"}, "width", "give both"),
        ({"image": "https://example.com/a.png"}, "width", "give both"),
    ):
        named, description = fault(replicate(one, ann, inputs))
        assert named in (f"input.{field}", "input.size"), description
        assert says in description
        assert "limit of your token" in description
    assert not cog.runs


def test_what_is_left_out_is_within_the_limits(one: Front, cog: CogServer) -> None:
    ann = limited(one, "ann", steps=10, side=320)
    assert replicate(one, ann, {}).json()["status"] == "succeeded"
    drawn = cog.runs[-1].input
    assert drawn["num_inference_steps"] == 10
    assert (drawn["width"], drawn["height"]) == (256, 256)
    assert replicate(one, one.token("bob"), {}).json()["status"] == "succeeded"
    assert not {"num_inference_steps", "width", "height"} & cog.runs[-1].input.keys()


def test_an_image_is_drawn_in_its_shape_as_large_as_a_token_may(one: Front, cog: CogServer) -> None:
    ann = limited(one, "ann", side=512)
    answer = replicate(one, ann, {"image": wide_picture()})
    assert answer.json()["status"] == "succeeded"
    drawn = cog.runs[-1].input
    assert (drawn["width"], drawn["height"]) == (512, 256)
    # Nothing is drawn at all where the image is followed exactly.
    answer = replicate(one, ann, {"image": wide_picture(), "strength": 0})
    assert answer.json()["status"] == "succeeded"
    assert "width" not in cog.runs[-1].input


def wide_picture() -> str:
    """The beginning of a PNG of 1000 × 500, as a data URL."""
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (1000).to_bytes(4, "big") + (500).to_bytes(4, "big")
    return "data:image/png;base64," + base64.b64encode(head + bytes(64)).decode()


def test_the_schema_and_the_form_have_a_tokens_own_limits(one: Front) -> None:
    ann, bob = limited(one, "ann", steps=10, images=2, side=512), one.token("bob")

    def told(headers: Headers, model: str = NAME) -> list[dict[str, Any]]:
        version = one.client.get(f"/v1/models/{model}", headers=headers).json()["latest_version"]
        link = f"/v1/models/{model}/versions/{version['id']}"
        documents = [
            version["openapi_schema"],
            one.client.get(link, headers=headers).json()["openapi_schema"],
            one.client.get(f"/openapi.json?model={model}", headers=headers).json(),
        ]
        return [document["components"]["schemas"] for document in documents]

    for schemas in told(ann):
        inputs = schemas["Input"]["properties"]
        assert inputs["num_inference_steps"]["maximum"] == 10
        assert inputs["num_inference_steps"]["default"] == 10
        assert inputs["refine_steps"]["maximum"] == 10
        assert inputs["num_images"]["maximum"] == 2
        assert max(side for side in schemas["width"]["enum"] if side) == 512
    for schemas in told(bob):
        inputs = schemas["Input"]["properties"]
        assert inputs["num_inference_steps"]["maximum"] == 512
        assert inputs["num_images"]["maximum"] == 4
        assert max(side for side in schemas["width"]["enum"] if side) == 1024
    for schemas in told(ann, OLD)[:1]:
        assert schemas["Input"]["properties"]["num_outputs"]["maximum"] == 2


def test_sizes_that_are_brought_to_the_nearest_are_within_the_limit(
    one: Front, cog: CogServer
) -> None:
    ann = limited(one, "ann", side=512)
    answer = openai(one, ann, {"size": "1024x1024"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["size"] == "512x512"
    assert cog.runs[-1].input["width"] == 512


def test_a_token_asks_for_its_own_models_only(one: Front, cog: CogServer) -> None:
    ann = limited(one, "ann", models=["sdxl"])
    named, description = fault(replicate(one, ann, {}))
    assert named == "model"
    assert description == (f"{NAME} is not among the models that your token may use: sdxl")
    assert not cog.runs
    assert one.client.get("/v1/models", headers=ann).json()["results"] == []
    assert one.client.get("/form/models", headers=ann).json() == []
    assert one.client.get("/sdapi/v1/sd-models", headers=ann).json() == []
    by_weights = limited(one, "bob", models=[one.services.endpoints[0].model])
    assert replicate(one, by_weights, {}).is_success
    by_name = limited(one, "eve", models=[NAME])
    assert replicate(one, by_name, {}).is_success
    assert [
        model["name"] for model in one.client.get("/v1/models", headers=by_name).json()["results"]
    ]


def test_the_settings_limit_who_has_no_limits_of_their_own(tmp_path: Path, cog: CogServer) -> None:
    with front(tmp_path, cog, token_steps=10, token_models=("none",)) as one:
        bob = limited(one, "bob", models=["any"])
        assert fault(replicate(one, bob, {"num_inference_steps": 11}))[0].endswith("steps")
        free = limited(one, "ann", steps=0, models=["any"])
        assert replicate(one, free, {"num_inference_steps": 11}).is_success
        assert fault(replicate(one, one.token("eve"), {}))[0] == "model"


# In a day


@pytest.mark.parametrize("ask", APIS)
def test_each_api_says_when_a_tokens_day_is_spent(one: Front, ask: Ask) -> None:
    ann, bob = limited(one, "ann", predictions_a_day=1), one.token("bob")
    inputs = {"num_inference_steps": 5}
    assert ask(one, ann, inputs).is_success
    answer = ask(one, ann, inputs)
    assert answer.status_code == 429
    assert DAY_SECONDS - 60 < int(answer.headers["retry-after"]) <= DAY_SECONDS
    assert "You may ask for 1 predictions a day, and have" in json.dumps(answer.json())
    assert ask(one, bob, inputs).is_success


def test_a_day_slides_and_only_what_is_a_day_ago_is_free_again(one: Front) -> None:
    ann = limited(one, "ann", megapixel_steps_a_day=10)
    half = {"width": 512, "height": 512, "num_inference_steps": 19}  # 5.0 megapixel-steps
    for seconds_ago in (1000.0, 400.0):
        answer = replicate(one, ann, half)
        assert answer.is_success
        past(one, answer.json()["id"], seconds_ago)
    answer = replicate(one, ann, half)
    assert answer.status_code == 429
    assert DAY_SECONDS - 1010 < int(answer.headers["retry-after"]) <= DAY_SECONDS - 1000
    assert "10 megapixel-steps a day, have asked for 10, and this prediction has 5" in answer.text
    whole = {**half, "num_inference_steps": 38}
    answer = replicate(one, ann, whole)  # for which both must be a day ago
    assert DAY_SECONDS - 410 < int(answer.headers["retry-after"]) <= DAY_SECONDS - 400
    field, says = fault(replicate(one, ann, {**half, "num_inference_steps": 50}))
    assert (field, "may have 10 a day" in says) == ("input", True)
    one.database.write_now(
        lambda session: session.execute(
            update(Spending).values(spent_at=Spending.spent_at - DAY_SECONDS + 700)
        )
    )
    assert replicate(one, ann, half).is_success


def past(one: Front, prediction_id: str, seconds: float) -> None:
    """Have a prediction be asked for so long ago."""
    it = Spending.prediction_id == prediction_id
    ago = update(Spending).where(it).values(spent_at=Spending.spent_at - seconds)
    one.database.write_now(lambda session: session.execute(ago))


def test_what_is_deleted_was_asked_for_and_what_never_began_was_not(
    one: Front, cog: CogServer
) -> None:
    ann = limited(one, "ann", predictions_a_day=1)
    done = replicate(one, ann, {}).json()["id"]
    assert one.client.delete(f"/v1/predictions/{done}", headers=ann).status_code == 204
    assert replicate(one, ann, {}).status_code == 429
    cog.tell("held", "hold")
    bob = limited(one, "bob", predictions_a_day=cog.slots + 1)
    body: dict[str, Any] = {"input": {"prompt": "held"}}
    ids = [one.client.post(PATH, json=body, headers=bob).json()["id"] for _ in range(cog.slots + 1)]
    wait_until(lambda: len(cog.running) == cog.slots)
    assert one.client.post(PATH, json=body, headers=bob).status_code == 429
    one.client.post(f"/v1/predictions/{ids[-1]}/cancel", headers=bob)
    ids[-1] = one.client.post(PATH, json=body, headers=bob).json()["id"]
    one.client.delete(f"/v1/predictions/{ids[-1]}", headers=bob)
    assert one.client.post(PATH, json=body, headers=bob).status_code == 201
    one.client.post(f"/v1/predictions/{ids[0]}/cancel", headers=bob)  # it had begun
    assert one.client.post(PATH, json=body, headers=bob).status_code == 429


# Priority


@pytest.mark.parametrize("ask", APIS)
def test_each_api_takes_a_priority(one: Front, ask: Ask) -> None:
    headers = one.token("ann")
    for word, expected in (
        ("batch", "batch"),
        ("Interactive", "interactive"),
        (None, "interactive"),
    ):
        sent = headers if word is None else {**headers, "X-Priority": word}
        assert ask(one, sent, {"num_inference_steps": 5}).is_success
        (newest, *_) = one.client.get("/v1/predictions", headers=headers).json()["results"]
        found = one.database.write_now(priority_of, newest["id"])
        assert found is Priority(expected)
    answer = ask(one, {**headers, "X-Priority": "high"}, {"num_inference_steps": 5})
    assert answer.status_code in (400, 422)
    assert "X-Priority is 'high'; give interactive or batch" in json.dumps(answer.json())


def priority_of(session: Session, prediction_id: str) -> Priority:
    found = predictions.find(session, prediction_id)
    assert found is not None
    return found.priority


def test_batch_predictions_leave_slots_for_those_that_somebody_waits_for(
    one: Front, cog: CogServer
) -> None:
    cog.tell("held", "hold")
    batch = {**one.token("ann"), "X-Priority": "batch"}
    body = {"input": {"prompt": "held"}}
    for _ in range(cog.slots):
        one.client.post(PATH, json=body, headers=batch)
    most = cog.slots // 4
    wait_until(lambda: len(cog.running) == most)
    assert replicate(one, one.token("bob"), {}).json()["status"] == "succeeded"
    assert len(cog.running) == most
    cog.let_go("held")
