"""A process for each picture that is decoded, which may take only so much time and memory.

A file is untrusted, and so is what decoders make of it: such a process can be killed at any time,
and takes nothing with it. It is forked, in some 10 ms, from a server that has Pillow loaded.
"""

from __future__ import annotations

import asyncio
import math
import multiprocessing.util
import os
import resource
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol, TypeVar

from PIL import Image

from stable_diffusion import images
from stable_diffusion.request import InputError

Result = TypeVar("Result", covariant=True)
Picture = tuple[Image.Image, list[str]]
"""A picture as the model takes it, and sentences on how its file was read."""

BUDGET_BYTES = 4 * 2**30
"""Memory that all pictures may take while they are decoded at once."""
LARGE_BYTES = BUDGET_BYTES // 8
"""Memory from which on a picture is large, some 13 megapixels: one large picture at a time."""
START_SECONDS = 10
"""Time after which the server that forks is taken for hung; its own start takes some 2 s."""
ANSWER_SECONDS = 300
"""Time after which a process is taken for hung, whose processor time is not used up."""


@dataclass(frozen=True)
class Limits:
    """The processor time and the memory that a picture may take."""

    header_seconds: int = 3
    """Seconds until the picture's size is known; they are added to its pixels'."""
    pixels_a_second: int = 8_000_000
    """The slowest kind of file takes 0.7 s for them, on a core of 2023."""
    header_bytes: int = 128 * 2**20
    file_copies: int = 3
    pixel_bytes: int = 28
    """A lossless WebP with transparency takes most, 25 bytes."""

    def seconds(self, pixels: int) -> int:
        """Return the seconds for a picture of so many pixels, its file's header among them."""
        return self.header_seconds + math.ceil(pixels / self.pixels_a_second)

    def bytes(self, file_bytes: int, pixels: int) -> int:
        """Return the memory for a picture of so many pixels, its file among it."""
        return self.header_bytes + self.file_copies * file_bytes + self.pixel_bytes * pixels


def limit_process(file_bytes: int, limits: Limits = Limits()) -> Callable[[int], None]:
    """Limit this process to what the header of a picture's file may take.

    Returns:
        A function that limits it to what a picture of so many pixels may take.
    """
    occupied = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()

    def limit(pixels: int) -> None:
        most = occupied + limits.bytes(file_bytes, pixels)
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CPU, (limits.seconds(pixels), resource.RLIM_INFINITY))

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit(0)
    return limit


def too_much_memory(name: str) -> InputError:
    """Return the error of an input whose picture takes more memory than it may."""
    return InputError(f"{name}: the picture takes too much memory to read; give a smaller")


class Budget:
    """The memory for all pictures that are decoded at once.

    Args:
        total: bytes.
        large: bytes from which on a claim is large; of those one is granted at a time, so that
            no number of huge pictures holds up the ordinary ones.
    """

    def __init__(self, total: int = BUDGET_BYTES, large: int = LARGE_BYTES) -> None:
        self._free, self._large = total, large
        self._has_large = False
        self._changed = threading.Condition()

    @contextmanager
    def claim(self, size: int, is_given_up: Callable[[], bool]) -> Iterator[None]:
        """Wait for bytes, and hold them.

        Raises:
            CancelledError: when it is given up meanwhile, which `wake` makes it look at.
        """
        is_large = size > self._large

        def can_go_on() -> bool:
            return is_given_up() or (size <= self._free and not (is_large and self._has_large))

        with self._changed:
            self._changed.wait_for(can_go_on)
            if is_given_up():
                raise asyncio.CancelledError
            self._free -= size
            self._has_large |= is_large
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._has_large &= not is_large
                self._changed.notify_all()

    def wake(self) -> None:
        """Have those that wait look again whether they are given up."""
        with self._changed:
            self._changed.notify_all()


class DecoderProcesses:
    """Decodes the pictures of several predictions, each in a process of its own.

    Make it before there are other threads: the temporary folder is another for a moment.

    Args:
        most: predictions whose pictures are read at once.
        limits: of each picture.
        start_seconds: after which the server that forks is ended and made anew.
    """

    def __init__(
        self, most: int, limits: Limits = Limits(), start_seconds: float = START_SECONDS
    ) -> None:
        self._limits, self._start_seconds = limits, start_seconds
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])
        with _short_temporary_folder():
            forkserver.ensure_running()
        self._budget = Budget()
        self._threads = ThreadPoolExecutor(most, "pictures")

    async def run(self, work: Work[Result]) -> Result:
        """Return what `work` returns, called in a thread with a function that reads a picture.

        Its arguments are those of `images.read_picture`. If this is cancelled, so is that.

        Raises:
            InputError: by that function, also for a picture that takes too much time or memory.
            MemoryError, OSError: likewise, when the machine fails it.
        """
        reader = _Reader(self._context, self._budget, self._limits, self._start_seconds)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, partial(work, read_picture=reader))
        finally:
            reader.close()


class Work(Protocol[Result]):
    """Something that reads pictures by a function that it is given."""

    def __call__(self, *, read_picture: Callable[..., Picture]) -> Result:
        """Return what is made of the pictures."""


@contextmanager
def _short_temporary_folder() -> Iterator[None]:
    """Have multiprocessing put its socket where the path is short enough for one."""
    folder, before = os.open(tempfile.gettempdir(), os.O_DIRECTORY), tempfile.tempdir
    tempfile.tempdir = f"/proc/self/fd/{folder}"  # open to the end of this process
    try:
        multiprocessing.util.get_temp_dir()
        yield
    finally:
        tempfile.tempdir = before


class _Reader:
    """Reads the pictures of one prediction, one after the other."""

    def __init__(self, context: Any, budget: Budget, limits: Limits, start_seconds: float) -> None:
        self._context, self._budget, self._limits = context, budget, limits
        self._start_seconds = start_seconds
        self._lock = threading.Lock()
        self._process: BaseProcess | None = None
        self._is_closed = False

    def __call__(
        self,
        name: str,
        source: object,
        largest_side: int | None = None,
        mask_source: str = "brightness",
    ) -> Picture:
        ours, theirs = self._context.Pipe()
        process = self._started(theirs, self._limits, name, source, largest_side, mask_source)
        theirs.close()
        with self._lock:
            self._process = process
        try:
            if self._is_closed:
                raise asyncio.CancelledError
            answer = self._answer(ours)
            if isinstance(answer, int):
                with self._budget.claim(answer, lambda: self._is_closed):
                    ours.send(None)
                    answer = self._answer(ours)
        except (EOFError, ConnectionError):
            process.join()
            raise _fault(name, process.exitcode, self._is_closed) from None
        finally:
            with self._lock:
                self._process = None
            process.kill()
            process.join()
            process.close()
            ours.close()
        if isinstance(answer, Exception):
            raise answer
        picture: Picture = answer
        return picture

    def close(self) -> None:
        """End what it reads, and read nothing any more."""
        with self._lock:
            self._is_closed = True
            if self._process:
                self._process.kill()
        self._budget.wake()

    def _started(self, *arguments: object) -> BaseProcess:
        """Start a process that decodes.

        Raises:
            TimeoutError: when the server that forks hangs or has ended, and so does a new one.
        """
        for _ in range(2):
            process: BaseProcess = self._context.Process(
                target=_decode, args=arguments, daemon=True
            )
            forkserver.ensure_running()
            server = _server()
            watch = threading.Timer(self._start_seconds, _end_server, [server])
            watch.start()
            try:
                process.start()
                return process
            except (EOFError, ConnectionError):
                _end_server(server)
            finally:
                watch.cancel()
        raise TimeoutError("A picture could not be read, since no process could be started for it")

    def _answer(self, connection: Connection) -> Any:
        if not connection.poll(ANSWER_SECONDS):
            raise TimeoutError("A picture could not be read, since its process hangs")
        return connection.recv()


def _server() -> int | None:
    """Return the id of the process that forks; multiprocessing itself does not tell it."""
    pid: int | None = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    return pid


def _end_server(pid: int | None) -> None:
    """End the process that forks, unless there is another by now.

    It is not reaped: by that multiprocessing sees that it must start another.
    """
    if pid and pid == _server():
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def _fault(name: str, exitcode: int | None, is_closed: bool) -> BaseException:
    """Return why a process ended without an answer."""
    if is_closed:
        return asyncio.CancelledError()
    if exitcode == -signal.SIGXCPU:
        return InputError(
            f"{name}: the picture takes too long to read; save it anew as PNG or JPEG"
        )
    if exitcode in (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT, -signal.SIGFPE):
        return InputError(f"{name}: the picture can't be read, since its file is damaged")
    if exitcode == -signal.SIGKILL:
        return MemoryError("The machine had no memory left to read a picture")
    return OSError(f"A picture could not be read: its process ended with {exitcode}")


def _decode(
    connection: Connection,
    limits: Limits,
    name: str,
    source: object,
    largest_side: int | None,
    mask_source: str,
) -> None:
    """Answer with the bytes that it takes (waiting until they are granted) and with the picture."""
    file_bytes = source.stat().st_size if isinstance(source, Path) and source.is_file() else 0
    limit = limit_process(file_bytes, limits)

    def claim(pixels: int) -> None:
        connection.send(limits.bytes(file_bytes, pixels))
        connection.recv()
        limit(pixels)

    answer: Picture | Exception
    try:
        answer = images.read_picture(name, source, largest_side, mask_source, claim)
    except MemoryError:
        answer = too_much_memory(name)
    except Exception as error:
        answer = error
    with suppress(BrokenPipeError):  # nobody waits for it any more
        connection.send(answer)
