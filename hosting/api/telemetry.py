"""The spans of HTTP requests, which the framework makes where the front has traces."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from fastapi.telemetry import TelemetryConfig

from hosting import tracing

QUIET = ("/health", "/metrics", "/form/")
"""Beginnings of paths that are not traced: asked for all the time, or files of the form."""


def telemetry() -> TelemetryConfig:
    """Return how the framework is to make spans: one for each request, and of nothing within."""
    provider = tracing.provider()
    return {
        "tracing": provider is not None,
        "tracer_provider": provider,
        "metrics": False,
        "logs": False,
        "operation_spans": False,
        "auto_configure": False,
        "exclude": _is_quiet,
    }


def _is_quiet(scope: MutableMapping[str, Any]) -> bool:
    path: str = scope.get("path", "")
    return path.startswith(QUIET)
