"""`scripts/serve` where tokens were made, its Replicate clients, and a site that it may reach."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from replicate.client import Client
from replicate.helpers import FileOutput
from replicate.prediction import Prediction
from sqlalchemy import select
from sqlalchemy.orm import Session

from cog_schema import schema
from hosting import models_file
from hosting.prediction import Prediction as Asked
from hosting.settings import Settings
from hosting.states import Status
from hosting.storage import predictions, tokens
from hosting.storage.database import Database
from hosting.storage.tables import Token, new_id
from tools.benchmark.server import free_port

TEXT_TO_IMAGE = "stability-ai/stable-diffusion"
IMAGE_TO_IMAGE = "stability-ai/stable-diffusion-img2img"
QUEUE_LIMIT = 18
"""Unfinished predictions that a token may have: two more than the most slots here."""
NAMES = ("ada", "bob", "eve")
ARCHIVED = 250
"""Predictions that Eve has from before the start."""


@dataclass(frozen=True)
class Front:
    """A running front.

    Args:
        tokens: by the names of whom they are.
    """

    url: str
    settings: Settings
    tokens: dict[str, str]

    @contextmanager
    def client(self, name: str = "ada", **options: Any) -> Iterator[Client]:
        """Replicate's client, with someone's token."""
        client = Client(self.tokens[name], base_url=self.url, **options)
        client.poll_interval = 0.05
        try:
            yield client
        finally:
            client._client.close()

    @contextmanager
    def http(self, name: str | None = None) -> Iterator[httpx.Client]:
        """A client that knows nothing of Replicate, with someone's token or none."""
        headers = {"Authorization": f"Bearer {self.tokens[name]}"} if name else {}
        with httpx.Client(base_url=self.url, headers=headers, timeout=90) as client:
            yield client

    def database(self) -> Database:
        """What the front keeps, for who must look there."""
        return Database(self.settings.database)


@contextmanager
def running(
    folder: Path, prepare: Callable[[Database], None] = lambda _: None, cog_urls: str = ""
) -> Iterator[Front]:
    """Runs `scripts/serve` with the demo model until the end, which must be a clean one.

    Args:
        folder: for all that it writes.
        prepare: called before its start, when the tokens are made.
        cog_urls: what serves the demo model, if that is not to be a Cog server of the front's own.
    """
    settings = Settings(data=folder / "data", queue_limit=QUEUE_LIMIT)
    port = free_port()
    database = Database(settings.database)
    made = {name: database.write_now(tokens.create, name) for name in NAMES}
    prepare(database)
    database.close()
    ours = {one.name.upper() for one in fields(Settings)} | {"MODEL"}
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "commands.serve", "--model", "demo", "--port", str(port)],
            cwd=schema.ROOT,
            env={
                **{name: value for name, value in os.environ.items() if name not in ours},
                "DATA": str(settings.data),
                "COG_URLS": cog_urls,
                "ALLOWED_NETWORKS": "127.0.0.0/8",
                "QUEUE_LIMIT": str(QUEUE_LIMIT),
                "SAFETY_CHECKER": "off",
                # With more, steps take ages where other work has the cores too.
                "OMP_NUM_THREADS": "1",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    front = Front(f"http://127.0.0.1:{port}", settings, made)
    try:
        until(lambda: process.poll() is not None or _health(front) == "READY")
        assert process.poll() is None, log.read_text()
        yield front
    finally:
        process.send_signal(signal.SIGINT)
        status = process.wait(90)
    assert status == 0, log.read_text()
    for line in log.read_text().splitlines():
        event = json.loads(line)
        assert {"time", "level", "event"} <= event.keys()
        assert "exception" not in event, line


def archive(session: Session) -> None:
    """Finished predictions, more than a page has, all of Eve's; their prompts are their numbers."""
    eve = session.scalars(select(Token).where(Token.name == "eve")).one()
    version = models_file.load().find(TEXT_TO_IMAGE)
    assert version is not None
    now = time.time()
    for number in range(ARCHIVED):
        old = Asked(
            id=new_id(),
            token_id=eve.id,
            task=version.model.task,
            model=version.model.id,
            version=version.id,
            source="http://127.0.0.1",
            input={"prompt": str(number)},
            request={},
            files={},
            ready=True,
            status=Status.SUCCEEDED,
            started_at=now,
            completed_at=now,
        )
        predictions.add(session, old, ARCHIVED)


def _health(front: Front) -> str:
    try:
        with front.http() as http:
            return str(http.get("/health-check").json()["status"])
    except httpx.TransportError:
        return "not there"


def until(condition: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def small(**inputs: Any) -> dict[str, Any]:
    """Inputs that are soon drawn, unless told otherwise."""
    return {"prompt": "a red apple", "num_inference_steps": 3, "seed": 1} | inputs


def endless() -> dict[str, Any]:
    """Inputs that nobody waits for: the prediction is there to be canceled."""
    return small(num_inference_steps=512, num_images=4)


def picture(data: bytes | FileOutput) -> Image.Image:
    """What a file holds, which is a PNG."""
    opened = Image.open(io.BytesIO(data if isinstance(data, bytes) else data.read()))
    opened.load()
    assert opened.format == "PNG"
    return opened


def png_of(picture: Image.Image) -> bytes:
    """A picture as a file."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def ask(client: Client, inputs: dict[str, Any], **options: Any) -> Prediction:
    """A prediction of text to image, as it is answered."""
    prediction: Prediction = client.models.predictions.create(TEXT_TO_IMAGE, inputs, **options)
    return prediction


@contextmanager
def endless_prediction(client: Client, **options: Any) -> Iterator[Prediction]:
    """A prediction that runs and has begun to draw."""
    prediction = ask(client, endless(), **options)
    try:
        until(lambda: client.predictions.get(prediction.id).progress is not None)
        yield prediction
    finally:
        prediction.cancel()
        prediction.wait()


@contextmanager
def all_slots_taken(client: Client) -> Iterator[list[Prediction]]:
    """As many running predictions as there can be: whatever comes now has to wait."""
    (endpoint,) = client._request("GET", "/health").json()["endpoints"]
    blockers = [ask(client, endless()) for _ in range(endpoint["slots"])]
    try:
        for one in blockers:
            until(lambda one=one: client.predictions.get(one.id).status == "processing")  # type: ignore[misc]
        yield blockers
    finally:
        for one in blockers:
            one.cancel()
        for one in blockers:
            one.wait()


@dataclass(frozen=True)
class Call:
    """A POST that came to the site. The names of the headers are in small letters."""

    path: str
    headers: dict[str, str]
    body: str


class Site:
    """A web site on this machine: gives files, and takes webhooks.

    `files` are by path; `answers` are the statuses that a path's next calls get, 200 afterwards.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, list[int]] = {}
        self.calls: list[Call] = []

    def to(self, path: str) -> list[Call]:
        """The calls of a path, in their order."""
        return [call for call in self.calls if call.path == path]


@contextmanager
def site() -> Iterator[Site]:
    """A site, as long as it is wanted."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = served.files.get(self.path)
            self._answer(404 if data is None else 200, data or b"")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            left = served.answers.get(self.path)
            served.calls.append(Call(self.path, headers, body))
            self._answer(left.pop(0) if left else 200, b"")

        def _answer(self, status: int, data: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served = Site(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
