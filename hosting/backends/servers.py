"""A Cog server of the front's own: started on this machine's loopback, its log relayed, ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import shutil
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hosting import log
from hosting.backends.cog_process import SOCKET
from hosting.backends.description import LINE

LEVELS = {"ERROR": logging.ERROR, "WARN": logging.WARNING, "WARNING": logging.WARNING}
"""Cog's names for the levels above `INFO`."""


@dataclass(frozen=True)
class Launch:
    """The order to run a Cog server.

    Args:
        name: what people call it: the model's name.
        predict: the path of predict.py.
        predictor: the class in it.
        schema: its OpenAPI document, by which Cog's server validates.
        task: what the predictor serves.
        slots: predictions at once.
        environment: what is set besides this process's own environment.
    """

    name: str
    predict: Path
    predictor: str
    schema: Mapping[str, Any]
    task: str
    slots: int
    environment: Mapping[str, str]


class Server:
    """A Cog server in a process of its own, which ends with this one.

    Args:
        folder: made when it is started, with all that it writes, and removed when it is ended.
        has_own_network: whether it is in a network of its own, where it reaches nothing and only
            this account reaches it.
    """

    def __init__(self, launch: Launch, folder: Path, has_own_network: bool = True) -> None:
        self.launch = launch
        self._has_own_network = has_own_network
        self._process: asyncio.subprocess.Process | None = None
        self._folder = folder
        self._relay: asyncio.Task[None] | None = None
        self._directory: int | None = None

    @property
    def is_alive(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> tuple[str, str | None]:
        """Start it; return its URL, and the path of the socket that it listens at, if any.

        It ends with the thread that calls this.
        """
        launch = self.launch
        folder = self._folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        # Cog reads the schema and predict.py from the folder that it is started in.
        (folder / ".cog").mkdir()
        (folder / ".cog" / "openapi_schema.json").write_text(json.dumps(launch.schema))
        (folder / launch.predict.name).symlink_to(launch.predict)
        (folder / "tmp").mkdir()
        address, port = _free_place()
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hosting.backends.cog_process", str(os.getpid())),
            *("own" if self._has_own_network else "machine", "--host", address),
            cwd=folder,
            env={
                # The threads of a step wait for one another at the core, by default for so long
                # that beside other work a step takes ten times as long; this costs an idle
                # machine nothing.
                "GOMP_SPINCOUNT": "10000",
                **os.environ,
                **launch.environment,
                "PYTHONPATH": str(launch.predict.parent),
                # Cog starts its worker as plain `python`, and leaves files in the temporary folder.
                "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
                "TMPDIR": str(folder / "tmp"),
                "PORT": str(port),
                "COG_PREDICT_TYPE_STUB": f"{launch.predict.name}:{launch.predictor}",
                "COG_MAX_CONCURRENCY": str(launch.slots),
                # Cog calls predict(), which the whole world writes, by a new name: run().
                "PYTHONWARNINGS": "ignore::DeprecationWarning",
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=2**20,
            start_new_session=True,  # Ctrl-C is for this process, which then ends the server
        )
        self._relay = asyncio.create_task(self._relay_log())
        url = f"http://{address}:{port}"
        if not self._has_own_network:
            return url, None
        # The path of a socket may have 108 bytes, and a folder's may have more.
        self._directory = os.open(folder, os.O_DIRECTORY)
        return url, f"/proc/self/fd/{self._directory}/{SOCKET}"

    async def end(self) -> None:
        """End it at once, with its worker and its files. Nothing happens if it does not run."""
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()
        if self._relay:
            await self._relay
        if self._directory is not None:
            os.close(self._directory)
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
        self._process = self._relay = self._directory = None

    async def _relay_log(self) -> None:
        """Log what the server writes, to its end: else its pipe would fill, and it would stop."""
        assert self._process is not None
        assert self._process.stdout is not None
        while True:
            try:
                line = await self._process.stdout.readline()
            except ValueError:  # longer than the limit
                continue
            if not line:
                return
            _log_line(self.launch.name, line.decode(errors="replace").rstrip())


def _log_line(name: str, line: str) -> None:
    """Log a line of Cog's log, which is JSON; leave out those without news."""
    try:
        entry = json.loads(line)
        fields = dict(entry["fields"])
        message = str(fields.pop("message"))
        level = LEVELS.get(entry["level"], logging.INFO)
        is_news = level > logging.INFO or fields.pop("source", None)
    except (ValueError, KeyError, TypeError, RecursionError):
        if line:
            log.info(line, server=name)
        return
    if is_news and not message.startswith("predict() is deprecated") and not LINE.match(message):
        if attempt := fields.pop("prediction_id", None):
            fields["prediction"] = str(attempt).partition("-")[0]
        log.log(level, message, {**fields, "server": name})


def _free_place() -> tuple[str, int]:
    """Return an address and a port that Cog's server can listen on.

    Cog's server has no tokens. Where it could get no network of its own, no page in a browser on
    this machine finds it among 16 million addresses of its loopback.
    """
    parts = (random.SystemRandom().randrange(1, 255) for _ in range(3))
    address = ".".join(map(str, (127, *parts)))
    with socket.socket() as free:
        free.bind((address, 0))
        return address, int(free.getsockname()[1])
