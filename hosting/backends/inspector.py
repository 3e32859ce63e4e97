"""What a picture's file carries, read by the command `scripts/inspect`.

A client's picture is decoded nowhere in the front: the command runs in a process of its own, which
has no network (where the machine grants one of its own), and may take only so much time and memory.
"""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

# Pydantic, which documents `Carried`, takes no other before Python 3.12.
from typing_extensions import TypedDict

from hosting import log
from hosting.backends.cog_process import enter_own_network

ROOT = Path(__file__).parents[2]
COMMAND = "commands.inspect"
MOST_AT_ONCE = 2
"""Pictures that are read at once; of a token, one."""
MOST_SECONDS = 60
"""Time after which a process is ended that its processor time has not ended."""
DAMAGED = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE)


class Carried(TypedDict):
    """What is in a picture's file beside what is seen."""

    watermark: str | None
    """`SDV2`, that of Stable Diffusion 2, `StableDiffusionV1`, or none that is known."""
    made_from: dict[str, Any] | None
    """The inputs, by our names, if it was made here."""
    parameters: str | None
    """The text that AUTOMATIC1111 and others write of the making."""
    fields: dict[str, str]
    """What that text says, by AUTOMATIC1111's names."""
    loras: list[str]
    """What its prompt asks for by tags such as `<lora:blueprint:0.7>`, as the input of that name
    has it."""


class Unreadable(Exception):
    """A file can't be read. The message is for the client."""


class Inspector:
    """Reads clients' pictures, a process for each."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(MOST_AT_ONCE)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def inspect(self, token_id: str, data: bytes) -> Carried:
        """Return what a client's picture carries.

        Raises:
            Unreadable: when it is no picture, or takes too much time or memory.
            OSError: when the machine fails it.
        """
        turn = self._turns.setdefault(token_id, asyncio.Lock())
        async with turn, self._places:
            with tempfile.NamedTemporaryFile() as file:
                await asyncio.to_thread(file.write, data)
                file.flush()
                status, said, fault = await _run(file.name)
        if status in (0, 2):
            answer = json.loads(said)
            if status:
                raise Unreadable(answer["error"].removeprefix("image: "))
            del answer["file"]
            carried: Carried = answer
            return carried
        if status in (-signal.SIGXCPU, -signal.SIGALRM):
            raise Unreadable("The picture takes too long to read; save it anew as PNG or JPEG")
        if -status in DAMAGED:
            raise Unreadable("The picture can't be read, since its file is damaged")
        log.error("a picture was not inspected", status=status, reason=fault[-1000:])
        raise OSError(f"{COMMAND} ended with {status}")


async def _run(path: str) -> tuple[int, str, str]:
    """Return the command's exit status for a file, and what it wrote to both its outputs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, "--json", "--limited", path),
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # each thread would take memory
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, fault = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode(), fault.decode(errors="replace")


if __name__ == "__main__":
    signal.alarm(MOST_SECONDS)
    with suppress(OSError):
        enter_own_network()
    runpy.run_module(COMMAND, run_name="__main__", alter_sys=True)
