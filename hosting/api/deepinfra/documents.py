"""The documents of DeepInfra's API: a prediction's."""

from __future__ import annotations

from typing import Any, Literal

# Pydantic, which documents these, takes no other before Python 3.12.
from typing_extensions import TypedDict

from hosting.prediction import Prediction
from hosting.states import Status

InferenceState = Literal["queued", "running", "succeeded", "failed"]
STATUSES: dict[Status, InferenceState] = {
    Status.STARTING: "queued",
    Status.PROCESSING: "running",
    Status.SUCCEEDED: "succeeded",
    Status.FAILED: "failed",
    Status.CANCELED: "failed",
    Status.ABORTED: "failed",
}
"""DeepInfra's names for them."""


class InferenceStatus(TypedDict):
    """The end of a prediction, in DeepInfra's form. Nothing costs anything here."""

    status: InferenceState
    runtime_ms: int
    cost: float
    tokens_generated: int
    tokens_input: int


class InferenceDocument(TypedDict):
    """A prediction as DeepInfra's API answers.

    `images` are data URLs. `nsfw_content_detected` has a flag for each image that was asked for;
    those flagged are not among `images`.
    """

    images: list[str]
    nsfw_content_detected: list[bool]
    seed: int
    request_id: str
    inference_status: InferenceStatus


def inference(record: Prediction, urls: list[str]) -> InferenceDocument:
    """Return a prediction as DeepInfra's API answers.

    Args:
        urls: its pictures, as data URLs.
    """
    images = sorted(record.metrics.get("images", []), key=lambda image: int(image["index"]))
    seconds = record.metrics.get("predict_time", 0)
    return {
        "images": urls,
        "nsfw_content_detected": [bool(image["nsfw"]) for image in images],
        "seed": record.request["seed"],
        "request_id": record.id,
        "inference_status": {
            "status": STATUSES[record.status],
            "runtime_ms": round(1000 * seconds),
            "cost": 0.0,
            "tokens_generated": 0,
            "tokens_input": 0,
        },
    }


def webhook_body(record: Prediction, urls: list[str]) -> dict[str, Any]:
    """Return a prediction that is over, as the webhook of DeepInfra's API is told.

    Args:
        urls: its pictures, as data URLs.
    """
    results: dict[str, Any] = {**inference(record, urls)}
    status = {name: results.pop(name) for name in ("request_id", "inference_status")}
    if record.status is Status.SUCCEEDED:
        return {**status, "results": results}
    return {**status, "error": record.error or "It was canceled"}
