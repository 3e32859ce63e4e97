"""A replica of a cluster: a Cog server on a GPU of its own, as Ray Serve runs it.

No predictor runs in Ray's own process: none could be cancelled there, and two would share a GPU.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import secrets
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

from ray import serve

from hosting import log
from hosting.backends.cog import ISOLATED, Cog, Died, Unreachable
from hosting.backends.servers import Launch, Server
from hosting.backends.supervision import POLL_SECONDS, Health
from hosting.cluster.relay import Head, Relay, RelayedRequest
from hosting.states import State, Status

ANSWER_SECONDS = 3.0
"""Seconds that an answer to what needs no slot may take."""
DRAIN_SECONDS = 900.0
"""Seconds that what runs may still take where a replica is to go."""

HAS_IT = 102
"""HTTP's status "Processing", of the head that says which replica has a prediction."""
REPLICA = "replica"
"""The header of such a head that names the replica."""


class Full(Exception):
    """No replica has a slot for a prediction."""


class ConcurrencyGate:
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
        """Take no prediction any more."""
        self._free = -math.inf

    def has(self, path: str) -> bool:
        """Return whether a prediction of this path runs."""
        return self._paths[path] > 0

    @asynccontextmanager
    async def join(self, path: str, isolated: bool) -> AsyncIterator[None]:
        """Run one beside the others or, when those have ended, isolated; in the order they come.

        Raises:
            Full: when there is no slot.
        """
        if self._free <= 0:
            raise Full
        self._free -= 1
        try:
            async with AsyncExitStack() as turn:
                await turn.enter_async_context(self._turn)
                if isolated:
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
    graceful_shutdown_timeout_s=DRAIN_SECONDS,
    max_constructor_retry_count=3,
    max_queued_requests=16,
)
class Replica:
    """A Cog server on the GPU that Ray gives this process; the two end together."""

    async def __init__(self, launch: Launch) -> None:  # type: ignore[misc]  # Serve awaits it
        log.configure_ours()
        self._watch: asyncio.Task[None] | None = None
        self._gate = ConcurrencyGate(launch.slots)
        self._name = secrets.token_hex(8)
        folder = Path(tempfile.mkdtemp(prefix="stable-diffusion-replica-"))
        # It fetches pictures and calls webhooks, as Cog's contract has it.
        self._server = Server(launch, folder, has_own_network=False)
        url, _ = await self._server.start()
        self._cog, self._relay = Cog(url), Relay(url)
        health = Health()
        while await health.look(self._cog) is not State.READY:
            if health.is_lost(self._server):
                await self._server.end()
                raise RuntimeError(f"{launch.name} could not start: {self._cog.setup_logs}")
            await asyncio.sleep(POLL_SECONDS)
        self._watch = asyncio.create_task(self._until_dead())

    async def relay(self, request: RelayedRequest) -> AsyncGenerator[Head | bytes, None]:
        """Run a prediction; yield a head of status HAS_IT, then the answer's head and its body.

        The first names this replica, and says that the prediction now goes to its Cog server. The
        answer's head says 409 where the prediction has not come to the Cog server: without a free
        slot, or when that server is gone and this replica about to be.

        Raises:
            Died: when the Cog server did not answer, or not to the end.
        """
        if not self._server.is_alive:
            self._gate.close()
        try:
            place = self._gate.join(request.path, isolated=ISOLATED in request.headers)
            async with place, aclosing(self._relay.send(request)) as pieces:
                yield Head(HAS_IT, {REPLICA: self._name})
                async for piece in pieces:
                    yield piece
        except (Full, Unreachable):
            yield Head(409, {})

    async def begin(self, request: RelayedRequest) -> AsyncGenerator[Head | bytes, None]:
        """Run a prediction that is answered in two pieces when it has begun; end when it ends."""
        headers = {**request.headers, "accept": "text/event-stream", "prefer": ""}
        async with aclosing(self.relay(replace(request, headers=headers))) as pieces:
            head = await anext(pieces)
            assert isinstance(head, Head)
            if head.status == HAS_IT:
                yield head
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

    async def query(
        self, request: RelayedRequest, only_if_running: bool = False
    ) -> tuple[Head, bytes] | None:
        """Return the Cog server's answer to a request that needs no slot; None if it is silent.

        Args:
            only_if_running: None too if no prediction of this path runs here.
        """
        if only_if_running and not self._gate.has(request.path):
            return None
        with suppress(Died, Unreachable, TimeoutError):
            sent = self._relay.send(request)
            async with asyncio.timeout(ANSWER_SECONDS), aclosing(sent) as pieces:
                head = await anext(pieces)
                assert isinstance(head, Head)
                return head, await joined(pieces)
        return None

    async def check_health(self) -> None:
        """Raise RuntimeError when the Cog server can't serve: Serve replaces this replica."""
        if (status := await self._cog.status()).is_dead:
            raise RuntimeError(f"the Cog server says {status}")

    async def __del__(self) -> None:
        if self._watch:
            self._watch.cancel()
        await self._server.end()

    async def _until_dead(self) -> None:
        health = Health()
        while not health.is_lost(self._server):
            await asyncio.sleep(POLL_SECONDS)
            await health.look(self._cog)
        self._gate.close()
        await asyncio.sleep(POLL_SECONDS)  # what it has said of its end is passed on first
        await self._server.end()
        os._exit(1)


def starting(prediction_id: str) -> tuple[Head, bytes]:
    """Return Cog's document of a prediction that has not begun."""
    document = {"id": prediction_id, "status": Status.STARTING}
    body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    return Head(202, headers), body


async def joined(pieces: AsyncIterable[Head | bytes]) -> bytes:
    """Return the rest of an answer's body."""
    return b"".join([piece async for piece in pieces if isinstance(piece, bytes)])
