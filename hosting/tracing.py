"""Traces, by OpenTelemetry: a client's request, its prediction's way, and the calls of webhooks.

Nothing here does anything unless `configure` finds that traces are asked for. The spans of a
prediction are made when what they are of is over, by whichever front has it then: the row has the
context of the HTTP request (`Prediction.traceparent`), and the id of its own span follows from its
id. No span has a prompt, a token or anything else of the inputs but numbers.

Sources: https://www.w3.org/TR/trace-context; names by https://opentelemetry.io/docs/specs/semconv.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode
from opentelemetry.trace import Span as Span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from hosting import log
from hosting.prediction import Prediction
from hosting.states import Status

if TYPE_CHECKING:
    from hosting.trace_provider import Provider

INSTALL = (
    "scripts/setup requirements.txt requirements-hosting.txt requirements-openvino.txt "
    "requirements-tracing.txt"
)
ASKING = (
    "OTEL_TRACES_EXPORTER",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
)
"""The variables of which each asks for traces."""
NANOSECONDS = 10**9
Attributes = Mapping[str, str | int | float | bool | None]
"""Of a span; those that are None are left out."""

NO_SPAN: Span = trace.INVALID_SPAN
"""Stands for a span where there is none."""

_W3C = TraceContextTextMapPropagator()
_provider: Provider | None = None


def configure(environment: Mapping[str, str] = os.environ) -> None:
    """Have spans sent by OTLP, if OpenTelemetry's own variables ask for that.

    Where it can't be, the log says why in one line.
    """
    if _is_asked_for(environment):
        try:
            from hosting import trace_provider
        except ImportError as error:
            log.warning("no traces", reason=f"{error}; run: {INSTALL}")
            return
        try:
            use(trace_provider.exporting(environment))
        except ValueError as error:
            log.warning("no traces", reason=str(error))


def use(given: Provider | None) -> None:
    """Give spans to a provider from now on; to none, which is how it begins."""
    global _provider
    _provider = given


def close() -> None:
    """Send what is still to be sent, as far as that takes no long time, and make no more spans."""
    if _provider:
        _provider.shutdown()
    use(None)


def provider() -> Provider | None:
    """Return who makes the spans; None where there are none."""
    return _provider


def traceparent() -> str | None:
    """Return the context of the span that is current, as W3C's header has it; None if none is."""
    return headers().get("traceparent")


def headers() -> dict[str, str]:
    """Return the headers that name the current span to whoever is called from it."""
    carrier: dict[str, str] = {}
    if _provider:
        _W3C.inject(carrier)
    return carrier


@contextmanager
def span(
    prediction: Prediction,
    name: str,
    attributes: Attributes | None = None,
    kind: SpanKind = SpanKind.CLIENT,
) -> Iterator[Span]:
    """Make a span of a prediction for the time of a block, and the current one in it.

    Args:
        attributes: that it begins with.
        kind: a call of somebody else, unless it is given.
    """
    parent = _context_of(prediction)
    if not (_provider and parent):
        yield NO_SPAN
        return
    with _provider.tracer.start_as_current_span(
        name,
        parent,
        kind,
        _given(attributes),
        record_exception=False,  # its message may have a prompt in it
        set_status_on_exception=False,
    ) as made:
        yield made


def fail(made: Span, reason: str) -> None:
    """Note that what a span is of has failed.

    Args:
        reason: of few values: the name of an exception, a status.
    """
    made.set_attribute("error.type", reason)
    made.set_status(StatusCode.ERROR)


def record(
    prediction: Prediction,
    name: str,
    start: float,
    end: float,
    attributes: Attributes | None = None,
    within: Span | None = None,
) -> None:
    """Make a span of something that is over.

    Args:
        start, end: seconds since 1970.
        within: the span that it is a part of; the prediction's unless it is given.
    """
    parent = _context_of(prediction)
    if parent and within:
        parent = trace.set_span_in_context(within, Context())
    if _provider and parent:
        made = _provider.tracer.start_span(
            name, parent, attributes=_given(attributes), start_time=_nanoseconds(start)
        )
        made.end(_nanoseconds(max(start, end)))


def record_prediction(prediction: Prediction) -> None:
    """Make the span of a prediction that is over, from its acceptance to its end."""
    asked = _request_of(prediction)
    if not (_provider and asked and prediction.completed_at):
        return
    with _provider.next_span_has(_span_id(prediction)):
        made = _provider.tracer.start_span(
            "prediction",
            asked,
            attributes=_given(about(prediction)),
            start_time=_nanoseconds(prediction.created_at),
        )
    if prediction.status is Status.FAILED:
        fail(made, prediction.failure or "failed")
    made.end(_nanoseconds(prediction.completed_at))


def about(prediction: Prediction) -> dict[str, str | int | None]:
    """Return the attributes that say which prediction it is."""
    return {
        "stable_diffusion.prediction.id": prediction.id,
        "stable_diffusion.prediction.status": prediction.status,
        "stable_diffusion.prediction.attempt": prediction.attempt,
        "stable_diffusion.task": prediction.task,
        "gen_ai.request.model": prediction.model,
    }


def _is_asked_for(environment: Mapping[str, str]) -> bool:
    is_off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    is_off = is_off or environment.get("OTEL_TRACES_EXPORTER", "").strip() == "none"
    return not is_off and any(environment.get(name, "").strip() for name in ASKING)


def _request_of(prediction: Prediction) -> Context | None:
    """Return the context of the HTTP request that asked for a prediction, if that had any."""
    if prediction.traceparent is None:
        return None
    context = _W3C.extract({"traceparent": prediction.traceparent}, Context())
    return context if trace.get_current_span(context).get_span_context().is_valid else None


def _context_of(prediction: Prediction) -> Context | None:
    """Return the context of a prediction's own span, which may not be made yet."""
    request = _request_of(prediction)
    if request is None:
        return None
    asked = trace.get_current_span(request).get_span_context()
    own = SpanContext(
        asked.trace_id, _span_id(prediction), is_remote=True, trace_flags=asked.trace_flags
    )
    return trace.set_span_in_context(NonRecordingSpan(own), Context())


def _span_id(prediction: Prediction) -> int:
    """Return the id of a prediction's span: whoever has the prediction knows it."""
    return int.from_bytes(hashlib.sha256(prediction.id.encode()).digest()[:8]) or 1


def _given(attributes: Attributes | None) -> dict[str, str | int | float | bool]:
    return {name: value for name, value in (attributes or {}).items() if value is not None}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * NANOSECONDS)
