from __future__ import annotations

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from hosting.api.body_limit import BodyLimit
from hosting.api.problems import Problem
from tests.support.asgi import ask


def test_what_the_framework_refuses_is_refused_in_our_words() -> None:
    answer = ask(BodyLimit(PlainTextResponse("Payload Too Large", 413), 7))
    assert answer.status_code == 413
    assert answer.headers["content-type"] == Problem.MEDIA_TYPE
    assert answer.json()["detail"] == "The body has more than 7 MiB"


@pytest.mark.parametrize(
    "inside",
    [
        PlainTextResponse("inside"),
        Problem(413, "You keep too much").response(),
        JSONResponse({"error": "You keep too much"}, 413),
    ],
)
def test_any_other_answer_stays_as_it_is(inside: Response) -> None:
    answer = ask(BodyLimit(inside, 7))
    assert (answer.status_code, answer.content) == (inside.status_code, inside.body)
