"""Previews: what running predictions will look like, kept in memory and never stored."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hosting.queue.changes import Changes

PREVIEW = "preview"
"""The metric by which a worker shows what it draws; it is not stored, and in no answer."""
LARGEST_CHARACTERS = 2**16
"""Of a preview's URL; one of 128 × 128 px has a tenth of it."""


@dataclass(frozen=True)
class Preview:
    """A small estimate of a picture that is being drawn.

    number: larger than that of each preview before it, whatever the prediction.
    index: of the image in the prediction.
    url: a data URL of a WebP file.
    """

    number: int
    index: int
    url: str


class Previews:
    """The last preview of each prediction that runs here.

    Args:
        changes: those who follow a prediction are woken by.
    """

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._last: dict[str, Preview] = {}
        self._numbers = itertools.count(1)

    def of(self, prediction_id: str) -> Preview | None:
        """Return a prediction's last preview; None where there is none, or none any more."""
        return self._last.get(prediction_id)

    def take(
        self,
        prediction_id: str,
        metric: object,
        first_index: int = 0,
        token_id: str | None = None,
    ) -> None:
        """Keep what a worker shows, in place of what it showed before; what is no preview is not.

        Args:
            metric: the value of the metric `PREVIEW`.
            first_index: of the images of the part that runs.
            token_id: whose prediction it is; None where that is not known.
        """
        try:
            shown = _Metric.model_validate_json(json.dumps(metric))
        except ValidationError:
            return
        number = next(self._numbers)
        self._last[prediction_id] = Preview(number, first_index + shown.index, shown.url)
        self._changes.notify(prediction_id, token_id)

    def forget(self, prediction_id: str) -> None:
        """Drop a prediction's preview: the picture is there, or nobody draws it now."""
        self._last.pop(prediction_id, None)


class _Metric(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    index: Annotated[int, Field(ge=0)]
    url: Annotated[
        str,
        Field(pattern=r"^data:image/webp;base64,[A-Za-z0-9+/]+=*$", max_length=LARGEST_CHARACTERS),
    ]
