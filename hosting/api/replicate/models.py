"""The models of Replicate's API, and their versions."""

from __future__ import annotations

from fastapi import APIRouter

from hosting import published_models
from hosting.api.auth import Admitted, Caller
from hosting.api.problems import Problem
from hosting.api.replicate import documents
from hosting.api.replicate.documents import ModelDocument, Page, VersionDocument
from hosting.api.schemas import running_schema
from hosting.published_models import MODELS, Model

routes = APIRouter(prefix="/models", tags=["models"])


@routes.get("")
async def list_models(caller: Admitted) -> Page[ModelDocument]:
    """Return the models that run here."""
    tasks = {endpoint.task for endpoint in caller.services.endpoints}
    running = [model for model in MODELS if model.task in tasks]
    return documents.page([await _shown(caller, model) for model in running])


@routes.get("/{owner}/{name}")
async def get_model(owner: str, name: str, caller: Admitted) -> ModelDocument:
    """Return a model, and its newest version with the schema of its inputs and outputs."""
    return await _shown(caller, named(f"{owner}/{name}"))


@routes.get("/{owner}/{name}/versions")
async def list_versions(owner: str, name: str, caller: Admitted) -> Page[VersionDocument]:
    """Return a model's versions: ours, and those that clients may have in their code."""
    model = named(f"{owner}/{name}")
    schema = running_schema(caller.services.endpoints, model)
    ids = [published_models.version_of(model), *model.versions]
    return documents.page(
        [documents.version(published_models.find(i) or model, i, schema) for i in ids]
    )


@routes.get("/{owner}/{name}/versions/{version_id}")
async def get_version(owner: str, name: str, version_id: str, caller: Admitted) -> VersionDocument:
    """Return a version of a model."""
    model = published_models.find(version_id)
    if model is None or model.id != f"{owner}/{name}":
        raise Problem(404, f"{owner}/{name} has no version {version_id[:100]}")
    return documents.version(model, version_id, running_schema(caller.services.endpoints, model))


def named(reference: str) -> Model:
    """Return a model by `owner/name`, with or without a version.

    Raises:
        Problem: when there is none.
    """
    found = published_models.find(reference)
    if found is None:
        names = ", ".join(sorted(one.id for one in MODELS))
        raise Problem(404, f"There is no model {reference[:100]}; there are {names}")
    return found


async def _shown(caller: Caller, model: Model) -> ModelDocument:
    services = caller.services
    schema = running_schema(services.endpoints, model)
    return documents.model(
        model, caller.view.base, schema, await services.queue.count_of_model(model.id)
    )
