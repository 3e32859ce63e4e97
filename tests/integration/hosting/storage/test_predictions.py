from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from hosting.prediction import Crashed, Ended
from hosting.states import FINISHED, FailureKind, Status
from hosting.storage import predictions, tokens, waits
from hosting.storage.database import Database
from hosting.storage.predictions import MOST_CRASHES
from hosting.storage.tables import Delivery, PredictionRow, Token
from tests.support.front import count, place, prediction
from tests.support.properties import RuleBasedStateMachine, invariant, precondition, rule, settings
from tests.support.properties import strategies as st

HOOK = "https://example.com/hook"


@pytest.fixture
def session(everywhere: None, tmp_path: Path) -> Iterator[Session]:
    database = Database(place(tmp_path))
    sessions: sessionmaker[Session] = database._writers
    with sessions() as session:
        yield session
    database.close()


def add(session: Session, prompt: str = "fox", limit: int = 100, **fields: Any) -> PredictionRow:
    owner = fields.pop("token", None) or token(session)
    row = predictions.add(session, prediction(owner, prompt, **fields), limit)
    assert row is not None
    return row


def token(session: Session, name: str | None = None) -> Token:
    if name is None:
        local = session.get(Token, tokens.LOCAL)
        if local is None:
            local = Token(id=tokens.LOCAL, name=tokens.LOCAL, webhook_secret="whsec_")
            session.add(local)
            session.flush()
        return local
    made = Token(name=name, hash=name, webhook_secret="whsec_")
    session.add(made)
    session.flush()
    return made


def claimed(session: Session, has_company: bool = False, task: str = "img2img") -> str | None:
    record = predictions.claim(session, task, has_company, "this")
    return str(record.request["prompt"]) if record else None


def steps(session: Session, work: Callable[[], object]) -> int:
    """The instructions of SQLite's machine that some work takes."""
    taken = 0

    def step() -> None:
        nonlocal taken
        taken += 1

    raw: Any = session.connection().connection.driver_connection
    raw.set_progress_handler(step, 1)
    work()
    raw.set_progress_handler(None, 0)
    return taken


def announced(session: Session) -> list[str]:
    return list(session.scalars(select(Delivery.event).order_by(Delivery.number)))


# The queue


def test_who_came_first_is_claimed_first_and_once(session: Session) -> None:
    for prompt in ("fox", "owl", "elk"):
        add(session, prompt)
    assert [claimed(session) for _ in range(4)] == ["fox", "owl", "elk", None]


def test_who_is_claimed_runs_from_then_on(session: Session) -> None:
    one, before = add(session), time.time()
    assert (one.status, one.started_at) == ("starting", None)
    assert predictions.claim(session, "img2img", False, "this") is one
    assert one.status == "processing"
    assert before <= (one.started_at or 0) <= time.time()


def test_only_those_of_the_task_are_claimed(session: Session) -> None:
    add(session, "fox", task="upscale")
    add(session, "owl")
    assert [claimed(session), claimed(session)] == ["owl", None]
    assert claimed(session, task="upscale") == "fox"


def test_one_whose_files_are_not_there_yet_lets_others_pass(session: Session) -> None:
    slow = add(session, "slow", ready=False, files={"image": "https://example.com"})
    add(session, "quick")
    assert predictions.unready(session, "this") == [(slow.id, slow.token_id)]
    assert [claimed(session), claimed(session)] == ["quick", None]
    assert predictions.claim_files(session, slow.id, "this") is slow
    predictions.set_ready(session, slow, {"image": "in-image"}, 0)
    assert predictions.unready(session, "this") == []
    assert claimed(session) == "slow"
    assert slow.files == {"image": "in-image"}


def test_one_whose_worker_died_runs_alone_and_those_behind_it_wait(session: Session) -> None:
    fox = add(session, "fox")
    claimed(session)
    predictions.crash(session, fox, Crashed("it died"))
    add(session, "owl")
    assert claimed(session, has_company=True) is None
    assert claimed(session, has_company=False) == "fox"
    assert claimed(session, has_company=True) == "owl"


def test_a_token_has_so_many_unfinished_predictions_and_no_more(session: Session) -> None:
    own, other = token(session, "own"), token(session, "other")
    first = add(session, token=own, limit=2)
    add(session, token=own, limit=2)
    claimed(session)
    assert predictions.add(session, prediction(own, "fox"), 2) is None
    add(session, token=other, limit=2)
    predictions.finish(session, first.id, Status.SUCCEEDED)
    add(session, token=own, limit=2)


def test_an_id_that_a_client_gives_twice_is_one_prediction(session: Session) -> None:
    own, other = token(session, "own"), token(session, "other")
    first = predictions.add(session, prediction(own, "fox", given_id="mine"), 100)
    again = predictions.add(session, prediction(own, "owl", given_id="mine"), 100)
    assert again is first
    assert add(session, "owl", token=other, given_id="mine") is not first
    assert [claimed(session) for _ in range(3)] == ["fox", "owl", None]


# Back to the queue


def test_one_that_is_put_back_has_its_old_place_and_nothing_else_of_its_run(
    session: Session,
) -> None:
    fox, _ = add(session, "fox", seed=5), add(session, "owl")
    claimed(session)
    fox.output, fox.logs, fox.metrics = ["out-0.png"], "half", {"warming": True}
    assert predictions.requeue(session, fox) is fox
    assert (fox.status, fox.started_at, fox.crashes) == ("starting", None, 0)
    assert (fox.output, fox.logs, fox.metrics) == ([], "", {})
    assert fox.request["seed"] == 5
    assert [claimed(session), claimed(session)] == ["fox", "owl"]


def test_after_a_start_all_that_ran_waits_again(session: Session) -> None:
    ran = [add(session, "fox"), add(session, "owl")]
    claimed(session)
    claimed(session)
    add(session, "elk")
    over = add(session, "over", status="succeeded")
    assert predictions.requeue_orphans(session) == [one.id for one in ran]
    assert over.status == "succeeded"
    assert [claimed(session) for _ in range(4)] == ["fox", "owl", "elk", None]


def test_the_worker_may_die_so_often_and_then_the_prediction_fails(session: Session) -> None:
    fox = add(session)
    for crashes in range(1, MOST_CRASHES):
        claimed(session)
        predictions.crash(session, fox, Crashed("it died"))
        assert (fox.status, fox.crashes) == ("starting", crashes)
    claimed(session)
    predictions.crash(session, fox, Crashed("it died"))
    assert fox.status == "failed"
    assert fox.failure is FailureKind.WORKER
    assert fox.error == (
        "The worker died each time it ran this prediction, 3 times isolated: it died"
    )
    assert claimed(session) is None


@pytest.mark.parametrize("by", ["requeue", "crash", "requeue_orphans"])
def test_one_that_was_to_be_cancelled_does_not_run_again(session: Session, by: str) -> None:
    fox = add(session)
    claimed(session)
    predictions.cancel(session, fox.id)
    if by == "requeue_orphans":
        predictions.requeue_orphans(session)
    else:
        arguments = ("it died",) if by == "crash" else ()
        getattr(predictions, by)(session, fox, *arguments)
    assert fox.status == "canceled"
    assert claimed(session) is None


# The end


@pytest.mark.parametrize("status", FINISHED)
def test_what_is_over_stays_as_it_is(session: Session, status: Status) -> None:
    fox = add(session, webhook=HOOK)
    claimed(session)
    assert predictions.finish(session, fox.id, status, "why") is fox
    ended = fox.completed_at
    live = replace(fox.frozen(), logs="late", output=["out-9.png"])
    assert predictions.finish(session, fox.id, Status.FAILED, "other") is None
    assert predictions.cancel(session, fox.id) is None
    assert predictions.requeue(session, live) is None
    assert predictions.crash(session, live, Crashed("it died")) is None
    assert predictions.requeue_orphans(session) == []
    assert predictions.record_progress(session, live)
    assert (fox.status, fox.error, fox.completed_at, fox.crashes) == (status, "why", ended, 0)
    assert (fox.logs, fox.output, fox.canceling) == ("", [], False)
    assert announced(session) == ["completed"]


def test_one_that_fails_after_it_was_cancelled_is_canceled(session: Session) -> None:
    fox, owl = add(session, "fox"), add(session, "owl")
    for row, last in ((fox, Crashed("it died")), (owl, Ended(Status.FAILED, "it tripped"))):
        claimed(session)
        row.crashes = MOST_CRASHES - 1
        predictions.cancel(session, row.id)
        assert predictions.settle(session, row.frozen(), last) is row
        assert (row.status, row.error, row.failure) == ("canceled", None, None)


def test_one_whose_result_was_there_before_the_cancel_has_succeeded(session: Session) -> None:
    fox = add(session)
    claimed(session)
    live = replace(fox.frozen(), output=["out-0.png"])
    predictions.cancel(session, fox.id)
    predictions.settle(session, live, Ended(Status.SUCCEEDED))
    assert (fox.status, fox.output) == ("succeeded", ["out-0.png"])


def test_one_whose_deadline_has_come_is_not_begun(session: Session) -> None:
    fox = add(session, "fox", deadline=time.time() - 1)
    add(session, "owl", deadline=9e9)
    assert [claimed(session), claimed(session)] == ["owl", None]
    assert predictions.overdue(session) == [fox.id]
    assert predictions.cancel(session, fox.id, is_overdue=True) is fox
    assert fox.status == "aborted"
    assert predictions.overdue(session) == []


@pytest.mark.parametrize(("has_begun", "status"), [(True, "canceled"), (False, "aborted")])
def test_one_that_went_back_is_aborted_only_if_it_never_began(
    session: Session, has_begun: bool, status: str
) -> None:
    fox = add(session, deadline=9e9)
    claimed(session)
    if has_begun:
        predictions.mark_started(session, fox)
    predictions.requeue(session, fox)
    predictions.cancel(session, fox.id, is_overdue=True)
    assert fox.status == status


def test_one_that_runs_when_its_deadline_comes_is_to_be_cancelled(session: Session) -> None:
    fox = add(session, deadline=9e9)
    claimed(session)
    fox.deadline = time.time() - 1
    assert predictions.overdue(session) == [fox.id]
    predictions.cancel(session, fox.id, is_overdue=True)
    assert (fox.status, fox.canceling) == ("processing", True)
    assert predictions.overdue(session) == []


def test_one_that_waits_is_cancelled_at_once_and_one_that_runs_later(session: Session) -> None:
    fox, owl = add(session, "fox"), add(session, "owl")
    claimed(session)
    assert predictions.cancel(session, fox.id) is fox
    assert (fox.status, fox.canceling) == ("processing", True)
    assert predictions.cancel(session, owl.id) is owl
    assert (owl.status, owl.completed_at is not None) == ("canceled", True)
    assert predictions.mark_started(session, fox)
    assert predictions.record_progress(session, fox)
    assert predictions.mark_started(session, owl)
    assert predictions.cancel(session, "none") is None


# Webhooks


def test_a_webhook_hears_of_what_is_new_once(session: Session) -> None:
    fox = add(session, webhook=HOOK)
    claimed(session)
    assert announced(session) == []
    assert not predictions.mark_started(session, fox)
    live = fox.frozen()
    assert not predictions.record_progress(session, live)
    assert announced(session) == ["start"]
    live = replace(live, logs="step 1")
    predictions.record_progress(session, live)
    assert announced(session) == ["start", "logs"]
    live = replace(live, output=["out-0.png"])
    predictions.record_progress(session, live)
    predictions.record_progress(session, live)
    predictions.finish(session, fox.id, Status.SUCCEEDED)
    assert announced(session) == ["start", "logs", "output", "completed"]


def test_a_webhook_hears_only_of_what_it_wants(session: Session) -> None:
    fox = add(session, webhook=HOOK, webhook_events=["completed"])
    add(session, "owl")
    claimed(session)
    claimed(session)
    predictions.mark_started(session, fox)
    predictions.finish(session, fox.id, Status.SUCCEEDED)
    assert announced(session) == ["completed"]


# Looking


def test_a_prediction_is_found_by_both_ids_and_by_its_owner_only(session: Session) -> None:
    own, other = token(session, "own"), token(session, "other")
    fox = add(session, token=own, given_id="mine")
    assert predictions.find(session, fox.id) is fox
    assert predictions.find(session, fox.id, own.id) is fox
    assert predictions.find(session, "mine", own.id) is fox
    assert predictions.find(session, "mine") is None
    assert predictions.find(session, "mine", other.id) is None
    assert predictions.find(session, fox.id, other.id) is None


def test_the_load_of_a_task_is_what_waits_in_its_order_what_runs_and_what_ended_last(
    session: Session,
) -> None:
    assert waits.load(session, "img2img") == waits.Load([], [], [])
    for seconds in (1000.0, *[2.0, 4.0] * (waits.SAMPLE_SIZE // 2)):
        add(session, status="succeeded", cost=2.5, started_at=50.0, completed_at=50 + seconds)
    add(
        session, status="succeeded", cost=0.0, started_at=50.0, completed_at=99.0
    )  # by an older version
    add(session, status="failed", started_at=0.0, completed_at=9999.0)
    add(session, status="succeeded", task="upscale", started_at=0.0, completed_at=9999.0)
    add(session, task="upscale")
    records = [add(session, files={"image": "in-image"}) for _ in range(3)]
    claimed(session)
    load = waits.load(session, "img2img")
    assert [one.id for one in load.waiting] == [one.id for one in records[1:]]
    assert [one.id for one in load.running] == [records[0].id]
    assert sorted(one.seconds for one in load.finished) == [2.0] * 10 + [4.0] * 10
    assert {one.cost for one in load.finished} == {2.5}
    assert count(session, "starting") == 3
    assert count(session, "processing") == 1


def test_nothing_takes_less_than_no_time_when_the_clock_steps_back(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    began_before, begins_after, never_begins = (add(session, cost=1.0) for _ in range(3))
    claimed(session)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 8638)
    claimed(session)
    for one in (began_before, begins_after, never_begins):
        predictions.finish(session, one.id, Status.SUCCEEDED)
        assert one.completed_at is not None
        assert one.created_at <= (one.started_at or one.created_at) <= one.completed_at
    add(session, status="succeeded", cost=1.0, started_at=9000.0, completed_at=362.0)
    assert {one.seconds for one in waits.load(session, "img2img").finished} == {0}


def test_runs_of_a_model_are_counted(session: Session) -> None:
    add(session, model="a/b", status="succeeded")
    add(session, model="a/b")
    add(session, model="a/c")
    assert predictions.count_of_model(session, "a/b") == 2


def test_those_that_are_over_are_not_looked_at(tmp_path: Path) -> None:
    database = Database(tmp_path / "predictions.db")
    with database._writers() as session:
        upscaled = add(session, task="upscale")

        def work() -> None:
            predictions.add(session, prediction(token(session), "owl", task="upscale"), 1)
            predictions.claim(session, "img2img", False, "this")
            waits.load(session, "upscale")
            predictions.unready(session, "this")
            predictions.running(session, "this")
            predictions.find(session, upscaled.id, upscaled.token_id)

        before = steps(session, work)
        for _ in range(100):
            add(session, status="succeeded", started_at=1.0, completed_at=2.0)
        assert steps(session, work) == pytest.approx(before, abs=50)
    database.close()


# What is too old


def test_only_what_was_finished_before_expires(session: Session) -> None:
    old = [add(session, status=one, completed_at=99.0) for one in FINISHED]
    ids = {one.id for one in old}
    kept = [add(session, status="succeeded", completed_at=100.0), add(session, created_at=1.0)]
    assert set(predictions.expire(session, 100.0)) == ids
    assert set(session.scalars(select(PredictionRow.id))) == {one.id for one in kept}


def test_any_number_of_ids_is_looked_up(session: Session) -> None:
    fox = add(session)
    ids = [f"none{number}" for number in range(1201)]
    assert predictions.unknown_ids(session, [*ids, fox.id]) == set(ids)
    assert predictions.unknown_ids(session, [fox.id]) == set()
    assert predictions.unknown_ids(session, []) == set()


class Life(RuleBasedStateMachine):
    """Whatever happens, in any order: none is lost, none ends twice, none overtakes."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.database = Database(Path(self.folder.name) / "predictions.db")
        self.session = self.database._writers()
        self.all: list[PredictionRow] = []
        self.ended: dict[str, tuple[str, float | None]] = {}

    def teardown(self) -> None:
        self.session.close()
        self.database.close()
        self.folder.cleanup()

    @rule()
    def asked(self) -> None:
        self.all.append(add(self.session, str(len(self.all)), webhook=HOOK))

    @rule(has_company=st.booleans())
    def claimed(self, has_company: bool) -> None:
        waiting = [one for one in self.all if one.status == "starting"]
        got = predictions.claim(self.session, "img2img", has_company, "this")
        expected = waiting[0] if waiting else None
        assert got is (None if expected and expected.crashes and has_company else expected)

    @precondition(lambda self: self.all)
    @rule(
        pick=st.integers(0, 99),
        what=st.sampled_from(["requeue", "crash", "succeeded", "failed", "cancel"]),
    )
    def happened(self, pick: int, what: str) -> None:
        one = self.all[pick % len(self.all)]
        if what == "cancel":
            predictions.cancel(self.session, one.id)
        elif one.status != "starting":
            match what:
                case "requeue":
                    predictions.requeue(self.session, one)
                case "crash":
                    predictions.crash(self.session, one, Crashed("it died"))
                case _:
                    predictions.finish(self.session, one.id, Status(what))

    @rule()
    def started_again(self) -> None:
        predictions.requeue_orphans(self.session)
        assert not any(one.status == "processing" for one in self.all)

    @invariant()
    def what_is_over_stays_so_and_was_told_once(self) -> None:
        self.session.flush()
        for one in self.all:
            assert (one.completed_at is not None) == (one.status in FINISHED)
            if one.id in self.ended:
                assert self.ended[one.id] == (one.status, one.completed_at)
            elif one.status in FINISHED:
                self.ended[one.id] = one.status, one.completed_at
        assert sorted(self.ended) == sorted(
            self.session.scalars(
                select(Delivery.prediction_id).where(Delivery.event == "completed")
            )
        )


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=20, stateful_step_count=15)
