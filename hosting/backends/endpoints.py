"""A Cog endpoint as the queue sees it: what it serves, how it is, and what runs there."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hosting import log
from hosting.backends.cog import Cog, Unreachable
from hosting.backends.description import Adapters, Description, adapters_of, models_of
from hosting.backends.servers import Server
from hosting.backends.supervision import Health
from hosting.states import State

LONGEST_SCHEMA_SECONDS = 30.0
"""Seconds that an endpoint's whole schema may take."""
LONGEST_PAUSE_SECONDS = 30.0
"""Before a server of our own that has died is started again."""
MOST_FOREIGN_STARTS = 3
"""Of a server of our own that does not say what its model is: Cog may lose the end of a log."""


class SetupFailed(Exception):
    """A server of our own does not start."""


@dataclass(frozen=True)
class ServedModel:
    """A model that an endpoint serves.

    model: the name of its weights.
    is_named: whether it is chosen by the input `model`, as the endpoint serves several.
    description: None until the endpoint was ready once.
    """

    endpoint: Endpoint
    model: str
    is_named: bool
    description: Description | None

    @property
    def task(self) -> str | None:
        """The task that the endpoint serves; None until it is known."""
        return self.endpoint.task

    @property
    def status(self) -> State:
        """How the endpoint is."""
        return self.endpoint.status

    @property
    def native_size(self) -> int | None:
        """The side in pixels of the square that it was trained on; None till it is known."""
        return self.description.native_size if self.description else None

    @property
    def adapters(self) -> Adapters:
        """The LoRAs and embeddings that are installed there; none until they are known."""
        return self.description.adapters if self.description else Adapters()

    @property
    def installed(self) -> dict[str, str] | None:
        """By the names of its LoRAs, the hashes of their files; None until they are known."""
        if self.description is None:
            return None
        return {one.name: one.hash for one in self.description.loras}


class Endpoint:
    """One Cog endpoint, either found by its URL or started and kept running by this process.

    Args:
        origin: a URL, or a server of our own.
        slots: predictions at once.
        idle_seconds: without a prediction, after which a server of our own is ended until the next
            one; infinite for never.
    """

    def __init__(self, origin: str | Server, slots: int, idle_seconds: float = math.inf) -> None:
        self.slots = slots
        self.server: Server | None = None
        self.status = State.STARTING
        self.schema: Mapping[str, Any] | None = None
        self.description: Description | None = None
        """What its model is, by its last setup, with the adapters of which a prediction has told
        since; None until it was ready once."""
        self.running: set[str] = set()
        """The predictions' ids."""
        self._is_isolated = False
        """Whether the one that runs must have no other beside it."""
        self.is_warming: bool | None = None
        """Whether it makes itself faster still, by its last prediction; None before the first."""
        self._claims = 0
        """How many look whether there is a prediction for it."""
        self._closed = 0
        """How many have it closed."""
        self._unusable = ""
        """Why it can't be used, as it was logged last."""
        self._paused_until = 0.0
        """Until when, by the monotonic clock, nothing more is sent."""
        self._idle_seconds = idle_seconds
        self._used_at = time.monotonic()
        """When it was last used, by the monotonic clock."""
        self._wanted = asyncio.Event()
        """Whether predictions wait for it."""
        if isinstance(origin, Server):
            self.server = origin
            self.schema = origin.launch.schema
            self.cog = Cog("http://not-started", "not-started")
        else:
            self.cog = Cog(origin)

    @property
    def name(self) -> str:
        """Its name for people."""
        return self.server.launch.name if self.server else self.cog.url

    @property
    def task(self) -> str | None:
        """The task that it serves; None until it is known, as it is of a server of our own."""
        if self.description:
            return self.description.task
        return self.server.launch.task if self.server else None

    @property
    def model(self) -> str | None:
        """The name of its usual model's weights; None until it is known, likewise."""
        if self.description:
            return self.description.model
        return self.server.launch.name if self.server else None

    def model_of(self, request: Mapping[str, Any]) -> str:
        """Return the name of the weights that draw a request: those that it names, or the usual."""
        return str(request.get("model") or self.model or "")

    @property
    def served(self) -> list[ServedModel]:
        """The models that it serves, the usual one first; none until they are known."""
        described, usual = self.description, self.model
        if usual is None:
            return []
        names = [one.name for one in described.models] if described else []
        if not described or len(names) < 2:
            return [ServedModel(self, usual, False, described)]
        return [ServedModel(self, name, True, described.of(name)) for name in names]

    def learn(self, metric: object) -> None:
        """Replace what is known of its adapters by what a prediction's metric says of them.

        It may have run at another endpoint of the model.
        """
        adapters = adapters_of(metric)
        if adapters is not None and self.description is not None:
            self.description = self.description.with_adapters(adapters)

    def learn_models(self, metric: object) -> None:
        """Replace what is known of its models by what a prediction's metric says of them."""
        models = models_of(metric)
        if models is not None and self.description is not None:
            self.description = self.description.with_models(models)

    @property
    def is_cluster(self) -> bool:
        """Whether it has several Cog servers, and isolates suspects itself."""
        return self.cog.slots is not None

    @property
    def has_free_slot(self) -> bool:
        """Whether it takes a prediction now."""
        free = len(self.running) < self.slots and not self._is_isolated and not self._closed
        return free and self.status is State.READY and time.monotonic() >= self._paused_until

    def occupy(self, prediction_id: str, isolated: bool) -> None:
        """Give a slot to a prediction.

        Args:
            isolated: whether it must have no other beside it.
        """
        self.running.add(prediction_id)
        self._used_at = time.monotonic()
        self._is_isolated = isolated and not self.is_cluster

    def vacate(self, prediction_id: str) -> None:
        """Take the slot back."""
        self.running.discard(prediction_id)
        self._used_at = time.monotonic()
        self._is_isolated = False

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Send it nothing for the time of a block."""
        self._closed += 1
        try:
            yield
        finally:
            self._closed -= 1

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep its server for the time of a block: a prediction may be about to come."""
        self._claims += 1
        try:
            yield
        finally:
            self._claims -= 1

    def pause(self, seconds: float) -> None:
        """Send it nothing for a while."""
        self._paused_until = time.monotonic() + seconds

    def lose(self) -> None:
        """Send it nothing until it has been seen alive: a prediction found it unreachable."""
        self.status = State.UNREACHABLE

    def want(self) -> None:
        """Have it start again, if it has given its card back: predictions wait for it."""
        self._wanted.set()
        self._used_at = time.monotonic()
        if self.status is State.IDLE:
            self.status = State.STARTING

    @property
    def _is_idle(self) -> bool:
        """Whether a server of our own is to give its card back: nothing is about to use it."""
        is_used = self.running or self._claims or self._closed or self._wanted.is_set()
        is_recent = time.monotonic() - self._used_at < self._idle_seconds
        return self.status is State.READY and not is_used and not is_recent

    async def supervise(self, poll_seconds: float) -> None:
        """Look after it until cancelled.

        Args:
            poll_seconds: between two looks at its health.

        Raises:
            SetupFailed: when a server of our own never came up.
        """
        pause, was_ready, health = 1.0, False, Health()
        foreign_starts = 0
        while True:
            if self.server and self._is_idle:
                await self._rest(self.server)
                health = Health()
            if self.server and not self.server.is_alive:
                await self._start(self.server)
            is_wanted = self._wanted.is_set() or self.description is None
            before, status = self.status, await health.look(self.cog, is_wanted)
            if status is State.IDLE and is_wanted:
                status = State.STARTING
            if self.cog.slots is not None:
                self.slots = self.cog.slots
            is_foreign = False
            if status is State.READY and before is not State.READY:
                is_foreign = not await self._describes_itself()
            if is_foreign:
                foreign_starts += 1
                status = State.UNREACHABLE  # whatever it is, it does not serve us
            elif status is State.READY:
                pause, was_ready = 1.0, True
                self._wanted.clear()
            self.status = status
            if self.status != before and self.status is State.READY:
                self._used_at = time.monotonic()
                log.info(f"{self.name} is ready")
            elif before is State.READY and self.status != before:
                self.is_warming = None
                log.warning(f"{self.name} is not ready", status=self.status)
            if self.server and (is_foreign or health.is_lost(self.server)):
                await self.server.end()
                self.status = State.UNREACHABLE
                if not was_ready and (not is_foreign or foreign_starts == MOST_FOREIGN_STARTS):
                    raise SetupFailed(f"{self.name} could not start; the log says why")
                log.warning(f"the server of {self.name} has died; starting it again")
                await asyncio.sleep(pause)
                pause, health = min(2 * pause, LONGEST_PAUSE_SECONDS), Health()
            await asyncio.sleep(poll_seconds)

    async def _rest(self, server: Server) -> None:
        """End a server of our own until a prediction wants it."""
        self.status, self.is_warming = State.IDLE, None
        log.info(f"{self.name} gives its card back: nobody has asked for it")
        await server.end()
        await self._wanted.wait()

    async def close(self) -> None:
        """End its server, if that is our own, and hang up. For when nothing runs there."""
        if self.server:
            await self.server.end()
        await self.cog.close()

    async def _start(self, server: Server) -> None:
        try:
            place = await server.start()
        except (
            OSError
        ) as error:  # no memory, no disk; a server that was ready before is tried again
            log.warning(f"{self.name} could not be started", reason=str(error))
            await server.end()
            return
        await self.cog.close()
        self.cog = Cog(*place)

    async def _describes_itself(self) -> bool:
        """Return whether it has said what its model is, and by which schema it is asked.

        It may be another model than before: whoever runs it may have started another there.
        """
        description = Description.read(self.cog.setup_logs)
        if description is None:
            self._say_unusable("its setup's logs do not describe a model, as this project's do")
            return False
        schema = self.schema
        if not self.server:
            try:
                async with asyncio.timeout(LONGEST_SCHEMA_SECONDS):
                    schema = await self.cog.schema()
            except TimeoutError:
                self._say_unusable(f"it gives no whole schema in {LONGEST_SCHEMA_SECONDS:g} s")
                return False
            except Unreachable as error:
                self._say_unusable(str(error))
                return False
        self.description, self.schema = description, schema
        return True

    def _say_unusable(self, reason: str) -> None:
        """Log once why an endpoint is not served by, however often it is looked at."""
        if reason != self._unusable:
            log.error(f"{self.name} can't be used", reason=reason)
        self._unusable = reason
