"""What a picture's file carries, read by the command `scripts/inspect`.

A client's picture is decoded nowhere in the front: the command runs in a process of its own, which
has no network (where the machine grants one of its own), and may take only so much time and memory.
"""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
from typing import Any, NotRequired
from weakref import WeakValueDictionary

# Pydantic, which documents `Carried`, takes no other before Python 3.12.
from typing_extensions import TypedDict

from hosting import log
from hosting.backends.child import child

COMMAND = "commands.inspect"
MOST_AT_ONCE = 2
"""Pictures that are read at once; of a token, one."""
DAMAGED = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE)


class ContentCredentials(TypedDict):
    """What the C2PA manifest in a picture's file says."""

    state: str
    """`valid`; `trusted`, where its certificate is on a list of the reader's, too; `invalid`."""
    signed_by: str | None
    """The organization that the certificate names."""
    software: str | None
    """What wrote the manifest."""
    faults: list[str]
    """Why it is invalid."""


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
    content_credentials: NotRequired[ContentCredentials | None]
    """What its C2PA manifest says; absent where c2pa-python is not installed."""


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
                async with child(COMMAND, "--json", "--limited", file.name) as command:
                    said = await command.output.read()
                    status, fault = await command.wait()
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
        log.error("a picture was not inspected", status=status, reason=fault)
        raise OSError(f"{COMMAND} ended with {status}")
