"""A load test of the hosted front with fake Cog servers behind it, and its counts.

A front is started as a process of its own; the Cog servers behind it and the clients are in this
one, so that what it measures of a request has the clients' own time in it too.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import psutil

from cog_schema.schema import ROOT
from tools.benchmark.server import free_port
from tools.benchmark.statistics import percentile
from tools.fake_cog import CogServer, pixels

Result = TypeVar("Result")

MODEL = "stability-ai/stable-diffusion"
POLL_SECONDS = 0.5
"""The time between two polls of a prediction, as in Replicate's own clients."""
FAULTS = {"die": 1 / 50, "full": 1 / 20, "slow": 1 / 10}
"""The shares of predictions that Cog servers fail or delay when they first get them.

Their worker dies, they answer 409 though they have a free slot, as coglet does right after an
answer, or they take a while.
"""
LONGEST_SECONDS = 900.0
"""The time after which a part that is not done has failed."""
MIB = 2**20


@dataclass(frozen=True)
class Front:
    """A running front's URL and process."""

    url: str
    process: psutil.Process

    def memory(self) -> float:
        """Return the MiB that the front takes of the machine's memory."""
        return float(self.process.memory_info().rss) / MIB


@dataclass
class Seen:
    """The clients' observations."""

    accepted: dict[str, tuple[str, int]] = field(default_factory=dict)
    """The prompts and seeds of the accepted predictions, by their ids."""
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """The seconds that requests took, by what was requested."""
    wrong: list[str] = field(default_factory=list)
    """Sentences that say what went wrong."""


def main() -> int:
    """Run the chosen parts; return 1 when something was lost, doubled or wrong."""
    options = _parser().parse_args()
    wrong: list[str] = []
    if options.only in (None, "load"):
        wrong += load(options.clients, options.each)
    if options.only in (None, "memory"):
        wrong += memory(options.predictions)
    for sentence in wrong[:20]:
        print(f"WRONG: {sentence}", file=sys.stderr)
    return 1 if wrong else 0


def load(clients: int, asks: int) -> list[str]:
    """Run clients at once, with endpoints that crash, are full or slow; return what went wrong.

    Args:
        asks: predictions that a client asks for, one after another.
    """
    chance = random.Random(1)
    asked = [(f"a fox, {number}", chance.randrange(2**32)) for number in range(clients * asks)]
    cogs = [CogServer(slots=4) for _ in range(2)]
    for prompt, _ in asked:
        (fault,) = chance.choices(
            ["succeed", *FAULTS], [1 - sum(FAULTS.values()), *FAULTS.values()]
        )
        for cog in cogs:
            cog.tell(prompt, fault, "succeed")
    seen = Seen()
    with running(cogs) as front:
        before = front.memory()
        start = time.perf_counter()
        parts = [asked[number::clients] for number in range(clients)]
        asyncio.run(_bounded(_clients(front, parts, seen)))
        took = time.perf_counter() - start
        after = front.memory()
        wrong = seen.wrong + asyncio.run(_bounded(_missing(front, seen)))
    drawn = Counter(run.prompt for cog in cogs for run in cog.runs if run.status == "succeeded")
    wrong += [
        f"{prompt!r} was drawn {drawn[prompt]} times" for prompt, _ in asked if drawn[prompt] != 1
    ]
    runs = sum(len(cog.runs) for cog in cogs)
    crashed = sum(run.status == "crashed" for cog in cogs for run in cog.runs)
    print(f"\n{clients} clients, {asks} predictions each, 2 endpoints of 4 slots")
    print(f"  accepted {len(seen.accepted)}, drawn {len(drawn)}, wrong {len(wrong)}")
    print(f"  runs {runs}, of them {crashed} crashed; 409 {sum(cog.refused for cog in cogs)} times")
    print(f"  {took:.1f} s, {len(asked) / took:.1f} predictions/s")
    requests = sum(map(len, seen.seconds.values()))
    print(f"  {requests} requests, {requests / took:.0f}/s")
    for name, seconds in seen.seconds.items():
        middle, late = (1000 * percentile(seconds, percent) for percent in (50, 99))
        print(f"  {name:8} p50 {middle:.0f} ms, p99 {late:.0f} ms")
    print(f"  memory of the front: {before:.1f} MiB before, {after:.1f} MiB after")
    return wrong


def memory(predictions: int) -> list[str]:
    """Run many predictions, 16 at once; print the front's memory, return what went wrong."""
    seen = Seen()
    sizes: dict[int, float] = {}
    with running([CogServer(), CogServer()]) as front:
        asyncio.run(_bounded(_many(front, predictions, seen, sizes)))
    print(f"\n{predictions} predictions, 16 at once: memory of the front")
    for number, size in sizes.items():
        print(f"  after {number:>6}: {size:.1f} MiB")
    return seen.wrong


@contextmanager
def running(cogs: list[CogServer]) -> Iterator[Front]:
    """Run a front of scripts/serve with Cog servers behind it, for the time of a block."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        for cog in cogs:
            stack.enter_context(cog.served())
        log = stack.enter_context((Path(folder) / "log").open("w+"))
        settings = {
            "COG_URLS": " ".join(cog.url for cog in cogs),
            "COG_SLOTS": str(cogs[0].slots),
            "DATA": f"{folder}/data",
            "REQUESTS_PER_MINUTE": "10000000",
            "QUEUE_LIMIT": "100000",
        }
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "commands.serve", "--port", str(port)],
            cwd=ROOT,
            env={**os.environ, **settings, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until_ready(url, process)
            yield Front(url, psutil.Process(process.pid))
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            log.seek(0)
            sys.stderr.writelines(line for line in log if not line.startswith("{"))


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    with httpx2.Client(trust_env=False) as client:
        while time.monotonic() < end and process.poll() is None:
            try:
                if client.get(f"{url}/health").status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            time.sleep(0.1)
    raise RuntimeError("the front did not come up")


async def _bounded(work: Coroutine[Any, Any, Result]) -> Result:
    async with asyncio.timeout(LONGEST_SECONDS):
        return await work


def _client(front: Front, connections: int) -> httpx2.AsyncClient:
    # The front hangs up after 5 s without a request: not in the middle of ours.
    limits = httpx2.Limits(max_connections=connections, keepalive_expiry=3)
    return httpx2.AsyncClient(base_url=front.url, limits=limits, timeout=120, trust_env=False)


async def _clients(front: Front, parts: list[list[tuple[str, int]]], seen: Seen) -> None:
    async with _client(front, len(parts)) as http, asyncio.TaskGroup() as tasks:
        for part in parts:
            tasks.create_task(_ask_for_all(http, part, seen))


async def _ask_for_all(http: httpx2.AsyncClient, asked: list[tuple[str, int]], seen: Seen) -> None:
    """Act as one client: for each prediction, create it, poll it to its end, get its picture."""
    for prompt, seed in asked:
        body = {"input": {"prompt": prompt, "seed": seed}}
        answer = await _timed(http, "POST", f"/v1/models/{MODEL}/predictions", seen, body)
        if answer.status_code != 201:
            seen.wrong.append(f"{prompt!r} was answered {answer.status_code}: {answer.text[:200]}")
            continue
        document = answer.json()
        if document["id"] in seen.accepted:
            seen.wrong.append(f"the id {document['id']} was given twice")
        seen.accepted[document["id"]] = prompt, seed
        while not document["completed_at"]:
            await asyncio.sleep(POLL_SECONDS)
            answer = await _timed(http, "GET", f"/v1/predictions/{document['id']}", seen)
            document = answer.json()
        await _check(http, document, prompt, seed, seen)


async def _check(
    http: httpx2.AsyncClient, document: dict[str, Any], prompt: str, seed: int, seen: Seen
) -> None:
    """Check that a prediction that is over has the one picture that its prompt and seed make."""
    if document["status"] != "succeeded":
        seen.wrong.append(f"{prompt!r} {document['status']}: {document['error']}")
        return
    (url,) = document["output"]
    answer = await _timed(http, "picture", url, seen)
    if answer.content != pixels(prompt, seed):
        seen.wrong.append(f"{prompt!r} has the picture of something else")


async def _timed(
    http: httpx2.AsyncClient, what: str, url: str, seen: Seen, body: Any = None
) -> httpx2.Response:
    start = time.perf_counter()
    answer = await http.request("POST" if body else "GET", url, json=body)
    seen.seconds.setdefault(what, []).append(time.perf_counter() - start)
    return answer


async def _missing(front: Front, seen: Seen) -> list[str]:
    """Return what is duplicate, missing, unknown or unfinished in the front's own list."""
    listed: list[dict[str, Any]] = []
    async with _client(front, 1) as http:
        url: str | None = "/v1/predictions"
        while url:
            page = (await http.get(url)).json()
            listed += page["results"]
            url = page["next"]
    ids = Counter(one["id"] for one in listed)
    wrong = [f"{one} is listed {ids[one]} times" for one in {*ids, *seen.accepted} if ids[one] != 1]
    wrong += [f"{one} was never accepted" for one in ids.keys() - seen.accepted.keys()]
    return wrong + [f"{one['id']} {one['status']}" for one in listed if not one["completed_at"]]


async def _many(front: Front, predictions: int, seen: Seen, sizes: dict[int, float]) -> None:
    """Run so many predictions by sixteen clients; `sizes` gets the memory after each tenth."""
    numbers = iter(range(1, predictions + 1))
    done = 0

    async def ask(http: httpx2.AsyncClient) -> None:
        nonlocal done
        for number in numbers:
            prompt = f"a fox, {number}"
            answer = await http.post(
                f"/v1/models/{MODEL}/predictions",
                json={"input": {"prompt": prompt, "seed": number}},
                headers={"prefer": "wait"},
            )
            await _check(http, answer.json(), prompt, number, seen)
            done += 1
            if done % max(1, predictions // 10) == 0:
                sizes[done] = front.memory()

    async with _client(front, 16) as http, asyncio.TaskGroup() as tasks:
        for _ in range(16):
            tasks.create_task(ask(http))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/stress",
        description="Puts the hosted front under load, before Cog servers without a model that "
        "crash, are full and are slow: is anything lost, doubled or wrong, how long do answers "
        "take, and what does its memory do? Some minutes; all of it on this machine.",
    )
    parser.add_argument("--only", choices=("load", "memory"), help="this part alone")
    parser.add_argument("--clients", type=int, default=200, help="at once (default: 200)")
    parser.add_argument("--each", type=int, default=3, help="predictions of each (default: 3)")
    parser.add_argument(
        "--predictions", type=int, default=10_000, help="of the part memory (default: 10,000)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
