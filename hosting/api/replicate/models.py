"""The models of Replicate's API, and their versions."""

from __future__ import annotations

from fastapi import APIRouter

from hosting.api.auth import Admitted, Caller
from hosting.api.problems import Problem
from hosting.api.replicate import documents
from hosting.api.replicate.documents import ModelDocument, Page, VersionDocument
from hosting.api.schemas import running_schema
from hosting.published_models import PublishedModels, Version

routes = APIRouter(prefix="/models", tags=["models"])


@routes.get("")
async def list_models(caller: Admitted) -> Page[ModelDocument]:
    """Return the models that run here."""
    models, endpoints = caller.services.models, caller.services.endpoints
    tasks = {endpoint.task for endpoint in endpoints}
    newest = [models.versions(one)[0] for one in models.models if one.task in tasks]
    return documents.page([await _shown(caller, version) for version in newest])


@routes.get("/{owner}/{name}")
async def get_model(owner: str, name: str, caller: Admitted) -> ModelDocument:
    """Return a model, and its newest version with the schema of its inputs and outputs."""
    return await _shown(caller, named(caller.services.models, f"{owner}/{name}"))


@routes.get("/{owner}/{name}/versions")
async def list_versions(owner: str, name: str, caller: Admitted) -> Page[VersionDocument]:
    """Return a model's versions: ours, and those that clients may have in their code."""
    services = caller.services
    model = named(services.models, f"{owner}/{name}").model
    schema = running_schema(services, model)
    return documents.page(
        [documents.version(one, schema) for one in services.models.versions(model)]
    )


@routes.get("/{owner}/{name}/versions/{version_id}")
async def get_version(owner: str, name: str, version_id: str, caller: Admitted) -> VersionDocument:
    """Return a version of a model."""
    services = caller.services
    found = services.models.find(f"{owner}/{name}:{version_id}")
    if found is None:
        raise Problem(404, f"{owner}/{name} has no version {version_id[:100]}")
    return documents.version(found, running_schema(services, found.model))


def named(models: PublishedModels, reference: str) -> Version:
    """Return the version that `owner/name` means, with or without its id.

    Raises:
        Problem: when there is none.
    """
    found = models.find(reference)
    if found is None:
        names = ", ".join(sorted(one.id for one in models.models))
        raise Problem(404, f"There is no model {reference[:100]}; there are {names}")
    return found


async def _shown(caller: Caller, version: Version) -> ModelDocument:
    services = caller.services
    schema = running_schema(services, version.model)
    runs = await services.queue.count_of_model(version.model.id)
    return documents.model(version, caller.view.base, schema, runs)
