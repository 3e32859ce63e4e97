"""The spans of a front, kept in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from hosting import tracing
from hosting.trace_provider import Provider
from tests.support.front import wait_until


class Spans:
    """Those that have ended."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()

    def all(self) -> list[ReadableSpan]:
        """The spans, in the order of their ends."""
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        """Those of a name, or one that begins with it and a space."""
        return [one for one in self.all() if f"{one.name} ".startswith(f"{name} ")]

    def one(self, name: str) -> ReadableSpan:
        """The only one of a name, once it is there."""
        wait_until(lambda: self.named(name))
        (found,) = self.named(name)
        return found

    def texts(self) -> str:
        """All that the spans say, as one text."""
        return "\n".join(one.to_json() for one in self.all())


@contextmanager
def kept() -> Iterator[Spans]:
    """Have the spans of a block's fronts kept."""
    spans = Spans()
    provider = Provider(SimpleSpanProcessor(spans.exporter))
    tracing.use(provider)
    try:
        yield spans
    finally:
        tracing.close()


def id_of(span: ReadableSpan) -> int:
    """A span's own id."""
    context = span.get_span_context()
    assert context
    return context.span_id


def parent_of(span: ReadableSpan) -> int | None:
    """The id of a span's parent."""
    return span.parent.span_id if span.parent else None


def trace_of(span: ReadableSpan) -> str:
    """The id of a span's trace, as headers have it."""
    context = span.get_span_context()
    assert context
    return f"{context.trace_id:032x}"
