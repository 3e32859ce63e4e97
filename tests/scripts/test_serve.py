from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from scripts import schema


def serve(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.serve", *arguments],
        cwd=schema.ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_any_address_but_loopback_is_refused(host: str) -> None:
    told = serve("--host", host)
    assert told.returncode == 2
    assert f"{host} is not a loopback address" in told.stderr


def test_a_taken_port_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = serve("--port", str(port), "--model", "demo")
    assert told.returncode == 1
    assert f"port {port} of 127.0.0.1 is taken" in told.stderr


def test_a_missing_model_is_told_before_anything_starts() -> None:
    told = serve("--model", "stable-diffusion-v1-4")
    assert told.returncode == 1
    assert "run: scripts/download-weights stable-diffusion-v1-4" in told.stderr
