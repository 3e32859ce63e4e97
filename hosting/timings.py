"""The intervals of what runs by the clock. Tests take shorter ones."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timings:
    """Intervals."""

    poll_seconds: float = 0.5
    """Until a waiter looks at the database although nothing was announced."""
    save_seconds: float = 0.5
    """Between two writes of a running prediction's progress, and so of its webhooks."""
    disk_retry_seconds: float = 60.0
    """Before a file is written again that could not be."""
    heartbeat_seconds: float = 3.0
    """Between two heartbeats of a front."""
    dead_after_seconds: float = 15.0
    """Without a heartbeat until a front is taken for dead."""
    sweep_seconds: float = 600.0
    """Between two removals of what is too old."""


DEFAULT_TIMINGS = Timings()
