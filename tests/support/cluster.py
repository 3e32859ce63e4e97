"""`scripts/cluster` as its clients see it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import yaml

from cog_schema import schema
from commands.cluster import CONFIG
from tests.support.server import until
from tools.benchmark.server import free_port


@dataclass
class Cluster:
    """A running `scripts/cluster`."""

    url: str
    config: Path
    process: subprocess.Popen[bytes]
    log: Path

    def ask(self, method: str, path: str, **options: object) -> httpx.Response:
        return httpx.request(method, self.url + path, timeout=90, **options)  # type: ignore[arg-type]

    @property
    def slots(self) -> int:
        """How many predictions at once it takes, as it says itself."""
        try:
            return int(self.ask("GET", "/health-check").headers.get("cog-slots", 0))
        except httpx.TransportError:
            return 0

    def wait_until_whole(self) -> None:
        """Wait until all its slots are free, whatever was done to it before."""
        until(lambda: self.slots == REPLICAS * SLOTS)

    @property
    def dashboard(self) -> str:
        """Ray's, as it is printed."""
        return self.log.read_text().partition('"dashboard": "')[2].partition('"')[0]

    def cog_servers(self) -> list[psutil.Process]:
        """The Cog servers, whose parents are the replicas, and whose children are the workers."""
        return self._named("hosting.backends.cog_process")

    def kill(self, name: str) -> None:
        """Kills the process of Ray's that has a name in its own."""
        (process,) = self._named(name)
        process.kill()

    def _named(self, name: str) -> list[psutil.Process]:
        processes = psutil.Process(self.process.pid).children(recursive=True)
        return [one for one in processes if name in " ".join(_words(one))]

    def upgrade(
        self, config: Path | None = None, root: Path = schema.ROOT
    ) -> subprocess.CompletedProcess[str]:
        """Runs `scripts/cluster` once more, to have what is there now.

        Args:
            root: of the project, or of a copy of it.
        """
        return subprocess.run(
            [*COMMAND, "--config", config or self.config, "--address", self.dashboard],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            timeout=120,
        )


REPLICAS = 2
SLOTS = schema.concurrency(schema.PREDICT.read_text())
"""Of a replica."""
SCHEDULING = {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
"""Ray has its processes give way to all others, which starves them beside other tests."""
COMMAND = [sys.executable, "-m", "commands.cluster", "--cpu"]


@contextmanager
def running(folder: Path, scaling: dict[str, float] | None = None) -> Iterator[Cluster]:
    """Runs `scripts/cluster` with the demo model until the end, which must be a clean one.

    Args:
        folder: for what it prints, and its configuration.
        scaling: how replicas come and go; unless given, there are `REPLICAS`.
    """
    config, log, port = folder / "cluster.yaml", folder / "cluster.log", free_port()
    content = yaml.safe_load(CONFIG.read_text())
    content["http_options"]["port"] = port
    content["applications"][0]["args"] = {"model": "demo"}
    for deployment in content["applications"][0]["deployments"]:
        if deployment["name"] == "Replica":
            deployment["autoscaling_config"] = scaling
            if not scaling:
                del deployment["autoscaling_config"]
                deployment["num_replicas"] = REPLICAS
            # One core or none: the tests' machines have few.
            deployment["ray_actor_options"] = {"num_cpus": 0, "num_gpus": 0}
    config.write_text(yaml.safe_dump(content))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, "--config", config],
            cwd=schema.ROOT,
            env={**os.environ, "SAFETY_CHECKER": "off", **SCHEDULING},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    cluster = Cluster(f"http://127.0.0.1:{port}", config, process, log)
    try:
        until(lambda: process.poll() is not None or "RUNNING" in log.read_text(), 180)
        assert process.poll() is None, log.read_text()
        yield cluster
        family = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.send_signal(signal.SIGINT)
        status = process.wait(90)
    assert psutil.wait_procs(family, timeout=30)[1] == []
    assert status == 0, log.read_text()
    assert "Traceback" not in log.read_text()


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []
