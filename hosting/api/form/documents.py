"""A prediction as the form shows it: Replicate's document, and what a gallery needs beside it."""

from __future__ import annotations

import asyncio

# Pydantic, which documents these, takes no other before Python 3.12.
from typing_extensions import TypedDict

from hosting.api.context import Services
from hosting.api.replicate import documents
from hosting.api.replicate.documents import PredictionDocument
from hosting.api.view import View
from hosting.prediction import Prediction
from hosting.storage.files import file_of_prediction, link_path


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
    """Return a prediction as the form shows it. Small copies that it lacks are made by and by."""
    services = view.services
    sizes, thumbnails = await asyncio.to_thread(_of_files, services, record)
    pairs = zip(record.output, thumbnails, strict=True)
    if lacking := [name for name, copy in pairs if copy is None]:
        services.thumbnails.want(record, lacking)
    document = await documents.shown(view, record)
    return {
        **document,
        "task": record.task,
        "thumbnails": [path and view.link(link_path(path)) for path in thumbnails],
        "sizes": sizes,
    }


def _of_files(
    services: Services, record: Prediction
) -> tuple[list[tuple[int, int] | None], list[str | None]]:
    """Return the sizes of a prediction's pictures, and the paths of their small copies."""
    paths = [file_of_prediction(record.id, name) for name in record.output]
    sizes = [services.files.picture_size(path) for path in paths]
    return sizes, services.thumbnails.there(record)
