"""Progress that outlives an interruption: the minutes spent, whole files, the log."""

import os
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from statistics import median

RECENT_STEPS = 31
LONGEST_STEP = 4.0
"""Times the usual step that a step counts at most: what is beyond was waiting, not work."""


class TrainingError(Exception):
    """An error that ends the training; the message says what to do."""


class Clock:
    """Minutes of work out of those given; `minutes` may be set from a checkpoint.

    Only steps count, and each at most LONGEST_STEP times the median of the last ones: while the
    process is stopped or the machine suspended, no work is done. The first step of all counts
    nothing, since no usual one is known.

    Args:
        given: minutes.
        of_a_step: minutes that each step counts, whatever it took; None measures them.
        seconds: the time.
    """

    def __init__(
        self,
        given: float,
        of_a_step: float | None = None,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.given, self.minutes = given, 0.0
        self._of_a_step, self._seconds = of_a_step, seconds
        self._begun = 0.0
        self._recent: deque[float] = deque(maxlen=RECENT_STEPS)
        self._done: dict[str, float] = {}

    def begin(self) -> None:
        """Note that a step begins."""
        self._begun = self._seconds()

    def end(self) -> None:
        """Count the step that began."""
        taken = (self._seconds() - self._begun) / 60
        counted = min(taken, LONGEST_STEP * median(self._recent)) if self._recent else 0.0
        self._recent.append(taken)
        self.minutes += counted if self._of_a_step is None else self._of_a_step

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
    """A log that writes to the terminal, while there is one, and to the end of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, line: str) -> None:
        """Write `line` with the time of day."""
        line = f"{time.strftime('%H:%M:%S')} {line}"
        with self.path.open("a") as file:
            file.write(line + "\n")
        try:
            print(line, flush=True)
        except OSError:  # the terminal was closed, or who read has gone
            sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115


def write(path: Path, save: Callable[[Path], object]) -> None:
    """Have `save` write `path` so that it is there whole or not at all."""
    partial = path.with_name(path.name + ".part")
    save(partial)
    partial.replace(path)
