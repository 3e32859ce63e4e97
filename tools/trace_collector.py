"""A collector of traces by OTLP over HTTP that keeps them in memory, for tests and pictures."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

NANOSECONDS = 10**9


@dataclass(frozen=True)
class CollectedSpan:
    """A span as it was sent. Its ids are hexadecimal digits, its times seconds since 1970."""

    name: str
    trace_id: str
    id: str
    parent_id: str
    """Empty where it has none."""
    start: float
    end: float
    attributes: Mapping[str, str | int | float | bool]


class Collector:
    """A collector, which listens for the time of a block."""

    def __init__(self) -> None:
        self.spans: list[CollectedSpan] = []
        """Those that have come."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self.spans))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        """For OTEL_EXPORTER_OTLP_ENDPOINT."""
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(spans: list[CollectedSpan]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            spans.extend(_read(body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler


def _read(body: bytes) -> list[CollectedSpan]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        CollectedSpan(
            span.name,
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.start_time_unix_nano / NANOSECONDS,
            span.end_time_unix_nano / NANOSECONDS,
            {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes},
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
