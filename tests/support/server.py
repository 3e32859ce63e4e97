"""`scripts/serve` as its clients see it, who use Cog's API."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from cog_schema import schema
from tools.benchmark.server import Client, free_port


@dataclass
class Server:
    """A running `scripts/serve`, and what it has printed so far."""

    process: subprocess.Popen[str]
    port: int
    folder: Path
    printed: list[str] = field(default_factory=list)
    _news: threading.Condition = field(default_factory=threading.Condition)
    _has_ended: bool = False

    def wait_for(self, text: str, times: int = 1) -> None:
        """Wait until it has printed so many lines with a text in them."""

        def is_printed() -> bool:
            return sum(text in line for line in self.printed) >= times

        with self._news:
            assert self._news.wait_for(lambda: is_printed() or self._has_ended, 90), self.printed
        assert is_printed(), self.printed

    def relay(self) -> None:
        """Take what it prints, until it ends."""
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with self._news:
                    self.printed.append(line)
                    self._news.notify_all()
        with self._news:
            self._has_ended = True
            self._news.notify_all()

    def ask(self, path: str, body: Any = None, **headers: str) -> Any:
        """The open response to a GET, or to a POST where there is a body."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return urllib.request.urlopen(
            urllib.request.Request(
                f"http://127.0.0.1:{self.port}{path}",
                data if body is not None else None,
                {"Content-Type": "application/json", **headers},
            ),
            timeout=120,
        )

    def predict(self, body: Any = None, **inputs: Any) -> tuple[int, Any]:
        """The status and the answer of one prediction, by its inputs or by a raw body."""
        try:
            with self.ask("/predictions", body or {"input": inputs}) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode()
                return error.code, json.loads(text) if text.startswith("{") else text

    def draw(self, **inputs: Any) -> list[Image.Image]:
        status, answer = self.predict(**inputs)
        assert (status, answer["status"]) == (200, "succeeded"), answer
        return [picture_in(url) for url in answer["output"]]

    def stop(self) -> None:
        """Ends it as when its terminal is closed."""
        self.process.send_signal(signal.SIGHUP)
        assert self.process.wait(60) == 0

    @property
    def health(self) -> str:
        with self.ask("/health-check") as response:
            return str(json.load(response)["status"])

    def files(self) -> list[Path]:
        """The results that lie on the disk, of Cog's server and of the front."""
        patterns = ("stable-diffusion-*/tmp/stable-diffusion-*/*/*", "data/predictions/*/out-*")
        return sorted(path for pattern in patterns for path in self.folder.glob(pattern))


def url_of(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64," + base64.b64encode(data).decode()


def picture_in(url: str) -> Image.Image:
    picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    picture.load()
    return picture


def file_of(picture: Image.Image, file_format: str = "PNG", **options: Any) -> str:
    data = io.BytesIO()
    picture.save(data, file_format, **options)
    return url_of(data.getvalue(), Image.MIME[file_format])


def until(condition: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def start(
    folder: Path, *arguments: str, port: int | None = None, ready: int = 1, **settings: str
) -> Server:
    """Runs `scripts/serve` and waits until its models are ready.

    Args:
        folder: where its temporary files and its data are to be.
        ready: how many models there are.
        settings: of the environment.
    """
    port = port or free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "commands.serve", "--port", str(port), *arguments],
        cwd=schema.ROOT,
        env={**os.environ, "TMPDIR": str(folder), "DATA": str(folder / "data"), **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    server = Server(process, port, folder)
    threading.Thread(target=server.relay, daemon=True).start()
    server.wait_for("is ready", ready)
    return server


@contextmanager
def bare_cog(folder: Path) -> Iterator[Client]:
    """Runs a Cog server with the demo model, as its container does, and nothing before it.

    Args:
        folder: for what it reads and writes.
    """
    text = schema.PREDICT.read_text()
    (folder / ".cog").mkdir()
    (folder / ".cog" / "openapi_schema.json").write_text(json.dumps(schema.schema(text)))
    (folder / schema.PREDICT.name).symlink_to(schema.PREDICT)
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "cog.server.http", "--host", "127.0.0.1"],
        cwd=folder,
        env={
            **os.environ,
            "MODEL": "demo",
            "PORT": str(port),
            "PYTHONPATH": str(schema.ROOT),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TMPDIR": str(folder),
            "COG_PREDICT_TYPE_STUB": f"{schema.PREDICT.name}:Predictor",
            "COG_MAX_CONCURRENCY": "8",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    client = Client(f"http://127.0.0.1:{port}")
    try:
        until(lambda: process.poll() is not None or _is_ready(client), 90)
        yield client
    finally:
        process.kill()
        process.wait()


def _is_ready(client: Client) -> bool:
    try:
        return bool(client.get("/health-check")["status"] == "READY")
    except OSError:
        return False
