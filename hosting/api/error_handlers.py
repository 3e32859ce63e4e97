"""Exceptions as answers: problems, or an API's own form of them."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from hosting import log
from hosting.api.deepinfra import errors as deepinfra
from hosting.api.problems import Problem, invalid
from hosting.queue.inputs import Fault, InvalidInputs
from hosting.queue.intake import QueueFull
from hosting.storage.database import Damaged, Unavailable
from hosting.storage.pages import InvalidCursor
from hosting.storage.quota import QuotaExceeded


def answer(request: Request, error: Exception) -> Response:
    """Return the answer to a request that has raised an exception."""
    problem = _problem(error)
    if request.url.path.startswith(deepinfra.ROOT):
        return deepinfra.response(problem)
    return problem.response()


def _problem(error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case InvalidInputs():
            return invalid(error.faults)
        case RequestValidationError():
            return invalid([_fault(one) for one in error.errors()])
        case InvalidCursor():
            return invalid([Fault("invalid_cursor", "cursor", str(error))])
        case QueueFull():
            return Problem(429, str(error), headers={"Retry-After": "5"})
        case QuotaExceeded():
            return Problem(413, str(error))
        case HTTPException():
            return Problem(error.status_code, str(error.detail), headers=error.headers)
        case ClientDisconnect():  # nobody is there to read it
            return Problem(400, "The connection was closed before the whole request had come")
        case Damaged():
            log.error("not taken", reason=str(error))
            return Problem(503, "The server's database is damaged; whoever runs it must restore it")
        case Unavailable() | OSError():
            log.warning("not taken", reason=str(error))
            detail = "The server can't keep anything now; try again"
            return Problem(503, detail, headers={"Retry-After": "5"})
        case _:
            return Problem(500, "Something went wrong here; the log says what")


def _fault(error: Any) -> Fault:
    """Return an error of pydantic's as a fault."""
    place = [str(part) for part in error["loc"] if part not in ("body", "query", "path", "header")]
    kinds = {"missing": "required", "extra_forbidden": "additional_property_not_allowed"}
    return Fault(kinds.get(error["type"], error["type"]), ".".join(place), error["msg"])


HANDLERS: Any = dict.fromkeys(
    (
        Problem,
        InvalidInputs,
        RequestValidationError,
        QueueFull,
        QuotaExceeded,
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
