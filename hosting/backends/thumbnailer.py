"""Small copies of results, made by `commands/thumbnails.py`.

The front decodes no picture: the command runs in a process of its own, which has no network (where
the machine grants one of its own), and takes no time from those that draw.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import runpy
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from pathlib import Path

from hosting import log
from hosting.backends.cog_process import enter_own_network

ROOT = Path(__file__).parents[2]
COMMAND = "commands.thumbnails"
MOST_SECONDS = 60
"""Time after which the process is ended that copies some pictures."""
LARGEST_LINE_BYTES = 2**20


async def copies(paths: Sequence[str]) -> AsyncGenerator[bytes | None, None]:
    """Yield a small copy of each picture, as WebP, in their order; None where it can't be made.

    It ends before those that were not tried, where the command has ended or took too long.

    Raises:
        OSError: when the machine fails it.
    """
    process = await _started(paths)
    assert process.stdout is not None
    assert process.stderr is not None
    faults = asyncio.create_task(process.stderr.read())
    try:
        for path in paths:
            line = await process.stdout.readline()
            if not line:
                break
            copy = json.loads(line)
            if copy is None:
                log.warning("a picture has no small copy", file=path)
            yield None if copy is None else base64.b64decode(copy)
        fault = (await faults).decode(errors="replace")
        if await process.wait():
            log.warning("small copies failed", status=process.returncode, reason=fault[-1000:])
    except BaseException:  # nobody waits for them any more
        _kill(process)
        raise
    finally:
        await process.stdout.read()  # to the end, or the pipes stay open
        await faults
        await process.wait()


async def _started(paths: Sequence[str]) -> asyncio.subprocess.Process:
    """Start the command. Whoever is cancelled meanwhile leaves no process."""
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *(sys.executable, "-m", __name__, *paths),
            cwd=ROOT,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # each thread would take memory
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LARGEST_LINE_BYTES,
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        process = await starting
        _kill(process)
        await process.communicate()
        raise


def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill the command, and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    os.nice(19)
    signal.alarm(MOST_SECONDS)
    with suppress(OSError):
        enter_own_network()
    runpy.run_module(COMMAND, run_name="__main__", alter_sys=True)
