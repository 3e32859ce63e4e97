"""Someone who has the form open: its stream of events, as they come."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import httpx2

from tests.support.front import LONGEST, Front, wait_until


class Listener:
    """What has come of the stream `/form/events`, and what the page would show by it."""

    def __init__(self, answer: httpx2.Response) -> None:
        self._answer = answer
        self.events: list[tuple[str, Any]] = []
        self.comments = 0
        self.has_ended = False
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        kind = ""
        try:
            for line in self._answer.iter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    self.events.append((kind, json.loads(line.removeprefix("data: "))))
                elif line.startswith(":"):
                    self.comments += 1
        except (httpx2.HTTPError, httpx2.StreamError):
            pass
        self.has_ended = True

    def of(self, kind: str) -> list[Any]:
        """The data of the events of a kind, so far."""
        return [data for one, data in list(self.events) if one == kind]

    def states(self, prediction_id: str) -> list[Any]:
        """What was told of a prediction, so far."""
        return [data for data in self.of("prediction") if data["id"] == prediction_id]

    def wait(self, condition: Callable[[Listener], Any]) -> None:
        """Wait until something is so of what has come."""
        wait_until(lambda: condition(self))


@contextmanager
def listening(one: Front, headers: Mapping[str, str] = {}) -> Iterator[Listener]:
    """Listen for the time of a block; it has begun when this returns."""
    with (
        httpx2.Client(base_url=one.url, timeout=LONGEST, trust_env=False) as client,
        client.stream("GET", "/form/events", headers=headers) as answer,
    ):
        assert answer.status_code == 200, answer.read()
        listener = Listener(answer)
        listener.wait(lambda heard: heard.comments)
        try:
            yield listener
        finally:  # to close it would not wake the thread that reads
            hang_up(answer)


def hang_up(answer: httpx2.Response) -> None:
    """End the connection of an answer that is still being read."""
    with suppress(OSError):  # it has ended
        opened = answer.extensions["network_stream"].get_extra_info("socket")
        opened.shutdown(socket.SHUT_RDWR)
