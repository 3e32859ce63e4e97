"""Small copies of results, made by `commands/thumbnails.py` in a process of its own."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, Sequence

from hosting import log
from hosting.backends.child import child

COMMAND = "commands.thumbnails"


async def copies(paths: Sequence[str]) -> AsyncGenerator[bytes | None, None]:
    """Yield a small copy of each picture, as WebP, in their order; None where it can't be made.

    It ends before those that were not tried, where the command has ended or took too long.

    Raises:
        OSError: when the machine fails it.
    """
    async with child(COMMAND, *paths) as command:
        for path in paths:
            line = await command.output.readline()
            if not line:
                break
            copy = json.loads(line)
            if copy is None:
                log.warning("a picture has no small copy", file=path)
            yield None if copy is None else base64.b64decode(copy)
        status, fault = await command.wait()
        if status:
            log.warning("small copies failed", status=status, reason=fault)
