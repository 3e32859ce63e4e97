"""Our own commands as processes that end with a block: what they read is decoded in no front."""

from __future__ import annotations

import asyncio
import os
import runpy
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

from hosting.backends.cog_process import enter_own_network

ROOT = Path(__file__).parents[2]
MOST_SECONDS = 60
"""Time after which a process is ended."""
LARGEST_LINE_BYTES = 2**20
MOST_FAULT_BYTES = 1000
"""Of what is written of a fault, from its end."""


class Child:
    """A command that runs. What it writes is read from `output`."""

    def __init__(self, process: asyncio.subprocess.Process, faults: IO[bytes]) -> None:
        assert process.stdout is not None
        self.output = process.stdout
        self._process = process
        self._faults = faults

    async def wait(self) -> tuple[int, str]:
        """Await its end; return its exit status, and the end of what it wrote of faults."""
        status = await self._process.wait()
        size = self._faults.seek(0, os.SEEK_END)
        self._faults.seek(max(0, size - MOST_FAULT_BYTES))
        return status, self._faults.read().decode(errors="replace")

    async def end(self) -> None:
        """Kill it, with what it has started, if it still runs."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self.output.read()  # to the end, or the pipe stays open
        await self._process.wait()


@asynccontextmanager
async def child(module: str, *arguments: str) -> AsyncIterator[Child]:
    """Run a module, such as `commands.inspect`, for the time of a block.

    It has no network, where the machine grants one of its own. Whoever is cancelled, also while it
    starts, leaves no process.

    Raises:
        OSError: when the machine fails it.
    """
    with tempfile.TemporaryFile() as faults:
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                *(sys.executable, "-m", __name__, module, *arguments),
                cwd=ROOT,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # each thread would take memory
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=faults,
                limit=LARGEST_LINE_BYTES,
                start_new_session=True,
            )
        )
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            await Child(await starting, faults).end()
            raise
        running = Child(starting.result(), faults)
        try:
            yield running
        finally:
            await running.end()


if __name__ == "__main__":
    signal.alarm(MOST_SECONDS)
    with suppress(OSError):
        enter_own_network()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
