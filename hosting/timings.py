"""The intervals of what runs by the clock. Tests take shorter ones."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timings:
    """Seconds."""

    poll: float = 0.5
    """After which who waits for news looks though there were none."""
    save: float = 0.5
    """Between two writes of what a running prediction says; so often come its webhooks."""
    disk_retry: float = 60.0
    """Before a file is written again that could not be."""
    heartbeat: float = 3.0
    """Between two signs of life of a front."""
    dead_after: float = 15.0
    """Without such a sign after which a front is taken for dead."""
    sweep: float = 600.0
    """Between two removals of what is too old."""


DEFAULT_TIMINGS = Timings()
