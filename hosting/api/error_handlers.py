"""Exceptions as answers: problems, or an API's own form of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from hosting import log
from hosting.api.a1111 import errors as a1111
from hosting.api.deepinfra import errors as deepinfra
from hosting.api.huggingface import errors as huggingface
from hosting.api.openai import errors as openai
from hosting.api.problems import Problem, invalid
from hosting.api.stability import errors as stability
from hosting.queue.inputs import Fault, InvalidInputs
from hosting.queue.intake import QueueFull
from hosting.storage.database import Damaged, Unavailable
from hosting.storage.files import FileGone
from hosting.storage.pages import InvalidCursor
from hosting.storage.quota import QuotaExceeded
from hosting.storage.spendings import DailyQuotaSpent

FORMS: tuple[tuple[re.Pattern[str], Callable[[Problem], Response]], ...] = (
    (re.compile(deepinfra.ROOT), deepinfra.response),
    (openai.PATHS, openai.response),
    (re.compile(huggingface.ROOT), huggingface.response),
    (stability.PATHS, stability.response),
    (re.compile(a1111.ROOT), a1111.response),
)
"""By how an API's paths begin, its form of errors."""


def answer(request: Request, error: Exception) -> Response:
    """Return the answer to a request that has raised an exception."""
    problem = _problem(request, error)
    for beginning, response in FORMS:
        if beginning.match(request.url.path):
            return response(problem)
    return problem.response()


def _problem(request: Request, error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case InvalidInputs():
            return invalid(error.faults)
        case RequestValidationError():
            return invalid([_fault(request, one) for one in error.errors()])
        case InvalidCursor():
            return invalid([Fault("invalid_cursor", "cursor", str(error))])
        case QueueFull():
            return Problem(429, str(error), headers={"Retry-After": "5"})
        case DailyQuotaSpent():
            return Problem(429, str(error), headers={"Retry-After": str(error.retry_after_seconds)})
        case QuotaExceeded():
            return Problem(413, str(error))
        case HTTPException(__cause__=ValueError() | RecursionError() as cause):
            # FastAPI says of it only that it could not parse the body.
            return invalid([_fault_of_body(_not_json(cause))])
        case HTTPException():
            return Problem(error.status_code, str(error.detail), headers=error.headers)
        case ClientDisconnect():  # nobody is there to read it
            return Problem(400, "The connection was closed before the whole request had come")
        case Damaged():
            log.error("not taken", reason=str(error))
            return Problem(503, "The server's database is damaged; whoever runs it must restore it")
        case FileGone():  # between a look at the database and one at the disk
            return Problem(404, "The prediction's files are gone: it was deleted")
        case Unavailable() | OSError():
            log.warning("not taken", reason=str(error))
            detail = "The server can't keep anything now; try again"
            return Problem(503, detail, headers={"Retry-After": "5"})
        case _:
            return Problem(500, "Something went wrong here; the log says what")


def _fault(request: Request, error: Any) -> Fault:
    """Return an error of pydantic's as a fault."""
    if error["type"] == "json_invalid":
        position = error["loc"][-1] + 1
        return _fault_of_body(f"is no JSON: {error['ctx']['error']}, at character {position}")
    if error["loc"] == ("body",):
        kind = request.headers.get("content-type", "")[:100]
        if error["type"] == "missing":
            return _fault_of_body("is empty")
        if isinstance(error["input"], bytes):
            return _fault_of_body(f"has the Content-Type {kind!r}")
        return _fault_of_body("is JSON, but no object")
    place = [str(part) for part in error["loc"] if part not in ("body", "query", "path", "header")]
    kinds = {"missing": "required", "extra_forbidden": "additional_property_not_allowed"}
    return Fault(kinds.get(error["type"], error["type"]), ".".join(place), error["msg"])


def _not_json(cause: Exception) -> str:
    """Return what is wrong with a body that Python's json has refused otherwise than by place."""
    match cause:
        case UnicodeError():
            return "is not in UTF-8"
        case RecursionError():
            return "is nested too deep"
        case _:
            return "has a number of too many digits"


def _fault_of_body(fault: str) -> Fault:
    """Return the fault of a body that is no JSON object.

    Args:
        fault: what is wrong with it, after "The body".
    """
    sentence = f"The body {fault}; send a JSON object, as application/json"
    return Fault("invalid_body", "body", sentence)


HANDLERS: Any = dict.fromkeys(
    (
        Problem,
        InvalidInputs,
        RequestValidationError,
        QueueFull,
        QuotaExceeded,
        DailyQuotaSpent,
        HTTPException,
        ClientDisconnect,
        Unavailable,
        InvalidCursor,
        OSError,
        Exception,
    ),
    answer,
)
"""For the application: the handler of each exception."""
