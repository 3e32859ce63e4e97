"""The documents of Replicate's API: of a prediction, a model, a version, a file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Generic, Literal, NotRequired

# Pydantic, which documents these, takes no other before Python 3.12.
from typing_extensions import TypedDict, TypeVar

from hosting import published_models
from hosting.api.model_entries import ModelEntry, entry
from hosting.api.view import View
from hosting.backends.description import Adapters
from hosting.prediction import Prediction
from hosting.published_models import RENAMED, PublishedModels, Version
from hosting.queue.waits import Place
from hosting.states import FailureKind, Status
from hosting.storage.files import (
    InputFile,
    file_of_prediction,
    file_of_upload,
    link_path,
)
from hosting.storage.tables import Token, Upload

Document = TypeVar("Document")

COG_VERSION = "0.23.1"
REFUSED: dict[str, Any] = {
    "status_code": 403,
    "response_model": None,
    "response_description": "Refused, whatever is asked for",
}
"""How routes document what Replicate's API does and this server does not."""
HARDWARE = "self-hosted"
"""The name of the hardware here, which nobody chooses by the API."""
EPOCH = "2022-11-24T00:00:00.000Z"
"""When Stable Diffusion 2 was published; versions must have some date."""


class PredictionDocument(TypedDict):
    """A prediction.

    `output` is a list of URLs, or for a version that has one picture its URL. `queue` is there
    while it waits, `failure` if it failed, `deadline` if it was given one, and `batch` if it was
    asked for in one.
    """

    id: str
    model: str
    version: str
    input: dict[str, Any]
    output: list[str] | str | None
    logs: str
    error: str | None
    status: Status
    source: Literal["api"]
    data_removed: bool
    metrics: dict[str, Any]
    created_at: str
    started_at: str | None
    completed_at: str | None
    deadline: NotRequired[str]
    batch: NotRequired[str]
    urls: dict[str, str]
    queue: NotRequired[Place]
    failure: NotRequired[FailureKind]


class VersionDocument(TypedDict):
    """A version of a model, with the schema of its inputs and outputs."""

    id: str
    created_at: str
    cog_version: str
    openapi_schema: dict[str, Any]


class ModelDocument(ModelEntry):
    """A model that runs here. It is OpenAI's model too: their clients ask at the same place."""

    url: str
    owner: str
    name: str
    description: str
    visibility: Literal["public"]
    github_url: str | None
    paper_url: str | None
    license_url: str | None
    run_count: int
    cover_image_url: str | None
    default_example: None
    latest_version: VersionDocument
    loras: list[dict[str, Any]]
    embeddings: list[dict[str, Any]]


class FoundModel(TypedDict):
    """A model that a search has found, and what is known of it besides."""

    model: ModelDocument
    metadata: dict[str, Any]


class SearchDocument(TypedDict):
    """What a search has found."""

    query: str
    models: list[FoundModel]
    collections: list[dict[str, Any]]
    pages: list[dict[str, Any]]


class ReleaseConfiguration(TypedDict):
    """What a deployment runs on."""

    hardware: str
    min_instances: int
    max_instances: int


class ReleaseDocument(TypedDict):
    """What a deployment runs."""

    number: int
    model: str
    version: str
    created_at: str
    created_by: AccountDocument | None
    configuration: ReleaseConfiguration


class DeploymentDocument(TypedDict):
    """A model that runs here, as a deployment."""

    owner: str
    name: str
    current_release: ReleaseDocument


class HardwareDocument(TypedDict):
    """Hardware that a model may run on."""

    name: str
    sku: str


class FileDocument(TypedDict):
    """A file that a client sent."""

    id: str
    name: str
    content_type: str
    size: int
    etag: str
    checksums: dict[str, str]
    metadata: dict[str, Any]
    created_at: str
    expires_at: str
    urls: dict[str, str]


class AccountDocument(TypedDict):
    """Whose token it is."""

    type: Literal["user"]
    username: str
    name: str
    github_url: str | None
    avatar_url: str | None


class Page(TypedDict, Generic[Document]):
    """A part of a list, and the URLs of what is before and after it."""

    previous: str | None
    next: str | None
    results: list[Document]


class ModelPage(Page[ModelDocument]):
    """The models that run here, as Replicate's page and, in `object` and `data`, OpenAI's list."""

    object: Literal["list"]
    data: list[ModelEntry]


def prediction(
    record: Prediction,
    link: Callable[[str], str],
    models: PublishedModels,
    queue: Place | None = None,
) -> PredictionDocument:
    """Return a prediction.

    Args:
        link: makes the URL of a path of ours.
        models: say in which form a version has its output.
    """
    urls = [link(path) for path in _outputs(record)]
    version = models.find(record.version)
    has_one = version is not None and version.output == "one"
    path = f"/v1/predictions/{record.id}"
    shown: PredictionDocument = {
        "id": record.given_id or record.id,
        "model": record.model,
        "version": record.version,
        "input": {
            name: link(link_path(file.path(record.id))) if (file := _file(record, name)) else value
            for name, value in record.input.items()
        },
        "output": (urls[0] if has_one else urls) if urls else None,
        "logs": record.logs,
        "error": record.error,
        "status": record.status,
        "source": "api",
        "data_removed": False,
        "metrics": dict(record.metrics),
        "created_at": when(record.created_at),
        "started_at": None if record.started_at is None else when(record.started_at),
        "completed_at": None if record.completed_at is None else when(record.completed_at),
        "urls": {
            "get": record.source + path,
            "cancel": f"{record.source}{path}/cancel",
            "stream": link(f"{path}/stream"),
            "web": link(f"/p/{record.id}"),
        },
    }
    if queue:
        shown["queue"] = queue
    if record.deadline is not None:
        shown["deadline"] = when(record.deadline)
    if record.batch_id is not None:
        shown["batch"] = record.batch_id
    if record.failure:
        shown["failure"] = record.failure
    return shown


def known(view: View, record: Prediction) -> Prediction:
    """Return a prediction whose status its client knows: others would wait for its end for ever."""
    if record.status is Status.ABORTED and not view.knows_aborted:
        return replace(record, status=Status.CANCELED)
    return record


async def shown(view: View, record: Prediction) -> PredictionDocument:
    """Return a prediction as its client is to see it.

    Its pictures are links, but data URLs where the client makes files of them, and could make none
    of our links since they are plain http.
    """
    services = view.services
    paths = _outputs(record)
    urls: list[str] = []
    if record.makes_files and view.makes_files and view.base.startswith("http:"):
        urls = await asyncio.to_thread(services.files.data_urls, record.id, record.output)
    data = dict(zip(paths, urls, strict=False))
    return prediction(
        known(view, record),
        lambda path: data.get(path) or view.link(path),
        services.models,
        await services.queue.place(record),
    )


def model(
    newest: Version, base: str, schema: Mapping[str, Any], runs: int, adapters: Adapters
) -> ModelDocument:
    """Return a model that runs here, with what is installed beside it that the client may use."""
    published = newest.model
    return {
        **entry(published.id),
        "url": f"{base}/v1/models/{published.id}",
        "owner": published.owner,
        "name": published.name,
        "description": published.description,
        "visibility": "public",
        "github_url": None,
        "paper_url": None,
        "license_url": None,
        "run_count": runs,
        "cover_image_url": None,
        "default_example": None,
        "latest_version": version(newest, schema),
        "loras": [one.model_dump() for one in adapters.loras],
        "embeddings": [one.model_dump(mode="json") for one in adapters.embeddings],
    }


def version(published: Version, schema: Mapping[str, Any]) -> VersionDocument:
    """Return a version of a model, with the schema of its inputs and outputs."""
    return {
        "id": published.id,
        "created_at": EPOCH,
        "cog_version": COG_VERSION,
        "openapi_schema": published_models.openapi_schema(published, schema),
    }


def search(query: str, found: Sequence[ModelDocument]) -> SearchDocument:
    """Return what a search has found: models only."""
    models: list[FoundModel] = [{"model": one, "metadata": {"tags": []}} for one in found]
    return {"query": query, "models": models, "collections": [], "pages": []}


def deployment(newest: Version, instances: int) -> DeploymentDocument:
    """Return a model that runs here as a deployment.

    Args:
        instances: endpoints that serve the model.
    """
    return {
        "owner": newest.model.owner,
        "name": newest.model.name,
        "current_release": {
            "number": 1,
            "model": newest.model.id,
            "version": newest.id,
            "created_at": EPOCH,
            "created_by": None,
            "configuration": {
                "hardware": HARDWARE,
                "min_instances": instances,
                "max_instances": instances,
            },
        },
    }


def upload(record: Upload, base: str, link: Callable[[str], str]) -> FileDocument:
    """Return a file that a client sent."""
    return {
        "id": record.id,
        "name": record.name,
        "content_type": record.content_type,
        "size": record.size,
        "etag": record.sha256,
        "checksums": {"sha256": record.sha256},
        "metadata": record.details,
        "created_at": when(record.created_at),
        "expires_at": when(record.expires_at),
        "urls": {
            "get": f"{base}/v1/files/{record.id}",
            "download": link(link_path(file_of_upload(record.id))),
        },
    }


def account(token: Token) -> AccountDocument:
    """Whose token it is."""
    return {
        "type": "user",
        "username": token.name,
        "name": token.name,
        "github_url": None,
        "avatar_url": None,
    }


def page(
    results: list[Document], url: str = "", newer: str | None = None, older: str | None = None
) -> Page[Document]:
    """Return a part of a list; the whole, unless there is more before or after it.

    Args:
        url: of the list.
        newer, older: the cursors of the parts before and after it.
    """
    previous, following = (cursor and f"{url}?cursor={cursor}" for cursor in (newer, older))
    return {"previous": previous, "next": following, "results": results}


def when(seconds: float) -> str:
    """Return a time as Replicate writes it, such as 2026-01-31T12:00:00.000Z."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def models(shown: list[ModelDocument]) -> ModelPage:
    """Return all models that run here."""
    return {**page(shown), "object": "list", "data": [entry(one["id"]) for one in shown]}


def _outputs(record: Prediction) -> list[str]:
    """Return the paths of a prediction's pictures in our URLs."""
    return [link_path(file_of_prediction(record.id, name)) for name in record.output]


def _file(record: Prediction, name: str) -> InputFile | None:
    """Return the file that came in an input; None for any other, whatever the client sent."""
    known_as = RENAMED.get(name, name)
    came = known_as in record.files and record.input[name] == InputFile.sent(known_as).placeholder
    return InputFile(record.files[known_as]) if came else None
