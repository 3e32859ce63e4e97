from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hosting.states import FailureKind, Status
from hosting.storage.files import Files
from tests.support.front import QUICK, Queue, in_queue, said, until
from tools.fake_cog import CogServer, pixels

pytestmark = pytest.mark.usefixtures("everywhere")


@pytest.fixture
def cog() -> Iterator[CogServer]:
    with CogServer(slots=4).served() as cog:
        yield cog


def test_a_prediction_makes_its_pictures(tmp_path: Path, cog: CogServer) -> None:
    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        (done,) = await queue.over(await queue.ask("fox", request={"num_images": 3}))
        assert (done.status, done.error) == ("succeeded", None)
        assert done.output == ["out-0.png", "out-1.png", "out-2.png"]
        assert queue.pictures(done) == [pixels("fox", 7, index) for index in range(3)]
        assert said(done.logs) == "drawing fox\n"
        assert done.metrics == {
            "progress": {"step": 2, "steps": 2, "seconds_left": 0},
            "predict_time": 0.25,
            "images": [
                {"index": index, "seed": 7 + index, "nsfw": None, "file": f"out-{index}.png"}
                for index in range(3)
            ],
        }
        assert done.started_at is not None
        assert done.completed_at is not None
        assert done.created_at <= done.started_at <= done.completed_at


def test_what_a_worker_tells_of_its_adapters_is_the_fronts(tmp_path: Path, cog: CogServer) -> None:
    cog.tell("bad", "fail")

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        new = {"name": "new", "hash": "0a" * 32, "trigger": None, "reason": None}
        for prompt, loras in (("fox", [new]), ("bad", [])):
            cog.adapters = {"loras": loras, "embeddings": []}
            (done,) = await queue.over(await queue.ask(prompt))
            assert "adapters" not in done.metrics
            found = queue.endpoints[0].served[0].adapters.model_dump(mode="json")
            assert found == cog.adapters
        cog.adapters = "nonsense"
        (done,) = await queue.over(await queue.ask("fox"))
        assert done.status == "succeeded"
        assert queue.endpoints[0].served[0].adapters.model_dump(mode="json")["loras"] == []


def test_a_failed_prediction_says_why(tmp_path: Path, cog: CogServer) -> None:
    cog.tell("fox", "fail")

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        (done,) = await queue.over(await queue.ask("fox"))
        assert (done.status, done.error) == ("failed", "image: it is not a picture")

    assert len(cog.runs) == 1


@pytest.mark.parametrize(
    ("what", "failure"),
    [
        ("fail", FailureKind.INPUTS),
        ("fail as before", FailureKind.INPUTS),
        ("nsfw", FailureKind.NSFW),
        ("nsfw as before", FailureKind.NSFW),
        ("err", FailureKind.INTERNAL),
        ("die", FailureKind.WORKER),
    ],
)
def test_a_failed_prediction_knows_of_what_kind_its_failure_is(
    tmp_path: Path, cog: CogServer, what: str, failure: FailureKind
) -> None:
    cog.tell("fox", "break", what)

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        (done,) = await queue.over(await queue.ask("fox"))
        assert (done.status, done.failure) == (Status.FAILED, failure)
        assert isinstance(done.failure, FailureKind)
        assert done.crashes == (4 if what == "die" else 1)
        assert "failure" not in done.metrics


def test_files_that_are_gone_are_no_fault_of_the_inputs(tmp_path: Path, cog: CogServer) -> None:
    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        (done,) = await queue.over(await queue.ask("fox", files={"image": "in-image"}))
        assert (done.status, done.failure) == (Status.FAILED, FailureKind.INTERNAL)


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
        assert said(done.logs) == "drawing fox\n"


@pytest.mark.parametrize("what", ["break", "garbage", "strange", "no picture"])
def test_one_that_never_gets_an_answer_fails_in_the_end(
    tmp_path: Path, cog: CogServer, what: str
) -> None:
    cog.tell("fox", what)

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        (done,) = await queue.over(await queue.ask("fox"))
        assert done.status == "failed"
        assert "3 times isolated" in (done.error or "")

    assert len(cog.runs) == 4


def test_a_workers_disk_that_was_full_is_tried_again(tmp_path: Path, cog: CogServer) -> None:
    cog.tell("fox", *["disk"] * 6, "succeed")

    @in_queue(tmp_path, cog, timings=replace(QUICK, disk_retry_seconds=0.05))
    async def _(queue: Queue) -> None:
        (done,) = await queue.over(await queue.ask("fox"))
        assert (done.status, done.crashes, done.error) == ("succeeded", 0, None)

    assert len(cog.runs) == 7


def test_too_little_memory_is_tried_again_isolated_and_fails_in_the_end(
    tmp_path: Path, cog: CogServer
) -> None:
    cog.tell("fox", "memory", "succeed")
    cog.tell("cat", *["memory"] * 4)

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        fox, cat = await queue.over(await queue.ask("fox"), await queue.ask("cat"))
        assert (fox.status, fox.crashes) == ("succeeded", 1)
        assert (cat.status, cat.failure) == ("failed", FailureKind.INTERNAL)
        assert cat.error == (
            "The worker had too little memory each time it ran this prediction, 3 times isolated: "
            "there is not enough memory for a picture of this size"
        )


def test_a_sentence_that_only_quotes_a_full_disk_is_the_clients_fault(
    tmp_path: Path, cog: CogServer
) -> None:
    cog.tell("fox", "quoted")

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        (done,) = await queue.over(await queue.ask("fox"))
        assert (done.status, done.failure) == ("failed", FailureKind.INPUTS)


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


def test_a_prediction_that_is_run_again_leaves_only_its_last_pictures(
    tmp_path: Path, cog: CogServer
) -> None:
    cog.tell("fox", "no picture", "succeed")

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        (done,) = await queue.over(await queue.ask("fox", request={"num_images": 2}))
        assert {path.name for path in (tmp_path / "predictions" / done.id).iterdir()} == {
            "out-0-2.png",
            "out-1-2.png",
        }
