"""Errors in the form of Stability AI's REST API."""

from __future__ import annotations

import re
import secrets

from fastapi.responses import JSONResponse, Response

from hosting.api.problems import Problem

PATHS = re.compile("/v1/(generation|engines|user)/")
"""How the API's paths begin."""
NAMES = {
    400: "bad_request",
    401: "unauthorized",
    403: "permission_denied",
    404: "not_found",
    409: "canceled",
    413: "payload_too_large",
    429: "rate_limit_exceeded",
    500: "internal_error",
    503: "service_unavailable",
}


def response(problem: Problem) -> Response:
    """Return the answer to an exception."""
    status = 400 if problem.status == 422 else problem.status
    document = {
        "id": secrets.token_hex(16),
        "name": NAMES.get(status, "bad_request"),
        "message": problem.sentence,
    }
    return JSONResponse(document, status, problem.kept_headers)
