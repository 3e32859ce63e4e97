from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from hosting.storage.database import Unavailable
from tests.support.front import Front, front
from tools.fake_cog import CogServer

BODY_NEVER_COMES = ("content-length: 80000000", "transfer-encoding: chunked")
SENDS = (
    ("POST", "/predictions"),
    ("PUT", "/predictions/a"),
    ("POST", "/predictions/a/cancel"),
    ("POST", "/v1/predictions"),
    ("POST", "/v1/predictions/a/cancel"),
    ("POST", "/v1/models/stability-ai/stable-diffusion/predictions"),
    ("POST", "/v1/files"),
    ("DELETE", "/v1/files/a"),
    ("PATCH", "/v1/files/a"),
    ("POST", "/none"),
)


@pytest.fixture(scope="module")
def cog() -> Iterator[CogServer]:
    with CogServer().served() as cog:
        yield cog


@pytest.fixture(scope="module")
def one(cog: CogServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("front")
    origins = ("https://example.com",)
    with front(folder, cog, requests_per_minute=6, allowed_origins=origins) as one:
        one.token("ann")
        yield one


def answered(one: Front, method: str, path: str, *headers: str) -> tuple[HTTPResponse, Any]:
    """The answer to a request whose body never comes, and the problem that it tells of."""
    place = urlsplit(one.url)
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", "content-type: application/json"]
    with socket.create_connection((place.hostname, place.port), timeout=10) as raw:
        raw.sendall("\r\n".join([*lines, *headers, "", ""]).encode())
        with HTTPResponse(raw) as response:
            response.begin()
            return response, json.loads(response.read())


@pytest.mark.parametrize("announced", BODY_NEVER_COMES)
@pytest.mark.parametrize(("method", "path"), SENDS)
def test_who_has_no_token_is_refused_before_the_body_is_read(
    one: Front, method: str, path: str, announced: str
) -> None:
    for extra in ((), ("expect: 100-continue",), ("authorization: Bearer sd_wrong",)):
        response, problem = answered(one, method, path, announced, *extra)
        assert response.status == problem["status"] == 401
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("announced", BODY_NEVER_COMES)
@pytest.mark.parametrize(("method", "path"), SENDS)
def test_who_asks_too_often_is_refused_before_the_body_is_read(
    one: Front, method: str, path: str, announced: str
) -> None:
    token = one.token(f"{method} {path} {announced}")
    assert one.client.get("/v1/account", headers=token).status_code == 200
    header = f"authorization: {token['authorization']}"
    response, problem = answered(one, method, path, header, announced)
    assert response.status == problem["status"] == 429
    assert response.headers["content-type"] == "application/problem+json"
    assert "6 requests a minute" in problem["detail"]
    assert 1 <= int(response.headers["retry-after"]) <= 10


def test_a_page_of_an_allowed_origin_may_read_that_it_was_refused(one: Front) -> None:
    origin = "https://example.com"
    response, _ = answered(one, "POST", "/predictions", f"origin: {origin}", BODY_NEVER_COMES[0])
    assert response.status == 401
    assert response.headers["access-control-allow-origin"] == origin


def test_a_request_with_a_body_is_counted_once(cog: CogServer, tmp_path: Path) -> None:
    body = {"model": "stability-ai/stable-diffusion-2-1", "input": {"prompt": "fox"}}
    with front(tmp_path, cog, requests_per_minute=12) as one:
        statuses = [one.client.post("/v1/predictions", json=body).status_code for _ in range(3)]
        assert statuses == [201, 201, 429]


def test_a_database_that_does_not_answer_is_a_problem(
    cog: CogServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def locked(*_: Any) -> None:
        raise Unavailable("database is locked")

    with front(tmp_path, cog) as one:
        with monkeypatch.context() as patched:
            patched.setattr(one.services.store.tokens, "find", locked)
            response, problem = answered(one, "POST", "/v1/predictions", BODY_NEVER_COMES[0])
        assert response.status == problem["status"] == 503
        assert response.headers["retry-after"]
