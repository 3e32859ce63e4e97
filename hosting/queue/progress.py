"""How far a prediction is, over all its parts: for programs as a metric, for clients as a line."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

WORKERS_LINE = re.compile(r"^step \d+ of \d+, \d+ s left\n", re.MULTILINE)
"""The predictor's own line, for whoever uses Cog alone."""


class Progress:
    """The progress of an attempt at a prediction.

    Args:
        parts: of the prediction.
        finished: parts that earlier attempts have finished.
    """

    def __init__(self, parts: int, finished: int) -> None:
        self._parts = parts
        self._finished = finished
        self._began_at = time.monotonic()

    def over_all(self, part: int, metric: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        """Return the metric over all parts, and a line such as tqdm prints.

        Replicate's clients look for such a line: the Python client's `prediction.progress`, and
        JavaScript's `parseProgressFromLogs`.

        Args:
            part: that runs, from 0 on.
            metric: the predictor's `progress`: `step` of `steps`, and `seconds_left`.
        """
        step, steps = int(metric["step"]), int(metric["steps"])
        elapsed = time.monotonic() - self._began_at
        run = (part - self._finished) * steps + step
        later = (self._parts - part - 1) * steps
        left = float(metric["seconds_left"]) + later * elapsed / max(1, run)
        done, total = part * steps + step, self._parts * steps
        rate = run / elapsed if elapsed else None
        line = tqdm.format_meter(done, total, elapsed, rate=rate)
        return {"step": done, "steps": total, "seconds_left": round(left, 1)}, line
