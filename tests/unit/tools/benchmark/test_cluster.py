from __future__ import annotations

import threading
from typing import Any

import pytest

from tools.benchmark import cluster
from tools.benchmark.queueing import Speed

SPEED = Speed({1: 0.02, 4: 0.03, 16: 0.06}, fixed=0.1, image=0.05)


class Clock:
    """A server whose predictions take time on a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self._lock = threading.Lock()

    def predict(self, inputs: dict[str, Any]) -> None:
        with self._lock:
            self.now += inputs["num_images"] * (0.25 + inputs["num_inference_steps"] / 64) + 0.125


def test_steps_are_told_from_what_else_a_prediction_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("tools.benchmark.cluster.time.perf_counter", lambda: clock.now)
    speed = cluster.calibrate([clock], 128, rounds=1)  # type: ignore[list-item]
    assert speed.steps == {images: images / 64 for images in cluster.IMAGES}
    assert (speed.fixed, speed.image) == (0.125, 0.25)


def test_more_predictions_and_less_patience_need_more_gpus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "SIMULATED", 500)
    rows = [
        [cluster.needed(SPEED, hourly, bearable) for bearable in (5, 3, 2)]
        for hourly in (10, 1_000, 20_000)
    ]
    gpus = [[row["gpus"] for row in each] for each in rows]
    assert all(each == sorted(each) for each in gpus)
    assert gpus[2] > gpus[1] >= gpus[0]
    for row in (row for each in rows for row in each):
        assert row["latency"]["90"] <= row["bearable"] * row["alone"]
        assert row["load"] == pytest.approx(row["hourly"] / 3600 * row["alone"] / row["gpus"])
