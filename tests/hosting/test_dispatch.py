from __future__ import annotations

import asyncio
import http.server
import json
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hosting import predictions, tokens, uploads
from hosting.database import new_id
from hosting.files import Files
from tests.hosting.cog_server import CogServer, data_url, pixels
from tests.hosting.front import Queue, queue, until, upload

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def cog() -> Iterator[CogServer]:
    with CogServer(slots=4).served() as cog:
        yield cog


def in_queue(
    folder: Path, *cogs: CogServer, **settings: Any
) -> Callable[[Callable[[Queue], Awaitable[None]]], None]:
    """Runs a test with a dispatcher, at once."""

    def run(test: Callable[[Queue], Awaitable[None]]) -> None:
        async def main() -> None:
            async with queue(folder, *cogs, **settings) as dispatcher:
                await test(dispatcher)

        asyncio.run(main())

    return run


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
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def predictions_folder(folder: Path) -> set[str]:
    return {path.name for path in (folder / "predictions").iterdir()}


# The queue


def test_a_prediction_makes_its_pictures(tmp_path: Path, cog: CogServer) -> None:
    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        (done,) = await queue.over(await queue.ask("fox", request={"num_images": 3}))
        assert (done.status, done.error) == ("succeeded", None)
        assert done.output == ["out-0.png", "out-1.png", "out-2.png"]
        assert queue.pictures(done) == [pixels("fox", 7, index) for index in range(3)]
        assert done.logs == "drawing fox\n"
        assert done.metrics == {
            "progress": 1,
            "predict_time": 0.25,
            "images": [
                {"index": index, "seed": 7, "nsfw": None, "file": f"out-{index}.png"}
                for index in range(3)
            ],
        }
        assert done.started_at is not None
        assert done.completed_at is not None
        assert done.created_at <= done.started_at <= done.completed_at


def test_as_many_run_at_once_as_there_are_slots(tmp_path: Path, cog: CogServer) -> None:
    prompts = [f"fox {number}" for number in range(6)]
    for prompt in prompts:
        cog.tell(prompt, "hold")

    @in_queue(tmp_path, cog, cog_slots=4)
    async def _(queue: Queue) -> None:
        ids = [await queue.ask(prompt) for prompt in prompts]
        await until(lambda: len(cog.running) == 4)
        assert [(await queue.found(one)).status for one in ids[4:]] == ["starting"] * 2
        cog.let_go("fox 2")
        await until(lambda: "fox 4" in cog.running)
        assert (await queue.found(ids[5])).status == "starting"
        cog.let_go(*prompts)
        done = await queue.over(*ids)
        assert {one.status for one in done} == {"succeeded"}
        assert [queue.pictures(one) for one in done] == [[pixels(one, 7)] for one in prompts]

    assert cog.most_at_once == 4
    assert cog.refused == 0
    assert cog.prompts[4:] == ["fox 4", "fox 5"]


def test_who_came_first_runs_first(tmp_path: Path) -> None:
    prompts = [f"fox {number}" for number in range(5)]
    with CogServer(slots=1).served() as cog:

        @in_queue(tmp_path, cog)
        async def _(queue: Queue) -> None:
            await queue.over(*[await queue.ask(prompt) for prompt in prompts])

        assert cog.prompts == prompts


def test_two_endpoints_of_one_task_share_the_queue(tmp_path: Path) -> None:
    prompts = [f"fox {number}" for number in range(4)]
    with CogServer(slots=1).served() as one, CogServer(slots=1).served() as other:
        for prompt in prompts:
            one.tell(prompt, "hold")
            other.tell(prompt, "hold")

        @in_queue(tmp_path, one, other)
        async def _(queue: Queue) -> None:
            ids = [await queue.ask(prompt) for prompt in prompts]
            await until(lambda: sorted(one.running + other.running) == prompts[:2])
            for cog in (one, other):
                cog.let_go(*prompts)
            await queue.over(*ids)

        assert one.prompts
        assert other.prompts
        assert sorted(one.prompts + other.prompts) == prompts


def test_a_prediction_runs_on_an_endpoint_of_its_task(tmp_path: Path) -> None:
    with CogServer().served() as one, CogServer("upscale").served() as other:

        @in_queue(tmp_path, one, other)
        async def _(queue: Queue) -> None:
            ids = [await queue.ask(task, task=task) for task in ("img2img", "upscale", "img2img")]
            await queue.over(*ids)

        assert one.prompts == ["img2img", "img2img"]
        assert other.prompts == ["upscale"]


def test_one_whose_endpoint_is_not_ready_waits(tmp_path: Path, cog: CogServer) -> None:
    cog.status = "STARTING"

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        one = await queue.ask("fox")
        looks = len(cog.received) + 5
        await until(lambda: len(cog.received) > looks)
        assert (await queue.found(one)).status == "starting"
        cog.status = "READY"
        (done,) = await queue.over(one)
        assert done.status == "succeeded"


def test_an_endpoint_that_says_it_is_full_is_asked_again(tmp_path: Path) -> None:
    with CogServer(slots=1).served() as cog:
        cog.tell("first", "full", "full", "succeed")

        @in_queue(tmp_path, cog)
        async def _(queue: Queue) -> None:
            done = await queue.over(await queue.ask("first"), await queue.ask("second"))
            assert [(one.status, one.crashes) for one in done] == [("succeeded", 0)] * 2

        assert cog.refused == 2
        assert cog.prompts == ["first", "second"]


def test_an_endpoint_with_fewer_slots_than_it_is_thought_to_have_is_no_fault(
    tmp_path: Path,
) -> None:
    prompts = [f"fox {number}" for number in range(4)]
    with CogServer(slots=4).served() as cog:
        for prompt in prompts:
            cog.tell(prompt, "hold")

        @in_queue(tmp_path, cog)
        async def _(queue: Queue) -> None:
            cog.slots = 2
            ids = [await queue.ask(prompt) for prompt in prompts]
            await until(lambda: cog.refused)
            cog.let_go(*prompts)
            assert {one.status for one in await queue.over(*ids)} == {"succeeded"}

        assert cog.most_at_once == 2


def test_a_failed_prediction_says_why(tmp_path: Path, cog: CogServer) -> None:
    cog.tell("fox", "fail")

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        (done,) = await queue.over(await queue.ask("fox"))
        assert (done.status, done.error) == ("failed", "image: it is no picture")

    assert len(cog.runs) == 1


# When the worker dies


def test_who_ran_when_the_worker_died_runs_again_alone_and_only_the_guilty_fails(
    tmp_path: Path, cog: CogServer
) -> None:
    innocent = ["fox", "owl", "elk"]
    for prompt in innocent:
        cog.tell(prompt, "hold", "succeed")
    cog.tell("bomb", "die")

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        ids = [await queue.ask(prompt, seed) for seed, prompt in enumerate(innocent)]
        await until(lambda: sorted(cog.running) == sorted(innocent))
        bomb, later = await queue.ask("bomb"), await queue.ask("later")
        done = await queue.over(*ids, later)
        assert {one.status for one in done} == {"succeeded"}
        assert [queue.pictures(one) for one in done] == [
            *([pixels(prompt, seed)] for seed, prompt in enumerate(innocent)),
            [pixels("later", 7)],
        ]
        (failed,) = await queue.over(bomb)
        assert failed.status == "failed"
        assert failed.error == (
            "The worker died whenever it ran this prediction, 3 times alone: Worker crashed"
        )

    assert cog.prompts[3:] == ["bomb", *innocent, "bomb", "bomb", "bomb", "later"]
    assert [run.company for run in cog.runs[4:]] == [[]] * 7


def test_nobody_joins_one_that_runs_alone(tmp_path: Path, cog: CogServer) -> None:
    cog.tell("fox", "die", "hold")

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        fox = await queue.ask("fox")
        await until(lambda: len(cog.runs_of("fox")) == 2)
        owl = await queue.ask("owl")
        looks = len(cog.received) + 5
        await until(lambda: len(cog.received) > looks)
        assert cog.running == ["fox"]
        assert (await queue.found(owl)).status == "starting"
        cog.let_go("fox")
        assert [one.status for one in await queue.over(fox, owl)] == ["succeeded"] * 2


def test_one_endpoint_serves_on_while_the_other_has_lost_its_worker(tmp_path: Path) -> None:
    with CogServer(slots=1).served() as one, CogServer(slots=1).served() as other:
        other.restarts = False
        other.status = "UNHEALTHY"

        @in_queue(tmp_path, one, other)
        async def _(queue: Queue) -> None:
            done = await queue.over(*[await queue.ask(f"fox {number}") for number in range(3)])
            assert {one.status for one in done} == {"succeeded"}

        assert len(one.runs) == 3


def test_what_is_sent_to_a_dead_worker_is_no_suspect(tmp_path: Path, cog: CogServer) -> None:
    cog.status, cog.restarts = "UNHEALTHY", False

    async def says_that_it_is_well() -> str:
        return "READY"

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        queue.endpoints[0].cog.status = says_that_it_is_well  # type: ignore[method-assign]
        one = await queue.ask("fox")
        await until(lambda: sum(one.method == "PUT" for one in cog.received) > 5)
        cog.restart()
        (done,) = await queue.over(one)
        assert (done.status, done.crashes) == ("succeeded", 0)

    assert len(cog.runs) == 1


@pytest.mark.parametrize("what", ["break", "garbage", "strange", "no picture"])
def test_an_answer_that_breaks_off_or_makes_no_sense_is_asked_for_again(
    tmp_path: Path, cog: CogServer, what: str
) -> None:
    cog.tell("fox", what, "succeed")

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        (done,) = await queue.over(await queue.ask("fox"))
        assert (done.status, done.crashes) == ("succeeded", 1)
        assert queue.pictures(done) == [pixels("fox", 7)]
        assert done.logs == "drawing fox\n"


@pytest.mark.parametrize("what", ["break", "garbage", "strange", "no picture"])
def test_one_that_never_gets_an_answer_fails_in_the_end(
    tmp_path: Path, cog: CogServer, what: str
) -> None:
    cog.tell("fox", what)

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        (done,) = await queue.over(await queue.ask("fox"))
        assert done.status == "failed"
        assert "3 times alone" in (done.error or "")

    assert len(cog.runs) == 4


def test_a_disk_that_was_full_is_tried_again(
    tmp_path: Path, cog: CogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Files.write
    faults = [OSError(28, "No space left on device")] * 2

    def full(files: Files, name: str, data: bytes) -> None:
        if faults:
            raise faults.pop()
        write(files, name, data)

    monkeypatch.setattr(Files, "write", full)

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        (done,) = await queue.over(await queue.ask("fox"))
        assert (done.status, done.crashes) == ("succeeded", 0)
        assert queue.pictures(done) == [pixels("fox", 7)]


def test_what_was_told_of_a_running_prediction_stays_as_it_was(
    tmp_path: Path, cog: CogServer
) -> None:
    cog.tell("fox", "hold")

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        fox = await queue.ask("fox")
        told = None
        while told is None or not told.logs:
            await asyncio.sleep(0.01)
            told = await queue.current(fox)
        cog.let_go("fox")
        (done,) = await queue.over(fox)
        assert (done.status, done.output) == ("succeeded", ["out-0.png"])
        assert (told.id, told.status, told.output) == (fox, "processing", [])


# Cancelling


def test_a_cancelled_prediction_that_waits_never_runs(tmp_path: Path) -> None:
    with CogServer(slots=1).served() as cog:
        cog.tell("fox", "hold")

        @in_queue(tmp_path, cog)
        async def _(queue: Queue) -> None:
            fox, owl, elk = [await queue.ask(prompt) for prompt in ("fox", "owl", "elk")]
            await until(lambda: cog.running)
            await queue.cancel(owl)
            assert (await queue.found(owl)).status == "canceled"
            cog.let_go("fox")
            done = await queue.over(fox, owl, elk)
            assert [one.status for one in done] == ["succeeded", "canceled", "succeeded"]

        assert cog.prompts == ["fox", "elk"]


def test_a_cancelled_prediction_that_runs_ends(tmp_path: Path, cog: CogServer) -> None:
    cog.tell("fox", "hold")
    cog.tell("owl", "hold")

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        fox, owl = await queue.ask("fox"), await queue.ask("owl")
        await until(lambda: len(cog.running) == 2)
        await queue.cancel(fox)
        (done,) = await queue.over(fox)
        assert (done.status, done.error, done.output) == ("canceled", None, [])
        assert cog.running == ["owl"]
        cog.let_go("owl")
        assert [one.status for one in await queue.over(owl)] == ["succeeded"]

    assert [run.cancelled for run in cog.runs] == [True, False]


def test_one_that_is_cancelled_before_cog_has_it_ends_when_cog_has_it(
    tmp_path: Path, cog: CogServer
) -> None:
    cog.tell("fox", "late")

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        fox = await queue.ask("fox")
        await until(lambda: any(one.method == "PUT" for one in cog.received))
        await queue.cancel(fox)
        assert cog.runs == []
        cog.let_go("fox")
        assert [one.status for one in await queue.over(fox)] == ["canceled"]


def test_one_that_is_cancelled_while_its_worker_dies_does_not_run_again(
    tmp_path: Path, cog: CogServer
) -> None:
    cog.tell("fox", "hold")
    cog.tell("bomb", "die", "succeed")

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        fox = await queue.ask("fox")
        await until(lambda: cog.running)
        await queue.database(predictions.cancel, fox)
        done = await queue.over(fox, await queue.ask("bomb"))
        assert [one.status for one in done] == ["canceled", "succeeded"]

    assert [run.cancelled for run in cog.runs_of("fox")] == [False]


# Stop and start


def test_what_runs_when_it_is_stopped_is_finished_after_the_next_start(
    tmp_path: Path, cog: CogServer
) -> None:
    prompts = ["fox", "owl", "elk"]
    cog.slots = 2
    for prompt in prompts[:2]:
        cog.tell(prompt, "hold", "succeed")
    ids: list[str] = []

    @in_queue(tmp_path, cog, stop_seconds=0)
    async def _(queue: Queue) -> None:
        ids.extend([await queue.ask(prompt, seed) for seed, prompt in enumerate(prompts)])
        await until(lambda: len(cog.running) == 2)
        await queue.stop(asyncio.Event())
        records = [await queue.found(one) for one in ids]
        assert [(one.status, one.crashes) for one in records] == [("starting", 0)] * 3
        assert all(one.started_at is None for one in records)
        await until(lambda: not cog.running)

    assert all(run.hung_up for run in cog.runs)
    cog.slots = 1

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        done = await queue.over(*ids)
        assert [one.status for one in done] == ["succeeded"] * 3
        assert [queue.pictures(one) for one in done] == [
            [pixels(prompt, seed)] for seed, prompt in enumerate(prompts)
        ]

    # Each had its old place in the queue.
    assert cog.prompts[2:] == prompts


def test_what_runs_when_the_loop_is_cancelled_is_no_suspect(tmp_path: Path, cog: CogServer) -> None:
    cog.tell("fox", "hold", "succeed")
    ids: list[str] = []

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        ids.append(await queue.ask("fox"))
        await until(lambda: cog.running)

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        (done,) = await queue.over(*ids)
        assert (done.status, done.crashes) == ("succeeded", 0)


def test_what_runs_may_finish_before_it_stops_and_nothing_new_begins(
    tmp_path: Path, cog: CogServer
) -> None:
    cog.tell("fox", "hold")

    @in_queue(tmp_path, cog, stop_seconds=60)
    async def _(queue: Queue) -> None:
        fox = await queue.ask("fox")
        await until(lambda: cog.running)
        stop = asyncio.create_task(queue.stop(asyncio.Event()))
        await until(queue.stopping.is_set)
        owl = await queue.ask("owl")
        cog.let_go("fox")
        await stop
        records = [await queue.found(one) for one in (fox, owl)]
        assert [one.status for one in records] == ["succeeded", "starting"]

    assert cog.prompts == ["fox"]


def test_who_is_in_a_hurry_does_not_wait_for_what_runs(tmp_path: Path, cog: CogServer) -> None:
    cog.tell("fox", "hold")

    @in_queue(tmp_path, cog, stop_seconds=3600)
    async def _(queue: Queue) -> None:
        fox = await queue.ask("fox")
        await until(lambda: cog.running)
        hurry = asyncio.Event()
        stop = asyncio.create_task(queue.stop(hurry))
        hurry.set()
        await asyncio.wait_for(stop, 30)
        assert (await queue.found(fox)).status == "starting"


def test_what_was_running_when_the_process_was_killed_is_run_again(
    tmp_path: Path, cog: CogServer
) -> None:
    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        await until(lambda: queue.endpoints[0].status == "READY")
        one = await queue.ask("fox", status="processing", logs="half", output=["out-0.png"])
        assert await queue.database(predictions.put_back_all) == [one]
        queue.wake(one)
        (done,) = await queue.over(one)
        assert (done.status, done.logs) == ("succeeded", "drawing fox\n")
        assert queue.pictures(done) == [pixels("fox", 7)]


# Input files


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
            assert done.files == {"image": "in-image", "mask": "in-mask"}

    (run,) = cog.runs
    expected = {"prompt": "fox", "seed": 7, "image": data_url(image), "mask": data_url(mask)}
    assert run.input == expected
    (put,) = [one for one in cog.received if one.method == "PUT"]
    assert json.loads(put.body) == {"input": expected}
    assert "authorization" not in put.headers


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/none.png", "answered 404"), ("/page.html", "is no picture"), ("", "no URL")],
)
def test_an_input_that_cannot_be_fetched_fails_the_prediction_by_its_name(
    tmp_path: Path, cog: CogServer, path: str, reason: str
) -> None:
    with served({"/page.html": b"<html>"}) as url:

        @in_queue(tmp_path, cog, allowed_networks=("127.0.0.0/8",))
        async def _(queue: Queue) -> None:
            files = {"image": url + path if path else "gopher://127.0.0.1/"}
            (done,) = await queue.over(await queue.ask("fox", files=files, ready=False))
            assert done.status == "failed"
            assert done.error is not None
            assert done.error.startswith("image: ")
            assert reason in done.error

    assert cog.runs == []


def test_an_input_of_the_inner_network_is_not_fetched(tmp_path: Path, cog: CogServer) -> None:
    with served({"/fox.png": pixels("fox", 1)}) as url:

        @in_queue(tmp_path, cog)
        async def _(queue: Queue) -> None:
            files = {"image": f"{url}/fox.png"}
            (done,) = await queue.over(await queue.ask("fox", files=files, ready=False))
            assert done.status == "failed"
            assert "not public" in (done.error or "")


def test_one_whose_input_is_still_on_its_way_holds_nobody_up(
    tmp_path: Path, cog: CogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        arrived = asyncio.Event()

        async def download(url: str, **_: Any) -> bytes:
            await arrived.wait()
            return pixels(url, 1)

        monkeypatch.setattr("hosting.fetch.download", download)
        url = "https://example.com/fox.png"
        slow = await queue.ask("slow", files={"image": url}, ready=False)
        quick = await queue.ask("quick")
        assert [one.status for one in await queue.over(quick)] == ["succeeded"]
        assert (await queue.found(slow)).status == "starting"
        arrived.set()
        await queue.over(slow)
        assert cog.runs_of("slow")[0].input["image"] == data_url(pixels(url, 1))


# What is too old


def age(path: Path, seconds: float) -> None:
    os.utime(path, times=(time.time() - seconds,) * 2)


async def with_files(queue: Queue, **fields: Any) -> str:
    one = new_id()
    queue.files.write(f"predictions/{one}/in-image", b"image")
    await queue.ask("fox", id=one, **fields)
    return one


def test_what_is_older_than_it_is_kept_is_removed_and_nothing_else(
    tmp_path: Path, cog: CogServer
) -> None:
    cog.status = "STARTING"

    @in_queue(tmp_path, cog, retention_days=2)
    async def _(queue: Queue) -> None:
        day, now = 86400, time.time()
        kept = [
            await with_files(queue, status="succeeded", completed_at=now - 2 * day + 600),
            await with_files(queue, created_at=now - 9 * day),
            await with_files(queue, created_at=now - 9 * day, status="succeeded", completed_at=now),
        ]
        old = [
            await with_files(queue, status=status, completed_at=now - 2 * day - 600)
            for status in predictions.FINISHED
        ]
        for one in kept:
            age(tmp_path / "predictions" / one, 9 * day)
        await queue.sweep()
        assert predictions_folder(tmp_path) == set(kept)
        assert [await queue.database(predictions.find, one) for one in old] == [None] * 3


def test_without_a_retention_everything_is_kept(tmp_path: Path, cog: CogServer) -> None:
    @in_queue(tmp_path, cog, retention_days=0)
    async def _(queue: Queue) -> None:
        one = await with_files(queue, status="succeeded", completed_at=1.0)
        age(tmp_path / "predictions" / one, 10**8)
        await queue.sweep()
        assert predictions_folder(tmp_path) == {one}
        await queue.found(one)


def test_uploads_are_removed_when_their_time_is_over(tmp_path: Path, cog: CogServer) -> None:
    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        owner = await queue.database(lambda session: tokens.of_header(session, None))
        assert owner
        old, young = upload(owner, expires_at=time.time() - 1), upload(owner)
        for one in (old, young):
            await queue.database(uploads.add, one, 100)
            queue.files.write(f"uploads/{one.id}", b"data")
            age(tmp_path / "uploads" / one.id, 10**6)
        await queue.sweep()
        assert [path.name for path in (tmp_path / "uploads").iterdir()] == [young.id]


def test_files_of_nothing_that_is_known_are_removed_after_a_while(
    tmp_path: Path, cog: CogServer
) -> None:
    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        young, old = new_id(), new_id()
        for one in (young, old):
            queue.files.write(f"predictions/{one}/in-image", b"image")
            queue.files.write(f"uploads/{one}", b"data")
        half = tmp_path / "uploads" / f".{new_id()}.part"
        half.write_bytes(b"hal")
        for path in (tmp_path / "predictions" / old, tmp_path / "uploads" / old, half):
            age(path, 31 * 86400)
        await queue.sweep()
        assert predictions_folder(tmp_path) == {young}
        assert [path.name for path in (tmp_path / "uploads").iterdir()] == [young]


def test_what_somebody_else_put_there_stops_nothing_and_stays(
    tmp_path: Path, cog: CogServer
) -> None:
    for kind in ("predictions", "uploads"):
        path = tmp_path / kind / "lost+found"
        path.mkdir(parents=True)
        age(path, 10**6)

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        await queue.sweep()
        assert [one.status for one in await queue.over(await queue.ask("fox"))] == ["succeeded"]
        assert (tmp_path / "uploads" / "lost+found").is_dir()


def test_a_prediction_that_is_run_again_leaves_only_its_last_pictures(
    tmp_path: Path, cog: CogServer
) -> None:
    cog.tell("fox", "no picture", "succeed")

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        (done,) = await queue.over(await queue.ask("fox", request={"num_images": 2}))
        assert {path.name for path in (tmp_path / "predictions" / done.id).iterdir()} == {
            "out-0.png",
            "out-1.png",
        }
