"""The pictures of several predictions in one zip file, by names that people can read."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Iterable, Sequence
from functools import partial

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from hosting.api import results, zip_stream
from hosting.api.auth import Admitted
from hosting.api.problems import Problem
from hosting.api.zip_stream import Entry
from hosting.prediction import Prediction
from hosting.storage.files import Files, file_of_prediction

MOST_PREDICTIONS = 200
LARGEST_BYTES = 2**31
"""Of the pictures in an archive together."""
LONGEST_NAME_CHARACTERS = 60
"""Of what a name has of a prompt."""

routes = APIRouter(include_in_schema=False)


@routes.get("/form/zip", response_model=None)
async def pictures(caller: Admitted, ids: str = Query(min_length=1)) -> StreamingResponse:
    """Return the pictures of one's predictions, named with commas between them, as a zip file."""
    wanted = list(dict.fromkeys(ids.split(",")))
    if len(wanted) > MOST_PREDICTIONS:
        raise Problem(413, f"Ask for {MOST_PREDICTIONS} predictions at most, not {len(wanted)}")
    found = []
    for prediction_id in wanted:
        prediction = await caller.services.queue.of_token(prediction_id, caller.token.id)
        if prediction is None:
            raise Problem(404, f"There is no prediction {prediction_id[:100]}")
        found.append(prediction)
    return await response(caller.services.files, found)


async def response(files: Files, predictions: Sequence[Prediction]) -> StreamingResponse:
    """Return the answer that sends the pictures of predictions as a zip file.

    Raises:
        Problem: when there are none, or they are too large together.
    """
    named = _named(predictions)
    sizes = await asyncio.to_thread(lambda: [files.size(path) for _, path, _ in named])
    there = [size for size in sizes if size is not None]
    if not there:
        raise Problem(404, "There are no pictures to be put into a zip file")
    if sum(there) > LARGEST_BYTES:
        most = f"{LARGEST_BYTES / 2**30:g} GiB"
        raise Problem(413, f"The pictures have more than {most} together; ask for fewer")
    headers = {"content-disposition": 'attachment; filename="pictures.zip"'}
    entries = (Entry(name, partial(files.open, path), at) for name, path, at in named)
    return StreamingResponse(
        zip_stream.stream(entries), media_type="application/zip", headers=headers
    )


def _named(predictions: Iterable[Prediction]) -> list[tuple[str, str, float]]:
    """Return the pictures of predictions: a name that no other has, the path, and when it was made.

    When that was is in seconds since 1970.
    """
    found, taken = list[tuple[str, str, float]](), set[str]()
    for prediction in predictions:
        made_at = prediction.completed_at or prediction.created_at
        seeds = {drawn.file: drawn.seed for drawn in results.pictures(prediction)}
        for output in prediction.output:
            name = _name(prediction.request.get("prompt"), seeds.get(output), output)
            name = _unique(name, taken)
            taken.add(name)
            found.append((name, file_of_prediction(prediction.id, output), made_at))
    return found


def _name(prompt: object, seed: int | None, output: str) -> str:
    """Return a picture's name, such as `a-red-fox-seed-4.png`."""
    text = unicodedata.normalize("NFC", str(prompt or "")).lower()
    # A mark belongs to the letter before it.
    kept = (c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in text)
    words = "-".join("".join(kept).split())[:LONGEST_NAME_CHARACTERS].strip("-") or "picture"
    of_seed = "" if seed is None else f"-seed-{seed}"
    return f"{words}{of_seed}.{output.rpartition('.')[2]}"


def _unique(name: str, taken: set[str]) -> str:
    """Return a name, with a number where others have it."""
    stem, _, ending = name.rpartition(".")
    number = 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}.{ending}"
    return name
