from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil
import pytest

from cog_schema.schema import ROOT
from hosting.backends.cog_process import SOCKET
from tests.support.server import until
from tools.benchmark.server import free_port

ADDRESS = "127.45.67.89"
SERVER = f"""
import http.server, os
from hosting.backends import cog_process

def serve(*_, **__):
    place = ("{ADDRESS}", int(os.environ["PORT"]))
    if "SILENT" in os.environ:
        import time; time.sleep(1000)
    http.server.HTTPServer(place, http.server.SimpleHTTPRequestHandler).serve_forever()

cog_process.runpy.run_module = serve
if "REFUSED" in os.environ:
    cog_process._libc.unshare = lambda _: -1
cog_process.main()
"""
"""A web server of the folder instead of Cog's."""


@contextmanager
def running(folder: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(os.getpid()), "own", "--host", ADDRESS],
        cwd=folder,
        env={**os.environ, **environment, "PORT": str(port), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        yield process, port
    finally:
        process.kill()
        assert process.stdout is not None
        process.stdout.read()  # to the end of all that it has started
        process.stdout.close()
        process.wait()


def status(folder: Path, path: str = "/") -> int:
    """Ask through the socket, once it is there; return the status."""
    until((folder / SOCKET).is_socket)
    near = os.path.relpath(folder / SOCKET)
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=near), timeout=30) as client:
        return client.get(f"http://cog{path}").status_code


def is_open(port: int) -> bool:
    with httpx2.Client(trust_env=False, timeout=5) as client:
        try:
            return client.get(f"http://{ADDRESS}:{port}/").is_success
        except httpx2.ConnectError:
            return False


def test_it_is_reached_through_its_socket_alone(tmp_path: Path) -> None:
    with running(tmp_path) as (_, port):
        until(lambda: status(tmp_path) == 200)
        assert status(tmp_path, "/missing") == 404
        assert not is_open(port)


def test_where_the_machine_grants_no_network_it_serves_and_warns(tmp_path: Path) -> None:
    with running(tmp_path, REFUSED="1") as (process, port):
        assert process.stdout is not None
        warning = json.loads(process.stdout.readline())
        assert warning["level"] == "WARNING"
        assert "every local account" in warning["fields"]["message"]
        until(lambda: status(tmp_path) == 200)
        assert is_open(port)


def test_a_request_that_comes_before_it_listens_is_told_so(tmp_path: Path) -> None:
    with running(tmp_path, SILENT="1"):
        assert status(tmp_path) == 503


@pytest.mark.parametrize("victim", ["server", "attendant"])
def test_the_server_and_its_attendant_end_together(tmp_path: Path, victim: str) -> None:
    with running(tmp_path) as (process, _):
        until(lambda: status(tmp_path) == 200)
        family = [one for one in psutil.process_iter() if is_in_session(one, process.pid)]
        (attendant,) = [one for one in family if one.pid != process.pid]
        (attendant if victim == "attendant" else process).kill()
        assert process.wait(30) != 0
        assert psutil.wait_procs([attendant], timeout=30)[1] == []


def is_in_session(process: psutil.Process, session: int) -> bool:
    try:
        return os.getsid(process.pid) == session
    except ProcessLookupError:
        return False
