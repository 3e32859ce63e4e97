"""Past one GPU: Cog's contract on Ray Serve, each replica a Cog server on a GPU of its own.

Client -> Serve's proxy -> `Ingress` -> a `Replica` with a free slot -> its Cog server. No predictor
runs in Ray's own process: there, predictions could not be cancelled, and two shared a GPU.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Coroutine
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from ray import serve
from ray.exceptions import RayActorError
from ray.serve import Application, Deployment
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from hosting.cog import ALONE, SLOTS, Ask, Cog, Died, Head, passed_on
from hosting.endpoints import DEAD, LOOK
from hosting.servers import Launch, Server

Answer = DeploymentResponseGenerator[Head | bytes]

PATHS = re.compile(
    r"/(|openapi\.json|health-check|predictions|predictions/[^/]+(?P<cancel>/cancel)?)"
)
"""What is relayed. Not `/shutdown`."""
QUESTIONS = 4
"""Places of a replica beside its slots: in Serve, questions such as to cancel need one too."""
TRIES = 20
"""How often a replica with a free slot is looked for."""
PAUSE = 0.1
"""Seconds between two looks."""
DEATHS = 2
"""Replicas that may die of a prediction before it has had its chance."""
LONGEST = 900.0
"""Seconds that what runs may still take where a replica is to go."""
STATES = ("READY", "BUSY", "STARTING")
"""Cog's words for its health, the best first."""


class Full(Exception):
    """No replica has a slot for a prediction."""


class Company:
    """The predictions that run beside one another at a replica, and those that wait to.

    Args:
        slots: how many both are at most.
    """

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._paths: Counter[str] = Counter()
        self._turn = asyncio.Lock()
        self._empty = asyncio.Event()
        self._empty.set()

    def has(self, path: str) -> bool:
        """Whether a prediction of this path runs."""
        return self._paths[path] > 0

    @asynccontextmanager
    async def join(self, path: str, alone: bool) -> AsyncIterator[None]:
        """Runs one beside the others or, when those have ended, alone. In the order they come.

        Raises:
            Full: when there is no slot.
        """
        if not self._free:
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
    graceful_shutdown_timeout_s=LONGEST,
    max_constructor_retry_count=3,
    max_queued_requests=16,
)
class Replica:
    """A Cog server on the GPU that Ray gives this process; the two end together."""

    async def __init__(self, launch: Launch) -> None:  # type: ignore[misc]  # Serve awaits it
        self._server = Server(launch, Path(tempfile.mkdtemp(prefix="stable-diffusion-replica-")))
        self._cog = Cog(await self._server.start())
        self._company = Company(launch.slots)
        while (status := await self._cog.status()) != "READY":
            if status in DEAD or not self._server.runs:
                logs = await self._cog.setup_logs()
                await self._server.end()
                raise RuntimeError(f"{launch.name} could not start: {logs}")
            await asyncio.sleep(LOOK)
        self._watch = asyncio.create_task(self._until_dead())

    async def relay(self, ask: Ask) -> AsyncGenerator[Head | bytes, None]:
        """A prediction: the answer's head, then its body in pieces.

        Raises:
            Full: when all slots are taken.
            Died: when the Cog server did not answer, or not to the end.
        """
        if not self._server.runs:
            raise Full  # for the moment that this process is still there
        place = self._company.join(ask.path, alone=ALONE in ask.headers)
        async with place, aclosing(self._cog.relay(ask)) as pieces:
            async for piece in pieces:
                yield piece

    async def begin(self, ask: Ask) -> AsyncGenerator[Head | bytes, None]:
        """A prediction whose answer, in two pieces, comes when it has begun; ends when it ends."""
        headers = {**ask.headers, "accept": "text/event-stream", "prefer": ""}
        async with aclosing(self.relay(replace(ask, headers=headers))) as pieces:
            head = await anext(pieces)
            assert isinstance(head, Head)
            if head.status != 200:
                yield head
                yield await _joined(pieces)
                return
            events = b""
            async for piece in pieces:
                assert isinstance(piece, bytes)
                if b"\n\n" not in events:
                    events += piece
                    if b"\n\n" in events:
                        body = b'{%b,"status":"starting"}' % re.findall(rb'"id":"[^"]*"', events)[0]
                        length = str(len(body))
                        kind = "application/json"
                        yield Head(202, {"content-type": kind, "content-length": length})
                        yield body

    async def tell(self, ask: Ask, only_if_running: bool = False) -> tuple[Head, bytes] | None:
        """What the Cog server answers to what needs no slot; None if it does not answer.

        Args:
            only_if_running: None too if no prediction of this path runs here.
        """
        if only_if_running and not self._company.has(ask.path):
            return None
        try:
            async with aclosing(self._cog.relay(ask)) as pieces:
                head = await anext(pieces)
                assert isinstance(head, Head)
                return head, await _joined(pieces)
        except Died:
            return None

    async def check_health(self) -> None:
        """Raises RuntimeError when the Cog server is of no use: Serve replaces this replica."""
        status = await self._cog.status()
        if not status or status in DEAD:
            raise RuntimeError(f"the Cog server says {status or 'nothing'}")

    async def __del__(self) -> None:
        self._watch.cancel()
        await self._server.end()

    async def _until_dead(self) -> None:
        while self._server.runs and await self._cog.status() not in DEAD:
            await asyncio.sleep(LOOK)
        await asyncio.sleep(LOOK)  # what it has said of its end is passed on first
        await self._server.end()
        os._exit(1)


@serve.deployment(
    max_ongoing_requests=10000,
    graceful_shutdown_timeout_s=LONGEST,
    ray_actor_options={"num_cpus": 0},
)
class Ingress:
    """Cog's HTTP, over all replicas.

    Args:
        replicas: handles to `Replica`.
        slots: predictions at once that each takes.
    """

    def __init__(self, replicas: DeploymentHandle[Replica], slots: int) -> None:
        self._replicas = replicas
        self._slots = slots
        self._asked: set[str] = set()
        """The paths of predictions, by their clients' own ids, that wait or run."""
        self._tasks: set[asyncio.Task[object]] = set()

    async def __call__(self, request: Request) -> Response:
        """Answers as a Cog server does, but 503 with Retry-After instead of its 409."""
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        known = PATHS.fullmatch(path)
        if not known:
            return Response(status_code=404)
        if "origin" in request.headers:  # a page in somebody's browser, which has found us
            return Response(status_code=403)
        headers, body = passed_on(request.headers), await request.body()
        ask = Ask(request.method, quote(path), headers, body)
        if request.method in ("POST", "PUT") and "predictions" in path and not known["cancel"]:
            return await self._predict(ask)
        answers = await self._tell(ask)
        if not answers:
            return _later("no replica is ready")
        if known["cancel"]:
            return self._cancelled(ask, answers)
        if path == "/health-check":
            return self._health(answers)
        return _whole(*answers[0])

    async def __del__(self) -> None:
        await asyncio.gather(*self._tasks)

    async def _predict(self, ask: Ask) -> Response:
        if ask.path in self._asked and (again := await self._tell(ask, only_if_running=True)):
            return _whole(*again[0])  # how far it is
        if ask.method == "PUT":
            self._asked.add(ask.path)
        try:
            head, answer = await self._begun(ask)
        except (Full, BackPressureError, DeploymentUnavailableError):
            self._asked.discard(ask.path)
            return _later("all slots are taken")
        except (RayActorError, Died) as error:
            self._asked.discard(ask.path)
            return JSONResponse({"error": f"its replica died: {error}", "status": "failed"}, 502)
        pieces = self._rest(ask, answer)
        if not _is_async(ask):
            return StreamingResponse(pieces, head.status, head.headers)
        body = await anext(pieces)
        self._do(_joined(pieces))  # nothing, until the prediction ends
        return _whole(head, body)

    async def _begun(self, ask: Ask) -> tuple[Head, Answer]:
        """Has a prediction begun by a replica with a free slot.

        Raises:
            Full, BackPressureError, DeploymentUnavailableError: when there is none.
            RayActorError, Died: when its replica died without an answer, and so did the next.
        """
        method = "begin" if _is_async(ask) else "relay"
        replicas = self._replicas.options(stream=True, method_name=method)
        deaths = 0
        for _ in range(TRIES):
            answer = cast(Answer, replicas.remote(ask))
            try:
                head = await anext(answer)
            except Full:
                pass
            except (RayActorError, Died):
                deaths += 1
                if deaths == DEATHS:
                    raise
            else:
                assert isinstance(head, Head)
                if head.status != 409:  # Cog's own Full, which it may be just after an answer
                    return head, answer
                await _joined(answer)
            await asyncio.sleep(PAUSE)
        raise Full

    async def _rest(self, ask: Ask, answer: Answer) -> AsyncGenerator[bytes, None]:
        try:
            async for piece in answer:
                assert isinstance(piece, bytes)
                yield piece
        finally:
            answer.cancel()
            self._asked.discard(ask.path)

    async def _tell(self, ask: Ask, only_if_running: bool = False) -> list[tuple[Head, bytes]]:
        """What the replicas answer to what needs no slot."""
        told = self._replicas.broadcast("tell", ask, only_if_running)
        try:
            answers = await told.results_async(timeout_s=10, return_exceptions=True)
        except (TimeoutError, DeploymentUnavailableError):
            return []
        return [answer for answer in answers if isinstance(answer, tuple)]

    def _cancelled(self, ask: Ask, answers: list[tuple[Head, bytes]]) -> Response:
        head, body = min(answers, key=lambda answer: answer[0].status)
        path = ask.path.removesuffix("/cancel")
        if head.status == 404 and path in self._asked:  # no replica has it yet
            self._do(self._cancel_begun(ask, path))
            return JSONResponse({})
        return _whole(head, body)

    async def _cancel_begun(self, ask: Ask, path: str) -> None:
        while path in self._asked:
            await asyncio.sleep(LOOK)
            if any(head.status == 200 for head, _ in await self._tell(ask)):
                return

    def _health(self, answers: list[tuple[Head, bytes]]) -> Response:
        """What the best says, and how many slots all have that serve."""
        states = [json.loads(body)["status"] for _, body in answers]
        rank = [STATES.index(state) if state in STATES else len(STATES) for state in states]
        best, body = answers[rank.index(min(rank))]
        slots = str(self._slots * sum(state in ("READY", "BUSY") for state in states))
        return _whole(Head(best.status, {**best.headers, SLOTS: slots}), body)

    def _do(self, work: Coroutine[Any, Any, object]) -> None:
        task: asyncio.Task[object] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def application(launch: Launch) -> Application:
    """The Ray Serve application of a model.

    Args:
        launch: what each replica is to run. Its predict.py is at that path on every machine.
    """
    places = launch.slots + QUESTIONS
    replicas = cast(Deployment, Replica).options(max_ongoing_requests=places).bind(launch)
    return cast(Deployment, Ingress).bind(replicas, launch.slots)


def _is_async(ask: Ask) -> bool:
    return ask.headers.get("prefer") == "respond-async"


async def _joined(pieces: AsyncIterable[Head | bytes]) -> bytes:
    return b"".join([piece async for piece in pieces if isinstance(piece, bytes)])


def _whole(head: Head, body: bytes) -> Response:
    return Response(body, head.status, head.headers)


def _later(reason: str) -> Response:
    return JSONResponse({"error": reason, "status": "failed"}, 503, {"Retry-After": "1"})
