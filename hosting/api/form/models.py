"""The models that the form offers."""

from __future__ import annotations

# Pydantic, which documents `RunningModel`, takes no other before Python 3.12.
from typing_extensions import TypedDict

from hosting.api.auth import Caller
from hosting.backends.description import Description
from hosting.backends.endpoints import ServedModel


class RunningModel(TypedDict):
    """A model that the page offers."""

    id: str
    """By which `/openapi.json` describes it, and predictions are asked of it."""
    name: str
    task: str
    status: str
    description: Description | None
    """What its worker says of it, with those LoRAs that the caller may use; None until it was
    ready once."""


def running(caller: Caller) -> list[RunningModel]:
    """Return a model for each that runs and the caller may ask for."""
    limits, models = caller.limits, caller.services.models
    return [
        _running(caller, served, served.task)
        for served in caller.services.served
        if served.task
        if limits.allow(models.offered(served.task, served.model).model, served.model)
    ]


def _running(caller: Caller, served: ServedModel, task: str) -> RunningModel:
    usable = served.adapters.for_names(caller.loras)
    described = served.description
    return {
        "id": caller.services.models.offered(task, served.model).model.id,
        "name": served.model,
        "task": task,
        "status": served.status,
        "description": described and described.with_adapters(usable),
    }
