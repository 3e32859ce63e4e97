"""The measurement of a prediction in the engine, as its worker's metric `engine` tells it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

METRIC = "engine"
NOT_THE_CLIENTS = {"phases", "totals"}

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Phase(_Document):
    """A part of a prediction's way through the engine, in seconds since its inputs came there."""

    name: str
    start: Amount
    end: Amount


class Totals(_Document):
    """What an engine has done since its worker started, and what it has in place."""

    calls: NonNegativeInt
    """Of the UNet."""
    rows: NonNegativeInt
    """Of those calls together."""
    steps: NonNegativeInt
    """Of all images together."""
    replays: NonNegativeInt
    """Of the calls, those that were a captured graph's."""
    captures: NonNegativeInt
    """Graphs that were captured."""
    combinations: NonNegativeInt
    """Of LoRAs, that have a place on the device."""
    slots: NonNegativeInt
    """For such combinations."""
    memory_allocated: NonNegativeInt | None = None
    """Bytes of the device's memory that tensors have; None where nobody counts them."""


class Measurement(_Document):
    """What was measured of a prediction, or of one of its parts."""

    seconds: Mapping[str, Amount]
    """In each phase, by its name."""
    steps: NonNegativeInt
    """That each of its images has taken."""
    calls: NonNegativeInt
    """Of the UNet, in which its images took their steps."""
    replays: NonNegativeInt
    """Of those, the ones that were a captured graph's."""
    rows_per_call: Amount | None = None
    """In the mean, others' rows too; None where no step was taken, as in what follows."""
    join_seconds: Amount | None = None
    """From its submission to the engine until its images could take a step."""
    first_step_seconds: Amount | None = None
    """Likewise until they had taken it."""
    steps_per_second: Amount | None = None
    """Of each image."""
    phases: tuple[Phase, ...] = ()
    totals: Totals | None = None

    @property
    def for_client(self) -> dict[str, Any]:
        """What of it its client is told, as JSON has it."""
        return self.model_dump(mode="json", exclude=NOT_THE_CLIENTS, exclude_none=True)


def measurement_of(metric: object) -> Measurement | None:
    """Return what a metric says; None where it is no measurement."""
    try:
        return Measurement.model_validate_json(json.dumps(metric))
    except ValueError:
        return None
