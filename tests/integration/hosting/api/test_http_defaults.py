"""HTTP as proxies, monitors and link previews expect it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hosting.storage import tokens
from tests.support.front import Front, front
from tools.fake_cog import CogServer, data_url, pixels

MODEL = "stability-ai/stable-diffusion-img2img"


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with CogServer().served() as cog:
        folder = tmp_path_factory.mktemp("front")
        with front(folder, cog, public_url="https://draw.example") as one:
            yield one


@pytest.mark.parametrize(
    "path",
    ["/", "/health", "/health-check", "/v1/models", "/openapi.json", "/form/main.js", "/docs"],
)
def test_head_is_answered_as_get_without_the_body(one: Front, path: str) -> None:
    whole, head = one.client.get(path), one.client.head(path)
    assert (head.status_code, head.content) == (whole.status_code, b"") == (200, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]


def test_head_is_answered_for_files_and_streams_and_what_is_not_there(one: Front) -> None:
    body = {"input": {"prompt": "fox", "image": data_url(pixels("image", 1))}}
    made = one.client.post(
        f"/v1/models/{MODEL}/predictions", json=body, headers={"prefer": "wait"}
    ).json()
    (output,) = made["output"]
    path = output.removeprefix("https://draw.example")
    assert one.client.head(path).headers["content-type"] == "image/png"
    stream = one.client.head(f"/v1/predictions/{made['id']}/stream")
    assert (stream.status_code, stream.content) == (200, b"")
    assert one.client.head("/v1/predictions/none").status_code == 404
    assert one.client.head("/nothing").status_code == 404


def test_a_slash_at_the_end_changes_nothing_and_redirects_nowhere(one: Front) -> None:
    for path in ("/v1/models", "/health", f"/v1/models/{MODEL}"):
        answer = one.client.get(f"{path}/", follow_redirects=False)
        assert (answer.status_code, answer.json()) == (200, one.client.get(path).json())
    body = {"input": {"prompt": "fox"}}
    made = one.client.post(f"/v1/models/{MODEL}/predictions/", json=body, follow_redirects=False)
    assert made.status_code == 201


def test_a_link_can_not_be_made_to_last(one: Front) -> None:
    body = {"input": {"prompt": "fox"}}
    made = one.client.post(
        f"/v1/models/{MODEL}/predictions", json=body, headers={"prefer": "wait"}
    ).json()
    path = made["urls"]["web"].removeprefix("https://draw.example")
    assert one.client.get(path).status_code == 200
    for more in ("&expires=99999999999", "&expires=abc", "&expires="):
        assert one.client.get(path + more).status_code == 404


def test_the_links_of_a_revoked_token_end(tmp_path: Path) -> None:
    with CogServer().served() as cog, front(tmp_path, cog) as one:
        ada = one.token("ada")
        body = {"input": {"prompt": "fox"}}
        path = f"/v1/models/{MODEL}/predictions"
        made = one.client.post(path, json=body, headers={**ada, "prefer": "wait"}).json()
        sent = one.client.post("/v1/files", files={"content": ("a", b"data", "a/b")}, headers=ada)
        links = [
            made["urls"]["web"],
            made["urls"]["stream"],
            sent.json()["urls"]["download"],
        ]
        listed = one.client.get(f"/v1/predictions/{made['id']}", headers=ada).json()
        links += listed["output"]
        assert [one.client.get(link).status_code for link in links] == [200] * 4
        one.database.write_now(tokens.revoke, "ada")
        assert [one.client.get(link).status_code for link in links] == [404, 401, 404, 404]


@pytest.mark.parametrize("depth", [21, 255, 900])
def test_inputs_too_deep_to_be_shown_spoil_no_list(one: Front, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    for name in ("prompt", "unknown"):
        body = f'{{"input": {{"prompt": "fox", "{name}": {deep}}}}}'.encode()
        headers = {"content-type": "application/json"}
        answer = one.client.post(f"/v1/models/{MODEL}/predictions", content=body, headers=headers)
        assert answer.status_code == (201 if name == "unknown" else 422)
        assert "unknown" not in answer.json().get("input", {})
        assert one.client.get("/v1/predictions").status_code == 200


@pytest.mark.parametrize("image", ["http://[::1:1/", "http://[::1/", "http://[/", "http://[::1]x/"])
def test_a_bracket_that_nobody_closes_is_a_fault_of_the_address(one: Front, image: str) -> None:
    for inputs in ({"image": image}, {"image": data_url(pixels("image", 1))}):
        body = {"input": {"prompt": "fox", **inputs}, "webhook": image}
        answer = one.client.post(f"/v1/models/{MODEL}/predictions", json=body)
        assert answer.status_code == 422
        assert "webhook" in answer.text


def test_data_urls_are_read_as_browsers_read_them(one: Front) -> None:
    url = data_url(pixels("image", 1))
    head, _, text = url.partition(",")
    lines = "\r\n".join(text[i : i + 60] for i in range(0, len(text), 60))
    bare = head.removesuffix(";base64")
    for spaced in (
        f"{head}, {lines}\n",
        f"{head},{text[:20]}%20{text[20:]}",
        f"{head},{text.rstrip('=')}",
        f"{bare}; base64 ,{text}",
        f" \n{head},{text}#fragment",
    ):
        body = {"input": {"prompt": "fox", "image": spaced}}
        answer = one.client.post(f"/v1/models/{MODEL}/predictions", json=body)
        assert answer.status_code == 201, answer.text
        assert "base64" not in answer.text


@pytest.mark.parametrize(
    "path", ["/v1/predictions", "/predictions", "/v1/inference/stabilityai/stable-diffusion-2-1"]
)
def test_json_of_too_many_values_is_refused_before_it_is_parsed(one: Front, path: str) -> None:
    body = b'{"input": {"prompt": "fox", "x": [' + b"[]," * 400_000 + b"[]]}}"
    answer = one.client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert "more than 500000 values" in answer.text


def test_a_prompt_of_nothing_but_commas_is_no_attack(one: Front) -> None:
    body = {"input": {"prompt": "," * 100_000, "negative_prompt": "[{" * 50_000}}
    assert one.client.post(f"/v1/models/{MODEL}/predictions", json=body).status_code == 201


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("multipart/x", b'{"prompt": "x", "more": [' + b"[]," * 600_000 + b"0]}", 413),
        ("application/x-www-form-urlencoded", b"prompt=" + b"%41" * 1_500_000, 413),
        ("application/json", b'{"prompt": "x", "image": "data:,' + b"%41" * 1_100_000 + b'"}', 422),
    ],
    ids=["JSON that says it is a form", "a form of escapes", "a data URL of escapes"],
)
def test_a_body_that_costs_far_more_than_its_size_is_refused(
    one: Front, kind: str, body: bytes, status: int
) -> None:
    path = "/v1/inference/stabilityai/stable-diffusion-2-1"
    answer = one.client.post(path, content=body, headers={"content-type": kind})
    assert answer.status_code == status
    assert "detail" in answer.json()
