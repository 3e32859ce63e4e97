"""Work in separate processes, so that what is compared shares neither threads nor memory."""

import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in a new process; return its result."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


class Contender:
    """A process that is set up once, and takes its turn when called.

    Args:
        setup: with its arguments, gives the function that is a turn: a new one each time.
    """

    def __init__(self, setup: Callable[..., Callable[[], Any]], *arguments: Any) -> None:
        self._process = ProcessPoolExecutor(
            1, get_context("spawn"), initializer=_set_up, initargs=(setup, *arguments)
        )

    def __call__(self) -> Any:
        """Take a turn; return its result."""
        return self._process.submit(_take_turn).result()

    def memory(self) -> dict[str, int]:
        """Return its peak use of the machine's memory and of the GPU's, in bytes."""
        memory: dict[str, int] = self._process.submit(_memory).result()
        return memory

    def close(self) -> None:
        """End the process."""
        self._process.shutdown()


class LoneContender:
    """A contender whose process ends with its turn, for models of which only one fits in memory.

    It is set up anew for each turn, and takes one that does not count before it.

    Args:
        setup: as a `Contender`'s.
    """

    def __init__(self, setup: Callable[..., Callable[[], Any]], *arguments: Any) -> None:
        self._setup = setup
        self._arguments = arguments
        self._memory: dict[str, int] = {}

    def __call__(self) -> Any:
        """Take a turn; return its result."""
        with closing(Contender(self._setup, *self._arguments)) as contender:
            contender()
            given = contender()
            self._memory = contender.memory()
        return given

    def memory(self) -> dict[str, int]:
        """Return the peak memory of its last turn, in bytes."""
        return self._memory

    def close(self) -> None:
        """Do nothing: its process has ended already."""


_turn: Callable[[], Any]


def _set_up(setup: Callable[..., Callable[[], Any]], *arguments: Any) -> None:
    global _turn
    _turn = setup(*arguments)


def _take_turn() -> Any:
    return _turn()


def _memory() -> dict[str, int]:
    # getrusage() would tell what the process that started this one has taken, if that is more.
    (peak,) = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    taken = {"process": int(peak) * 1024}
    if torch.cuda.is_available():
        taken["gpu"] = torch.cuda.max_memory_allocated()
    return taken
