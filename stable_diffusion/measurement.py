"""The measurement of a request in the engine, and the engine's own counts.

The engine's threads only add to them, without locks: whoever reads them meanwhile misses the last.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

MOST_PHASES = 64
"""Phases of a request that are told one by one; a picture in many pieces has more."""


@dataclass(eq=False)
class Measurement:
    """When a request was in which phase, and with how many rows it shared the UNet's calls.

    Times are seconds by the monotonic clock.

    asked: when it was submitted.
    joined: when its images could first take a step; None where they take none.
    stepped: when they had taken it.
    steps: that each of its images has taken.
    calls: of the UNet, in which it took them.
    rows: of all those calls together, others' too.
    replays: of those calls, that were a captured graph's.
    seconds: in each phase, by its name: `text` and `image` are encoded, `denoise` is from joining
        to the last step, `follow` begins another pass, `decode` makes pictures of latents, `finish`
        brings them into the result's size and checks them, `save` writes their files.
    phases: the first of them, each with its name, start and end.
    """

    asked: float = field(default_factory=time.monotonic)
    joined: float | None = None
    stepped: float | None = None
    steps: int = 0
    calls: int = 0
    rows: int = 0
    replays: int = 0
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    phases: list[tuple[str, float, float]] = field(default_factory=list)

    def add(self, name: str, start: float, end: float | None = None) -> None:
        """Add a phase, which ends now unless its end is given."""
        end = time.monotonic() if end is None else end
        self.seconds[name] += end - start
        if len(self.phases) < MOST_PHASES:
            self.phases.append((name, start, end))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add a phase for the time of a block."""
        start = time.monotonic()
        yield
        self.add(name, start)

    def count(self, calls: int, rows: int, replays: int) -> None:
        """Count calls of the UNet in which its images took a step."""
        self.calls += calls
        self.rows += rows
        self.replays += replays

    def document(self, began: float) -> dict[str, Any]:
        """Return it for whoever serves the model, as numbers of JSON.

        Args:
            began: when its inputs came: the phases are told from then on, the first of which,
                `read`, lasts until it was submitted. The other times are from that on.
        """
        phases = [("read", began, self.asked), *self.phases]
        document: dict[str, Any] = {
            "seconds": {"read": self.asked - began, **self.seconds},
            "phases": [
                {"name": name, "start": start - began, "end": end - began}
                for name, start, end in phases
            ],
            "steps": self.steps,
            "calls": self.calls,
            "replays": self.replays,
        }
        if self.calls:
            document["rows_per_call"] = self.rows / self.calls
        if self.joined is not None and self.stepped is not None:
            document["join_seconds"] = self.joined - self.asked
            document["first_step_seconds"] = self.stepped - self.asked
        if self.steps and self.seconds["denoise"]:
            document["steps_per_second"] = self.steps / self.seconds["denoise"]
        return {name: _rounded(value) for name, value in document.items()}


@dataclass
class Counts:
    """What an engine has done since its start.

    calls: of the UNet.
    rows: of all calls together.
    steps: of all images together.
    replays: calls that were a captured graph's.
    """

    calls: int = 0
    rows: int = 0
    steps: int = 0
    replays: int = 0

    def count(self, calls: int, rows: int, steps: int, replays: int) -> None:
        """Count what a batch has taken."""
        self.calls += calls
        self.rows += rows
        self.steps += steps
        self.replays += replays


def _rounded(value: Any) -> Any:
    """Return a document whose numbers have no more digits than the clock is good for."""
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 6) if isinstance(value, float) else value
