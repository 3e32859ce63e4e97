"""The documents of OpenAI's API: pictures, and the models that draw them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Literal, NotRequired

# Pydantic, which documents these, takes no other before Python 3.12.
from typing_extensions import TypedDict

from hosting.api.model_entries import ModelEntry, entry
from hosting.api.results import Picture
from hosting.prediction import Prediction
from hosting.storage.files import file_of_prediction, link_path
from hosting.storage.tables import Upload


class ImageDocument(TypedDict):
    """A picture: as a link that is good for a time, in base64, or both."""

    b64_json: NotRequired[str]
    url: NotRequired[str]
    revised_prompt: None
    index: int
    seed: int


class ImagesDocument(TypedDict):
    """The pictures of a request.

    `size` is as it is drawn, where it was asked for or a picture in the answer says it. `warnings`
    has a sentence for each thing that was asked for and is otherwise.
    """

    id: str
    created: int
    model: str
    data: list[ImageDocument]
    size: NotRequired[str]
    warnings: list[str]


class FileDocument(TypedDict):
    """A file that was sent for a purpose, or that a batch has; times in seconds since 1970."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"]


class ModelsDocument(TypedDict):
    """The models that run here."""

    object: Literal["list"]
    data: list[ModelEntry]


def images(
    prediction: Prediction,
    pictures: Sequence[Picture],
    data: Sequence[bytes],
    link: Callable[[str], str] | None,
) -> ImagesDocument:
    """Return the pictures of a prediction.

    Args:
        data: what is in their files, or nothing where it is not asked for.
        link: makes the URL of a path of ours; None where no links are asked for.
    """
    shown: list[ImageDocument] = []
    for place, picture in enumerate(pictures):
        image: ImageDocument = {
            "revised_prompt": None,
            "index": picture.index,
            "seed": picture.seed,
        }
        if data:
            image["b64_json"] = base64.b64encode(data[place]).decode()
        if link:
            image["url"] = link(link_path(file_of_prediction(prediction.id, picture.file)))
        shown.append(image)
    return {
        "id": prediction.id,
        "created": int(prediction.created_at),
        "model": prediction.model,
        "data": shown,
        "warnings": [],
    }


def upload(record: Upload) -> FileDocument:
    """Return a file that a client sent for a purpose."""
    return {
        "id": record.id,
        "object": "file",
        "bytes": record.size,
        "created_at": int(record.created_at),
        "expires_at": int(record.expires_at),
        "filename": record.name,
        "purpose": record.purpose or "",
        "status": "processed",
    }


def batch_file(file_id: str, size: int, created_at: float) -> FileDocument:
    """Return a file with the results of a batch.

    Args:
        size: in bytes.
        created_at: seconds since 1970.
    """
    return {
        "id": file_id,
        "object": "file",
        "bytes": size,
        "created_at": int(created_at),
        "expires_at": None,
        "filename": f"{file_id}.jsonl",
        "purpose": "batch_output",
        "status": "processed",
    }


def models(ids: Sequence[str]) -> ModelsDocument:
    """Return the models of these names."""
    return {"object": "list", "data": [entry(one) for one in ids]}
