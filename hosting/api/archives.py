"""The pictures of predictions in one zip file, by names that people can read."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from fastapi.responses import StreamingResponse

from hosting.api import results, zip_stream
from hosting.api.problems import Problem
from hosting.api.zip_stream import Entry
from hosting.prediction import Prediction
from hosting.storage.files import Files, file_of_prediction

LARGEST_BYTES = 2**31
"""Of the pictures in an archive together."""
LONGEST_NAME_CHARACTERS = 60
"""Of what a name has of a prompt."""


@dataclass(frozen=True)
class Named:
    """A picture with a name that people can read."""

    name: str
    """Others may have the same."""
    path: str
    """Here."""
    made_at: float
    """Seconds since 1970."""


async def response(files: Files, named: Sequence[Named]) -> StreamingResponse:
    """Return the answer that sends pictures as a zip file, where no two have the same name.

    Raises:
        Problem: when there are none, or they are too large together.
    """
    sizes = await asyncio.to_thread(lambda: [files.size(one.path) for one in named])
    there = [size for size in sizes if size is not None]
    if not there:
        raise Problem(404, "There are no pictures to be put into a zip file")
    if sum(there) > LARGEST_BYTES:
        most = f"{LARGEST_BYTES / 2**30:g} GiB"
        raise Problem(413, f"The pictures have more than {most} together; ask for fewer")
    headers = {"content-disposition": 'attachment; filename="pictures.zip"'}
    names = _unique(one.name for one in named)
    entries = (
        Entry(name, partial(files.open, one.path), one.made_at)
        for name, one in zip(names, named, strict=True)
    )
    return StreamingResponse(
        zip_stream.stream(entries), media_type="application/zip", headers=headers
    )


def pictures_of(prediction: Prediction) -> list[Named]:
    """Return the pictures of a prediction."""
    made_at = prediction.completed_at or prediction.created_at
    seeds = {drawn.file: drawn.seed for drawn in results.pictures(prediction)}
    prompt = prediction.request.get("prompt")
    return [
        Named(
            _name(prompt, seeds.get(name), name), file_of_prediction(prediction.id, name), made_at
        )
        for name in prediction.output
    ]


def _name(prompt: object, seed: int | None, output: str) -> str:
    """Return a picture's name, such as `a-red-fox-seed-4.png`."""
    beginning = str(prompt or "")[: 4 * LONGEST_NAME_CHARACTERS]  # a prompt may have a MiB
    text = unicodedata.normalize("NFC", beginning).lower()
    # A mark belongs to the letter before it.
    kept = (c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in text)
    words = "-".join("".join(kept).split())[:LONGEST_NAME_CHARACTERS].strip("-") or "picture"
    of_seed = "" if seed is None else f"-seed-{seed}"
    return f"{words}{of_seed}.{output.rpartition('.')[2]}"


def _unique(names: Iterable[str]) -> Iterator[str]:
    """Yield names, with a number where others before had the same."""
    taken = set[str]()
    for name in names:
        stem, _, ending = name.rpartition(".")
        unique, number = name, 1
        while unique in taken:
            number += 1
            unique = f"{stem}-{number}.{ending}"
        taken.add(unique)
        yield unique
