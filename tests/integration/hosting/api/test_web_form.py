from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from hosting import models_file
from hosting.queue import downloads
from tests.support.front import Front, front
from tests.support.pictures import EXAMPLES
from tools.fake_cog import CogServer, data_url

MODEL = "stability-ai/stable-diffusion-img2img"


@pytest.fixture(scope="module")
def cog() -> Iterator[CogServer]:
    with CogServer().served() as cog:
        yield cog


@pytest.fixture
def one(cog: CogServer, tmp_path: Path) -> Iterator[Front]:
    with front(tmp_path, cog, allowed_networks=("127.0.0.0/8",)) as one:
        yield one


def address_of_one(one: Front) -> str:
    """The path of a prediction that is over, with its signature."""
    asked = {"input": {"prompt": "fox", "seed": 7}}
    answer = one.client.post(f"/v1/models/{MODEL}/predictions", json=asked, headers=WAIT)
    assert answer.json()["status"] == "succeeded"
    return str(answer.json()["urls"]["web"]).removeprefix(one.url)


WAIT = {"prefer": "wait"}


def test_a_browser_gets_the_page_and_a_program_the_prediction(one: Front) -> None:
    path = address_of_one(one)
    page = one.client.get(path, headers={"accept": "text/html,*/*"})
    assert page.headers["content-type"].startswith("text/html")
    assert page.text == one.client.get("/").text
    prediction = one.client.get(path, headers={"accept": "application/json"})
    assert prediction.json()["input"] == {"prompt": "fox", "seed": 7}
    assert prediction.headers["vary"] == "accept"
    assert page.headers["vary"] == "accept, Accept-Encoding"
    assert page.headers["content-encoding"] == "gzip"


def test_an_address_without_its_signature_tells_nothing(one: Front) -> None:
    path = address_of_one(one)
    bare, _, query = path.partition("?")
    other = address_of_one(one).partition("?")[0]
    for spoiled in (bare, f"{bare}?{query[:-1]}", f"{other}?{query}", f"/p/none?{query}"):
        assert one.client.get(spoiled).status_code == 404, spoiled


def test_a_link_does_not_renew_itself_nor_tell_of_what_only_the_owner_may_do(
    one: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = address_of_one(one)
    expires = parse_qs(urlsplit(path).query)["expires"]
    later = time.time() + 7200
    monkeypatch.setattr(time, "time", lambda: later)
    document = one.client.get(path).json()
    assert document["urls"] == {"web": one.url + path}
    for url in document["output"]:
        assert parse_qs(urlsplit(url).query)["expires"] == expires
        assert one.client.get(url).status_code == 200


def test_the_link_of_a_stream_makes_none_that_last_longer(
    one: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"input": {"prompt": "fox", "seed": 7}}
    answer = one.client.post(f"/v1/models/{MODEL}/predictions", json=asked, headers=WAIT)
    link = answer.json()["urls"]["stream"]
    later = time.time() + 7200
    monkeypatch.setattr(time, "time", lambda: later)
    sent = one.client.get(link, headers={"accept": "text/event-stream"}).text
    (url,) = [line.removeprefix("data: ") for line in sent.splitlines() if "/files/" in line]
    assert parse_qs(urlsplit(url).query)["expires"] == parse_qs(urlsplit(link).query)["expires"]


def test_it_has_the_settings_by_the_names_of_the_contract(one: Front, cog: CogServer) -> None:
    cat = data_url((EXAMPLES / "cat.png").read_bytes())
    asked = {"prompt": "fox", "seed": 7, "num_outputs": 2, "prompt_strength": "0.5"}
    body = {"input": {**asked, "init_image": cat}}
    answer = one.client.post(f"/v1/models/{MODEL}/predictions", json=body, headers=WAIT)
    document = one.client.get(answer.json()["urls"]["web"]).json()
    assert document["task"] == "img2img"
    image = document["settings"].pop("image")
    defaults = {"num_inference_steps": 25, "guidance_scale": 7.5, "scheduler": "DPMSolverMultistep"}
    given = {"prompt": "fox", "seed": 7, "num_images": 2, "strength": 0.5}
    assert document["settings"] == {**defaults, **given}
    assert one.client.get(image).content == (EXAMPLES / "cat.png").read_bytes()


def test_an_image_that_came_by_url_is_among_the_settings(one: Front, cog: CogServer) -> None:
    url = f"{one.url.replace('127.0.0.1', 'localhost')}/form/examples/cat.png"
    body = {"input": {"prompt": "fetched fox", "seed": 7, "image": url}}
    answer = one.client.post(f"/v1/models/{MODEL}/predictions", json=body, headers=WAIT)
    assert answer.json()["status"] == "succeeded"
    document = one.client.get(answer.json()["urls"]["web"]).json()
    assert document["input"]["image"] == url
    image = one.client.get(document["settings"]["image"])
    assert image.content == (EXAMPLES / "cat.png").read_bytes()


def test_an_image_that_could_not_be_fetched_is_named_by_its_url(one: Front) -> None:
    url = f"{one.url.replace('127.0.0.1', 'localhost')}/none.png"
    body = {"input": {"prompt": "fox", "image": url}}
    answer = one.client.post(f"/v1/models/{MODEL}/predictions", json=body, headers=WAIT)
    assert answer.json()["status"] == "failed"
    document = one.client.get(answer.json()["urls"]["web"]).json()
    assert document["settings"]["image"] == url


def test_it_opens_what_it_is_given_for_and_nothing_else(one: Front) -> None:
    path = address_of_one(one)
    one.token("ada")
    assert one.client.get(path).status_code == 200
    query = path.partition("?")[2]
    prediction_id = path.partition("?")[0].rpartition("/")[2]
    for other in (f"/v1/predictions/{prediction_id}", f"/v1/predictions/{prediction_id}/stream"):
        assert one.client.get(f"{other}?{query}").status_code == 401


def test_what_only_the_page_asks_for_needs_a_token_too(one: Front) -> None:
    header = one.token("ada")
    url = {"url": f"{one.url}/form/examples/cat.png"}
    assert one.client.get("/form/models").status_code == 401
    assert one.client.post("/form/picture", json=url).status_code == 401
    assert one.client.get("/form/models", headers=header).status_code == 200
    assert one.client.post("/form/picture", json=url, headers=header).status_code == 200


def test_the_models_that_run_are_offered_without_the_urls_of_their_servers(
    one: Front, cog: CogServer
) -> None:
    (offered,) = one.client.get("/form/models").json()
    assert offered == {
        "id": "stability-ai/stable-diffusion-2-1",
        "name": "stable-diffusion-2-1",
        "task": "img2img",
        "status": "READY",
        "description": {"token_limit": None}
        | {name: value for name, value in cog.description.items() if name != "tokenizer"},
    }


def test_a_picture_of_elsewhere_comes_as_it_is(one: Front) -> None:
    answer = one.client.post("/form/picture", json={"url": f"{one.url}/form/examples/cat.png"})
    assert answer.content == (EXAMPLES / "cat.png").read_bytes()
    assert answer.headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/cat.png", "file:///etc/passwd", "", "http://127.0.0.1:9/", "cat.png"]
)
def test_what_is_out_of_reach_is_a_fault_of_the_url(one: Front, url: str) -> None:
    answer = one.client.post("/form/picture", json={"url": url})
    assert answer.status_code == 422
    assert answer.json()["invalid_fields"][0]["field"] == "url"


def test_each_token_has_so_many_pictures_fetched_at_once(
    one: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "EACH_AT_ONCE", 0)
    url = {"url": f"{one.url}/form/examples/cat.png"}
    answer = one.client.post("/form/picture", json=url)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "1"


def test_what_is_no_picture_does_not_come(one: Front) -> None:
    answer = one.client.post("/form/picture", json={"url": f"{one.url}/health"})
    assert answer.status_code == 422
    assert "is not a picture" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("task", "weights", "name"),
    [
        ("img2img", "demo", "stability-ai/stable-diffusion-img2img"),
        ("img2img", "stable-diffusion-2-1", "stability-ai/stable-diffusion-2-1"),
        ("img2img", "stable-diffusion-v1-5", "runwayml/stable-diffusion-v1-5"),
        ("inpainting", "demo", "stability-ai/stable-diffusion-2-inpainting"),
        ("depth", "stable-diffusion-2-depth", "stability-ai/stable-diffusion-2-depth"),
        ("upscale", "stable-diffusion-x4-upscaler", "stability-ai/stable-diffusion-x4-upscaler"),
    ],
)
def test_an_endpoint_is_offered_by_the_name_of_its_weights(
    task: str, weights: str, name: str
) -> None:
    assert models_file.load().offered(task, weights).model.id == name
