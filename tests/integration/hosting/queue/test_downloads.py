from __future__ import annotations

import asyncio
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from hosting.backends.cog import CONTEXT
from hosting.net import lookups
from hosting.prediction import Prediction
from hosting.queue import downloads
from hosting.storage.tables import Token, new_id
from tests.support.front import LONGEST, Queue, in_queue, until
from tools.fake_cog import CogServer, data_url, pixels

pytestmark = pytest.mark.usefixtures("everywhere")


@pytest.fixture
def cog() -> Iterator[CogServer]:
    with CogServer(slots=4).served() as cog:
        yield cog


@contextmanager
def served(files: dict[str, bytes]) -> Iterator[str]:
    """A web server with some files; its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = files.get(self.path)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_files_reach_cog_as_data_urls_only(tmp_path: Path, cog: CogServer) -> None:
    image, mask = pixels("image", 1), pixels("mask", 2)

    with served({"/mask.png": mask}) as url:

        @in_queue(tmp_path, cog, allowed_networks=("127.0.0.0/8",))
        async def _(queue: Queue) -> None:
            one = new_id()
            queue.files.write(f"predictions/{one}/in-image", image)
            files = {"image": "in-image", "mask": f"{url}/mask.png"}
            await queue.ask("fox", id=one, files=files, ready=False)
            (done,) = await queue.over(one)
            assert done.status == "succeeded"
            assert done.files["image"] == "in-image"
            assert done.files["mask"].startswith("in-mask-")
            assert done.input_bytes == len(mask)  # the other was not counted when it was added

    (run,) = cog.runs
    expected = {"prompt": "fox", "seed": 7, "image": data_url(image), "mask": data_url(mask)}
    assert run.input == expected
    (put,) = [one for one in cog.received if one.method == "PUT"]
    assert json.loads(put.body) == {"input": expected, "context": CONTEXT}
    assert "authorization" not in put.headers


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/none.png", "answered 404"), ("/page.html", "is not a picture"), ("", "not a URL")],
)
def test_an_input_that_cannot_be_fetched_fails_the_prediction_by_its_name(
    tmp_path: Path, cog: CogServer, path: str, reason: str
) -> None:
    with served({"/page.html": b"<html>"}) as url:

        @in_queue(tmp_path, cog, allowed_networks=("127.0.0.0/8",))
        async def _(queue: Queue) -> None:
            files = {"image": url + path if path else "gopher://127.0.0.1/"}
            (done,) = await queue.over(await queue.ask("fox", files=files, ready=False))
            assert (done.status, done.failure) == ("failed", "inputs")
            assert done.error is not None
            assert done.error.startswith("image: ")
            assert reason in done.error

    assert cog.runs == []


def test_what_was_fetched_for_a_prediction_that_fails_is_not_kept(
    tmp_path: Path, cog: CogServer
) -> None:
    large = pixels("image", 1) + bytes(2**20)
    files = {"/image.png": pixels("image", 1), "/large.png": large}

    with served(files) as url:

        @in_queue(tmp_path, cog, allowed_networks=("127.0.0.0/8",), kept_megabytes=1)
        async def _(queue: Queue) -> None:
            async def failed(**names: str) -> Prediction:
                files = {name: f"{url}/{path}" for name, path in names.items()}
                (done,) = await queue.over(await queue.ask("fox", files=files, ready=False))
                await until(lambda: not list(tmp_path.glob("predictions/*/in-*")))
                assert (done.status, done.failure, done.input_bytes) == ("failed", "inputs", 0)
                return done

            done = await failed(image="image.png", mask="none.png")
            assert (done.error or "").startswith("mask: ")
            done = await failed(image="large.png")
            assert "together they may have 1 MiB" in (done.error or "")


def test_an_input_of_the_inner_network_is_not_fetched(tmp_path: Path, cog: CogServer) -> None:
    with served({"/fox.png": pixels("fox", 1)}) as url:

        @in_queue(tmp_path, cog)
        async def _(queue: Queue) -> None:
            files = {"image": f"{url}/fox.png"}
            (done,) = await queue.over(await queue.ask("fox", files=files, ready=False))
            assert done.status == "failed"
            assert "not public" in (done.error or "")


def test_names_that_are_slow_to_be_found_hold_up_no_other_token(
    tmp_path: Path, cog: CogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "EACH_AT_ONCE", 1)
    monkeypatch.setattr(lookups, "_threads", ThreadPoolExecutor(2))
    answers = threading.Event()
    search = socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: Any, **options: Any) -> Any:
        if host == "slow.example":
            answers.wait(LONGEST)
        return search("127.0.0.1", *arguments, **options)

    with served({"/fox.png": pixels("fox", 1)}) as url:

        @in_queue(tmp_path, cog, allowed_networks=("127.0.0.0/8",))
        async def _(queue: Queue) -> None:
            monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
            ann, bob = (Token(id=name, name=name, webhook_secret="") for name in ("ann", "bob"))
            ids = []
            try:
                for owner, name in ((ann, "slow.example"), (ann, "slow.example"), (bob, "quick")):
                    await queue.database.write(Session.merge, owner)
                    files = {"image": url.replace("127.0.0.1", name) + "/fox.png"}
                    asked = queue.ask("fox", files=files, ready=False, token_id=owner.id)
                    ids.append(await asked)
                (quick,) = await queue.over(ids[2])
                assert quick.status == "succeeded"
                assert {(await queue.found(one)).status for one in ids[:2]} == {"starting"}
            finally:
                answers.set()
            assert {one.status for one in await queue.over(*ids)} == {"succeeded"}


async def ask_as(queue: Queue, name: str, url: str) -> str:
    """The id of a prediction of a token, which waits for a picture."""
    await queue.database.write(Session.merge, Token(id=name, name=name, webhook_secret=""))
    return await queue.ask("fox", files={"image": url}, ready=False, token_id=name)


def test_servers_of_four_tokens_that_do_not_answer_hold_up_no_other_token(
    tmp_path: Path, cog: CogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        asked, answers = list[str](), asyncio.Event()

        async def download(url: str, **_: Any) -> bytes:
            asked.append(url)
            if "slow" in url:
                await answers.wait()
            return pixels("image", 1)

        monkeypatch.setattr("hosting.net.fetch.download", download)
        slow = [
            await ask_as(queue, name, f"https://{name}.slow.example/{number}.png")
            for number in range(3)
            for name in ("ann", "bea", "cid", "dan")
        ]
        await until(lambda: len(asked) >= 4)
        await asyncio.sleep(0.2)
        quick = await ask_as(queue, "eve", "https://eve.example/fox.png")
        assert [one.status for one in await queue.over(quick)] == ["succeeded"]
        assert {(await queue.found(one)).status for one in slow} == {"starting"}
        answers.set()
        await queue.over(*slow)


def test_tokens_take_turns_in_having_pictures_fetched(
    tmp_path: Path, cog: CogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "AT_ONCE", 1)

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        asked, answers = list[str](), asyncio.Event()

        async def download(url: str, **_: Any) -> bytes:
            asked.append(url)
            await answers.wait()
            return pixels("image", 1)

        monkeypatch.setattr("hosting.net.fetch.download", download)
        names = ["ann"] * 5 + ["bea"] * 5 + ["cid"]
        ids = [await ask_as(queue, name, f"https://{name}.example/") for name in names]
        answers.set()
        await queue.over(*ids)
        assert [url[8:11] for url in asked] == [
            *("ann", "bea", "cid", "ann", "bea", "ann", "bea", "ann", "bea", "ann", "bea"),
        ]


def test_one_whose_input_is_still_on_its_way_holds_nobody_up(
    tmp_path: Path, cog: CogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        arrived = asyncio.Event()

        async def download(url: str, **_: Any) -> bytes:
            await arrived.wait()
            return pixels(url, 1)

        monkeypatch.setattr("hosting.net.fetch.download", download)
        url = "https://example.com/fox.png"
        slow = await queue.ask("slow", files={"image": url}, ready=False)
        quick = await queue.ask("quick")
        assert [one.status for one in await queue.over(quick)] == ["succeeded"]
        assert (await queue.found(slow)).status == "starting"
        arrived.set()
        await queue.over(slow)
        assert cog.runs_of("slow")[0].input["image"] == data_url(pixels(url, 1))
