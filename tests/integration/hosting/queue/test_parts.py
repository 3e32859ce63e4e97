"""Predictions of more images than an endpoint makes at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hosting.queue import parts
from tests.support.front import PROGRESS, Queue, in_queue, said, until
from tools.fake_cog import CogServer, pixels

pytestmark = pytest.mark.usefixtures("everywhere")
SIX = {"num_images": 6}


@pytest.fixture
def cog() -> Iterator[CogServer]:
    with CogServer(slots=4).served() as cog:
        yield cog


def sizes(cog: CogServer) -> list[tuple[int, int]]:
    """The first seed and the number of images of each run."""
    return [(run.input["seed"], run.input["num_images"]) for run in cog.runs]


def in_parts(number: int) -> list[bytes]:
    """The pictures of a fox, seed 7."""
    return [pixels("fox", 7 + index // 4 * 4, index % 4) for index in range(number)]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(1, [1]), (4, [4]), (5, [4, 1]), (8, [4, 4]), (9, [4, 4, 1])],
)
def test_a_part_has_up_to_four_images(asked: int, expected: list[int]) -> None:
    inputs = {"prompt": "fox", "seed": 7, "num_images": asked}
    found = parts.of(inputs)
    assert [part["num_images"] for part in found] == expected
    assert [part["seed"] for part in found] == [7 + 4 * place for place in range(len(expected))]
    assert {part["prompt"] for part in found} == {"fox"}


def test_seeds_go_on_at_0_after_the_largest() -> None:
    _, second = parts.of({"seed": 2**53 - 2, "num_images": 5})
    assert second["seed"] == 2


def test_the_parts_are_one_prediction(tmp_path: Path, cog: CogServer) -> None:
    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        (done,) = await queue.over(await queue.ask("fox", request=SIX))
        assert (done.status, done.error) == ("succeeded", None)
        assert queue.pictures(done) == in_parts(6)
        assert done.metrics == {
            "progress": {"step": 4, "steps": 4, "seconds_left": 0},
            "predict_time": 0.5,
            "images": [
                {"index": index, "seed": 7 + index, "nsfw": None, "file": f"out-{index}.png"}
                for index in range(6)
            ],
        }
        assert said(done.logs) == "drawing fox\n" * 2
        shown = [PROGRESS.match(line) for line in done.logs.splitlines()]
        read = [found.groups() for found in shown if found]
        assert read == [("25", "1", "4"), ("50", "2", "4"), ("75", "3", "4"), ("100", "4", "4")]

    assert sizes(cog) == [(7, 4), (11, 2)]


@pytest.mark.parametrize("what", ["die", "break", "memory", "disk"])
def test_a_restart_goes_on_with_the_part_that_is_missing(
    tmp_path: Path, cog: CogServer, what: str
) -> None:
    cog.tell("fox", "succeed", what, "succeed")

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        (done,) = await queue.over(await queue.ask("fox", request=SIX))
        assert (done.status, done.attempt) == ("succeeded", 2)
        assert queue.pictures(done) == in_parts(6)
        assert [image["index"] for image in done.metrics["images"]] == list(range(6))
        assert [image["file"] for image in done.metrics["images"]] == list(done.output)
        assert done.metrics["progress"]["step"] == 4
        assert said(done.logs) == "drawing fox\n" * 2
        there = {path.name for path in (tmp_path / "predictions" / done.id).iterdir()}
        assert there == set(done.output)

    assert sizes(cog) == [(7, 4), (11, 2), (11, 2)]


def test_another_front_goes_on_with_the_part_that_is_missing(
    tmp_path: Path, cog: CogServer
) -> None:
    cog.tell("fox", "succeed", "hold", "succeed")
    asked: list[str] = []

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        asked.append(await queue.ask("fox", request=SIX))
        await until(lambda: len(cog.runs) == 2)

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        (done,) = await queue.over(*asked)
        assert done.status == "succeeded"
        assert queue.pictures(done) == in_parts(6)

    assert sizes(cog) == [(7, 4), (11, 2), (11, 2)]


@pytest.mark.parametrize(
    ("verdicts", "status", "flagged"),
    [
        (("nsfw", "succeed"), "succeeded", [True] * 4 + [None] * 2),
        (("succeed", "nsfw"), "succeeded", [None] * 4 + [True] * 2),
        (("nsfw", "nsfw"), "failed", [True] * 6),
    ],
)
def test_a_part_that_is_flagged_whole_is_no_failure_until_all_are(
    tmp_path: Path,
    cog: CogServer,
    verdicts: tuple[str, str],
    status: str,
    flagged: list[bool | None],
) -> None:
    cog.tell("fox", *verdicts)

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        (done,) = await queue.over(await queue.ask("fox", request=SIX))
        assert done.status == status
        assert done.failure == ("nsfw" if status == "failed" else None)
        images = done.metrics["images"]
        assert [image["nsfw"] for image in images] == flagged
        assert [image["seed"] for image in images] == list(range(7, 13))
        assert [image["file"] for image in images if image["file"]] == list(done.output)
        assert len(done.output) == flagged.count(None)


def test_a_part_that_fails_fails_the_prediction(tmp_path: Path, cog: CogServer) -> None:
    cog.tell("fox", "succeed", "fail")

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        (done,) = await queue.over(await queue.ask("fox", request={"num_images": 12}))
        assert (done.status, done.error) == ("failed", "image: it is not a picture")

    assert len(cog.runs) == 2


@pytest.mark.parametrize("what", ["hold", "trip"])
def test_one_cancel_ends_all_parts(tmp_path: Path, cog: CogServer, what: str) -> None:
    cog.tell("fox", "succeed", what)

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        fox = await queue.ask("fox", request={"num_images": 12})
        await until(lambda: len(cog.runs) == 2)
        await queue.cancel(fox)
        (done,) = await queue.over(fox)
        assert (done.status, done.error, len(done.output)) == ("canceled", None, 4)

    assert len(cog.runs) == 2


def test_one_that_is_cancelled_between_two_parts_begins_no_other(
    tmp_path: Path, cog: CogServer
) -> None:
    cog.tell("fox", "slow")

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        fox = await queue.ask("fox", request={"num_images": 8})
        await until(lambda: cog.running)
        # As another front's client does: this front is not told, and sees it when it saves.
        await queue.store.predictions.cancel(fox)
        (done,) = await queue.over(fox)
        assert done.status == "canceled"

    assert len(cog.runs) == 1
