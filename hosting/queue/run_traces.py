"""The spans of a prediction's wait and of its runs, with what the engine has measured of each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from hosting import tracing
from hosting.backends.endpoints import Endpoint
from hosting.backends.measurement import Measurement
from hosting.prediction import Ended, Outcome, Prediction
from hosting.states import Status
from hosting.tracing import Attributes, Span

NAMES = {"text": "encode text", "image": "encode image"}
"""Of spans, by the engine's phases, where they are not the same."""


def record_wait(prediction: Prediction) -> None:
    """Make the span of a prediction's wait in the queue, when its first run begins."""
    if prediction.attempt == 1 and prediction.started_at is not None:
        tracing.record(prediction, "queue", prediction.created_at, prediction.started_at)


@contextmanager
def span_of_run(prediction: Prediction, endpoint: Endpoint) -> Iterator[Span]:
    """Make the span of a run, as that of a client who asks a model for something."""
    steps = prediction.request.get("num_inference_steps")
    attributes: Attributes = {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "stable_diffusion",
        "gen_ai.request.model": prediction.model,
        "gen_ai.response.model": endpoint.model_of(prediction.request),
        "gen_ai.output.type": "image",
        "gen_ai.request.choice.count": prediction.request.get("num_images"),
        "gen_ai.request.seed": prediction.request.get("seed"),
        "stable_diffusion.request.steps": steps,
        "stable_diffusion.task": prediction.task,
        "stable_diffusion.endpoint": endpoint.name,
        "stable_diffusion.prediction.attempt": prediction.attempt,
    }
    with tracing.span(prediction, f"generate_content {prediction.model}", attributes) as span:
        yield span


def note_outcome(span: Span, outcome: Outcome) -> None:
    """Note on a run's span what became of it."""
    match outcome:
        case Ended(Status.FAILED, _, failure):
            tracing.fail(span, failure or "failed")
        case Ended(status):
            span.set_attribute("stable_diffusion.prediction.status", status)
        case _:
            tracing.fail(span, type(outcome).__name__.lower())


def record_phases(
    prediction: Prediction, run: Span, began: float, measurement: Measurement
) -> None:
    """Make the spans of what the engine did in a run.

    The worker has no network to send any, and a clock that may be another: it tells times since the
    inputs came.

    Args:
        began: when that was, in seconds since 1970.
    """
    now = time.time()
    for phase in measurement.phases:
        start, end = (min(began + seconds, now) for seconds in (phase.start, phase.end))
        name = NAMES.get(phase.name, phase.name)
        tracing.record(prediction, name, start, end, _details(phase.name, measurement), run)


def _details(phase: str, measurement: Measurement) -> Attributes:
    if phase != "denoise":
        return {}
    return {
        "stable_diffusion.steps": measurement.steps,
        "stable_diffusion.calls": measurement.calls,
        "stable_diffusion.replays": measurement.replays,
        "stable_diffusion.rows_per_call": measurement.rows_per_call,
    }
