"""A PostgreSQL server of the tests' own, from Debian's package, with a database for each test."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from hosting.storage.database import Database

UNPRIVILEGED = "postgres"
"""As whom it runs where the tests are root's, whom it refuses. Debian's package makes the user."""
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "autovacuum": "off",
}
INITDB = ("-U", "tests", "-E", "UTF8", "--no-locale", "--no-sync", "--auth=trust")
ACCESS = """
host locked all 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
local all all trust
"""
"""Of pg_hba.conf: the database `locked` wants a password."""


@dataclass
class PostgreSQL:
    """A running server.

    Args:
        port: of 127.0.0.1.
    """

    port: int
    process: subprocess.Popen[bytes]
    made: dict[str, str] = field(default_factory=dict)
    """The databases' names, by what they are for."""

    def url(self, database: str, user: str = "tests") -> str:
        """The URL of a database, which need not be there."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def database(self, purpose: str) -> str:
        """The URL of a database with our tables; a new one for each purpose."""
        if purpose not in self.made:
            self.made[purpose] = self.create(template="ours")
        return self.url(self.made[purpose])

    def create(self, template: str = "template0") -> str:
        """Makes a database; its name."""
        name = f"test_{time.monotonic_ns()}"
        self.run("CREATE DATABASE {} TEMPLATE {}", name, template)
        return name

    def forget(self) -> None:
        """Removes what was made for purposes."""
        for name in self.made.values():
            self.run("DROP DATABASE {} WITH (FORCE)", name)
        self.made.clear()

    def run(self, command: str, *names: str) -> None:
        """Runs a command on the whole server."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL(command).format(*map(sql.Identifier, names)))


def programs() -> Path:
    """Where PostgreSQL's programs are."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    beside = shutil.which("initdb")
    if not found and beside is None:
        pytest.fail("PostgreSQL's server is not installed; scripts/postgresql does it on Debian")
    return found[-1].parent if found else Path(str(beside)).parent


@contextmanager
def running(port: int) -> Iterator[PostgreSQL]:
    """Starts a server, and ends it, with all that is in it."""
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    found, data = programs(), folder / "data"
    prefix: list[str] = []
    if shutil.which("setpriv"):  # it ends when the tests do, however they do
        prefix = ["setpriv", "--pdeathsig", "QUIT"]
    if os.getuid() == 0:
        user = pwd.getpwnam(UNPRIVILEGED)
        os.chown(folder, user.pw_uid, user.pw_gid)
        prefix += [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    server: subprocess.Popen[bytes] | None = None
    try:
        subprocess.run(
            [*prefix, str(found / "initdb"), *INITDB, "-D", str(data)],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
        )
        (data / "pg_hba.conf").write_text(ACCESS)
        told = {**SETTINGS, "port": str(port), "unix_socket_directories": str(folder)}
        options = [part for name, text in told.items() for part in ("-c", f"{name}={text}")]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [*prefix, found / "postgres", "-D", data, *options],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
            )
        one = PostgreSQL(port, server)
        _wait(one, folder / "log")
        one.run("CREATE DATABASE {}", "ours")
        Database(one.url("ours")).close()
        yield one
    finally:
        if server is not None:
            server.send_signal(signal.SIGQUIT)
            server.wait(60)
        shutil.rmtree(folder)


def _wait(server: PostgreSQL, log: Path) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(server.url("postgres")).close()
        except psycopg.OperationalError:
            assert server.process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        else:
            return


def _version(path: Path) -> float:
    return float(path.parts[4])
