"""Whether a Cog server of our own still lives: what its endpoint, or its replica, must know."""

from __future__ import annotations

import asyncio
import time

from hosting.backends.cog import Cog
from hosting.backends.servers import Server
from hosting.states import State

POLL_SECONDS = 0.5
"""Seconds between two looks at a Cog server's health."""
LONGEST_LOOK_SECONDS = 10.0
"""Seconds that a whole answer may take."""
LONGEST_SILENCE_SECONDS = 120.0
"""Seconds after which a server of our own that says nothing is lost."""


class Health:
    """The health of a Cog server by its last answer, and the time of that."""

    def __init__(self) -> None:
        self.status = State.UNREACHABLE
        self._answered = time.monotonic()

    async def look(self, cog: Cog, is_wanted: bool = False) -> State:
        """Ask it for its state, and return that (see `Cog.status`)."""
        try:
            async with asyncio.timeout(LONGEST_LOOK_SECONDS):
                self.status = await cog.status(is_wanted)
        except TimeoutError:  # it says something now and then, and is never done
            self.status = State.UNREACHABLE
        if self.status is not State.UNREACHABLE:
            self._answered = time.monotonic()
        return self.status

    def is_lost(self, server: Server) -> bool:
        """Return whether it will not serve any more: it has ended, says so, or is long silent.

        Args:
            server: its process.
        """
        is_silent = time.monotonic() - self._answered > LONGEST_SILENCE_SECONDS
        return self.status.is_dead or is_silent or not server.is_alive
