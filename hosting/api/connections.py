"""The connections of clients, ended where a request does not come on."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 20.0
"""Seconds that the head of a request may take, and then the first of its body."""
BYTES_PER_SECOND = 4096
"""Bytes of a body that give it a second more, but never more than HEAD_SECONDS from then on."""
KEEP_ALIVE_SECONDS = 75
"""For which a connection waits for its next request: longer than proxies keep theirs, which else
would send requests into a closed one."""


class _Http(h11.Connection):
    """HTTP/1.1, which takes no request that says in two ways where its body ends.

    A proxy may go by one and we by the other, and then what one takes for a body the other takes
    for the next client's request. Source: RFC 9112, 6.3.
    """

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return what comes next of a request."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            names = {name for name, _ in event.headers}
            if {b"content-length", b"transfer-encoding"} <= names:
                raise h11.RemoteProtocolError("both Content-Length and Transfer-Encoding")
        return event


class Connection(H11Protocol):
    """Uvicorn's, which waits for ever: for a request, for the rest of its head, for its body.

    Whoever opens connections and says little would keep them, and each costs a file of as many as
    a process may have open. A request that is there is not limited: its answer may take hours.
    """

    _timer: asyncio.TimerHandle | None = None
    _awaited: object = None
    """The part of a request that is awaited."""
    _end = 0.0
    """When it must be there, by the loop's clock."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.conn = _Http(h11.SERVER)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to count the time that a client takes."""
        super().connection_made(transport)
        self._look()

    def data_received(self, data: bytes) -> None:
        """Something of a request has come."""
        super().data_received(data)
        if self.conn.their_state is h11.SEND_BODY and not self._is_answered:
            more = self._end + len(data) / BYTES_PER_SECOND
            self._end = min(more, self.loop.time() + HEAD_SECONDS)
        self._look()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting: the client is gone."""
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()

    @property
    def _is_answered(self) -> bool:
        return self.cycle is not None and self.cycle.response_complete

    def _look(self) -> None:
        """Set the time limit for what is awaited now, if that has changed."""
        awaited = self.conn.their_state, self.cycle, self._is_answered
        if awaited == self._awaited:
            return
        self._awaited = awaited
        if self._timer is not None:
            self._timer.cancel()
        is_body = self.conn.their_state is h11.SEND_BODY
        if is_body or self.conn.their_state is h11.IDLE:
            seconds: float = HEAD_SECONDS
            if self._is_answered:  # a body that then is not whole was waited for in UnreadBody
                seconds = 0 if is_body else KEEP_ALIVE_SECONDS
            self._end = self.loop.time() + seconds
            self._timer = self.loop.call_at(self._end, self._check)

    def _check(self) -> None:
        """End the connection if its time is over."""
        if self.flow.read_paused:  # it is we who do not take it
            self._end = self.loop.time() + HEAD_SECONDS
        if self._end > self.loop.time():
            self._timer = self.loop.call_at(self._end, self._check)
        elif not self.transport.is_closing():
            self.transport.abort()
