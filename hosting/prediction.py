"""A prediction as it is at one moment, and what can become of one that was run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hosting.states import FailureKind, Priority, Status


@dataclass(frozen=True)
class Prediction:
    """One prediction, from its acceptance on. Times are seconds since 1970, UTC."""

    id: str
    token_id: str
    task: str
    """The task that an endpoint must serve to run it."""
    model: str
    version: str
    source: str
    """The URL at which the client reached the front."""
    input: Mapping[str, Any]
    """The client's own inputs; files that came in them are named by their URL."""
    request: Mapping[str, Any]
    """The inputs for Cog, checked, the seed drawn; what `files` has is not among them."""
    files: Mapping[str, str]
    """Inputs that are files, by name: the locations of `InputFile`s."""
    ready: bool
    """Whether all of `files` lie in the prediction's folder."""
    input_bytes: int = 0
    """Of those of `files` that lie there; they count in the token's quota."""
    number: int | None = None
    """The order in which predictions came; None until it is in the queue."""
    priority: Priority = Priority.INTERACTIVE
    cost: float = 0.0
    """How much there is to do for it: pixels that are drawn × steps."""
    turn: float = 0.0
    """Its place in the queue, before all that have a larger one."""
    given_id: str | None = None
    """The client's own id for it, where it chose one by Cog's API."""
    status: Status = Status.STARTING
    canceling: bool = False
    crashes: int = 0
    """The number of times that its worker died while it ran."""
    front_id: str | None = None
    """The front that runs it, or fetches its files. Nobody else may write what comes of it."""
    attempt: int = 0
    """The number of times that it was begun."""
    output: Sequence[str] = field(default_factory=list)
    """The names of its `OutputFile`s, in their order."""
    error: str | None = None
    failure: FailureKind | None = None
    """Why it failed, if it did; `error` says it to people."""
    logs: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    """Where one in several parts goes on after a restart: how many `parts` are finished, and its
    `output`, `logs` and `metrics` then. Before the first is, it has at most the `logs` that it
    began with."""
    created_at: float = field(default_factory=time.time)
    started_at: float | None = None
    completed_at: float | None = None
    has_begun: bool = False
    """Whether a run of it has begun, be it one that broke."""
    deadline: float | None = None
    """When it is ended if it is not over."""
    api: str = "replicate"
    """The API that it was asked for by: replicate (Cog's too), deepinfra or a1111."""
    webhook: str | None = None
    webhook_events: Sequence[str] = field(default_factory=list)
    makes_files: bool = False
    """Whether it was created by a client of Replicate's that makes files of the outputs, and waits
    for them."""
    batch_id: str | None = None
    """The batch that it was asked for in."""
    traceparent: str | None = None
    """The span of the HTTP request that asked for it, as W3C's header has it; None where nobody
    traces."""


@dataclass(frozen=True)
class Ended:
    """It is over."""

    status: Status
    error: str | None = None
    failure: FailureKind | None = None


@dataclass(frozen=True)
class Requeued:
    """It goes back to its old place in the queue, as if it had not begun."""

    reason: str
    pause_seconds: float = 0.0
    """During which its endpoint gets no other prediction."""


@dataclass(frozen=True)
class Crashed:
    """Its run broke: its worker died or had too little memory, or Cog or the front had a fault.

    It goes back to the queue, and fails when that was too often.
    """

    reason: str
    has_died: bool = True
    """Whether its worker may have died; False: it had too little memory."""


Outcome = Ended | Requeued | Crashed
"""The result of a run, or of failed downloads. One transaction writes it."""
