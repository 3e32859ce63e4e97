"""The deadline that a client gives a prediction: as a header, or as a field of the body.

Source: https://replicate.com/changelog/2025-10-16-prediction-deadlines.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Header
from pydantic import Field

from hosting.api.problems import invalid
from hosting.queue.inputs import Fault

LEAST_SECONDS = 5
MOST_SECONDS = 30 * 24 * 3600
DURATION = re.compile(r"(?=\d)(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s?)?", re.ASCII)

CancelAfter = Annotated[
    str | None,
    Header(description="after which it is ended: `30s`, `1h30m`; a bare number is seconds"),
]
CancelAfterField = Annotated[
    str | int | None,
    Field(description="the same as the header Cancel-After, for who can't set headers"),
]


def seconds_of(header: str | None, given: Any = None) -> int | None:
    """Return the seconds after which a prediction is to be ended; None where it is not.

    Args:
        header: `Cancel-After`.
        given: the field `cancel_after`, which is asked first.

    Raises:
        Problem: when that is no duration from 5 seconds to 30 days.
    """
    name, value = ("Cancel-After", header) if given is None else ("cancel_after", given)
    if value is None:
        return None
    is_text = isinstance(value, str | int) and not isinstance(value, bool)
    found = DURATION.fullmatch(str(value).strip()) if is_text else None
    if found:
        hours, minutes, rest = (int(part or 0) for part in found.groups())
        seconds = 3600 * hours + 60 * minutes + rest
        if LEAST_SECONDS <= seconds <= MOST_SECONDS:
            return seconds
    sentence = (
        f"{name} is {str(value)[:50]!r}; give a time from 5 s to 30 days, such as 30s or 1h30m"
    )
    raise invalid([Fault("format", name, sentence)])
