"""The hosted front in tests: its dispatcher alone, or all of it behind a port."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from fastapi import FastAPI
from sqlalchemy.orm import Session

from hosting import app, models_file
from hosting.api.connections import Connection
from hosting.api.context import Services
from hosting.api.webhook_documents import renderer
from hosting.backends.endpoints import Endpoint
from hosting.net.links import Links
from hosting.prediction import Prediction
from hosting.queue.dispatch import Dispatcher
from hosting.queue.intake import Intake
from hosting.queue.prediction_queue import PredictionQueue
from hosting.settings import Settings
from hosting.states import FINISHED, Status
from hosting.storage import predictions, tokens
from hosting.storage.database import Database
from hosting.storage.files import Files
from hosting.storage.store import Store
from hosting.storage.tables import Token, Upload, new_id
from hosting.timings import Timings
from tests.support.postgresql import PostgreSQL
from tools.fake_cog import CogServer

LONGEST = 60.0
"""Seconds after which what should happen has not."""
QUICK = Timings(poll_seconds=0.02, disk_retry_seconds=0.2)
"""So that tests need not wait for what runs by the clock."""
PROGRESS = re.compile(r"^\s*(\d+)%\s*\|.+?\|\s*(\d+)\/(\d+)")
"""A line of progress, as Replicate's clients look for it."""
RESOLVE = socket.getaddrinfo
server: PostgreSQL | None = None
"""Where the databases are, if not in files; see the fixture `everywhere`."""


def place(folder: Path) -> Path | str:
    """The database of who keeps files in a folder: the same for the same."""
    return server.database(str(folder)) if server else folder / "predictions.db"


@contextmanager
def placed_at(postgresql: PostgreSQL) -> Iterator[None]:
    """Have the databases of a block be in PostgreSQL, which forgets them afterwards."""
    global server
    before, server = server, postgresql
    yield
    server = before
    postgresql.forget()


def known(folder: Path, **settings: Any) -> Settings:
    """Settings whose DATA is a folder."""
    url = place(folder) if server else ""
    return Settings(data=folder, database_url=str(url), **settings)


def unresolved(host: Any, *arguments: Any, **options: Any) -> Any:
    """Stands in for `socket.getaddrinfo`: nobody is asked where a name leads."""
    if host != "127.0.0.1":
        raise socket.gaierror(socket.EAI_NONAME, "no such name")
    return RESOLVE(host, *arguments, **options)


async def until(condition: Callable[[], Any]) -> None:
    """Waits until something is so."""
    end = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        await asyncio.sleep(0.005)


def wait_until(condition: Callable[[], Any]) -> None:
    """The same, while the thread waits."""
    end = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.005)


def said(logs: str) -> str:
    """What a prediction's logs say beside its progress."""
    lines = logs.splitlines(keepends=True)
    return "".join(line for line in lines if not PROGRESS.match(line))


def count(session: Session, status: str) -> int:
    """How many predictions are in a state."""
    return sum(n for (_, one), n in predictions.unfinished(session).items() if one == status)


class Queue(PredictionQueue):
    """A queue that is asked without HTTP, and all that runs it."""

    def __init__(
        self, settings: Settings, database: Database, endpoints: list[Endpoint], timings: Timings
    ) -> None:
        self.database = database
        self.endpoints = endpoints
        self.files, links = Files(settings.data), Links(b"key", 3600)
        self.store, render = Store(database), renderer(links, self.files, models_file.load())
        self.dispatcher = Dispatcher(settings, self.store, self.files, endpoints, render, timings)
        intake = Intake(settings, self.store, self.files, links)
        super().__init__(self.store, intake, self.dispatcher, timings)

    async def ask(self, prompt: str, seed: int = 7, **fields: Any) -> str:
        """Takes a prediction into the queue; its id."""
        token = await self.database.read(tokens.find, None)
        assert token is not None
        asked = prediction(token, prompt, seed, **fields)
        await self.database.write(predictions.add, asked, 1000)
        self.dispatcher.wake(asked.id)
        return asked.id

    async def found(self, prediction_id: str) -> Prediction:
        """A prediction as the database has it."""
        found = await self.store.predictions.find(prediction_id)
        assert found is not None
        return found

    async def over(self, *ids: str) -> list[Prediction]:
        """Predictions as the database has them, once they are over."""
        ended = [await self.finished(await self.found(one), LONGEST) for one in ids]
        assert {one.status for one in ended} <= set(FINISHED)
        return ended

    def pictures(self, record: Prediction) -> list[bytes]:
        """The files that a prediction has made."""
        folder = f"predictions/{record.id}"
        return [self.files.read(f"{folder}/{name}") for name in record.output]


def prediction(token: Token, prompt: str, seed: int = 7, **fields: Any) -> Prediction:
    """A prediction to be put into the queue."""
    request = {"prompt": prompt, "seed": seed, **fields.pop("request", {})}
    plain: dict[str, Any] = {
        "id": new_id(),
        "token_id": token.id,
        "task": "img2img",
        "model": "a/b",
    }
    plain |= {"version": "v", "source": "http://localhost", "input": {"prompt": prompt}}
    plain |= {"files": {}, "ready": True, "cost": 25.0 * 512 * 512}
    if "status" in fields:
        fields["status"] = Status(fields["status"])
    return Prediction(**{**plain, "request": request, **fields})


def upload(token: Token, **fields: Any) -> Upload:
    """The record of a file that was sent, to be added."""
    plain: dict[str, Any] = {"id": new_id(), "token_id": token.id, "name": "fox.png"}
    plain |= {"content_type": "image/png", "size": 1, "sha256": "", "details": {}}
    plain |= {"expires_at": time.time() + 3600}
    return Upload(**{**plain, **fields})


@asynccontextmanager
async def queue(
    folder: Path, *cogs: CogServer | Endpoint, timings: Timings = QUICK, **settings: Any
) -> AsyncIterator[Queue]:
    """A queue that runs, before Cog servers that are ready, or other endpoints."""
    database = Database(place(folder))
    database.write_now(tokens.prepare)
    endpoints = [cog if isinstance(cog, Endpoint) else Endpoint(cog.url, cog.slots) for cog in cogs]
    made = Queue(known(folder, **settings), database, endpoints, timings)
    test = asyncio.current_task()
    running = asyncio.create_task(made.dispatcher.run())
    running.add_done_callback(lambda _: test and test.cancel())  # it should not end by itself
    try:
        yield made
    finally:
        test = None
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        database.close()


def in_queue(
    folder: Path, *cogs: CogServer, timings: Timings = QUICK, **settings: Any
) -> Callable[[Callable[[Queue], Awaitable[None]]], None]:
    """Runs a test with a queue, at once."""

    def run(test: Callable[[Queue], Awaitable[None]]) -> None:
        async def main() -> None:
            async with queue(folder, *cogs, timings=timings, **settings) as made:
                await test(made)

        asyncio.run(main())

    return run


@dataclass
class Front:
    """The whole front, behind a port."""

    application: FastAPI
    services: Services
    database: Database
    url: str
    client: httpx2.Client

    def token(self, name: str) -> dict[str, str]:
        """A new token, as the header that has it."""
        text = self.database.write_now(tokens.create, name)
        return {"authorization": f"Bearer {text}"}


@contextmanager
def front(
    folder: Path,
    *cogs: CogServer,
    wait: bool = True,
    timings: Timings = QUICK,
    **settings: Any,
) -> Iterator[Front]:
    """The front, serving.

    Args:
        wait: until it knows what its Cog servers are.
    """
    told = known(folder, cog_urls=tuple(cog.url for cog in cogs), **settings)
    database = Database(told.database)
    application = app.create(told, database, [], timings=timings)
    services: Services = application.state.services
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            application,
            http=Connection,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            with httpx2.Client(base_url=url, timeout=LONGEST, trust_env=False) as client:
                wait_until(lambda: not wait or all(one.schema for one in services.endpoints))
                yield Front(application, services, database, url, client)
        finally:
            server.should_exit = True
            thread.join()
            database.close()
