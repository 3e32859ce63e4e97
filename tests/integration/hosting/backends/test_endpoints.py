from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from cog_schema.schema import ROOT
from hosting.backends import endpoints
from hosting.backends.endpoints import Endpoint, SetupFailed
from hosting.backends.servers import Launch, Server
from hosting.states import State
from tests.support.front import LONGEST, until
from tools.fake_cog import CogServer

MUTE = """
from cog import BasePredictor

class Predictor(BasePredictor):
    def predict(self, prompt: str) -> str:
        return prompt
"""


class Watched(Endpoint):
    """An endpoint that remembers every state that it has had."""

    def __init__(self, url: str) -> None:
        self.seen: list[State] = []
        super().__init__(url, 1)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "status":
            self.seen.append(value)


class Frozen(CogServer):
    """One that says that it is ready, and not what it is."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/openapi.json":
            await asyncio.sleep(LONGEST)
        await super().__call__(scope, receive, send)


def states(cog: CogServer) -> set[State]:
    """The states that an endpoint has when it is looked at for some times."""

    async def main() -> set[State]:
        endpoint = Watched(cog.url)
        supervising = asyncio.create_task(endpoint.supervise(0.01))
        await until(lambda: len(endpoint.seen) > 3 or supervising.done())
        supervising.cancel()
        await asyncio.gather(supervising, return_exceptions=True)
        assert supervising.cancelled()
        await endpoint.close()
        return set(endpoint.seen)

    with cog.served():
        return asyncio.run(main())


def test_one_that_is_ours_is_ready() -> None:
    assert states(CogServer()) == {State.STARTING, State.READY}


@pytest.mark.parametrize(
    "other",
    [
        {"model": None},
        {"task": "text-to-video"},
        {"native_size": 0},
        {"native_size": "768"},
        {"checker": None},
        {"versions": ["torch"]},
    ],
)
def test_one_that_does_not_describe_its_model_is_never_ready(
    other: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    cog = CogServer()
    cog.description |= other
    assert states(cog) == {State.STARTING, State.UNREACHABLE}
    assert caplog.messages == [f"{cog.url} can't be used"]


@pytest.mark.parametrize("schema", [{}, [], "ok", {"components": None}])
def test_one_without_a_schema_is_never_ready(schema: Any, caplog: pytest.LogCaptureFixture) -> None:
    cog = CogServer()
    cog.schema = schema
    assert states(cog) == {State.STARTING, State.UNREACHABLE}
    assert caplog.messages == [f"{cog.url} can't be used"]


def test_a_server_of_our_own_that_does_not_describe_its_model_is_not_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "hosting").symlink_to(ROOT / "hosting")  # which the server runs a module of
    predict = tmp_path / "predict.py"
    predict.write_text(MUTE)
    launch = Launch("mute", predict, "Predictor", CogServer().schema, "img2img", 1, {})
    server = Server(launch, tmp_path / "server", has_own_network=False)

    async def main() -> None:
        endpoint = Endpoint(server, 1)
        assert (endpoint.task, endpoint.model, endpoint.description) == ("img2img", "mute", None)
        try:
            with pytest.raises(SetupFailed, match="mute could not start"):
                await asyncio.wait_for(endpoint.supervise(0.05), LONGEST)
        finally:
            await endpoint.close()

    asyncio.run(main())
    assert "mute can't be used" in caplog.messages
    assert not server.is_alive


def test_what_is_started_in_anothers_place_is_known_by_its_own_description() -> None:
    first, second = CogServer(), CogServer("depth")

    async def main() -> None:
        endpoint = Endpoint(first.url, 1)
        supervising = asyncio.create_task(endpoint.supervise(0.01))
        await until(lambda: endpoint.status is State.READY)
        assert (endpoint.task, endpoint.model) == ("img2img", "stable-diffusion-2-1")
        first.status = "STARTING"
        await until(lambda: endpoint.status is State.STARTING)
        assert endpoint.task == "img2img"  # what waits for it goes on waiting
        first.description, first.schema = second.description, second.schema
        first.restart()
        await until(lambda: endpoint.status is State.READY)
        assert (endpoint.task, endpoint.model) == ("depth", "stable-diffusion-2-depth")
        assert endpoint.schema == second.schema
        supervising.cancel()
        await asyncio.gather(supervising, return_exceptions=True)
        await endpoint.close()

    with first.served():
        asyncio.run(main())


def test_one_that_does_not_say_what_it_is_is_never_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "LONGEST_SCHEMA_SECONDS", 0.05)
    assert states(Frozen()) == {State.STARTING, State.UNREACHABLE}
