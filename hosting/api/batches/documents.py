"""The documents of batches: OpenAI's, with more of ours, and the manifest of results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NotRequired

# Pydantic, which documents these, takes no other before Python 3.12.
from typing_extensions import TypedDict

from hosting.api.results import pictures
from hosting.prediction import Prediction
from hosting.states import Status
from hosting.storage.batches import Progress
from hosting.storage.files import file_of_prediction, link_path
from hosting.storage.pages import Page
from hosting.storage.tables import Batch

OWN_ENDPOINT = "/v1/predictions"
OUTPUT, ERRORS = "output", "errors"
"""The two files of a batch, as their ids end."""
BatchStatus = Literal["in_progress", "cancelling", "cancelled", "completed"]


class RequestCounts(TypedDict):
    """How many requests a batch has, and how many of them have succeeded and have not."""

    total: int
    completed: int
    failed: int


class BatchDocument(TypedDict):
    """A batch, as OpenAI's API has it, times in seconds since 1970.

    Ours are `counts`, of its predictions by their status and of those that were `removed`, and
    `urls`.
    """

    id: str
    object: Literal["batch"]
    endpoint: str
    status: BatchStatus
    input_file_id: str | None
    completion_window: Literal["24h"]
    errors: None
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    completed_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    metadata: dict[str, str]
    counts: dict[str, int]
    urls: dict[str, str]


class BatchPage(TypedDict):
    """Batches, the newest first, as OpenAI lists them, and the URLs of what is before and after."""

    object: Literal["list"]
    data: list[BatchDocument]
    first_id: str | None
    last_id: str | None
    has_more: bool
    previous: str | None
    next: str | None


class ResultPicture(TypedDict):
    """A picture of a request."""

    url: str
    seed: int


class ResultDocument(TypedDict):
    """What has become of a request of a batch; `prediction` is its prediction's id."""

    index: int
    id: str | None
    prediction: str
    status: Status | Literal["removed"]
    urls: list[str]
    images: NotRequired[list[ResultPicture]]
    error: str | None


class ResultsDocument(TypedDict):
    """The manifest of a batch: what has become of each request, in their order."""

    id: str
    status: BatchStatus
    results: list[ResultDocument]


def batch(record: Batch, progress: Progress, base: str) -> BatchDocument:
    """Return a batch.

    Args:
        base: the front's URL.
    """
    counts = {status.value: progress.counts.get(status, 0) for status in Status}
    counts["removed"] = len(record.requests) - sum(counts.values())
    succeeded = counts[Status.SUCCEEDED]
    unfinished = counts[Status.STARTING] + counts[Status.PROCESSING]
    failed = len(record.requests) - succeeded - unfinished
    ended = progress.completed_at if progress.is_over else None
    status, cancelled = status_of(record, progress), record.canceled_at
    url = f"{base}/v1/batches/{record.id}"
    return {
        "id": record.given_id or record.id,
        "object": "batch",
        "endpoint": record.endpoint or OWN_ENDPOINT,
        "status": status,
        "input_file_id": record.input_file_id,
        "completion_window": "24h",
        "errors": None,
        "output_file_id": f"{record.id}-{OUTPUT}" if progress.is_over and succeeded else None,
        "error_file_id": f"{record.id}-{ERRORS}" if progress.is_over and failed else None,
        "created_at": int(record.created_at),
        "in_progress_at": _whole(progress.started_at),
        "completed_at": _whole(ended) if status == "completed" else None,
        "cancelling_at": _whole(cancelled),
        "cancelled_at": _whole(ended) if status == "cancelled" else None,
        "request_counts": {
            "total": len(record.requests),
            "completed": succeeded,
            "failed": failed,
        },
        "metadata": record.details,
        "counts": counts,
        "urls": {
            "get": url,
            "cancel": f"{url}/cancel",
            "results": f"{url}/results",
            "zip": f"{url}/zip",
        },
    }


def status_of(record: Batch, progress: Progress) -> BatchStatus:
    """Return the status of a batch, in OpenAI's words."""
    if record.canceled_at is None:
        return "completed" if progress.is_over else "in_progress"
    return "cancelled" if progress.is_over else "cancelling"


def page(found: Page[Batch], shown: Sequence[BatchDocument], base: str) -> BatchPage:
    """Return a page of batches."""
    url = f"{base}/v1/batches"
    previous, following = (
        cursor and f"{url}?cursor={cursor}" for cursor in (found.newer, found.older)
    )
    return {
        "object": "list",
        "data": list(shown),
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": found.older is not None,
        "previous": previous,
        "next": following,
    }


def result(
    place: int,
    request: Mapping[str, Any],
    prediction: Prediction | None,
    link: Callable[[str], str],
) -> ResultDocument:
    """Return what has become of a request.

    Args:
        prediction: None where it was removed.
        link: makes the URL of a path of ours.
    """
    document: ResultDocument = {
        "index": place,
        "id": request.get("id"),
        "prediction": request["prediction"],
        "status": "removed",
        "urls": [],
        "error": None,
    }
    if prediction:
        files = [file_of_prediction(prediction.id, name) for name in prediction.output]
        urls = [link(link_path(file)) for file in files]
        document |= {"status": prediction.status, "urls": urls, "error": prediction.error}
        seeds = [picture.seed for picture in pictures(prediction)]
        if prediction.status is Status.SUCCEEDED and len(seeds) == len(urls):
            document["images"] = [
                {"url": url, "seed": seed} for url, seed in zip(urls, seeds, strict=True)
            ]
    return document


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds)
