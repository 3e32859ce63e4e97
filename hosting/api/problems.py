"""Errors as `application/problem+json` (RFC 9457), in the words of Replicate's API."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.responses import Response

from hosting.queue.inputs import Fault

KEPT = ("retry-after", "www-authenticate")
"""Headers of a problem that it has in every API's form."""


class Problem(Exception):
    """Why a request is not answered.

    Args:
        status: of HTTP.
        detail: a sentence for whoever asked.
        faults: what is wrong with the request, one by one.
        headers: of the answer.
    """

    MEDIA_TYPE = "application/problem+json"

    def __init__(
        self,
        status: int,
        detail: str,
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.faults = faults
        self.headers = dict(headers or {})

    @property
    def kept_headers(self) -> dict[str, str]:
        """The headers that it has in every API's form."""
        return {name: text for name, text in self.headers.items() if name.lower() in KEPT}

    @property
    def sentence(self) -> str:
        """What is wrong, with the field of each fault, in one line."""
        if not self.faults:
            return self.detail
        return "; ".join(f"{fault.field}: {fault.description}" for fault in self.faults)

    def response(self) -> Response:
        """Return the answer."""
        document: dict[str, Any] = {
            "title": "Input validation failed" if self.faults else HTTPStatus(self.status).phrase,
            "detail": self.detail,
            "status": self.status,
        }
        if self.faults:
            document["invalid_fields"] = [
                {"type": fault.type, "field": fault.field, "description": fault.description}
                for fault in self.faults
            ]
        # In ASCII: what is quoted from a request may be no Unicode, such as half a pair.
        return Response(
            json.dumps(document),
            self.status,
            headers=self.headers,
            media_type=self.MEDIA_TYPE,
        )


def no_prediction(prediction_id: str) -> Problem:
    """Return the problem of an id of which who asks has no prediction."""
    return Problem(404, f"There is no prediction {prediction_id[:100]}")


def invalid(faults: Sequence[Fault]) -> Problem:
    """Return the problem that names a request's faults."""
    lines = [f"- {fault.field}: {fault.description}" for fault in faults]
    return Problem(422, "\n".join(lines), faults)
