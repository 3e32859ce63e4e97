"""A folder of models that come and go while a worker serves them."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from infotext.loras import is_name
from stable_diffusion import catalogue, checkpoints
from stable_diffusion.catalogue import Weights, WeightsError

MOST_MODELS = 1000


@dataclass(frozen=True)
class Found:
    """A model that was seen.

    changed: when, and how large it was then: another file of the same name is another model.
    """

    weights: Weights
    changed: tuple[int, int]


class ModelFolder:
    """The models of a task in a folder; any thread may ask.

    A model is an original checkpoint, or a folder in diffusers' layout; links may lead to either.
    Each is examined when it is new or changed, and at no other time. Those of other tasks are
    passed over, and what can't be read, of which a line is printed once.

    Args:
        path: may be missing; it may come later.
    """

    def __init__(self, path: Path, task: str) -> None:
        self.path = path
        self._task = task
        self._lock = threading.Lock()
        self._seen: dict[tuple[Path, int, int], Found | None] = {}

    def models(self) -> dict[str, Found]:
        """Return what is there now by name, in the order of the names."""
        with self._lock:
            seen, models = dict[tuple[Path, int, int], Found | None](), dict[str, Found]()
            for path in self._paths():
                try:
                    status = (path / "model_index.json" if path.is_dir() else path).stat()
                except OSError:  # no model, or gone
                    continue
                changed = status.st_mtime_ns, status.st_size
                key = (path, *changed)
                found = self._seen[key] if key in self._seen else self._examined(path, changed)
                seen[key] = found
                if found:
                    models.setdefault(found.weights.name, found)
            self._seen = seen
            return models

    def _paths(self) -> list[Path]:
        try:
            there = sorted(self.path.iterdir())[:MOST_MODELS]
        except OSError:
            return []
        return [
            path
            for path in there
            if is_name(path.stem if path.is_file() else path.name)
            and (path.is_dir() or path.suffix.lower() in checkpoints.SUFFIXES)
        ]

    def _examined(self, path: Path, changed: tuple[int, int]) -> Found | None:
        try:
            weights = catalogue.find(str(path))
        except WeightsError as error:
            print(f"{path.name!a} in {self.path} is left out: {error}", file=sys.stderr)
            return None
        fits = weights.task in (self._task, *catalogue.TASKS[self._task].also_serves)
        return Found(weights, changed) if fits else None
