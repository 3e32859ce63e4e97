"""A prediction as the form shows it: Replicate's document, and what a gallery needs beside it."""

from __future__ import annotations

import asyncio

# Pydantic, which documents these, takes no other before Python 3.12.
from typing_extensions import TypedDict

from hosting.api.replicate import documents
from hosting.api.replicate.documents import PredictionDocument
from hosting.api.view import View
from hosting.prediction import Prediction
from hosting.storage.files import file_of_prediction


class FormPrediction(PredictionDocument):
    """A prediction in the form's gallery. Its lists have an entry for each picture in `output`."""

    task: str
    thumbnails: list[str | None]
    """Links to small copies; None where there is none, or not yet."""
    sizes: list[tuple[int, int] | None]
    """Widths and heights in pixels; None where the file is gone."""


class FormPage(TypedDict):
    """A page of predictions, the newest first, and the URL of the next one, if there is one."""

    results: list[FormPrediction]
    next: str | None


async def shown(view: View, record: Prediction) -> FormPrediction:
    """Return a prediction as the form shows it."""
    paths = [file_of_prediction(record.id, name) for name in record.output]
    files = view.services.files
    sizes = await asyncio.to_thread(lambda: [files.picture_size(path) for path in paths])
    document = await documents.shown(view, record)
    return {
        **document,
        "task": record.task,
        "thumbnails": [None for _ in paths],
        "sizes": sizes,
    }
