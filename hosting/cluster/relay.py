"""Requests to a Cog server and its answers, passed on as they are."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field

import httpx2

from hosting.backends.cog import Died, Unreachable, client, fault_of

OF_THE_HOP = {"connection", "date", "host", "keep-alive", "server", "transfer-encoding"}
"""The headers of requests and answers that are not passed on: each hop has its own."""


@dataclass(frozen=True)
class RelayedRequest:
    """A request to Cog's server."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Head:
    """The head of an answer."""

    status: int
    headers: Mapping[str, str]


class Relay:
    """Passes requests on to a Cog server.

    Args:
        url: of the server.
    """

    def __init__(self, url: str) -> None:
        self._http = client(url)

    async def send(self, request: RelayedRequest) -> AsyncGenerator[Head | bytes, None]:
        """Pass a request on; yield the answer's head, then its body in pieces.

        Who stops listening hangs up, which cancels a prediction.

        Raises:
            Unreachable: when the server is not there.
            Died: when it goes away in the middle.
        """
        try:
            sent = request.headers.items()
            headers = [(name.encode("latin-1"), text.encode("latin-1")) for name, text in sent]
            async with self._http.stream(
                request.method, request.path, content=request.body, headers=headers
            ) as answer:
                yield Head(answer.status_code, passed_on(answer.headers))
                async for piece in answer.aiter_raw():
                    yield piece
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise Unreachable(fault_of(error)) from None
        except httpx2.HTTPError as error:
            raise Died(fault_of(error)) from None


def passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that are not this hop's own, their names in small letters."""
    return {name.lower(): text for name, text in headers.items() if name.lower() not in OF_THE_HOP}
