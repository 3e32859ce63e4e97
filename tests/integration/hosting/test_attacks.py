"""Whatever is sent to any operation: it is answered, in its API's form, and spoils nothing."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts

from hosting.storage import predictions
from hosting.timings import Timings
from tests.support.front import Front, front, unresolved, wait_until
from tests.support.routes import FORMS, ROUTES, form_of
from tools.attacks import requests, sending
from tools.attacks.requests import MODEL, PAGES, Target
from tools.attacks.sending import HUNG_UP, NOTHING, Answer
from tools.fake_cog import CogServer

QUIET = Timings(poll_seconds=0.5)
"""As it is served: with tests' short intervals, those that wait would keep the database busy."""


class Tracebacks(logging.Handler):
    """What is logged with a traceback."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or "Traceback" in record.getMessage():
            self.found.append(self.format(record))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    limits: dict[str, Any] = {"requests_per_minute": 10**8, "queue_limit": 10**6}
    with pytest.MonkeyPatch.context() as patched, CogServer().served() as cog:
        patched.setattr(socket, "getaddrinfo", unresolved)
        with front(tmp_path_factory.mktemp("front"), cog, timings=QUIET, **limits) as one:
            yield one


@pytest.fixture
def target(one: Front) -> Target:
    return sending.target(one.url)


@pytest.fixture
def tracebacks() -> Iterator[list[str]]:
    handler = Tracebacks()
    logging.getLogger().addHandler(handler)
    yield handler.found
    logging.getLogger().removeHandler(handler)


def test_every_route_is_attacked(one: Front, target: Target) -> None:
    known = {operation.path for operation in target.operations}
    routes = {
        context.path.replace(":path", "")
        for context in iter_route_contexts(one.application.routes)
        if context.path
    }
    assert routes - {"/form", "/form/examples"} <= known


@pytest.mark.parametrize("path", sorted({*ROUTES, *PAGES}))
def test_no_request_breaks_it(one: Front, target: Target, tracebacks: list[str], path: str) -> None:
    attacks = (
        attack
        for operation in target.operations
        if operation.path == path
        for attack in requests.on_operation(target, operation)
    )
    wrong = [
        f"{answer.status} {answer.body[:200]!r} to {answer.attack}"
        for answer in sending.send_all(target.host, attacks)
        if not is_right(path, answer)
    ]
    assert wrong == []
    assert tracebacks == []
    check_health(one)


def test_no_change_of_a_link_breaks_it(one: Front, target: Target, tracebacks: list[str]) -> None:
    attacks = (attack for link in target.links for attack in requests.on_link(target, link))
    wrong = [
        answer for answer in sending.send_all(target.host, attacks) if not is_right("", answer)
    ]
    assert wrong == []
    assert tracebacks == []
    assert all(one.client.get(link).status_code == 200 for link in target.links)


def is_right(path: str, answer: Answer) -> bool:
    """Whether it was answered, and in its API's form if it was refused."""
    if answer.status == HUNG_UP:
        return answer.attack.kind == "HTTP"
    if answer.status == NOTHING or answer.status >= 500:
        return False
    if answer.status < 400 or answer.attack.message.startswith(b"HEAD "):
        return True
    if answer.body == b"Invalid HTTP request received.":
        return True
    document: dict[str, Any] = json.loads(answer.body)
    is_problem = {"title", "detail", "status"} <= document.keys()
    keys = form_of(path)
    is_cogs = path.startswith("/predictions") and (document == {} or "detail" in document)
    if answer.attack.kind == "HTTP":  # whose path may be another
        return is_problem or is_cogs or any(keys <= document.keys() for keys in FORMS.values())
    return keys <= document.keys() if keys else is_problem or is_cogs


def check_health(one: Front) -> None:
    """Check that it draws, lists all that there is, and has nothing left to do."""
    body = {"version": MODEL, "input": {"prompt": "fox"}}
    made = one.client.post("/v1/predictions", json=body, headers={"prefer": "wait"})
    assert made.json()["status"] == "succeeded"
    wait_until(lambda: one.database.write_now(predictions.unfinished) == {})
    for url in ("/v1/predictions", "/v1/files"):
        while url:
            url = one.client.get(url).raise_for_status().json()["next"]
