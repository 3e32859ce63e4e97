from __future__ import annotations

from typing import Any

import httpx2
import pytest
from starlette.responses import PlainTextResponse

from hosting.api.error_handlers import answer
from hosting.api.origin_guard import OriginGuard
from hosting.settings import Settings
from tests.support import asgi


def ask(headers: dict[str, str], listens_on: str = "127.0.0.1", **settings: Any) -> httpx2.Response:
    """The answer to a request with these headers."""
    inside = PlainTextResponse("inside")
    return asgi.ask(OriginGuard(inside, Settings(**settings), listens_on, answer), headers)


def passes(headers: dict[str, str], **options: Any) -> bool:
    answer = ask(headers, **options)
    assert answer.status_code in (200, 403)
    return answer.status_code == 200


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8000", "localhost", "LOCALHOST:8000", "[::1]", "[::1]:8000"],
)
def test_this_machine_is_reached_by_its_usual_names(host: str) -> None:
    assert passes({"host": host})


@pytest.mark.parametrize(
    "host",
    [
        "",
        "example.com",
        "example.com:8000",
        "127.0.0.1.example.com",
        "localhost.example.com",
        "example.com:127.0.0.1",
        "127.0.0.1@example.com",
        "example.com#127.0.0.1",
        "127.0.0.1:8000:8000",
        "127.0.0.2",
        "0.0.0.0",
        "2130706433",
        "0x7f.1",
        "[::ffff:127.0.0.1]",
        "[::1].example.com",
        "[::",
        ":8000",
        "192.168.1.2:8000",
        "metadata.google.internal",
    ],
)
def test_a_name_that_is_not_ours_is_not_served(host: str) -> None:
    answer = ask({"host": host})
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 403
    assert "ALLOWED_HOSTS" in answer.json()["detail"]


def test_a_name_that_was_set_is_served() -> None:
    assert passes({"host": "gpu.example.com:8000"}, allowed_hosts=("GPU.example.com",))
    assert passes({"host": "sd.example.com"}, public_url="https://sd.example.com")
    assert not passes({"host": "example.com"}, public_url="https://sd.example.com")


@pytest.mark.parametrize(
    ("listens_on", "host"),
    [("192.0.2.7", "192.0.2.7:8000"), ("GPU", "gpu:8000"), ("2001:db8::7", "[2001:db8::7]:8000")],
)
def test_where_it_listens_it_is_served(listens_on: str, host: str) -> None:
    assert passes({"host": host}, listens_on=listens_on)
    assert not passes({"host": "192.0.2.8"}, listens_on=listens_on)


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8000", "https://127.0.0.1:8000"])
def test_its_own_pages_may_ask(origin: str) -> None:
    assert passes({"host": "127.0.0.1:8000", "origin": origin})


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://example.com",
        "http://127.0.0.1",
        "http://127.0.0.1:9000",
        "http://localhost:8000",
        "http://127.0.0.1:8000.example.com",
        "http://127.0.0.1:8000@example.com",
        "127.0.0.1:8000",
        "file://",
        "chrome-extension://abc",
        "http://[",
        "http://[::1",
    ],
)
def test_pages_of_others_may_not_ask(origin: str) -> None:
    answer = ask({"host": "127.0.0.1:8000", "origin": origin})
    assert answer.status_code == 403
    assert "ALLOWED_ORIGINS" in answer.json()["detail"]


def test_null_is_no_origin_of_ours_whatever_the_host() -> None:
    assert not passes({"host": "null", "origin": "null"}, allowed_hosts=("null",))


def test_pages_that_were_allowed_may_ask_and_only_they() -> None:
    allowed = {"allowed_origins": ("https://example.com",)}
    assert passes({"origin": "https://example.com"}, **allowed)
    assert not passes({"origin": "http://example.com"}, **allowed)
    assert not passes({"origin": "https://example.com:8443"}, **allowed)
    assert not passes({"origin": "https://sub.example.com"}, **allowed)
