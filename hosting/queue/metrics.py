"""The metrics for Prometheus: the queue, durations, failures, endpoints, and their engines.

Source of the names: https://prometheus.io/docs/practices/naming.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from hosting.backends.endpoints import Endpoint
from hosting.prediction import Prediction
from hosting.queue.engine_metrics import EngineMetrics
from hosting.states import UNFINISHED, FailureKind, State, Status

CONTENT_TYPE = CONTENT_TYPE_LATEST
STATES = (
    State.STARTING,
    State.READY,
    State.SETUP_FAILED,
    State.UNHEALTHY,
    State.UNREACHABLE,
)
BUCKET_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500)
"""Bounds of the histograms: from a few steps of the demo model to a queue of an hour."""


class Metrics:
    """The counts of this front since it started. Each of several fronts has its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()

        def histogram(name: str, description: str) -> Histogram:
            return Histogram(
                name, description, ["task"], buckets=BUCKET_SECONDS, registry=self._registry
            )

        def gauge(name: str, description: str, *labels: str) -> Gauge:
            return Gauge(name, description, labels, registry=self._registry)

        self._waits = histogram(
            "stable_diffusion_wait_seconds", "From a prediction's acceptance to its last start."
        )
        self._runs = histogram(
            "stable_diffusion_run_seconds", "From a prediction's last start to its end."
        )
        self._ended = Counter(
            "stable_diffusion_predictions",
            f"Predictions that are over; kind tells why one failed: {', '.join(FailureKind)}.",
            ["task", "status", "kind"],
            registry=self._registry,
        )
        self._deaths = Counter(
            "stable_diffusion_worker_deaths",
            "Predictions whose worker died under them.",
            ["endpoint"],
            registry=self._registry,
        )
        self._queue = gauge(
            "stable_diffusion_queue", "Predictions that are unfinished.", "task", "status"
        )
        self._endpoints = gauge(
            "stable_diffusion_endpoint_state", "1 for the state that it has.", "endpoint", "state"
        )
        self._running = gauge(
            "stable_diffusion_endpoint_running", "Predictions that it runs.", "endpoint"
        )
        self._slots = gauge(
            "stable_diffusion_endpoint_slots", "Predictions that it can run at once.", "endpoint"
        )
        self._memory = gauge(
            "stable_diffusion_device_memory_bytes",
            "What its worker held of the device's memory after the last picture.",
            "endpoint",
        )
        self.engines = EngineMetrics(self._registry)

    def ran(self, before: Prediction, after: Prediction, endpoint: Endpoint) -> None:
        """Count a run of a prediction, which may be over now.

        Args:
            before: the prediction as the run last knew it.
        """
        if after.crashes > before.crashes:
            self._deaths.labels(endpoint.name).inc()
        memory = before.metrics.get("device_memory")
        if isinstance(memory, int | float):
            self._memory.labels(endpoint.name).set(memory)
        if not after.status.is_over:
            return
        task, started, completed = after.task, after.started_at, after.completed_at
        if started is not None and completed is not None:
            self._waits.labels(task).observe(max(0.0, started - after.created_at))
            self._runs.labels(task).observe(max(0.0, completed - started))
        self._ended.labels(task, after.status, after.failure or "").inc()

    def text(self, queue: Mapping[tuple[str, Status], int], endpoints: Sequence[Endpoint]) -> bytes:
        """All of it, in Prometheus' format.

        Args:
            queue: how many predictions are unfinished, by task and status.
            endpoints: those that this front has.
        """
        self._queue.clear()
        for task in sorted({endpoint.task for endpoint in endpoints if endpoint.task}):
            for status in UNFINISHED:
                self._queue.labels(task, status).set(queue.get((task, status), 0))
        self._endpoints.clear()
        for endpoint in endpoints:
            for state in dict.fromkeys((*STATES, endpoint.status)):
                self._endpoints.labels(endpoint.name, state).set(int(state is endpoint.status))
            self._running.labels(endpoint.name).set(len(endpoint.running))
            self._slots.labels(endpoint.name).set(endpoint.slots)
        return generate_latest(self._registry)
