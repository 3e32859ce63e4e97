from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hosting.queue.dispatch import Dispatcher
from hosting.states import State
from hosting.storage import heartbeats, predictions
from tests.support.front import QUICK, Queue, in_queue, said, until
from tools.fake_cog import CogServer, pixels

pytestmark = pytest.mark.usefixtures("everywhere")


@pytest.fixture
def cog() -> Iterator[CogServer]:
    with CogServer(slots=4).served() as cog:
        yield cog


# The queue


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


def test_an_endpoint_that_says_it_is_full_is_asked_again(
    tmp_path: Path,
) -> None:
    with CogServer(slots=1).served() as cog:
        cog.tell("first", "full", "full", "succeed")

        @in_queue(tmp_path, cog)
        async def _(queue: Queue) -> None:
            done = await queue.over(await queue.ask("first"), await queue.ask("second"))
            assert [(one.status, one.crashes) for one in done] == [("succeeded", 0)] * 2

        assert cog.refused == 2
        assert sorted(cog.prompts) == ["first", "second"]


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
            "The worker died each time it ran this prediction, 3 times isolated: Worker crashed"
        )

    assert cog.prompts[3] == "bomb"
    # Who was put back first runs first.
    assert sorted(cog.prompts[4:-1]) == sorted([*innocent, "bomb", "bomb", "bomb"])
    assert cog.prompts[-1] == "later"
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


def test_a_cluster_says_itself_how_many_slots_it_has(tmp_path: Path, cog: CogServer) -> None:
    cog.is_cluster, cog.slots = True, 2
    prompts = [f"fox {number}" for number in range(6)]
    for prompt in prompts:
        cog.tell(prompt, "hold")

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        queue.endpoints[0].slots = 8  # COG_SLOTS
        await until(lambda: queue.endpoints[0].slots == 2)
        ids = [await queue.ask(prompt) for prompt in prompts]
        await until(lambda: len(cog.running) == 2)
        cog.slots = 5  # it has got another replica
        await until(lambda: len(cog.running) == 5)
        cog.let_go(*prompts)
        assert {one.status for one in await queue.over(*ids)} == {"succeeded"}

    assert (cog.refused, cog.most_at_once) == (0, 5)


def test_a_cluster_whose_slots_others_have_taken_is_asked_again(
    tmp_path: Path, cog: CogServer
) -> None:
    cog.is_cluster = True
    cog.tell("fox", "full", "full", "succeed")

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        (done,) = await queue.over(await queue.ask("fox"))
        assert (done.status, done.crashes, done.attempt) == ("succeeded", 0, 3)


def test_a_cluster_itself_runs_a_suspect_alone_and_others_at_its_other_replicas(
    tmp_path: Path, cog: CogServer
) -> None:
    cog.is_cluster = True
    cog.tell("fox", "die", "hold")
    cog.tell("owl", "hold")

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        fox = await queue.ask("fox")
        await until(lambda: len(cog.runs_of("fox")) == 2)
        owl = await queue.ask("owl")
        await until(lambda: sorted(cog.running) == ["fox", "owl"])
        cog.let_go("fox", "owl")
        assert [one.status for one in await queue.over(fox, owl)] == ["succeeded"] * 2

    asked = [one for one in cog.received if one.method == "PUT"]
    assert ["cog-alone" in one.headers for one in asked] == [False, True, False]


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

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        asked = queue.endpoints[0].cog
        status = asked.status

        async def says_that_it_is_well(is_wanted: bool = False) -> State:
            await status(is_wanted)
            return State.READY

        asked.status = says_that_it_is_well  # type: ignore[method-assign]
        one = await queue.ask("fox")
        await until(lambda: sum(one.method == "PUT" for one in cog.received) > 5)
        cog.restart()
        (done,) = await queue.over(one)
        assert (done.status, done.crashes) == ("succeeded", 0)

    assert len(cog.runs) == 1


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
        await until(lambda: cog.running == ["owl"])
        cog.let_go("owl")
        assert [one.status for one in await queue.over(owl)] == ["succeeded"]

    runs = [*cog.runs_of("fox"), *cog.runs_of("owl")]
    assert [run.cancelled for run in runs] == [True, False]


@pytest.mark.parametrize("what", ["hold", "trip"])
def test_what_is_cancelled_at_any_moment_is_canceled(
    tmp_path: Path, cog: CogServer, what: str
) -> None:
    # Seeded, and in steps of the loop: from before Cog is asked to long after it has begun.
    moments = random.Random(7)

    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        for place in range(60):
            cog.tell(f"fox {place}", what)
            fox = await queue.ask(f"fox {place}")
            await asyncio.sleep(moments.choice((0, 0, 0.001, 0.003, 0.01, 0.03)) * moments.random())
            await queue.cancel(fox)
            (done,) = await queue.over(fox)
            assert (done.status, done.error, done.crashes) == ("canceled", None, 0)


def test_one_that_is_cancelled_while_its_worker_dies_does_not_run_again(
    tmp_path: Path, cog: CogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody looks whether to cancel it.
    monkeypatch.setattr(Dispatcher, "_reconcile", Dispatcher._send_heartbeats)
    cog.tell("fox", "hold")
    cog.tell("bomb", "die", "succeed")

    @in_queue(tmp_path, cog, timings=replace(QUICK, save_seconds=3600))
    async def _(queue: Queue) -> None:
        fox = await queue.ask("fox")
        told = None
        while told is None or not told.metrics:  # what it says before it holds is heard
            await asyncio.sleep(0.01)
            told = await queue.current(fox)
        await queue.database.write(predictions.cancel, fox)
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
        await queue.dispatcher.stop(asyncio.Event())
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
        stop = asyncio.create_task(queue.dispatcher.stop(asyncio.Event()))
        await until(lambda: queue.is_stopping)
        async with queue.dispatcher._claiming:
            pass  # what was being looked for has been found, or not
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
        stop = asyncio.create_task(queue.dispatcher.stop(hurry))
        hurry.set()
        await asyncio.wait_for(stop, 30)
        assert (await queue.found(fox)).status == "starting"


def test_what_was_running_when_the_process_was_killed_is_run_again(
    tmp_path: Path, cog: CogServer
) -> None:
    @in_queue(tmp_path, cog)
    async def _(queue: Queue) -> None:
        await until(lambda: queue.endpoints[0].status == "READY")
        lost: dict[str, Any] = {
            "status": "processing",
            "logs": "half",
            "output": ["out-0.png"],
            "front_id": "dead",
        }
        one = await queue.ask("fox", **lost)
        front_id, dead_after = queue.dispatcher.front_id, QUICK.dead_after_seconds
        assert await queue.database.write(heartbeats.beat, front_id, dead_after) == [one]
        queue.dispatcher.wake(one)
        (done,) = await queue.over(one)
        assert (done.status, said(done.logs)) == ("succeeded", "drawing fox\n")
        assert queue.pictures(done) == [pixels("fox", 7)]
