"""Errors in the form of Hugging Face's Inference API."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse, Response

from hosting.api.problems import Problem

ROOT = "/models/"
"""The beginning of the API's paths."""


def response(problem: Problem) -> Response:
    """Return the answer to an exception; with seconds to wait where the model still loads."""
    document: dict[str, Any] = {"error": problem.sentence}
    seconds = problem.kept_headers.get("Retry-After")
    if problem.status == 503 and seconds is not None:
        document["estimated_time"] = float(seconds)
    status = 400 if problem.status == 422 else problem.status
    return JSONResponse(document, status, problem.kept_headers)
