"""The maker of spans by OpenTelemetry's SDK, which is imported only where traces are asked for."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

SERVICE = "stable-diffusion"
"""Its name, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES gives another."""
FLUSH_SECONDS = 2
"""Seconds that the last spans get to be sent when the front stops."""
SHARED = re.compile(r"^(/s/|/v1/shares/)[^/]+")
"""Paths with the id of a share, by which whoever knows it may look."""
REDACTED = "REDACTED"


class Provider(TracerProvider):
    """The maker of spans, for one process.

    The sampler and the limits are those of OpenTelemetry's variables (OTEL_TRACES_SAMPLER …).

    Args:
        processor: takes the spans that have ended.
    """

    def __init__(self, processor: SpanProcessor) -> None:
        own = Resource.create({"service.name": SERVICE})
        self._ids = _Ids()
        super().__init__(
            resource=own.merge(OTELResourceDetector().detect()), id_generator=self._ids
        )
        self.add_span_processor(_WithoutSecrets())
        self.add_span_processor(processor)
        self.tracer = self.get_tracer("hosting")

    @contextmanager
    def next_span_has(self, span_id: int) -> Iterator[None]:
        """Give the span that is made in a block this id."""
        token = self._ids.following.set(span_id)
        try:
            yield
        finally:
            self._ids.following.reset(token)


def exporting(environment: Mapping[str, str]) -> Provider:
    """Return one whose spans are sent by OTLP over HTTP, in the background.

    Raises:
        ValueError: where the variables ask for what it has not, or can't be read.
    """
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    if exporter not in ("", "otlp"):
        raise ValueError(f"OTEL_TRACES_EXPORTER is {exporter!r}; give otlp or none")
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = environment.get(name, "").strip()
        if protocol not in ("", "http/protobuf"):
            raise ValueError(f"{name} is {protocol!r}; give http/protobuf, or leave it empty")
    # A line for each batch that is lost, and none for each try.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)
    return Provider(_Sender(OTLPSpanExporter()))


class _Sender(BatchSpanProcessor):
    """Sends spans in the background, and for a short time at the end."""

    def __init__(self, exporter: OTLPSpanExporter) -> None:
        super().__init__(exporter)
        self._connection = exporter

    def shutdown(self) -> None:
        # The library would try for ten seconds and more to reach a collector that is down.
        hurry = threading.Timer(FLUSH_SECONDS, self._connection.shutdown)
        hurry.start()
        super().shutdown()  # type: ignore[no-untyped-call]
        hurry.cancel()


class _Ids(RandomIdGenerator):
    """Random ids, but for a span whose id was known before."""

    def __init__(self) -> None:
        self.following: ContextVar[int | None] = ContextVar("following", default=None)

    def generate_span_id(self) -> int:
        return self.following.get() or super().generate_span_id()


class _WithoutSecrets(SpanProcessor):
    """Takes out of the URLs of requests what nobody else may know: searches, signatures, shares."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        attributes = span.attributes or {}
        if "url.query" in attributes:
            span.set_attribute("url.query", REDACTED)
        path = attributes.get("url.path")
        if isinstance(path, str) and SHARED.match(path):
            span.set_attribute("url.path", SHARED.sub(rf"\1{REDACTED}", path))
