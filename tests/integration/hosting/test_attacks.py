"""Whatever is sent to any operation: it is answered, in its API's form, and spoils nothing."""

from __future__ import annotations

import base64
import json
import logging
import socket
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts

from hosting.storage import predictions
from hosting.timings import Timings
from tests.support.front import Front, front, unresolved, wait_until
from tests.support.routes import FORMS, ROUTES, form_of
from tools.attacks import pictures, requests, sending
from tools.attacks.requests import MODEL, PAGES, Target
from tools.attacks.sending import HUNG_UP, NOTHING, Answer
from tools.fake_cog import CogServer

HUGGING_FACE = f"/models/{MODEL}"
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


def base64_of(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def in_form(name: str, **fields: str) -> Callable[[bytes], dict[str, Any]]:
    """A form, with the picture as its file of a name."""
    return lambda picture: {"data": fields, "files": {name: ("a.png", picture)}}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/images/edits", in_form("image", prompt="fox")),
        ("/sdapi/v1/extra-single-image", lambda one: {"json": {"image": base64_of(one)}}),
        ("/sdapi/v1/img2img", lambda one: {"json": {"init_images": [base64_of(one)]}}),
        ("/sdapi/v1/png-info", lambda one: {"json": {"image": base64_of(one)}}),
        (
            HUGGING_FACE,
            lambda one: {"json": {"inputs": base64_of(one), "parameters": {"prompt": "fox"}}},
        ),
        (HUGGING_FACE, lambda one: {"content": one}),
        (
            "/v1/generation/any/image-to-image/masking",
            in_form(
                "init_image", mask_source="INIT_IMAGE_ALPHA", **{"text_prompts[0][text]": "fox"}
            ),
        ),
    ],
)
def test_no_picture_breaks_a_dialect(
    one: Front, tracebacks: list[str], path: str, body: Callable[[bytes], dict[str, Any]]
) -> None:
    wrong = []
    for name, picture in islice(pictures.pictures(), 0, None, 4):
        answer = one.client.post(path, **body(picture))
        if not (answer.is_success or 400 <= answer.status_code < 500):
            wrong.append(f"{answer.status_code} {answer.text[:200]} to {name}")
    assert wrong == []
    assert tracebacks == []


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
    if path in ("/v1/models/{model}", "/v1/models/{owner}/{name}"):  # by its slashes it is either's
        return is_problem or "error" in document
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
