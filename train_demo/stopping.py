"""A wish to stop: Ctrl-C, SIGTERM, or the SIGHUP of a terminal that is closed."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """The end of a training that a signal stopped.

    Args:
        number: the signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Stop:
    """What a signal does: it raises Stopped, at once or after what is being done.

    `is_awaited` says whether a step is being taken or a checkpoint written, `number` is that of the
    signal that came meanwhile, 0 for none. A second signal doesn't wait.
    """

    def __init__(self) -> None:
        self.is_awaited, self.number = False, 0
        self._is_forking = False

    def listen(self) -> None:
        """Listen for the signals from now on, in this process and not in those that it forks."""
        for number in SIGNALS:
            # A shell's script ignores SIGINT for what it starts in the background: whoever sends
            # it means it. `nohup` ignores SIGHUP, and means that.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._hear)
        os.register_at_fork(
            before=self._hold, after_in_parent=self._release, after_in_child=_leave_to_the_parent
        )

    @contextmanager
    def after(self) -> Iterator[None]:
        """Do a block, and raise Stopped after it if a signal has come."""
        self.is_awaited = True
        try:
            yield
        finally:
            self.is_awaited = False
        if self.number:
            raise Stopped(self.number)

    def _hear(self, number: int, _: FrameType | None) -> None:
        waits = (self.is_awaited or self._is_forking) and not self.number
        self.number = number
        if not waits:
            raise Stopped(number)

    # What a child gets before it has left the signals to its parent would be heard by a handler
    # whose exception nobody catches there: a pool that ends in that moment would wait for ever.
    def _hold(self) -> None:
        self._is_forking = True
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def _release(self) -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self._is_forking = False


def _leave_to_the_parent() -> None:
    """Leave signals that all processes of a terminal get to the parent, which ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
