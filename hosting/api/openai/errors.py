"""Errors in the form of OpenAI's API."""

from __future__ import annotations

import re

from fastapi.responses import JSONResponse, Response

from hosting.api.problems import Problem
from hosting.api.results import Failed

ROOTS = ("/v1", "/v1/openai")
"""Where the API is: OpenAI's own place, and DeepInfra's."""
PATHS = re.compile(r"/v1/(images/|openai/|models/[^/]+$)")
"""How the paths begin that are this API's alone; Replicate's models have an owner."""
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


def response(problem: Problem) -> Response:
    """Return the answer to an exception.

    What was tried and failed is not to be tried again: their clients would, twice.
    """
    status = 400 if problem.status == 422 else problem.status
    kind = "server_error" if status >= 500 else TYPES.get(status, "invalid_request_error")
    error = {
        "message": problem.sentence,
        "type": kind,
        "param": problem.faults[0].field if problem.faults else None,
        "code": problem.faults[0].type if problem.faults else CODES.get(status),
    }
    headers = problem.kept_headers
    if isinstance(problem, Failed):
        headers["x-should-retry"] = "false"
        if problem.is_flagged:
            error["code"] = "content_policy_violation"
    return JSONResponse({"error": error}, status, headers)
