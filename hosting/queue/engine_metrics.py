"""The metrics of the engines, gathered from the measurements of what they have drawn."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from hosting.backends.endpoints import Endpoint
from hosting.backends.measurement import Measurement, Totals

BUCKET_SECONDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000),
)
BUCKET_ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
BUCKET_STEPS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250)
PHASES = {
    "read": "Reading a prediction's input pictures.",
    "text": "Encoding a prediction's prompts.",
    "image": "Fitting and encoding a prediction's input picture.",
    "denoise": "All steps of a prediction, with those of others between them.",
    "follow": "Beginning a prediction's further passes: enlarged, or the next piece.",
    "decode": "Making a prediction's pictures of latents.",
    "finish": "Bringing a prediction's pictures into the result's size, and checking them.",
    "save": "Writing a prediction's files.",
}
"""The phases of a prediction in the engine, and what they are."""
TOTALS = {
    "calls": "Calls of the UNet.",
    "rows": "Rows of all calls of the UNet.",
    "steps": "Steps of all images.",
    "replays": "Calls of the UNet that a captured graph has replayed.",
    "captures": "Graphs that were captured.",
}
LABELS = ("task", "model")


class EngineMetrics:
    """The histograms and counts of the engines behind this front.

    Args:
        registry: where they are told.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, description: str, buckets: Sequence[float]) -> Histogram:
            name = f"stable_diffusion_engine_{name}"
            return Histogram(name, description, LABELS, buckets=buckets, registry=registry)

        def gauge(name: str, description: str) -> Gauge:
            name = f"stable_diffusion_engine_{name}"
            return Gauge(name, description, ["endpoint"], registry=registry)

        self._phases = {
            phase: histogram(f"{phase}_seconds", description, BUCKET_SECONDS)
            for phase, description in PHASES.items()
        }
        since = "From a prediction's submission to the engine until its images"
        self._figures = {
            "join_seconds": histogram(
                "join_seconds", f"{since} could take a step.", BUCKET_SECONDS
            ),
            "first_step_seconds": histogram(
                "first_step_seconds", f"{since} had taken their first step.", BUCKET_SECONDS
            ),
            "rows_per_call": histogram(
                "rows_per_call",
                "Mean rows of the UNet's calls that a prediction had a part in.",
                BUCKET_ROWS,
            ),
            "steps_per_second": histogram(
                "steps_per_second", "Steps a second of a prediction's images.", BUCKET_STEPS
            ),
        }
        self._totals = {
            name: Counter(f"stable_diffusion_engine_{name}", description, LABELS, registry=registry)
            for name, description in TOTALS.items()
        }
        self._combinations = gauge(
            "lora_combinations", "Combinations of LoRAs that have a place on its device."
        )
        self._slots = gauge("lora_slots", "Combinations of LoRAs that its tables have room for.")
        self._allocated = gauge(
            "memory_allocated_bytes", "What tensors had of its device's memory, on a GPU."
        )
        self._last: dict[tuple[str, str], Totals] = {}
        """By endpoints and weights, the totals that were counted last."""

    def measured(self, measurement: Measurement, endpoint: Endpoint, weights: str) -> None:
        """Count what was measured of a prediction, or of one of its parts.

        Args:
            weights: the name of what has drawn.
        """
        labels = endpoint.task or "", weights
        for phase, histogram in self._phases.items():
            if phase in measurement.seconds:
                histogram.labels(*labels).observe(measurement.seconds[phase])
        for name, histogram in self._figures.items():
            value = getattr(measurement, name)
            if value is not None:
                histogram.labels(*labels).observe(value)
        if measurement.totals:
            self._count(measurement.totals, endpoint, labels)

    def _count(self, totals: Totals, endpoint: Endpoint, labels: tuple[str, str]) -> None:
        engine = endpoint.name, labels[1]
        last = self._last.get(engine)
        if last and totals.calls < last.calls:  # another worker, which counts from its own start
            last = None
        self._last[engine] = totals
        for name, counter in self._totals.items():
            before = getattr(last, name) if last else 0
            counter.labels(*labels).inc(max(0, getattr(totals, name) - before))
        self._combinations.labels(endpoint.name).set(totals.combinations)
        self._slots.labels(endpoint.name).set(totals.slots)
        if totals.memory_allocated is not None:
            self._allocated.labels(endpoint.name).set(totals.memory_allocated)
