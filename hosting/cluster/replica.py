"""A replica of a cluster: a Cog server on a GPU of its own, as Ray Serve runs it.

No predictor runs in Ray's own process: there, none could be cancelled, and two shared a GPU.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

from ray import serve

from hosting import log
from hosting.backends.cog import ALONE, Cog, Died
from hosting.backends.servers import Launch, Server
from hosting.backends.supervision import LOOK, Health
from hosting.cluster.relay import Head, Relay, RelayedRequest
from hosting.states import State, Status

PATIENCE = 3.0
"""Seconds that an answer to what needs no slot may take."""
LONGEST = 900.0
"""Seconds that what runs may still take where a replica is to go."""


class Full(Exception):
    """No replica has a slot for a prediction."""


class Company:
    """The predictions that run beside one another at a replica, and those that wait to.

    Args:
        slots: how many both are at most.
    """

    def __init__(self, slots: int) -> None:
        self._free: float = slots
        self._paths: Counter[str] = Counter()
        self._turn = asyncio.Lock()
        self._empty = asyncio.Event()
        self._empty.set()

    def close(self) -> None:
        """Takes nobody any more."""
        self._free = -math.inf

    def has(self, path: str) -> bool:
        """Whether a prediction of this path runs."""
        return self._paths[path] > 0

    @asynccontextmanager
    async def join(self, path: str, alone: bool) -> AsyncIterator[None]:
        """Runs one beside the others or, when those have ended, alone. In the order they come.

        Raises:
            Full: when there is no slot.
        """
        if self._free <= 0:
            raise Full
        self._free -= 1
        try:
            async with AsyncExitStack() as turn:
                await turn.enter_async_context(self._turn)
                if alone:
                    await self._empty.wait()
                else:
                    await turn.aclose()  # the next may come in
                self._paths[path] += 1
                self._empty.clear()
                try:
                    yield
                finally:
                    self._paths[path] -= 1
                    self._paths += Counter()  # without those that are 0
                    if not self._paths:
                        self._empty.set()
        finally:
            self._free += 1


@serve.deployment(
    health_check_period_s=2,
    health_check_timeout_s=10,
    graceful_shutdown_timeout_s=LONGEST,
    max_constructor_retry_count=3,
    max_queued_requests=16,
)
class Replica:
    """A Cog server on the GPU that Ray gives this process; the two end together."""

    async def __init__(self, launch: Launch) -> None:  # type: ignore[misc]  # Serve awaits it
        log.configure_ours()
        self._watch: asyncio.Task[None] | None = None
        self._company = Company(launch.slots)
        self._server = Server(launch, Path(tempfile.mkdtemp(prefix="stable-diffusion-replica-")))
        url = await self._server.start()
        self._cog, self._relay = Cog(url), Relay(url)
        health = Health()
        while await health.look(self._cog) is not State.READY:
            if health.is_lost(self._server):
                logs = await self._cog.setup_logs()
                await self._server.end()
                raise RuntimeError(f"{launch.name} could not start: {logs}")
            await asyncio.sleep(LOOK)
        self._watch = asyncio.create_task(self._until_dead())

    async def relay(self, ask: RelayedRequest) -> AsyncGenerator[Head | bytes, None]:
        """A prediction: the answer's head, which is Cog's 409 without a slot, its body in pieces.

        Raises:
            Died: when the Cog server did not answer, or not to the end.
        """
        if not self._server.runs:
            self._company.close()
        try:
            place = self._company.join(ask.path, alone=ALONE in ask.headers)
            async with place, aclosing(self._relay.send(ask)) as pieces:
                async for piece in pieces:
                    yield piece
        except Full:
            yield Head(409, {})

    async def begin(self, ask: RelayedRequest) -> AsyncGenerator[Head | bytes, None]:
        """A prediction whose answer, in two pieces, comes when it has begun; ends when it ends."""
        headers = {**ask.headers, "accept": "text/event-stream", "prefer": ""}
        async with aclosing(self.relay(replace(ask, headers=headers))) as pieces:
            head = await anext(pieces)
            assert isinstance(head, Head)
            if head.status != 200:
                yield head
                yield await joined(pieces)
                return
            events = b""
            async for piece in pieces:
                assert isinstance(piece, bytes)
                if b"\n\n" not in events:
                    events += piece
                    if b"\n\n" in events:
                        started = json.loads(events.partition(b"data: ")[2].partition(b"\n")[0])
                        head, body = starting(started["id"])
                        yield head
                        yield body

    async def tell(
        self, ask: RelayedRequest, only_if_running: bool = False
    ) -> tuple[Head, bytes] | None:
        """What the Cog server answers to what needs no slot; None if it does not answer.

        Args:
            only_if_running: None too if no prediction of this path runs here.
        """
        if only_if_running and not self._company.has(ask.path):
            return None
        with suppress(Died, TimeoutError):
            async with asyncio.timeout(PATIENCE), aclosing(self._relay.send(ask)) as pieces:
                head = await anext(pieces)
                assert isinstance(head, Head)
                return head, await joined(pieces)
        return None

    async def check_health(self) -> None:
        """Raises RuntimeError when the Cog server is of no use: Serve replaces this replica."""
        if (status := await self._cog.status()).is_dead:
            raise RuntimeError(f"the Cog server says {status}")

    async def __del__(self) -> None:
        if self._watch:
            self._watch.cancel()
        await self._server.end()

    async def _until_dead(self) -> None:
        health = Health()
        while not health.is_lost(self._server):
            await asyncio.sleep(LOOK)
            await health.look(self._cog)
        self._company.close()
        await asyncio.sleep(LOOK)  # what it has said of its end is passed on first
        await self._server.end()
        os._exit(1)


def starting(prediction_id: str) -> tuple[Head, bytes]:
    """What Cog answers of a prediction that has not begun."""
    document = {"id": prediction_id, "status": Status.STARTING}
    body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    return Head(202, headers), body


async def joined(pieces: AsyncIterable[Head | bytes]) -> bytes:
    """What is left of an answer's body."""
    return b"".join([piece async for piece in pieces if isinstance(piece, bytes)])
