"""A thread beside the steps, on a GPU: it encodes and decodes on a stream of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import ParamSpec

import torch

Arguments = ParamSpec("Arguments")

CAPTURE = threading.Lock()
"""The lock for capturing a graph, and for the side thread's work.

What one thread allocates while another one captures can spoil the capture.
"""


class SideThread:
    """A thread that does pieces of work one after the other, in the order in which they come.

    Args:
        device: a GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._unfinished = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="pictures", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """The number of pieces of work that have not begun."""
        return self._work.qsize()

    @property
    def is_working(self) -> bool:
        """Whether any piece of work is not over."""
        return self._unfinished > 0

    def submit(
        self,
        function: Callable[Arguments, None],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> None:
        """Queue a call of a function, which must not raise, after what came before."""
        with self._changed:
            self._unfinished += 1
        self._work.put(lambda: function(*arguments, **named))

    def drain(self) -> None:
        """Wait until all work is done that was queued."""
        with self._changed:
            self._changed.wait_for(lambda: not self.is_working)

    def close(self) -> None:
        """End the thread after the waiting work is done."""
        self._work.put(None)
        self._thread.join()

    @torch.inference_mode()
    def _run(self) -> None:
        with torch.cuda.device(self._device), torch.cuda.stream(torch.cuda.Stream()):
            while piece := self._work.get():
                with CAPTURE:
                    piece()
                del piece  # and whose work it was, while this waits for the next
                with self._changed:
                    self._unfinished -= 1
                    self._changed.notify_all()
