"""The priority that a client gives a prediction, by a header on every way to ask for one."""

from __future__ import annotations

from hosting.api.problems import invalid
from hosting.queue.inputs import Fault
from hosting.states import Priority

HEADER = "X-Priority"


def read(header: str | None) -> Priority:
    """Return the priority that a header names; interactive where there is none.

    Raises:
        Problem: when it is another word.
    """
    if header is None:
        return Priority.INTERACTIVE
    try:
        return Priority(header.strip().lower())
    except ValueError:
        words = " or ".join(Priority)
        sentence = f"{HEADER} is {header[:50]!r}; give {words}"
        raise invalid([Fault("enum", HEADER, sentence)]) from None
