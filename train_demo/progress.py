"""Progress that outlives an interruption: the minutes spent, whole files, the log."""

import time
from collections.abc import Callable
from pathlib import Path


class TrainingError(Exception):
    """An error that ends the training; the message says what to do."""


class Clock:
    """Minutes of work out of those given; `minutes` may be set from a checkpoint."""

    def __init__(self, given: float) -> None:
        self.given, self.minutes = given, 0.0
        self._last = time.monotonic()
        self._done: dict[str, float] = {}

    def tick(self) -> None:
        """Count the time since the last tick."""
        now = time.monotonic()
        self.minutes += (now - self._last) / 60
        self._last = now

    def skip(self) -> None:
        """Leave out the time since the last tick."""
        self._last = time.monotonic()

    @property
    def share(self) -> float:
        """The share of the given time that is spent, 0 to 1."""
        return min(1.0, self.minutes / self.given)

    @property
    def over(self) -> bool:
        """Whether all of the given time is spent."""
        return self.minutes >= self.given

    def due(self, what: str, interval: float) -> bool:
        """Return whether `interval` minutes have passed since `what` was last due."""
        if self.minutes - self._done.setdefault(what, self.minutes) < interval:
            return False
        self._done[what] = self.minutes
        return True


class Log:
    """A log that writes to the terminal and to the end of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, line: str) -> None:
        """Write `line` with the time of day."""
        line = f"{time.strftime('%H:%M:%S')} {line}"
        print(line, flush=True)
        with self.path.open("a") as file:
            file.write(line + "\n")


def write(path: Path, save: Callable[[Path], object]) -> None:
    """Have `save` write `path` so that it is there whole or not at all."""
    partial = path.with_name(path.name + ".part")
    save(partial)
    partial.replace(path)
