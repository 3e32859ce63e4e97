"""The models of Replicate's API, their versions, and the search for them."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse

from hosting.api import schemas
from hosting.api.auth import Admitted, Caller
from hosting.api.problems import Problem
from hosting.api.replicate import documents
from hosting.api.replicate.documents import (
    REFUSED,
    ModelDocument,
    ModelPage,
    Page,
    PredictionDocument,
    SearchDocument,
    VersionDocument,
)
from hosting.api.schemas import running_schema
from hosting.published_models import Model, PublishedModels, Version

LONGEST_SEARCH_CHARACTERS = 1000
FIXED = "Models and their versions are chosen by whoever runs this server, not by this API"

routes = APIRouter(prefix="/models", tags=["models"])
search_routes = APIRouter(prefix="/search", tags=["models"])


@routes.get("")
async def list_models(caller: Admitted) -> ModelPage:
    """Return the models that run here, for Replicate's clients and OpenAI's."""
    return documents.models([await _shown(caller, model) for model in running(caller)])


# OpenAPI has no method QUERY before its version 3.2.
@routes.api_route("", methods=["QUERY"], include_in_schema=False)
async def find_models(request: Request, caller: Admitted) -> Page[ModelDocument]:
    """Return the models that run here whose names and descriptions have each word of a text."""
    text = (await request.body()).decode("utf-8", "replace")
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        parsed = None
    # Some of Replicate's clients send the text as it is, others as JSON.
    found = _found(caller, parsed if isinstance(parsed, str) else text)
    return documents.page([await _shown(caller, model) for model in found])


@search_routes.get("")
async def search(
    caller: Admitted,
    query: Annotated[str, Query(description="words of names or descriptions")],
    limit: Annotated[int, Query(ge=1, le=50, description="the most models to return")] = 20,
) -> SearchDocument:
    """Search for models that run here; there are no collections and no pages to be found."""
    found = [await _shown(caller, model) for model in _found(caller, query)[:limit]]
    return documents.search(query, found)


@routes.post("", **REFUSED)
@routes.patch("/{owner}/{name}", **REFUSED)
@routes.delete("/{owner}/{name}", **REFUSED)
@routes.delete("/{owner}/{name}/versions/{version_id}", **REFUSED)
async def change_models(_: Admitted) -> None:
    """Refuse: models are chosen by whoever runs the server."""
    raise Problem(403, FIXED)


@routes.get("/{owner}/{name}")
async def get_model(owner: str, name: str, caller: Admitted) -> ModelDocument:
    """Return a model, and its newest version with the schema of its inputs and outputs."""
    return await _shown(caller, named(caller.services.models, f"{owner}/{name}").model)


@routes.get("/{owner}/{name}/readme", response_class=PlainTextResponse)
async def get_readme(owner: str, name: str, caller: Admitted) -> PlainTextResponse:
    """Return what a model is, as Markdown."""
    model = await _shown(caller, named(caller.services.models, f"{owner}/{name}").model)
    text = f"# {model['owner']}/{model['name']}\n\n{model['description']}\n"
    return PlainTextResponse(text)


@routes.get("/{owner}/{name}/examples")
async def list_examples(owner: str, name: str, caller: Admitted) -> Page[PredictionDocument]:
    """Return a model's example predictions: there are none."""
    running_schema(caller.services, named(caller.services.models, f"{owner}/{name}").model)
    return documents.page([])


@routes.get("/{owner}/{name}/versions")
async def list_versions(owner: str, name: str, caller: Admitted) -> Page[VersionDocument]:
    """Return a model's versions: ours, and those that clients may have in their code."""
    services = caller.services
    model = named(services.models, f"{owner}/{name}").model
    schema = running_schema(services, model)
    versions = services.models.versions(model)
    return documents.page(
        [documents.version(caller.limits.limited(one), schema) for one in versions]
    )


@routes.get("/{owner}/{name}/versions/{version_id}")
async def get_version(owner: str, name: str, version_id: str, caller: Admitted) -> VersionDocument:
    """Return a version of a model."""
    services = caller.services
    found = services.models.find(f"{owner}/{name}:{version_id}")
    if found is None:
        raise Problem(404, f"{owner}/{name} has no version {version_id[:100]}")
    schema = running_schema(services, found.model)
    return documents.version(caller.limits.limited(found), schema)


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


def running(caller: Caller) -> list[Model]:
    """Return the models that run here and the caller may ask for."""
    return [model for model in caller.services.models.models if caller.may_use(model)]


def _found(caller: Caller, text: str) -> list[Model]:
    words = text[:LONGEST_SEARCH_CHARACTERS].lower().split()
    return [
        model
        for model in running(caller)
        if all(
            word in " ".join((model.id, *model.aliases, model.description)).lower()
            for word in words
        )
    ]


async def _shown(caller: Caller, model: Model) -> ModelDocument:
    services = caller.services
    newest, *_ = services.models.versions(model)
    runs = await services.queue.count_of_model(model.id)
    endpoint, schema = schemas.running(services, model)
    adapters = endpoint.adapters.for_names(caller.loras)
    newest = caller.limits.limited(newest)
    return documents.model(newest, caller.view.base, schema, runs, adapters)
