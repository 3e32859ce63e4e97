"""Past one GPU: Cog's contract on Ray Serve, over several replicas of a Cog server.

Client -> Serve's proxy -> `Ingress` -> a `Replica` with a free slot -> its Cog server.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterable
from contextlib import ExitStack, suppress
from typing import cast
from urllib.parse import quote, unquote

from ray import serve
from ray.exceptions import RayActorError, RayError, TaskCancelledError
from ray.serve import Application, Deployment
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
)
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from hosting import log
from hosting.backends.cog import SLOTS, WANTED, Died
from hosting.backends.servers import Launch
from hosting.cluster.relay import Head, RelayedRequest, passed_on
from hosting.cluster.replica import (
    ANSWER_SECONDS,
    DRAIN_SECONDS,
    HAS_IT,
    REPLICA,
    Full,
    Replica,
    joined,
    starting,
)
from hosting.states import State, Status

Answer = DeploymentResponseGenerator[Head | bytes]

# No id is a dot or two: what they make of a path is not what it says.
ID = r"(?!\.{1,2}(?:/|$))[^/]+"
PATHS = re.compile(rf"/(|openapi\.json|health-check|predictions(/{ID}(?P<cancel>/cancel)?)?)")
"""The paths that are relayed. Not `/shutdown`."""
LARGEST_BODY_BYTES = 100 * 2**20
"""Bytes of a request's body, as at Cog's server."""
QUERY_PLACES = 4
"""Places of a replica beside its slots: in Serve, queries such as to cancel need one too."""
MOST_TRIES = 20
"""The tries to find a replica with a free slot."""
RETRY_SECONDS = 0.1
"""Between two such tries."""
MOST_DEATHS = 2
"""Replicas that may die of a prediction before it has had its chance."""
GRACE_SECONDS = 1.0
"""Seconds after which one is hung up on that could not be cancelled otherwise."""
STATES = (State.READY, State.BUSY, State.STARTING)
"""Cog's words for its health, the best first."""


class Held:
    """A prediction, from its request to the end of its answer."""

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.is_cancelled = False

    def cancel(self) -> None:
        """Hang up on the replica that has it."""
        self.is_cancelled = True
        if self.answer:
            _hang_up(self.answer)


class Relayed(StreamingResponse):
    """A prediction's answer in pieces, after which, however it ends, something is to be done."""

    def __init__(self, head: Head, pieces: Answer, after: ExitStack) -> None:
        super().__init__(cast(AsyncIterable[bytes], pieces), head.status, head.headers)
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the rest of the answer."""
        with self._after:
            await super().__call__(scope, receive, send)


@serve.deployment(
    max_ongoing_requests=10000,
    graceful_shutdown_timeout_s=DRAIN_SECONDS,
    ray_actor_options={"num_cpus": 0},
)
class Ingress:
    """Cog's HTTP, over all replicas.

    Args:
        replicas: handles to `Replica`.
        slots: predictions at once that each takes.
    """

    def __init__(self, replicas: DeploymentHandle[Replica], slots: int) -> None:
        log.configure_ours()
        self._replicas = replicas
        self._slots = slots
        self._held: dict[str, Held] = {}
        """By path, those that have an id of their client's own."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._waking: asyncio.Task[None] | None = None
        """What asks for the first replica, where there is none."""

    async def __call__(self, request: Request) -> Response:
        """Answer as a Cog server does, but 503 with Retry-After instead of its 409."""
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        known = PATHS.fullmatch(path)
        if not known:
            return Response(status_code=404)
        if "origin" in request.headers:  # a page in somebody's browser, which has found us
            return Response(status_code=403)
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > LARGEST_BODY_BYTES:
                return Response(status_code=413)
        headers = passed_on(request.headers)
        relayed = RelayedRequest(request.method, quote(path), headers, bytes(body))
        if relayed.method in ("POST", "PUT") and "predictions" in path and not known["cancel"]:
            return await self._predict(relayed)
        answers = await self._query(relayed)
        if not answers and path == "/health-check":
            return await self._without_replica(WANTED in request.headers)
        if not answers:
            return _later("no replica is ready")
        if known["cancel"] and relayed.method == "POST":
            return self._cancelled(relayed, answers)
        if path == "/health-check" and relayed.method == "GET":
            return self._health(answers)
        return _whole(*answers[0])

    async def __del__(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _predict(self, request: RelayedRequest) -> Response:
        if request.path in self._held:
            answers = await self._query(request, only_if_running=True)
            return _whole(*(answers[0] if answers else starting(_id(request))))
        held = Held()
        with ExitStack() as after:
            after.callback(held.cancel)
            if request.method == "PUT":
                self._held[request.path] = held
                after.callback(self._held.pop, request.path)
            try:
                head, answer = await self._begun(request, held)
                if not _is_async(request):
                    return Relayed(head, answer, after.pop_all())
                body = await anext(answer)
            except (Full, BackPressureError, DeploymentUnavailableError):
                return _later("all slots are taken")
            except (RayActorError, Died) as error:
                log.warning("a replica died", reason=str(error))
                return JSONResponse({"error": "The replica died", "status": Status.FAILED}, 502)
            except TaskCancelledError:
                return JSONResponse({"id": _id(request), "status": Status.CANCELED})
            assert isinstance(body, bytes)
            task = asyncio.create_task(_end(answer, after.pop_all()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return _whole(head, body)

    async def _begun(self, request: RelayedRequest, held: Held) -> tuple[Head, Answer]:
        """Have a replica with a free slot begin a prediction.

        Raises:
            Full, BackPressureError, DeploymentUnavailableError: when there is none.
            RayActorError, Died: when its replica died without an answer, and so did the next.
            TaskCancelledError: when it was cancelled meanwhile.
        """
        method = "begin" if _is_async(request) else "relay"
        replicas = self._replicas.options(stream=True, method_name=method)
        dead: set[str] = set()
        for _ in range(MOST_TRIES):
            if held.is_cancelled:
                raise TaskCancelledError
            held.answer = answer = cast(Answer, replicas.remote(request))
            replica = ""
            try:
                head = await anext(answer)
                assert isinstance(head, Head)
                if head.status == HAS_IT:
                    replica = head.headers[REPLICA]
                    head = await anext(answer)
                    assert isinstance(head, Head)
            except (RayActorError, Died):
                _hang_up(answer)  # it may only be out of reach, and go on
                if replica:  # else it did not die of this
                    dead.add(replica)
                if len(dead) == MOST_DEATHS:
                    raise
            else:
                if head.status != 409:
                    return head, answer
                await joined(answer)
            await asyncio.sleep(RETRY_SECONDS)
        raise Full

    async def _query(
        self, request: RelayedRequest, only_if_running: bool = False
    ) -> list[tuple[Head, bytes]]:
        """Return the replicas' answers to a request that needs no slot."""
        asked = self._replicas.broadcast("query", request, only_if_running)
        try:
            answers = await asked.results_async(
                timeout_s=ANSWER_SECONDS + 1, return_exceptions=True
            )
        except (TimeoutError, DeploymentUnavailableError):
            return []
        return [answer for answer in answers if isinstance(answer, tuple)]

    async def _without_replica(self, is_wanted: bool) -> Response:
        """Answer how it is while no replica does.

        Args:
            is_wanted: whether one is to start, where Serve has scaled to none.
        """
        is_waking = self._waking is not None and not self._waking.done()
        if not is_waking:
            if not await asyncio.to_thread(_is_scaled_to_none):
                return _later("no replica is ready")
            if is_wanted:
                self._waking, is_waking = asyncio.create_task(self._wake()), True
        state = State.STARTING if is_waking else State.IDLE
        return JSONResponse({"status": state}, headers={SLOTS: "0"})

    async def _wake(self) -> None:
        """Ask for a replica, which makes Serve start one, until it answers."""
        with suppress(RayServeException, RayError):
            await self._replicas.query.remote(RelayedRequest("GET", "/health-check", {}, b""))

    def _cancelled(self, request: RelayedRequest, answers: list[tuple[Head, bytes]]) -> Response:
        head, body = min(answers, key=lambda answer: answer[0].status)
        held = self._held.get(request.path.removesuffix("/cancel"))
        if head.status == 404 and held:
            # It waits, or its replica is about to go; or it has just ended, and is being told.
            asyncio.get_running_loop().call_later(GRACE_SECONDS, held.cancel)
            return JSONResponse({})
        return _whole(head, body)

    def _health(self, answers: list[tuple[Head, bytes]]) -> Response:
        """Return the health of the best replica, with the slots of all that serve."""
        states = [json.loads(body)["status"] for _, body in answers]
        rank = [STATES.index(state) if state in STATES else len(STATES) for state in states]
        best, body = answers[rank.index(min(rank))]
        slots = str(self._slots * sum(state in (State.READY, State.BUSY) for state in states))
        return _whole(Head(best.status, {**best.headers, SLOTS: slots}), body)


def application(launch: Launch) -> Application:
    """Return the Ray Serve application of a model.

    Args:
        launch: what each replica is to run. Its predict.py is at that path on every machine.
    """
    places = launch.slots + QUERY_PLACES
    replicas = cast(Deployment, Replica).options(max_ongoing_requests=places).bind(launch)
    return cast(Deployment, Ingress).bind(replicas, launch.slots)


def _is_scaled_to_none() -> bool:
    """Return whether Serve wants no replica now, as `min_replicas: 0` allows it to."""
    name = serve.get_replica_context().app_name
    replicas = serve.status().applications[name].deployments[cast(Deployment, Replica).name]
    left = [number for state, number in replicas.replica_states.items() if state != "STOPPING"]
    return replicas.status in ("HEALTHY", "DOWNSCALING") and not any(left)


def _hang_up(answer: Answer) -> None:
    with suppress(RayServeException, RayError):  # it has failed already
        answer.cancel()


def _is_async(request: RelayedRequest) -> bool:
    return request.headers.get("prefer") == "respond-async"


def _id(request: RelayedRequest) -> str:
    return unquote(request.path.rpartition("/")[2])


async def _end(answer: Answer, after: ExitStack) -> None:
    """Until a prediction that nobody waits for has ended."""
    with after:
        await joined(answer)


def _whole(head: Head, body: bytes) -> Response:
    return Response(body, head.status, head.headers)


def _later(reason: str) -> Response:
    return JSONResponse({"error": reason, "status": Status.FAILED}, 503, {"Retry-After": "1"})
