from __future__ import annotations

from starlette.responses import PlainTextResponse

from hosting.api.security_headers import HEADERS, SecurityHeaders
from tests.support.asgi import ask


def test_every_answer_has_the_headers() -> None:
    for status in (200, 403, 500):
        answer = ask(SecurityHeaders(PlainTextResponse("inside", status)))
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS


def test_a_route_may_say_otherwise() -> None:
    inside = PlainTextResponse("inside", headers={"cache-control": "max-age=1"})
    answer = ask(SecurityHeaders(inside))
    assert answer.headers["cache-control"] == "max-age=1"
    assert answer.headers["x-frame-options"] == "DENY"
