"""Whatever is sent to the front, by its own OpenAPI document or against it: no answer is a 5xx."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import BaseSchema

from hosting.api.documentation import OPENAPI
from tests.support.front import LONGEST, Front, front, unresolved
from tests.support.properties import given, settings
from tests.support.routes import ROUTES
from tools.fake_cog import CogServer, data_url, pixels

COG = "/openapi.json"
EXAMPLES = 20
"""Requests that are drawn for each operation; each is sent as it is, and once more to where there
is something."""
MODEL = "stability-ai/stable-diffusion"


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    limits: dict[str, Any] = {"requests_per_minute": 10**8, "queue_limit": 10**6}
    with pytest.MonkeyPatch.context() as patched, CogServer().served() as cog:
        patched.setattr(socket, "getaddrinfo", unresolved)
        with front(tmp_path_factory.mktemp("front"), cog, **limits) as one:
            yield one


@pytest.fixture(scope="module")
def documents(one: Front) -> dict[str, BaseSchema]:
    """The front's document, and the model's, which knows the inputs."""
    return {path: schemathesis.openapi.from_url(one.url + path) for path in (OPENAPI, COG)}


@pytest.fixture
def there(one: Front) -> dict[str, str]:
    """Values of the paths' parameters that lead somewhere: hardly any that is drawn does."""
    picture = pixels("fox", 7)
    uploaded = one.client.post("/v1/files", files={"content": ("fox.png", picture, "image/png")})
    asked = {"version": MODEL, "input": {"prompt": "fox", "image": data_url(picture)}}
    made = one.client.post("/v1/predictions", json=asked).json()
    owner, name = MODEL.split("/")
    return {
        "owner": owner,
        "name": name,
        "version_id": made["version"],
        "prediction_id": made["id"],
        "file_id": uploaded.json()["id"],
    }


@pytest.mark.parametrize(
    ("of", "method", "path"),
    [
        (OPENAPI, method, path)
        for path, methods in ROUTES.items()
        for method in sorted(methods)
        if path != OPENAPI  # the document does not have itself
    ]
    + [(COG, "post", "/predictions")],
)
def test_no_request_is_answered_5xx(
    documents: dict[str, BaseSchema], there: dict[str, str], of: str, method: str, path: str
) -> None:
    operation = documents[of][path][method]
    by_the_document, against_it = map(operation.as_strategy, GenerationMode)

    @settings(max_examples=EXAMPLES)
    @given(by_the_document | against_it)
    def ask(case: Case[Any]) -> None:
        answer(case)
        for name in there.keys() & set(case.path_parameters):
            case.path_parameters[name] = there[name]
        body: Any = case.body
        if isinstance(body, dict) and isinstance(body.get("input"), dict):
            body["input"]["prompt"] = "fox"
            if path == "/v1/predictions":
                body["version"] = MODEL
        answer(case)

    ask()


def answer(case: Case[Any]) -> None:
    response = case.call(timeout=LONGEST)
    case.validate_response(response, checks=[not_a_server_error])
