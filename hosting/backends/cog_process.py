"""Runs Cog's server so that it ends, its worker too, with the process that started it.

Run as `python -m hosting.backends.cog_process PARENT NETWORK --host ADDRESS`, as the leader of a
session. With the NETWORK `own`, the server is in a network of its own, behind a Unix socket in the
folder that it is run in: it has no tokens, and so only this account reaches it. With `machine`, it
listens at its address on the machine.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import json
import os
import runpy
import signal
import socket
import struct
import sys
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

SOCKET = "cog.sock"
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
"""From linux/sched.h."""
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
"""From linux/prctl.h."""
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1
"""From linux/sockios.h and linux/if.h."""
WARNING = (
    "This machine grants no network namespaces, so every local account that finds the model's "
    "server can use it without a token; docs/security.md says more"
)
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Isolate this process, start its attendant, and become Cog's server."""
    parent, network = int(sys.argv.pop(1)), sys.argv.pop(1)
    if network == "own":
        try:
            enter_own_network()
        except OSError as error:
            fields = {"message": WARNING, "reason": str(error)}
            print(json.dumps({"level": "WARNING", "fields": fields}), flush=True)
        start_attendant(sys.argv[sys.argv.index("--host") + 1], int(os.environ["PORT"]))
    else:
        start_attendant()
    # After the namespaces, which take both away.
    _libc.prctl(PR_SET_DUMPABLE, 1)
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the signal was set
        sys.exit(1)
    runpy.run_module("cog.server.http", run_name="__main__", alter_sys=True)


def enter_own_network() -> None:
    """Move this process into a network that nothing but its own loopback is in.

    Raises:
        OSError: when the machine allows it neither to this account nor in a user namespace.
    """
    user, group = os.geteuid(), os.getegid()
    if _libc.unshare(CLONE_NEWNET):
        if _libc.unshare(CLONE_NEWUSER | CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        own = Path("/proc/self")
        (own / "setgroups").write_text("deny")
        (own / "uid_map").write_text(f"{user} {user} 1")
        (own / "gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def start_attendant(host: str = "", port: int = 0) -> None:
    """Start the process that ends the session when this process has ended.

    It passes the socket's connections on, if it is told where to. A worker that is frozen could
    not end by itself. And without its attendant nobody could reach this process, so it ends then.

    It is no child of this process, so that the worker stays its only one.
    """
    server = os.getpid()
    ours, theirs = os.pipe()  # theirs is open as long as the attendant lives
    child = os.fork()
    if child:
        os.close(theirs)
        os.waitpid(child, 0)
        threading.Thread(target=end_with, args=(ours,), daemon=True).start()
    else:
        if not os.fork():
            with suppress(ProcessLookupError):
                asyncio.run(attend(server, host, port))
            os.killpg(server, signal.SIGKILL)
        os._exit(0)


def end_with(attendant: int) -> None:
    """End the session when the attendant has gone, which has the other end of a pipe."""
    os.read(attendant, 1)
    os.killpg(os.getpid(), signal.SIGKILL)


async def attend(server: int, host: str, port: int) -> None:
    """Wait until the server's process has ended; pass connections on meanwhile."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(os.pidfd_open(server), ended.set)
    if host:
        os.umask(0o077)
        await asyncio.start_unix_server(partial(pass_on, host, port), SOCKET)
    await ended.wait()


async def pass_on(
    host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Pass a connection on until one side hangs up."""
    try:
        server_reader, server_writer = await asyncio.open_connection(host, port)
    except OSError:  # not there yet, or any more: the request has not come to it
        writer.write(UNAVAILABLE)
        writer.close()
        return
    ways = [pump(reader, server_writer), pump(server_reader, writer)]
    tasks = [asyncio.create_task(way) for way in ways]
    _, open_ways = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for way in open_ways:
        way.cancel()
    server_writer.close()
    writer.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy what comes until its end."""
    with suppress(ConnectionError):
        while data := await reader.read(2**18):
            writer.write(data)
            await writer.drain()


if __name__ == "__main__":
    main()
