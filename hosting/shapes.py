"""What Replicate's API answers: the JSON documents of a prediction, a model, a version, a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from hosting import models
from hosting.database import Prediction, Upload
from hosting.models import Model

COG_VERSION = "0.23.1"
EPOCH = "2022-11-24T00:00:00.000Z"
"""When Stable Diffusion 2 was published; versions must have some date."""


def prediction(
    record: Prediction, link: Callable[[str], str], queue: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A prediction.

    Args:
        link: makes the URL of a path of ours.
        queue: `position` and `estimated_wait` of one that waits.
    """
    folder = f"/files/predictions/{record.id}"
    path = f"/v1/predictions/{record.id}"
    shown = {
        "id": record.given_id or record.id,
        "model": record.model,
        "version": record.version,
        "input": {name: _shown(value, folder, link) for name, value in record.input.items()},
        "output": [link(f"{folder}/{name}") for name in record.output] or None,
        "logs": record.logs,
        "error": record.error,
        "status": record.status,
        "source": "api",
        "data_removed": False,
        "metrics": record.metrics,
        "created_at": when(record.created_at),
        "started_at": when(record.started_at),
        "completed_at": when(record.completed_at),
        "urls": {
            "get": record.source + path,
            "cancel": f"{record.source}{path}/cancel",
            "stream": link(f"{path}/stream"),
        },
    }
    return {**shown, "queue": queue} if queue else shown


def model(one: Model, base: str, schema: Mapping[str, Any], runs: int) -> dict[str, Any]:
    """A model that runs here."""
    return {
        "url": f"{base}/v1/models/{one.id}",
        "owner": one.owner,
        "name": one.name,
        "description": one.description,
        "visibility": "public",
        "github_url": None,
        "paper_url": None,
        "license_url": None,
        "run_count": runs,
        "cover_image_url": None,
        "default_example": None,
        "latest_version": version(one, models.version_of(one), schema),
    }


def version(one: Model, version_id: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """A version of a model, with the schema of its inputs and outputs."""
    return {
        "id": version_id,
        "created_at": EPOCH,
        "cog_version": COG_VERSION,
        "openapi_schema": models.openapi_schema(one, schema),
    }


def upload(record: Upload, base: str, link: Callable[[str], str]) -> dict[str, Any]:
    """A file that a client sent."""
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
            "download": link(f"/files/uploads/{record.id}"),
        },
    }


def when(seconds: float | None) -> str | None:
    """A time as Replicate writes it, such as 2026-01-31T12:00:00.000Z."""
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _shown(value: Any, folder: str, link: Callable[[str], str]) -> Any:
    """An input as the client gave it; what came as a file, as a link to it."""
    is_file = isinstance(value, dict) and set(value) == {"file"}
    return link(f"{folder}/{value['file']}") if is_file else value
