"""A client's inputs for a published version become those of the endpoint that serves it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hosting import published_models
from hosting.published_models import Version
from hosting.queue import inputs
from hosting.queue.inputs import SEEDS, Fault, InvalidInputs


def read(
    version: Version,
    given: Mapping[str, Any],
    schema: Mapping[str, Any],
    native_size: int | None = None,
) -> dict[str, Any]:
    """Return the inputs by the endpoint's names, with what the version has for those left out.

    What the version took is taken, and what the endpoint takes.

    Args:
        given: whatever JSON has.
        schema: the endpoint's OpenAPI document.
        native_size: as for `inputs.read`.

    Raises:
        InvalidInputs: naming everything that neither takes.
    """
    faults: list[Fault] = []
    taken = published_models.taken_schema(version, schema)
    try:
        values = inputs.read(
            given, taken, published_models.defaults_of(version, schema), native_size
        )
    except InvalidInputs as error:
        values, faults = dict(error.values), [*error.faults]
    # What only the version had has no effect here, but must be right.
    known = inputs.known_names(schema)
    others: dict[str, Any] = {}
    try:
        others = inputs.read(given, published_models.published_schema(version, known))
    except InvalidInputs as error:
        faults += error.faults
    if "mask" in values and (version.black_repainted or others.get("invert_mask")):
        if "invert_mask" in known:
            values.setdefault("invert_mask", True)
        else:
            faults.append(_no_inversion(version))
    if values.get("seed") is not None:  # which had no bounds in some versions
        values["seed"] %= SEEDS
    if faults:
        raise InvalidInputs(*faults, values=values)
    return values


def _no_inversion(version: Version) -> Fault:
    """Return why a mask can't be used whose black is to be repainted."""
    name = version.model.id
    without = f"name {name} without version {version.id[:8]}"
    sentence = (
        f"Black is to be repainted, and what serves {name} here repaints white; invert the mask, "
        f"and {without if version.black_repainted else 'leave invert_mask out'}"
    )
    return Fault("conflict", "input.mask", sentence)
