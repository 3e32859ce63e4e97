"""The states of a prediction and of a Cog server, and why a prediction fails."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """The progress of a prediction."""

    STARTING = "starting"
    """It waits in the queue."""
    PROCESSING = "processing"
    """A Cog endpoint has it."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    ABORTED = "aborted"
    """It had not begun when its deadline came."""

    @property
    def is_over(self) -> bool:
        """Whether it stays so."""
        return self in FINISHED


FINISHED = (Status.SUCCEEDED, Status.FAILED, Status.CANCELED, Status.ABORTED)
UNFINISHED = (Status.STARTING, Status.PROCESSING)


class Priority(StrEnum):
    """How urgent a prediction is."""

    INTERACTIVE = "interactive"
    """Somebody waits for it."""
    BATCH = "batch"
    """Nobody does: it leaves places to those that somebody waits for."""


class FailureKind(StrEnum):
    """Why a prediction failed."""

    INPUTS = "inputs"
    """Its inputs can't be used; the client can mend them."""
    NSFW = "nsfw"
    """The checker flagged all of its images."""
    WORKER = "worker"
    """The worker died whenever it ran it."""
    INTERNAL = "internal"
    """Something else went wrong here."""

    @property
    def is_the_clients(self) -> bool:
        """Whether other inputs would help."""
        return self in (FailureKind.INPUTS, FailureKind.NSFW)


class State(StrEnum):
    """The state of a Cog server: as it says itself, or as seen from here."""

    UNKNOWN = "UNKNOWN"
    STARTING = "STARTING"
    READY = "READY"
    BUSY = "BUSY"
    SETUP_FAILED = "SETUP_FAILED"
    UNHEALTHY = "UNHEALTHY"
    DEFUNCT = "DEFUNCT"
    IDLE = "IDLE"
    """It has given its card back, and starts when a prediction wants it. Cog has no such word."""
    UNREACHABLE = "UNREACHABLE"
    """It says nothing, or nothing that is known here. Cog has no such word."""

    @property
    def is_dead(self) -> bool:
        """Whether it says that it will not serve any more."""
        return self in (State.SETUP_FAILED, State.UNHEALTHY, State.DEFUNCT)
