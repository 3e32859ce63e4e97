from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from hosting import app
from hosting.api import documentation
from hosting.api.security_headers import HEADERS
from hosting.settings import Settings, SettingsError
from hosting.storage.database import Database
from tests.support.front import Front, front, place, wait_until
from tests.support.routes import ROUTES, form_of
from tools.fake_cog import CogServer

ASKED = {"model": "stability-ai/stable-diffusion-2-1"}


@pytest.fixture(scope="module")
def cog(everywhere: None) -> Iterator[CogServer]:
    with CogServer().served() as cog:
        yield cog


@pytest.fixture(scope="module")
def one(cog: CogServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with front(tmp_path_factory.mktemp("front"), cog, upload_megabytes=1) as one:
        yield one


def problem(answer: httpx2.Response, status: int) -> dict[str, Any]:
    """The problem that an answer tells of, with everything that each has."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    return document


def refused(path: str, answer: httpx2.Response, status: int) -> None:
    """An answer refuses, in the form of the API that a path belongs to."""
    keys = form_of(path)
    if keys is None:
        problem(answer, status)
    else:
        assert (answer.status_code, keys <= answer.json().keys()) == (status, True)


def test_every_route_is_documented_and_there_is_no_way_to_shut_down(one: Front) -> None:
    paths = one.client.get("/docs/openapi.json").json()["paths"]
    documented = {path: set(what) for path, what in paths.items()}
    assert documented == {path: ROUTES[path] for path in ROUTES if path != "/docs/openapi.json"}
    problem(one.client.post("/shutdown"), 404)


def test_the_documentation_needs_nothing_from_elsewhere(one: Front) -> None:
    page = one.client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "://" not in page.text
    found = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(found) == 3
    for path in found:
        answer = one.client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(("text/javascript", "text/css"))
        assert len(answer.content) > 50
    assert documentation.OPENAPI in one.client.get("/docs/start.js").text
    policy = page.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "unsafe-eval" not in policy
    assert "<script>" not in page.text


@pytest.mark.parametrize("path", sorted(ROUTES))
def test_every_answer_has_the_headers(one: Front, path: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        answer = one.client.request(method, path.replace("{", "").replace("}", ""))
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, (method, name)


@pytest.mark.parametrize("headers", [{"origin": "null"}, {"host": "example.com"}])
def test_the_answer_to_whom_it_does_not_serve_has_the_headers_too(
    one: Front, headers: dict[str, str]
) -> None:
    answer = one.client.get("/", headers=headers)
    assert answer.status_code == 403
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS


def test_what_is_not_there_is_a_problem(one: Front) -> None:
    for path in (
        "/form/",
        "/none",
        "/v1/none",
        "/v1/predictions/none",
        "/v1/files/none",
        "/v1/models/a/b",
    ):
        problem(one.client.get(path), 404)


def test_a_method_that_is_none_here_is_a_problem(one: Front) -> None:
    for method, path in (
        ("DELETE", "/v1/predictions"),
        ("GET", "/predictions"),
        ("PUT", "/health"),
    ):
        answer = one.client.request(method, path)
        problem(answer, 405)
        assert answer.headers["allow"]


def test_a_field_that_is_not_known_is_named(one: Front) -> None:
    answer = one.client.post("/v1/predictions", json={**ASKED, "input": {}, "inputs": {}, "a": 1})
    fields = problem(answer, 422)["invalid_fields"]
    assert {(one["type"], one["field"]) for one in fields} == {
        ("additional_property_not_allowed", "inputs"),
        ("additional_property_not_allowed", "a"),
    }


@pytest.mark.parametrize("path", ["/v1/predictions", "/predictions"])
@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"", None, "The body is empty;"),
        (b"", "application/json", "The body is empty;"),
        (b'{"input": {}}', "text/plain", "The body has the Content-Type 'text/plain';"),
        (b"input=1", "application/x-www-form-urlencoded", "Content-Type 'application/x-www-form-"),
        (b'{"input": {},}', "application/json", "The body is no JSON: Expecting property name"),
        (b"prompt=fox", None, "no JSON: Expecting value, at character 1;"),
        (b"[1]", "application/json", "The body is JSON, but no object;"),
        (b'{"a": "\xe4"}', "application/json", "The body is not in UTF-8;"),
        (b"[" * 100_000, "application/json", "The body is nested too deep;"),
        (b'{"a": ' + b"9" * 5000 + b"}", "application/json", "a number of too many digits;"),
    ],
)
def test_a_body_that_is_no_json_object_is_told_what_to_send(
    one: Front, path: str, body: bytes, kind: str | None, words: str
) -> None:
    headers = {"content-type": kind} if kind else {}
    refused = problem(one.client.post(path, content=body, headers=headers), 422)
    (fault,) = refused["invalid_fields"]
    assert (fault["type"], fault["field"]) == ("invalid_body", "body")
    assert words in fault["description"]
    assert fault["description"].endswith("; send a JSON object, as application/json")
    assert refused["detail"] == f"- body: {fault['description']}"


def test_json_is_read_where_no_type_is_said(one: Front) -> None:
    body = b'{"model": "stability-ai/stable-diffusion-2-1", "input": {"prompt": "fox"}}'
    answer = one.client.post("/v1/predictions", content=body)
    assert "content-type" not in answer.request.headers
    assert answer.status_code == 201


@pytest.mark.parametrize("path", ["/v1/predictions", "/predictions", "/v1/files"])
def test_a_body_that_is_too_large_is_a_problem(one: Front, path: str) -> None:
    body = b'{"input": {"prompt": "' + b"x" * 2**20 + b'"}}'
    headers = {"content-type": "application/json"}
    if path == "/v1/files":
        headers = {"content-type": "multipart/form-data; boundary=b"}
        body = b'--b\r\nContent-Disposition: form-data; name="content"; filename="a"\r\n\r\n'
        body += b"x" * 2**20 + b"\r\n--b--\r\n"
    too_large = problem(one.client.post(path, content=body, headers=headers), 413)
    assert too_large["detail"] == "The body has more than 1 MiB"

    def pieces() -> Iterator[bytes]:
        yield from (body[start : start + 2**16] for start in range(0, len(body), 2**16))

    answer = one.client.post(path, content=pieces(), headers=headers)
    assert "content-length" not in answer.request.headers
    assert problem(answer, 413)["detail"] == "The body has more than 1 MiB"


def test_a_size_that_is_only_claimed_is_refused_before_the_body_comes(one: Front) -> None:
    place = urlsplit(one.url)
    with socket.create_connection((place.hostname, place.port), timeout=10) as raw:
        raw.sendall(
            b"POST /v1/predictions HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n{"
        )
        assert raw.recv(100).startswith(b"HTTP/1.1 413 ")


def test_another_name_is_not_served_whatever_the_route(one: Front) -> None:
    for path in ROUTES:
        for headers in ({"host": "attacker.example"}, {"origin": "null"}):
            answer = one.client.get(path, headers=headers)
            if path in ("/health", "/health-check") and "host" in headers:
                assert (answer.status_code, "status" in answer.json()) == (200, True)
                continue
            refused(path, answer, 403)


@pytest.mark.parametrize("request_line", ["GET /health HTTP/1.0", "HEAD /health/ HTTP/1.0"])
def test_a_balancer_may_ask_for_the_health_without_a_host(one: Front, request_line: str) -> None:
    wait_until(lambda: one.client.get("/health").status_code == 200)
    place = urlsplit(one.url)
    with socket.create_connection((place.hostname, place.port), timeout=10) as raw:
        raw.sendall(f"{request_line}\r\n\r\n".encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", ["/health", "/health-check"])
def test_a_page_of_another_origin_may_not_ask_for_the_health(one: Front, path: str) -> None:
    for host in ({}, {"host": "attacker.example"}):
        headers = {"origin": "https://other.example", **host}
        problem(one.client.get(path, headers=headers), 403)


def test_no_page_of_another_origin_is_told_that_it_may_read(one: Front) -> None:
    for method in ("GET", "OPTIONS"):
        answer = one.client.request(
            method,
            "/v1/models",
            headers={"origin": "https://example.com", "access-control-request-method": "GET"},
        )
        problem(answer, 403)
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_only_pages_that_were_allowed_may_read(cog: CogServer, tmp_path: Path) -> None:
    with front(tmp_path, cog, allowed_origins=("https://example.com",)) as one:
        asked = {
            "origin": "https://example.com",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type,prefer",
        }
        answer = one.client.options("/v1/predictions", headers=asked)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://example.com"
        assert "access-control-allow-credentials" not in answer.headers
        for path, status in (("/v1/models", 200), ("/v1/none", 404)):
            answer = one.client.get(path, headers={"origin": "https://example.com"})
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == "https://example.com"
        asked["origin"] = "https://other.example"
        answer = one.client.options("/v1/predictions", headers=asked)
        problem(answer, 403)
        assert "access-control-allow-origin" not in answer.headers
        assert "access-control-allow-origin" not in one.client.get("/v1/models").headers


def test_health_tells_of_everything(one: Front, cog: CogServer) -> None:
    wait_until(lambda: one.client.get("/health").status_code == 200)
    assert one.client.get("/health").json() == {
        "status": "ok",
        "front": "ok",
        "database": "ok",
        "disk": "ok",
        "queue": {"starting": 0, "processing": 0},
        "endpoints": [
            {
                "name": cog.url,
                "task": "img2img",
                "models": ["stable-diffusion-2-1"],
                "description": {"token_limit": None}
                | {
                    name: value
                    for name, value in cog.description.items()
                    if name not in ("loras", "embeddings", "tokenizer")  # names of files
                },
                "status": "READY",
                "warming": None,
                "slots": 8,
                "running": 0,
            }
        ],
    }


def test_health_tells_whether_a_model_is_still_made_faster(one: Front, cog: CogServer) -> None:
    cog.tell("fox", "warming", "warm")
    for expected in (True, False):
        answer = one.client.post("/predictions", json={"input": {"prompt": "fox"}})
        assert answer.json()["metrics"]["warming"] is expected
        assert one.client.get("/health").json()["endpoints"][0]["warming"] is expected


def test_health_is_503_when_nothing_can_be_drawn(tmp_path: Path) -> None:
    with CogServer().served() as cog, front(tmp_path, cog) as one:
        cog.restarts, cog.status = False, "UNHEALTHY"
        wait_until(lambda: one.client.get("/health").status_code == 503)
        answer = one.client.get("/health").json()
        assert answer["status"] == "unavailable"
        assert answer["endpoints"][0]["status"] == "UNHEALTHY"
        assert one.client.get("/health-check").json() == {"status": "STARTING"}


def test_a_token_is_needed_as_soon_as_there_is_one(cog: CogServer, tmp_path: Path) -> None:
    private = [path for path in ROUTES if path.startswith("/v1")]
    with front(tmp_path, cog) as one:
        assert one.client.get("/v1/account").json()["username"] == "local"
        header = one.token("ann")
        for path in private:
            for method in ROUTES[path]:
                headers = {"authorization": "Bearer sd_wrong"}
                answer = one.client.request(method, path.replace("{", "").replace("}", ""))
                refused(path, answer, 401)
                assert answer.headers["www-authenticate"] == "Bearer"
                answer = one.client.request(
                    method, path.replace("{", "").replace("}", ""), headers=headers
                )
                refused(path, answer, 401)
        problem(one.client.post("/predictions", json={"input": {"prompt": "fox"}}), 401)
        problem(one.client.put("/predictions/a", json={"input": {"prompt": "fox"}}), 401)
        problem(one.client.post("/predictions/a/cancel"), 401)
        assert one.client.get("/v1/account", headers=header).json()["username"] == "ann"


def test_who_asks_too_often_is_told_when_to_come_again(cog: CogServer, tmp_path: Path) -> None:
    with front(tmp_path, cog, requests_per_minute=12) as one:
        for _ in range(2):
            assert one.client.get("/v1/account").status_code == 200
        answer = one.client.get("/v1/account")
        assert "12 requests a minute" in problem(answer, 429)["detail"]
        assert 1 <= int(answer.headers["retry-after"]) <= 5


def test_a_full_queue_is_told(cog: CogServer, tmp_path: Path) -> None:
    cog.tell("full queue", "hold")
    with front(tmp_path, cog, queue_limit=1) as one:
        asked = {**ASKED, "input": {"prompt": "full queue"}}
        assert one.client.post("/v1/predictions", json=asked).status_code == 201
        answer = one.client.post("/v1/predictions", json=asked)
        assert "1 unfinished predictions" in problem(answer, 429)["detail"]
        assert answer.headers["retry-after"]


# The door


def test_a_second_front_of_one_folder_does_not_start(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    locks = [app._lock(settings) for _ in range(3)]
    with locks[0], pytest.raises(SettingsError, match="another front uses"), locks[1]:
        pass
    with locks[2]:
        pass


def test_fronts_with_postgresql_share_a_folder_but_not_with_one_that_has_a_file_there(
    tmp_path: Path,
) -> None:
    alone = Settings(data=tmp_path)
    shared = Settings(data=tmp_path, database_url="postgresql://db/sd")
    refused = pytest.raises(SettingsError, match="another front uses")
    with app._lock(shared), app._lock(shared), refused, app._lock(alone):
        pass


@pytest.mark.parametrize(
    ("host", "settings"),
    [
        ("0.0.0.0", {}),
        ("::", {}),
        ("192.0.2.1", {}),
        ("gpu.example.com", {}),
        ("127.0.0.1", {"public_url": "https://sd.example.com"}),
        ("127.0.0.1", {"allowed_hosts": ("sd.example.com",)}),
    ],
)
def test_without_a_token_it_is_not_open_to_others(
    everywhere: None, tmp_path: Path, host: str, settings: dict[str, Any]
) -> None:
    from hosting.storage import tokens

    store = Database(place(tmp_path))
    known = Settings(data=tmp_path, **settings)
    with pytest.raises(SettingsError, match="make a token first, by scripts/tokens create"):
        app._check_open(known, store, host)
    store.write_now(tokens.create, "ann")
    app._check_open(known, store, host)
    store.write_now(tokens.revoke, "ann")
    app._check_open(known, store, host)
    store.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_on_this_machine_no_token_is_needed(everywhere: None, tmp_path: Path, host: str) -> None:
    store = Database(place(tmp_path))
    app._check_open(Settings(data=tmp_path), store, host)
    store.close()
