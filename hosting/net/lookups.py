"""Look-ups of hosts' names, of which slow ones hold up nobody but their owner."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from weakref import WeakValueDictionary

AT_ONCE, EACH_AT_ONCE = 64, 4
"""Look-ups at the same time: of all owners, and of each. A look-up can't be called off: it counts
until the resolver gives it up, long after nobody waits for it any more."""

_threads = ThreadPoolExecutor(AT_ONCE, "lookup")
_turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
"""By the owners, of those who look something up."""


async def look_up(host: str, port: int, owner: str) -> list[str]:
    """Return the addresses of a host, once it is its owner's turn.

    Args:
        owner: who has named the host, such as a token's id.

    Raises:
        OSError, UnicodeError: when the host can't be found.
    """
    turn = _turns.setdefault(owner, asyncio.Semaphore(EACH_AT_ONCE))
    await turn.acquire()
    search = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    call = asyncio.get_running_loop().run_in_executor(_threads, search)
    call.add_done_callback(lambda _: turn.release())
    found = await asyncio.shield(call)
    return list(dict.fromkeys(str(place[0]) for *_, place in found))
