"""A front as a subprocess, and a client of Cog's API."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import psutil

from cog_schema.schema import ROOT


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def url_of(process: psutil.Process) -> str:
    """Return the URL of a process that listens at one port."""
    (listening,) = [one for one in process.net_connections() if one.status == psutil.CONN_LISTEN]
    return f"http://{listening.laddr.ip}:{listening.laddr.port}"


class Client:
    """A client of Cog's API at a URL."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str) -> Any:
        """Return the document at a path."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=5) as response:
            return json.load(response)

    def predict(
        self,
        inputs: dict[str, Any],
        headers: Mapping[str, str] = MappingProxyType({}),
        webhook: str | None = None,
    ) -> dict[str, Any]:
        """Run a prediction; return its document.

        Args:
            webhook: is called at its end.
        """
        asked: dict[str, Any] = {"input": inputs}
        if webhook:
            asked |= {"webhook": webhook, "webhook_events_filter": ["completed"]}
        request = urllib.request.Request(
            f"{self.url}/predictions",
            json.dumps(asked).encode(),
            {"Content-Type": "application/json", **headers},
        )
        with urllib.request.urlopen(request, timeout=3600) as response:
            answer: dict[str, Any] = json.load(response)
        if answer["status"] != "succeeded":
            raise RuntimeError(f"a prediction failed: {answer.get('error')}")
        return answer


class Server(Client):
    """A running front at `url`; `seconds_to_ready` counts from the start of its process.

    Args:
        environment: what it has besides this process' own.
    """

    def __init__(self, model: str, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        port = free_port()
        super().__init__(f"http://127.0.0.1:{port}")
        self._data = tempfile.TemporaryDirectory()
        self._start = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "commands.serve", "--port", str(port), "--model", model],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "DATA": self._data.name, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not self._is_ready():
            if self.process.poll() is not None:
                raise RuntimeError("the server could not start; scripts/serve says why")
            time.sleep(0.02)
        self.seconds_to_ready = self.age

    @property
    def age(self) -> float:
        """The seconds since the start of its process."""
        return time.perf_counter() - self._start

    def close(self) -> None:
        """End its process, and wait until it has ended."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self._data.cleanup()

    def _is_ready(self) -> bool:
        try:
            return bool(self.get("/health-check")["status"] == "READY")
        except OSError:
            return False


@contextmanager
def serving(model: str, environment: Mapping[str, str] = MappingProxyType({})) -> Iterator[Server]:
    """Run a front for the time of a block; the arguments are those of `Server`."""
    server = Server(model, environment)
    try:
        yield server
    finally:
        server.close()
