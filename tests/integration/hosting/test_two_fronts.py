"""Two fronts of one database, as processes: whatever happens to one, no prediction is harmed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cog_schema.schema import ROOT
from hosting.settings import Settings
from tests.support.front import said
from tests.support.front_process import Site, site
from tests.support.postgresql import PostgreSQL
from tools.benchmark.server import free_port
from tools.fake_cog import CogServer, pixels

DEAD_AFTER = 3.0
"""Seconds after which a front is dead here, so that the tests are quick."""
SERVE = f"""
import sys
from functools import partial
from hosting import app
from hosting.timings import Timings
timings = Timings(heartbeat_seconds=0.5, dead_after_seconds={DEAD_AFTER})
app.serve = partial(app.serve, timings=timings)
from commands.serve import main
sys.exit(main())
"""
SLOTS = 3
LONGEST = 60.0
"""Seconds after which what should happen has not."""


@dataclass
class Front:
    """A front in a process of its own, before a Cog server of its own."""

    process: subprocess.Popen[bytes]
    cog: CogServer
    log: Path
    client: httpx2.Client

    def ask(self, prompt: str, webhook: str) -> str:
        """A prediction's id; its seed is drawn."""
        asked = {"model": "stability-ai/stable-diffusion", "input": {"prompt": prompt}}
        answer = self.client.post("/v1/predictions", json={**asked, "webhook": webhook})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def shown(self, prediction_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.client.get(f"/v1/predictions/{prediction_id}").json()
        return answer

    def signal(self, number: int) -> None:
        self.process.send_signal(number)


@dataclass
class House:
    """The fronts, what they share, and who is told."""

    one: Front
    other: Front
    folder: Path
    site: Site
    asked: dict[str, str] = field(default_factory=dict)
    """The prompts of what was accepted, by id."""

    def ask(self, front: Front, prompt: str) -> None:
        self.asked[front.ask(prompt, f"{self.site.url}/{prompt}")] = prompt

    def all_succeeded(self, front: Front) -> bool:
        return all(front.shown(one)["status"] == "succeeded" for one in self.asked)

    def is_whole(self) -> None:
        """Every prediction has one result, that of its seed, and was told of its end once."""
        listed = self.other.client.get("/v1/predictions").json()["results"]
        assert sorted(one["id"] for one in listed) == sorted(self.asked)
        for one in listed:
            prompt = self.asked[one["id"]]
            runs = [*self.one.cog.runs_of(prompt), *self.other.cog.runs_of(prompt)]
            (seed,) = {run.input["seed"] for run in runs}  # though it ran twice
            (url,) = one["output"]
            assert self.other.client.get(url).content == pixels(prompt, seed)
            (kept,) = self.folder.glob(f"predictions/{one['id']}/*")
            assert kept.name in url
            assert said(one["logs"]) == f"drawing {prompt}\n"
        wait_until(lambda: all(self.told(prompt) for prompt in self.asked.values()))
        # A call may have been made whose answer nobody was there to take: it is made again.
        for prompt in self.asked.values():
            assert len({call.headers["webhook-id"] for call in self.told(prompt)}) == 1

    def told(self, prompt: str) -> list[Any]:
        """The calls that said that a prediction is over."""
        return [call for call in self.site.to(f"/{prompt}") if '"succeeded"' in call.body]


@contextmanager
def serving(folder: Path, url: str, cog: CogServer, name: str) -> Iterator[Front]:
    """Runs `scripts/serve` until the end."""
    ours = {one.name.upper() for one in fields(Settings)}
    port, log = free_port(), folder / f"{name}.log"
    settings = {
        "DATABASE_URL": url,
        "DATA": str(folder),
        "COG_URLS": cog.url,
        "COG_SLOTS": str(SLOTS),
        "ALLOWED_NETWORKS": "127.0.0.0/8",
        "STOP_SECONDS": "0",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, "--port", str(port)],
            cwd=ROOT,
            env={**{k: v for k, v in os.environ.items() if k not in ours}, **settings},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False) as client:
        front = Front(process, cog, log, client)
        try:
            wait_until(lambda: process.poll() is not None or b"is ready" in log.read_bytes())
            assert process.poll() is None, log.read_text()
            yield front
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
            status = process.wait(60)
        assert status in (0, -signal.SIGKILL), log.read_text()
        assert "Traceback" not in log.read_text()


@pytest.fixture
def house(server: PostgreSQL, tmp_path: Path) -> Iterator[House]:
    url = server.url(server.create(template="ours"))
    with ExitStack() as stack:
        hooks = stack.enter_context(site())
        cogs = [stack.enter_context(CogServer(slots=SLOTS).served()) for _ in range(2)]
        one = stack.enter_context(serving(tmp_path, url, cogs[0], "one"))
        other = stack.enter_context(serving(tmp_path, url, cogs[1], "other"))
        yield House(one, other, tmp_path, hooks)


def wait_until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def test_when_one_is_killed_in_the_middle_nothing_is_lost_or_run_twice(house: House) -> None:
    one, other = house.one, house.other
    prompts = [f"fox-{number}" for number in range(30)]
    in_the_middle = prompts[5 : 5 + SLOTS]
    for prompt in in_the_middle:
        one.cog.tell(prompt, "hold")
    other.cog.status = "STARTING"
    wait_until(lambda: _status(other) == "STARTING")
    for prompt in prompts[:5]:
        house.ask(one, prompt)
    wait_until(lambda: house.all_succeeded(other))
    for prompt in in_the_middle:
        house.ask(other, prompt)
    wait_until(lambda: sorted(one.cog.running) == in_the_middle)
    other.cog.status = "READY"
    for number, prompt in enumerate(prompts[8:20]):
        house.ask((one, other)[number % 2], prompt)
    wait_until(lambda: other.cog.runs)
    one.signal(signal.SIGKILL)
    one.process.wait(60)
    for prompt in prompts[20:]:
        house.ask(other, prompt)
    wait_until(lambda: house.all_succeeded(other))
    house.is_whole()
    for prompt in prompts:
        runs = [*one.cog.runs_of(prompt), *other.cog.runs_of(prompt)]
        assert len(runs) == (2 if prompt in in_the_middle else 1)


def test_one_that_was_frozen_does_no_harm_when_it_comes_back(house: House) -> None:
    one, other = house.one, house.other
    prompts = ["elk", "fox", "owl"]
    for prompt in prompts:
        one.cog.tell(prompt, "hold")
    other.cog.tell("elk", "hold")
    other.cog.status = "STARTING"
    wait_until(lambda: _status(other) == "STARTING")
    for prompt in prompts:
        house.ask(one, prompt)
    elk, fox, owl = house.asked
    wait_until(lambda: sorted(one.cog.running) == prompts)
    one.signal(signal.SIGSTOP)
    other.cog.status = "READY"
    wait_until(lambda: [other.shown(it)["status"] for it in (fox, owl)] == ["succeeded"] * 2)
    wait_until(lambda: other.cog.running == ["elk"])
    # While it is frozen, its own attempts succeed: the results wait for it.
    one.cog.let_go(*prompts)
    wait_until(lambda: not one.cog.running)
    one.signal(signal.SIGCONT)
    wait_until(lambda: _endpoint(one)["running"] == 0)
    assert one.shown(elk)["status"] == "processing"
    other.cog.let_go("elk")
    wait_until(lambda: house.all_succeeded(one))
    house.is_whole()
    assert {path.name for path in house.folder.glob("predictions/*/*")} == {"out-0-2.png"}
    # It is there again for others.
    other.cog.status = "STARTING"
    wait_until(lambda: _status(other) == "STARTING")
    house.ask(other, "ant")
    wait_until(lambda: house.all_succeeded(other))
    house.is_whole()
    assert one.cog.prompts[3:] == ["ant"]
    assert [len(house.told(prompt)) for prompt in prompts] == [1, 1, 1]


def _status(front: Front) -> str:
    return str(_endpoint(front)["status"])


def _endpoint(front: Front) -> dict[str, Any]:
    (endpoint,) = front.client.get("/health").json()["endpoints"]
    found: dict[str, Any] = endpoint
    return found
