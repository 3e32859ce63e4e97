"""Runs Cog's own HTTP server without Docker, and starts it again when its worker dies."""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

from scripts import schema, selection
from stable_diffusion.catalogue import Weights, WeightsError, entries, find

GRACE = 30
"""Seconds that running predictions get to finish after the first Ctrl-C; a second one is prompt."""


_stop = threading.Event()
"""Set when someone asks this process to end."""


def main() -> int:
    """Serves until it is stopped; the exit status."""
    arguments = _parser().parse_args()
    try:
        predictor = selection.predictor_of(arguments)
        task = {name: task for task, name in schema.PREDICTORS.items()}[predictor]
        weights = find(arguments.model, task)
    except WeightsError as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.model:
        # The worker runs in another folder.
        known = arguments.model in entries()
        os.environ["MODEL"] = arguments.model if known else str(weights.path.resolve())
    if not _is_free(arguments.host, arguments.port):
        print(
            f"port {arguments.port} of {arguments.host} can't be had; give another --port",
            file=sys.stderr,
        )
        return 1
    schema.write(predictor)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: _stop.set())
    with tempfile.TemporaryDirectory(prefix="stable-diffusion-") as folder:
        return _serve(weights, predictor, arguments.host, arguments.port, folder)


def _serve(weights: Weights, predictor: str, host: str, port: int, folder: str) -> int:
    """Keeps a server running until it can't start, or someone stops it."""
    health = f"http://{host}:{port}/health-check"
    while True:
        server = _start(predictor, host, port, folder)
        ready = False
        while server.poll() is None and not _stop.wait(0.5):
            state = status(health)
            if state == "READY" and not ready:
                ready = True
                print(f"{weights.name} is ready at http://{host}:{port}", flush=True)
            if state in ("SETUP_FAILED", "UNHEALTHY", "DEFUNCT"):
                break
        asked = _stop.is_set() or server.returncode == 0  # the latter by a client's /shutdown
        _end(server)
        if asked:
            return 0
        if not ready:
            print("the server could not start; its log says why", file=sys.stderr)
            return 1
        print("the server's worker has died; starting it again", file=sys.stderr, flush=True)


def _start(predictor: str, host: str, port: int, folder: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        # Cog starts its worker as plain `python`, and keeps no house in the temporary folder.
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TMPDIR": folder,
        "PORT": str(port),
        "COG_PREDICT_TYPE_STUB": f"predict.py:{predictor}",
        "COG_MAX_CONCURRENCY": str(schema.concurrency(schema.PREDICT.read_text())),
        # Cog calls predict(), which the whole world writes, by a new name: run().
        "PYTHONWARNINGS": "ignore::DeprecationWarning",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "cog.server.http", "--host", host],
        cwd=schema.ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C is for this process, which then ends the server
    )
    assert server.stdout is not None
    threading.Thread(target=_relay, args=(server.stdout,), daemon=True).start()
    return server


def _end(server: subprocess.Popen[str]) -> None:
    """Lets running predictions finish; asked again, or after `GRACE`, it ends them."""
    _stop.clear()
    server.terminate()
    end = time.monotonic() + GRACE
    while server.poll() is None and time.monotonic() < end and not _stop.wait(0.1):
        pass
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def _relay(lines: IO[str]) -> None:
    """Prints the server's log for people, and reads on when it can't: the pipe must not fill."""
    for line in lines:
        with contextlib.suppress(OSError, UnicodeError):
            if text := _readable(line):
                print(text, flush=True)


def _readable(line: str) -> str | None:
    """A line of the log, which is JSON, as a sentence; None for what tells a user nothing."""
    try:
        entry = json.loads(line)
        fields = entry["fields"]
        message = fields.pop("message")
        at = entry["timestamp"][11:19]
        told = entry["level"] != "INFO" or "source" in fields or "prediction_id" in fields
    except (ValueError, KeyError, TypeError):
        return line.rstrip()
    if not told or message.startswith("predict() is deprecated"):
        return None
    details = [f"{name}={value}" for name, value in fields.items() if name != "source"]
    return " ".join([at, message, *details])


def status(url: str) -> str:
    """What the server says of itself; empty while it says nothing."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return str(json.load(response)["status"])
    except (OSError, ValueError):
        return ""


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _loopback(host: str) -> str:
    if host == "localhost":
        return "127.0.0.1"
    try:
        if ipaddress.IPv4Address(host).is_loopback:
            return host
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(
        f"{host} is not a loopback address of IPv4, such as 127.0.0.1: Cog's server lets anyone "
        "who reaches it shut it down and fetch any URL; put a proxy with authentication before it"
    )


def _port(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port; give 1 to 65535")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/serve", description=__doc__)
    parser.add_argument("--host", type=_loopback, default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=_port, default=5000, help="1 to 65535; 5000 unless given")
    selection.add_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
