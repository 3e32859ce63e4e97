from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hosting import models_file
from hosting.api.webhook_documents import renderer
from hosting.net.fetch import FetchError
from hosting.net.links import Links
from hosting.queue import webhooks
from hosting.queue.webhooks import Webhooks, signature
from hosting.storage import predictions, tokens
from hosting.storage.database import Database
from hosting.storage.deliveries import MOST_TRIES
from hosting.storage.files import Files
from hosting.storage.store import Store
from hosting.storage.tables import Delivery
from tests.support.front import place, prediction, until


class Receiver:
    """What is called, instead of the network."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: dict[str, Callable[[], Any]] = {}
        self.now = [1_000_000.0]
        monkeypatch.setattr("hosting.net.fetch.post", self.post)
        monkeypatch.setattr(time, "time", lambda: self.now[0])

    async def post(
        self,
        url: str,
        body: bytes,
        headers: dict[str, str],
        *,
        seconds: float,
        allowed: Any,
        owner: str,
    ) -> int:
        self.calls.append((url, headers, body))
        answer = self.answers.get(url, lambda: 200)()
        return int(await answer if asyncio.iscoroutine(answer) else answer)

    @property
    def urls(self) -> list[str]:
        return [url for url, *_ in self.calls]


@pytest.fixture
def receiver(everywhere: None, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    return Receiver(monkeypatch)


class Caller:
    """Webhooks that are called as soon as something is due."""

    def __init__(self, database: Database, files: Files) -> None:
        self.database = database
        self.files = files
        render = renderer(Links(b"key", 3600), files, models_file.load())
        self.webhooks = Webhooks(Store(database), render, (), "this")

    def announce(self, url: str, *events: str) -> str:
        """Has a prediction's webhook called; the prediction's id."""

        def add(session: Any) -> str:
            token = tokens.find(session, None)
            assert token
            one = prediction(token, "fox", webhook=url, status="succeeded")
            predictions.add(session, one, 10**6)
            for event in events:
                session.add(
                    Delivery(prediction_id=one.id, event=event, seen={}, due_at=time.time())
                )
                session.flush()
            return one.id

        made = self.database.write_now(add)
        self.webhooks.wake()
        return made

    async def due(self) -> list[tuple[str, int, float]]:
        """The events that are still to be told, how often they were, and when they will be."""

        def read(session: Any) -> list[tuple[str, int, float]]:
            records = session.query(Delivery).order_by(Delivery.number)
            return [(one.event, one.tries, one.due_at) for one in records]

        return await self.database.write(read)

    async def until_due(self, expected: list[Any]) -> None:
        for _ in range(2000):
            if await self.due() == expected:
                return
            self.webhooks.wake()
            await asyncio.sleep(0.005)
        raise AssertionError(await self.due())


@asynccontextmanager
async def calling(folder: Path) -> AsyncIterator[Caller]:
    database = Database(place(folder))
    database.write_now(tokens.prepare)
    caller = Caller(database, Files(folder))
    running = asyncio.create_task(caller.webhooks.run())
    try:
        yield caller
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await asyncio.sleep(0.02)
        database.close()
        assert running.cancelled()


def test_the_signature_is_the_one_that_its_specification_shows() -> None:
    # https://github.com/standard-webhooks/standard-webhooks, the libraries' own example.
    assert (
        signature(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1614265330,
            b'{"test": 2432232314}',
        )
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


def test_a_call_is_signed_and_has_the_prediction(tmp_path: Path, receiver: Receiver) -> None:
    async def main() -> None:
        async with calling(tmp_path) as caller:
            one = caller.announce("https://example.com/a", "completed")
            await caller.until_due([])
            ((_, headers, body),) = receiver.calls
            document = json.loads(body)
            assert (document["id"], document["status"]) == (one, "succeeded")
            assert headers["content-type"] == "application/json"
            assert headers["webhook-timestamp"] == "1000000"
            token = await caller.database.read(tokens.find, None)
            assert token
            assert headers["webhook-signature"] == signature(
                token.webhook_secret, headers["webhook-id"], 1_000_000, body
            )
            assert len(base64.b64decode(token.webhook_secret.removeprefix("whsec_"))) == 24
            assert token.webhook_secret.encode() not in body

    asyncio.run(main())


def test_completed_is_told_again_later_and_later_until_it_is_taken(
    tmp_path: Path, receiver: Receiver
) -> None:
    url = "https://example.com/a"
    answers = iter([500, 404, 302, 200])
    receiver.answers[url] = lambda: next(answers)

    async def main() -> None:
        async with calling(tmp_path) as caller:
            caller.announce(url, "completed")
            for tries, wait in ((1, 1), (2, 2), (3, 4)):
                due = receiver.now[0] + wait
                await caller.until_due([("completed", tries, due)])
                receiver.now[0] = due - 0.001
                caller.webhooks.wake()
                await asyncio.sleep(0.02)
                assert len(receiver.calls) == tries
                receiver.now[0] = due
            await caller.until_due([])

    asyncio.run(main())
    assert receiver.urls == [url] * 4
    # A receiver can tell that they are the same.
    assert len({headers["webhook-id"] for _, headers, _ in receiver.calls}) == 1


def test_a_call_does_not_wait_for_a_clock_that_has_stepped_back(
    tmp_path: Path, receiver: Receiver
) -> None:
    url = "https://example.com/a"
    answers = iter([500, 200])
    receiver.answers[url] = lambda: next(answers)

    async def main() -> None:
        async with calling(tmp_path) as caller:
            caller.announce(url, "completed")
            await caller.until_due([("completed", 1, receiver.now[0] + 1)])
            receiver.now[0] -= 8638
            await caller.until_due([])

    asyncio.run(main())
    assert receiver.urls == [url] * 2


def test_after_the_last_try_it_is_given_up(tmp_path: Path, receiver: Receiver) -> None:
    url = "https://example.com/a"

    def fail() -> int:
        raise FetchError("nobody is there")

    receiver.answers[url] = fail
    start = receiver.now[0]

    async def main() -> None:
        async with calling(tmp_path) as caller:
            caller.announce(url, "completed")
            for tries in range(1, MOST_TRIES):
                due = receiver.now[0] + 2 ** (tries - 1)
                await caller.until_due([("completed", tries, due)])
                receiver.now[0] = due
            await caller.until_due([])

    asyncio.run(main())
    assert len(receiver.calls) == MOST_TRIES
    assert receiver.now[0] - start == 63


@pytest.mark.parametrize("event", ["start", "logs", "output"])
def test_what_is_not_the_end_is_told_once(tmp_path: Path, receiver: Receiver, event: str) -> None:
    url = "https://example.com/a"
    receiver.answers[url] = lambda: 500

    async def main() -> None:
        async with calling(tmp_path) as caller:
            caller.announce(url, event)
            await caller.until_due([])

    asyncio.run(main())
    assert receiver.urls == [url]


def test_the_events_of_a_prediction_are_told_one_after_another(
    tmp_path: Path, receiver: Receiver
) -> None:
    url = "https://example.com/a"
    most = now = 0

    async def slowly() -> int:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return 200

    receiver.answers[url] = slowly
    events = ["start", "logs", "output", "logs", "completed"]
    ids: list[str] = []

    async def main() -> None:
        async with calling(tmp_path) as caller:
            caller.announce(url, *events)
            ids.extend(
                one
                for one in await caller.database.write(
                    lambda session: [d.id for d in session.query(Delivery).order_by("number")]
                )
            )
            await caller.until_due([])

    asyncio.run(main())
    assert most == 1
    assert [headers["webhook-id"] for _, headers, _ in receiver.calls] == ids


def test_slow_receivers_hold_no_others_up(tmp_path: Path, receiver: Receiver) -> None:
    answered = asyncio.Event()

    async def slowly() -> int:
        await answered.wait()
        return 200

    slow = [f"https://slow.example/{number}" for number in range(webhooks.EACH_AT_ONCE - 1)]
    receiver.answers = dict.fromkeys(slow, slowly)

    async def main() -> None:
        async with calling(tmp_path) as caller:
            for url in slow:
                caller.announce(url, "completed")
            await until(lambda: len(receiver.calls) == len(slow))
            for number in range(5):
                caller.announce(f"https://quick.example/{number}", "completed")
            await until(lambda: len(receiver.calls) == len(slow) + 5)
            answered.set()
            await caller.until_due([])

    asyncio.run(main())


def test_so_many_are_called_at_once_and_not_more(tmp_path: Path, receiver: Receiver) -> None:
    answered = asyncio.Event()

    async def slowly() -> int:
        await answered.wait()
        return 200

    urls = [f"https://slow.example/{number}" for number in range(webhooks.EACH_AT_ONCE + 3)]
    receiver.answers = dict.fromkeys(urls, slowly)

    async def main() -> None:
        async with calling(tmp_path) as caller:
            for url in urls:
                caller.announce(url, "completed")
            await until(lambda: len(receiver.calls) == webhooks.EACH_AT_ONCE)
            for _ in range(5):
                caller.webhooks.wake()
                await asyncio.sleep(0.01)
            assert len(receiver.calls) == webhooks.EACH_AT_ONCE
            answered.set()
            await caller.until_due([])

    asyncio.run(main())
    assert sorted(receiver.urls) == sorted(urls)


def test_what_was_not_told_when_it_stopped_is_told_after_the_next_start(
    tmp_path: Path, receiver: Receiver
) -> None:
    url = "https://example.com/a"

    async def never() -> int:
        await asyncio.Event().wait()
        return 200

    async def main() -> None:
        receiver.answers[url] = never
        async with calling(tmp_path) as caller:
            caller.announce(url, "start", "completed")
            await until(lambda: receiver.calls)
        receiver.answers.clear()
        async with calling(tmp_path) as caller:
            await caller.until_due([])

    asyncio.run(main())
    first, again, last = (headers["webhook-id"] for _, headers, _ in receiver.calls)
    assert first == again != last


def test_a_fault_of_one_call_ends_no_other(tmp_path: Path, receiver: Receiver) -> None:
    def fail() -> int:
        raise RuntimeError("nobody expected that")

    receiver.answers["https://bad.example/"] = fail

    async def main() -> None:
        async with calling(tmp_path) as caller:
            caller.announce("https://bad.example/", "completed")
            await until(lambda: receiver.calls)
            caller.announce("https://example.com/", "completed")
            await until(lambda: "https://example.com/" in receiver.urls)

    asyncio.run(main())
