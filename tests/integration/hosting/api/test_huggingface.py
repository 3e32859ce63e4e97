"""Hugging Face's Inference API: what is asked, what is drawn of it, and what is answered."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.front import Front, front, wait_until
from tests.support.pictures import EXAMPLES
from tools.fake_cog import CogServer, data_url, pixels

PATH = "/models/stabilityai/stable-diffusion-2-1"
CAT = (EXAMPLES / "cat.png").read_bytes()
CAT_TEXT = base64.b64encode(CAT).decode()


def infer(one: Front, inputs: Any, headers: Mapping[str, str] = {}, **parameters: Any) -> Any:
    body = {"inputs": inputs, "parameters": parameters} if parameters else {"inputs": inputs}
    return one.client.post(PATH, json=body, headers=dict(headers))


def sent(cog: CogServer) -> dict[str, Any]:
    """The inputs of the last prediction as the model had them, the seed left aside."""
    return {name: value for name, value in cog.runs[-1].input.items() if name != "seed"}


def error(answer: httpx2.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    document = answer.json()
    assert document.keys() <= {"error", "estimated_time"}
    return str(document["error"])


def test_a_prompt_is_answered_by_a_pictures_bytes(one: Front, cog: CogServer) -> None:
    answer = infer(one, "fox", seed=7, num_inference_steps=9, negative_prompt=None)
    assert answer.content == pixels("fox", 7)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-seed"] == "7"
    assert sent(cog) == {"prompt": "fox", "num_inference_steps": 9}
    assert infer(one, "fox").status_code == 200


@pytest.mark.parametrize(
    ("accept", "expected"),
    [("image/png", None), ("*/*", None), ("image/jpeg", "jpg"), ("image/webp, */*", "webp")],
)
def test_the_format_is_what_is_accepted(
    one: Front, cog: CogServer, accept: str, expected: str | None
) -> None:
    assert infer(one, "fox", {"accept": accept}).status_code == 200
    assert sent(cog).get("output_format") == expected


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", ""])
def test_a_picture_may_be_the_body(one: Front, cog: CogServer, kind: str) -> None:
    answer = one.client.post(PATH, content=CAT, headers={"content-type": kind})
    assert answer.status_code == 200, answer.text
    assert sent(cog) == {"prompt": "", "image": data_url(CAT)}


@pytest.mark.parametrize("inputs", [CAT_TEXT, data_url(CAT)])
def test_a_picture_may_be_base64(one: Front, cog: CogServer, inputs: str) -> None:
    assert infer(one, inputs, prompt="a fox", strength=0.5).status_code == 200
    assert sent(cog)["prompt"] == "a fox"
    assert base64.b64decode(sent(cog)["image"].partition(",")[2]) == CAT
    assert infer(one, inputs, guidance_scale=3).status_code == 200
    assert sent(cog)["prompt"] == ""
    assert base64.b64decode(sent(cog)["image"].partition(",")[2]) == CAT


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ({"width": 500, "height": 780}, (512, 768)),
        ({"target_size": {"width": 2000, "height": 1000}}, (1024, 512)),
    ],
)
def test_a_size_is_the_nearest_there_is(
    one: Front, cog: CogServer, given: dict[str, Any], size: tuple[int, int]
) -> None:
    answer = infer(one, "fox", **given)
    assert answer.status_code == 200
    assert json.loads(answer.headers["x-warnings"])[0].endswith("the nearest there is here")
    assert (sent(cog)["width"], sent(cog)["height"]) == size


def test_what_the_model_says_of_its_inputs_is_in_a_header(one: Front, cog: CogServer) -> None:
    cog.tell("noted", "note")
    said = json.loads(infer(one, "noted").headers["x-warnings"])
    assert said == ["inputs: its end is left out", "image: it is small"]
    said = json.loads(infer(one, CAT_TEXT, prompt="noted").headers["x-warnings"])
    assert said == ["prompt: its end is left out", "inputs: it is small"]


def test_a_header_stays_within_what_clients_read(one: Front, cog: CogServer) -> None:
    cog.tell("noted much", "note much")
    header = infer(one, "noted much").headers["x-warnings"]
    assert json.loads(header)[0].startswith("inputs: 狐狐狐")
    assert len(header) < 8 * 1024


def test_a_picture_of_many_commas_is_no_json_of_many_values(one: Front, cog: CogServer) -> None:
    body = CAT + b"," * 600_000
    answer = one.client.post(PATH, content=body, headers={"content-type": "image/png"})
    assert answer.status_code == 200, answer.text
    headers = {"content-type": "image/png"}
    answer = one.client.post(PATH, content=b"[" + b"0," * 600_000, headers=headers)
    assert "more than 500000 values" in error(answer, 413)


def test_while_the_model_loads_it_says_for_how_long(tmp_path: Path) -> None:
    with CogServer().served() as cog:
        cog.status = "STARTING"
        with front(tmp_path, cog, wait=False) as one:
            answer = infer(one, "fox")
            assert error(answer, 503) == "The models are still starting"
            assert answer.json()["estimated_time"] == 5.0
            assert answer.headers["retry-after"] == "5"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"inputs": 7}, "inputs: 7 is not allowed"),
        ({}, "inputs: null is not allowed"),
        ({"inputs": "fox", "parameters": "many"}, 'parameters: "many" is not allowed'),
        ({"inputs": "fox", "parameters": {"strength": 2}}, "strength: 2 is not allowed"),
        ({"inputs": "fox", "parameters": {"target_size": 7}}, "target_size: 7 is not allowed"),
        ({"inputs": "fox", "parameters": {"num_images": 2}}, "num_images: The answer is one"),
        ({"inputs": "no picture", "parameters": {"prompt": "fox"}}, "inputs: "),
        ({"inputs": "fox", "parameters": {"num_outputs": 2}}, "num_images: The answer is one"),
        ({"inputs": "bad"}, "image: it is not a picture"),
    ],
)
def test_what_is_wrong_is_named(one: Front, body: dict[str, Any], says: str) -> None:
    assert says in error(one.client.post(PATH, json=body), 400)


def test_what_is_neither_is_refused(one: Front) -> None:
    for body in (b"", b"no picture", b"[]"):
        assert "JSON object" in error(one.client.post(PATH, content=body), 400)


def test_strangers_and_names_of_nobody_have_their_errors(cog: CogServer, tmp_path: Path) -> None:
    with front(tmp_path, cog) as one:
        assert error(one.client.post("/models/a/b", json={}), 404) == "There is no model a/b"
        one.token("ada")
        assert "valid token" in error(infer(one, "fox"), 401)


def test_who_hangs_up_cancels_it(one: Front, cog: CogServer) -> None:
    cog.tell("endless", "hold")
    with pytest.raises(httpx2.ReadTimeout):
        one.client.post(PATH, json={"inputs": "endless"}, timeout=1)
    wait_until(lambda: cog.runs_of("endless") and cog.runs_of("endless")[0].cancelled)
