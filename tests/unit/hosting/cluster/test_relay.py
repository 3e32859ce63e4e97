from __future__ import annotations

import asyncio
import socket

import pytest

from hosting.backends.cog import Died, Unreachable
from hosting.cluster.relay import Relay, RelayedRequest


def send_to(port: int) -> None:
    async def main() -> None:
        async for _ in Relay(f"http://127.0.0.1:{port}").send(RelayedRequest("GET", "/")):
            pass

    asyncio.run(main())


def test_a_server_that_refuses_connections_has_not_had_the_request() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Unreachable):
        send_to(port)


def test_a_server_that_hangs_up_may_have_begun() -> None:
    async def main() -> None:
        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            await asyncio.to_thread(send_to, port)

    with pytest.raises(Died):
        asyncio.run(main())
