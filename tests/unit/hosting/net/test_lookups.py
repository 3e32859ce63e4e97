from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from hosting.net import lookups


def test_look_ups_that_nobody_waits_for_count_until_they_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = threading.Event()
    searched: list[str] = []

    def getaddrinfo(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        searched.append(host)
        if host == "slow":
            answers.wait(60)
        return [(socket.AF_INET, 1, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    async def given_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lookups.look_up("slow", 80, "ann"), 0.01)

    async def main() -> None:
        for _ in range(3 * lookups.EACH_AT_ONCE):
            await given_up()
        assert searched == ["slow"] * lookups.EACH_AT_ONCE
        assert await lookups.look_up("quick", 80, "bob") == ["192.0.2.1"]
        answers.set()
        assert await lookups.look_up("quick", 80, "ann") == ["192.0.2.1"]
        assert searched == [*["slow"] * lookups.EACH_AT_ONCE, "quick", "quick"]

    asyncio.run(main())
