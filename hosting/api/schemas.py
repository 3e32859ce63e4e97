"""The schemas of the models that run here, and of the fields that several APIs have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from hosting.api.context import Services
from hosting.api.problems import Problem
from hosting.backends.endpoints import Endpoint
from hosting.published_models import Model

Url = Annotated[str, Field(json_schema_extra={"format": "uri"})]
"""A URL that a client gives; the queue checks it."""


def running_schema(services: Services, model: Model) -> Mapping[str, Any]:
    """Return the schema of what serves a model.

    Raises:
        Problem: when nothing does, or none knows yet.
    """
    return running(services, model)[1]


def running(services: Services, model: Model) -> tuple[Endpoint, Mapping[str, Any]]:
    """Return what serves a model, and its schema.

    Raises:
        Problem: when nothing does, or none knows yet.
    """
    endpoints = services.endpoints
    for endpoint in endpoints:
        if endpoint.task == model.task and endpoint.schema is not None:
            return endpoint, endpoint.schema
    if any(endpoint.schema is None for endpoint in endpoints):
        raise Problem(503, "The models are still starting", headers={"Retry-After": "5"})
    tasks = {endpoint.task for endpoint in endpoints}
    names = ", ".join(sorted(one.id for one in services.models.models if one.task in tasks))
    raise Problem(404, f"{model.id} does not run here; there run {names}")
