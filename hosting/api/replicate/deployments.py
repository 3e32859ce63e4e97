"""The deployments of Replicate's API: each model that runs here is one, of the same name."""

from __future__ import annotations

from fastapi import APIRouter

from hosting.api.auth import Admitted, Caller
from hosting.api.problems import Problem
from hosting.api.replicate import documents, models
from hosting.api.replicate.documents import REFUSED, DeploymentDocument, Page
from hosting.api.schemas import running_schema
from hosting.published_models import Model

FIXED = "What is deployed is chosen by whoever runs this server, not by this API"

routes = APIRouter(prefix="/deployments", tags=["deployments"])


@routes.get("")
async def list_deployments(caller: Admitted) -> Page[DeploymentDocument]:
    """Return the deployments: the models that run here."""
    return documents.page([_shown(caller, model) for model in models.running(caller)])


@routes.get("/{owner}/{name}")
async def get_deployment(owner: str, name: str, caller: Admitted) -> DeploymentDocument:
    """Return a deployment."""
    model = models.named(caller.services.models, f"{owner}/{name}").model
    running_schema(caller.services, model)
    return _shown(caller, model)


@routes.post("", **REFUSED)
@routes.patch("/{owner}/{name}", **REFUSED)
@routes.delete("/{owner}/{name}", **REFUSED)
async def change_deployments(_: Admitted) -> None:
    """Refuse: what is deployed is chosen by whoever runs the server."""
    raise Problem(403, FIXED)


def _shown(caller: Caller, model: Model) -> DeploymentDocument:
    endpoints = [one for one in caller.services.endpoints if one.task == model.task]
    newest, *_ = caller.services.models.versions(model)
    return documents.deployment(newest, len(endpoints))
