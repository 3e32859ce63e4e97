"""The schemas of the models that run here, and of the fields that several APIs have."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from hosting.api.context import Services
from hosting.api.problems import Problem
from hosting.backends.endpoints import ServedModel
from hosting.published_models import Model

Url = Annotated[str, Field(json_schema_extra={"format": "uri"})]
"""A URL that a client gives; the queue checks it."""


def running_schema(services: Services, model: Model) -> Mapping[str, Any]:
    """Return the schema of what serves a model.

    Raises:
        Problem: when nothing does, or none knows yet.
    """
    return running(services, model)[1]


def drawing(services: Services, model: Model) -> ServedModel | None:
    """Return what draws for a model; None if nothing does, or none knows yet.

    Of several that do its task it is the one of its weights, or of its name, or else the usual one.
    """
    fit = [one for one in services.served if one.task == model.task and one.endpoint.schema]
    named = model.weights or model.name
    return next((one for one in fit if one.model == named), fit[0] if fit else None)


def running(services: Services, model: Model) -> tuple[ServedModel, Mapping[str, Any]]:
    """Return what draws for a model, and its schema.

    Raises:
        Problem: when nothing does, or none knows yet.
    """
    endpoints, chosen = services.endpoints, drawing(services, model)
    if chosen is not None:
        assert chosen.endpoint.schema is not None
        if not chosen.is_named:
            return chosen, chosen.endpoint.schema
        several = [one.model for one in chosen.endpoint.served]
        return chosen, _with_models(chosen.endpoint.schema, several)
    if any(endpoint.schema is None for endpoint in endpoints):
        raise Problem(503, "The models are still starting", headers={"Retry-After": "5"})
    tasks = {endpoint.task for endpoint in endpoints}
    names = ", ".join(sorted(one.id for one in services.models.models if one.task in tasks))
    raise Problem(404, f"{model.id} does not run here; there run {names}")


def _with_models(schema: Mapping[str, Any], names: list[str]) -> Mapping[str, Any]:
    """Return a schema whose input `model` says which models there are.

    They are examples: only the worker knows what has come since it last told.
    """
    document = copy.deepcopy(dict(schema))
    properties = document["components"]["schemas"]["Input"]["properties"]
    if "model" in properties:
        properties["model"]["examples"] = names
    return document
