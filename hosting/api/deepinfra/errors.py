"""Errors in the form of DeepInfra's API."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse, Response

from hosting.api.problems import Problem

ROOT = "/v1/inference/"
"""The beginning of the API's paths."""


def response(problem: Problem) -> Response:
    """Return the answer to an exception."""
    detail: Any = {"error": problem.detail}
    if problem.faults:
        detail = [
            {
                "loc": ["body", *fault.field.removeprefix("input.").split(".")],
                "msg": fault.description,
                "type": fault.type,
            }
            for fault in problem.faults
        ]
    document = {"detail": detail, "error": problem.detail}
    return JSONResponse(document, problem.status, problem.kept_headers)
