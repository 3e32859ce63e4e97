"""Clients that dawdle, a full disk, a locked database: others are answered, and nothing is lost."""

from __future__ import annotations

import errno
import http.client
import json
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from hosting.api import connections, unread_body
from hosting.states import FINISHED
from hosting.storage import connection
from hosting.storage.database import THREADS
from tests.support.front import LONGEST, Front, front, wait_until
from tools.fake_cog import CogServer, data_url, pixels

MODEL = "/v1/models/stability-ai/stable-diffusion/predictions"
DAWDLERS = 200
"""Connections at once that say little."""
PROMPT = {"prompt": "a stoat in secret"}
HEAD = b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\n"
TYPE = b"Content-Type: multipart/form-data; boundary=b\r\n"
PART = b'--b\r\nContent-Disposition: form-data; name="content"; filename="a"\r\n\r\n'
ANNOUNCED = HEAD + TYPE + b"Content-Length: 1000\r\n\r\n" + PART
BEYOND = HEAD + TYPE + b"Content-Length: 99999999999\r\n\r\n" + PART
CHUNKED = HEAD + TYPE + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(PART), PART)


@pytest.fixture
def cog() -> Iterator[CogServer]:
    with CogServer().served() as cog:
        yield cog


@contextmanager
def connected(one: Front) -> Iterator[socket.socket]:
    """A connection to the front."""
    place = urlsplit(one.url)
    with socket.create_connection((place.hostname, place.port), timeout=LONGEST) as raw:
        yield raw


def is_ended(raw: socket.socket) -> bool:
    """Whether the front has hung up."""
    raw.setblocking(False)
    try:
        return raw.recv(2**16) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def ask(one: Front, prompt: str, **inputs: Any) -> httpx2.Response:
    asked = {"input": {"prompt": prompt, "seed": 7, **inputs}}
    return one.client.post(MODEL, json=asked)


def over(one: Front, answer: httpx2.Response) -> dict[str, Any]:
    """An accepted prediction, once it is over."""
    assert answer.status_code == 201, answer.text
    url = f"/v1/predictions/{answer.json()['id']}"
    wait_until(lambda: one.client.get(url).json()["status"] in FINISHED)
    document: dict[str, Any] = one.client.get(url).json()
    return document


def not_taken(answer: httpx2.Response) -> None:
    """It must be a 503 that says when to come again."""
    assert answer.status_code == 503, answer.text
    assert answer.json()["detail"] == "The server can't keep anything now; try again"
    assert int(answer.headers["retry-after"]) > 0


# Clients that dawdle


@pytest.mark.parametrize("said", [b"", b"GET /v1/acc", ANNOUNCED, CHUNKED])
def test_connections_that_do_not_come_on_hold_nobody_up_and_are_ended(
    tmp_path: Path,
    cog: CogServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    said: bytes,
) -> None:
    with front(tmp_path, cog) as one, ExitStack() as stack:
        dawdlers = [stack.enter_context(connected(one)) for _ in range(DAWDLERS)]
        for dawdler in dawdlers:
            dawdler.sendall(said)
        assert over(one, ask(one, "fox"))["status"] == "succeeded"
        assert not any(map(is_ended, dawdlers))
        monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
        with connected(one) as raw:
            raw.sendall(said)
            wait_until(lambda: is_ended(raw))
        assert one.client.get("/health").status_code == 200
    assert caplog.messages == []


@pytest.mark.parametrize("said", [HEAD, ANNOUNCED])
def test_a_byte_now_and_then_is_no_way_to_stay(
    tmp_path: Path, cog: CogServer, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    with front(tmp_path, cog) as one, connected(one) as raw:
        raw.sendall(said)

        def drips() -> bool:
            try:
                raw.send(b"x")
            except ConnectionError:
                return True
            return is_ended(raw)

        wait_until(drips)


def test_a_body_that_comes_on_may_take_longer_than_a_stall(
    tmp_path: Path, cog: CogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 1.0)
    monkeypatch.setattr(connections, "BYTES_PER_SECOND", 10)

    def pieces() -> Iterator[bytes]:
        yield PART
        for _ in range(20):
            time.sleep(0.1)
            yield b"x" * 10
        yield b"\r\n--b--\r\n"

    with front(tmp_path, cog) as one:
        headers = {"content-type": "multipart/form-data; boundary=b"}
        answer = one.client.post("/v1/files", content=pieces(), headers=headers)
        assert answer.json()["size"] == 200


@pytest.mark.parametrize("said", [BEYOND, CHUNKED])
def test_a_body_without_end_is_refused_and_then_not_waited_for(
    tmp_path: Path, cog: CogServer, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(unread_body, "LONGEST_REST_SECONDS", 0.3)
    answer = b""
    with front(tmp_path, cog, upload_megabytes=1) as one, connected(one) as raw:
        raw.sendall(said)

        def goes_on() -> bool:
            nonlocal answer
            raw.setblocking(True)
            try:
                raw.sendall(b"10000\r\n" + b"x" * 2**16 + b"\r\n")  # a chunk, if that is asked for
                raw.setblocking(False)
                answer += (piece := raw.recv(2**16))
            except BlockingIOError:
                return False
            except ConnectionError:
                return True
            return piece == b""

        wait_until(goes_on)
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("said", [BEYOND, CHUNKED])
@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"])
def test_a_client_that_sends_all_before_it_reads_sees_why_its_body_is_refused(
    tmp_path: Path, cog: CogServer, said: bytes, more: bytes
) -> None:
    said = said.replace(b"99999999999", b"%d" % (len(PART) + 40 * 2**16)).replace(TYPE, TYPE + more)
    chunk = b"x" * 2**16
    with front(tmp_path, cog, upload_megabytes=1) as one, connected(one) as raw:
        raw.sendall(said)
        for _ in range(40):
            time.sleep(0.01)
            raw.sendall(b"10000\r\n%s\r\n" % chunk if b"chunked" in said else chunk)
        if b"chunked" in said:
            raw.sendall(b"0\r\n\r\n")
        response = http.client.HTTPResponse(raw)
        response.begin()
        document = json.loads(response.read())
    assert (response.status, document["detail"]) == (413, "The body has more than 1 MiB")


def test_large_bodies_that_are_too_many_together_are_asked_to_come_again(
    tmp_path: Path, cog: CogServer
) -> None:
    with front(tmp_path, cog, upload_megabytes=2) as one:
        large = {"content": ("a", bytes(3 * 2**19), "a/b")}
        with ExitStack() as stack:

            def is_refused_beside_one_more() -> bool:
                raw = stack.enter_context(connected(one))
                raw.sendall(ANNOUNCED.replace(b": 1000", b": 2000000") + bytes(1_900_000))
                return one.client.post("/v1/files", files=large).status_code == 503

            wait_until(is_refused_beside_one_more)
            answer = one.client.post("/v1/files", files=large)
            assert answer.json()["detail"].startswith("Other large requests are being read")
            assert answer.headers["retry-after"] == "5"
            small = {"content": ("a", bytes(2**19), "a/b")}
            assert one.client.post("/v1/files", files=small).status_code == 201
        wait_until(lambda: one.client.post("/v1/files", files=large).status_code == 201)


def test_of_large_bodies_that_come_at_once_the_first_are_taken(
    tmp_path: Path, cog: CogServer
) -> None:
    size, rest = 2**21 - 1000, b"\r\n--b--\r\n"
    head = ANNOUNCED.replace(b": 1000", b": %d" % (len(PART) + size + len(rest)))
    with front(tmp_path, cog, upload_megabytes=2) as one, ExitStack() as stack:
        sending = [stack.enter_context(connected(one)) for _ in range(5)]
        for raw in sending:
            raw.sendall(head)
            time.sleep(0.05)
        for _ in range(size // 1000 // 8):
            for raw in sending:
                raw.sendall(bytes(8000))
        answers = []
        for raw in sending:
            raw.sendall(bytes(size % 8000) + rest)
            answers.append(raw.recv(12))
    assert answers == 3 * [b"HTTP/1.1 201"] + 2 * [b"HTTP/1.1 503"]


@pytest.mark.parametrize("kind", [b"application/json", b"application/x-www-form-urlencoded"])
def test_a_client_that_asks_first_need_not_send_a_body_that_is_too_large(
    tmp_path: Path, cog: CogServer, kind: bytes
) -> None:
    with front(tmp_path, cog, upload_megabytes=6) as one, connected(one) as raw:
        raw.sendall(
            HEAD + b"Content-Type: " + kind + b"\r\nExpect: 100-continue\r\n"
            b"Content-Length: %d\r\n\r\n" % (7 * 2**20)
        )
        with raw.makefile("rb") as answer:
            assert answer.read().startswith(b"HTTP/1.1 413 ")  # and it hangs up


# Requests in disguise


@pytest.mark.parametrize("length", [b"5", b"0", b"100"])
def test_a_body_whose_end_is_told_in_two_ways_is_refused_and_nothing_behind_it_is_read(
    tmp_path: Path, cog: CogServer, length: bytes
) -> None:
    with front(tmp_path, cog) as one, connected(one) as raw:
        raw.sendall(
            b"POST /v1/predictions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %b\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            b"GET /v1/account HTTP/1.1\r\nHost: localhost\r\n\r\n" % length
        )
        answer = b""
        while piece := raw.recv(2**16):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1


# A full disk


def test_a_picture_that_finds_no_room_on_the_disk_is_not_taken(
    tmp_path: Path, cog: CogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = data_url(pixels("owl", 1))
    with front(tmp_path, cog) as one:
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            not_taken(ask(one, "fox", image=picture))
            not_taken(one.client.post("/v1/files", files={"content": ("a", b"data", "a/b")}))
        assert one.client.get("/v1/predictions").json()["results"] == []
        assert [path for path in tmp_path.glob("*s/**/*") if path.is_file()] == []
        assert over(one, ask(one, "fox", image=picture))["status"] == "succeeded"


def test_what_runs_when_the_disk_is_full_is_finished_when_there_is_room(
    tmp_path: Path, cog: CogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cog.tell("fox", "hold")
    with front(tmp_path, cog) as one:
        accepted = [ask(one, "fox", seed=seed) for seed in range(4)]
        wait_until(lambda: cog.running == ["fox"] * 4)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            cog.let_go("fox")
            wait_until(lambda: len(cog.runs) > 4)  # they are back in the queue, and tried again
        for seed, answer in enumerate(accepted):
            document = over(one, answer)
            assert document["status"] == "succeeded"
            assert one.client.get(document["output"][0]).content == pixels("fox", seed)


def test_a_database_that_cannot_grow_takes_nothing_and_loses_nothing(
    tmp_path: Path, cog: CogServer
) -> None:
    cog.tell("fox", "hold")
    with front(tmp_path, cog) as one:
        before = [ask(one, "fox", seed=seed) for seed in range(4)]
        wait_until(lambda: cog.running == ["fox"] * 4)
        pages(one, 1)  # it has more: then these are all
        not_taken(ask(one, "owl" * 30_000))
        cog.let_go("fox")
        pages(one, 2**30)
        for answer in [*before, ask(one, "owl" * 30_000)]:
            assert over(one, answer)["status"] == "succeeded"
        assert len(one.client.get("/v1/predictions").json()["results"]) == 5


# A locked database


def test_a_database_that_another_holds_takes_nothing_and_loses_nothing(
    tmp_path: Path, cog: CogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BUSY_MILLISECONDS", 1000)
    cog.tell("fox", "hold")
    with front(tmp_path, cog) as one:
        before = [ask(one, "fox", seed=seed) for seed in range(4)]
        for answer in before:  # that they have begun is written before what they say
            url = f"/v1/predictions/{answer.json()['id']}"
            wait_until(lambda url=url: "drawing fox" in one.client.get(url).json()["logs"])  # type: ignore[misc]
        with locked(tmp_path / "predictions.db"):
            not_taken(ask(one, "owl"))
            cog.let_go("fox")
            wait_until(lambda: cog.running == [])
            # Who only reads is answered.
            listed = one.client.get("/v1/predictions").json()["results"]
            assert [each["completed_at"] for each in listed] == [None] * 4
        for answer in [*before, ask(one, "owl")]:
            assert over(one, answer)["status"] == "succeeded"
        assert len(cog.runs) == 5


# A damaged database


def test_a_damaged_database_is_said_so_in_a_sentence_and_in_no_sql(
    tmp_path: Path, cog: CogServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with front(tmp_path, cog) as one:
        over(one, ask(one, "a fox in secret"))
        damage(one, tmp_path / "predictions.db")
        for answer in (
            ask(one, "an owl in secret"),
            one.client.get("/v1/predictions"),
            one.client.post("/v1/inference/stabilityai/stable-diffusion-2-1", json=PROMPT),
            one.client.post("/predictions", json={"input": PROMPT}),
        ):
            assert answer.status_code == 503, answer.text
            assert "database is damaged; whoever runs it must restore it" in answer.text
        health = one.client.get("/health")
        assert (health.status_code, health.json()["database"]) == (503, "damaged")
    logged = [f"{one.getMessage()} {getattr(one, 'fields', {})}" for one in caplog.records]
    assert any("docs/hosting.md says how to put a back-up in its place" in one for one in logged)
    assert not any("SELECT" in one or "secret" in one for one in [*logged, caplog.text])


def damage(one: Front, file: Path) -> None:
    """Overwrites all of the database but its first page, which has the tables' names."""
    with closing(sqlite3.connect(file, timeout=LONGEST)) as raw:
        checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)"
        wait_until(lambda: raw.execute(checkpoint).fetchone()[0] == 0)  # 1: somebody reads
        (size,) = raw.execute("PRAGMA page_size").fetchone()
    with file.open("r+b") as written:
        length = written.seek(0, os.SEEK_END)
        written.seek(size)
        written.write(b"\xff" * (length - size))
    one.database._engine.dispose()  # connections remember pages


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Another process is in the middle of writing."""
    other = sqlite3.connect(file, isolation_level=None, timeout=LONGEST)
    try:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
    finally:
        other.close()


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def pages(one: Front, most: int) -> None:
    """Lets the database's file have so many pages at most; as many as it has, if those are more."""
    connect: Callable[[], Any] = one.database._engine.raw_connection
    kept = [connect() for _ in range(2 * THREADS)]  # all that there may be
    for raw in kept:
        raw.cursor().execute(f"PRAGMA max_page_count = {most}").fetchall()
        raw.close()
