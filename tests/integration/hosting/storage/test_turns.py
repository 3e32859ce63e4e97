"""The order of the queue: turns go round by token, for SQLite and PostgreSQL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.orm import Session

from hosting.prediction import Crashed, Ended
from hosting.states import FailureKind, Priority, Status
from hosting.storage import predictions, removals, tokens, turns, waits
from hosting.storage.database import Database
from hosting.storage.tables import PredictionRow, Token
from tests.support.front import prediction
from tests.support.properties import given, settings
from tests.support.properties import strategies as st

BATCH = Priority.BATCH


def add(session: Session, token: Token, prompt: str = "fox", **fields: Any) -> PredictionRow:
    asked = prediction(token, prompt, **{"cost": 8.0, **fields})
    row = predictions.add(session, asked, 1000)
    assert row is not None
    return row


def claim(session: Session, has_others: bool = False, **options: Any) -> PredictionRow | None:
    return predictions.claim(session, "img2img", has_others, "this", **options)


def claimed(session: Session, times: int, **options: Any) -> list[str]:
    """The prompts of those that are claimed next."""
    rows = [claim(session, **options) for _ in range(times)]
    return [str(row.request["prompt"]) for row in rows if row]


def end(session: Session, row: PredictionRow | None, status: Status = Status.SUCCEEDED) -> None:
    assert row is not None
    assert predictions.settle(session, row, Ended(status)) is not None


def test_a_tokens_hundred_do_not_hold_up_anothers_one(
    session: Session, ann: Token, bob: Token
) -> None:
    for number in range(100):
        add(session, ann, f"ann {number}")
    assert claimed(session, 2) == ["ann 0", "ann 1"]
    add(session, bob, "bob")
    assert claimed(session, 3) == ["bob", "ann 2", "ann 3"]


def test_turns_go_by_cost_and_a_large_one_gets_its_turn(
    session: Session, ann: Token, bob: Token
) -> None:
    for number in range(3):
        add(session, ann, f"large {number}", cost=40.0)
    for number in range(20):
        add(session, bob, f"small {number}", cost=8.0)
    order = claimed(session, 14)
    assert [order.index(f"large {number}") for number in range(3)] == [0, 6, 12]
    assert [one for one in order if one.startswith("small")] == [f"small {n}" for n in range(11)]


def test_a_token_of_twice_the_weight_has_twice_the_share(
    session: Session, ann: Token, bob: Token
) -> None:
    tokens.limit(session, "ann", 2.0, {})
    for _ in range(12):
        add(session, ann, "ann")
        add(session, bob, "bob")
    order = claimed(session, 12)
    assert (order.count("ann"), order.count("bob")) == (8, 4)


def test_whoever_comes_later_has_no_credit_of_before(
    session: Session, ann: Token, bob: Token
) -> None:
    for _ in range(10):
        add(session, ann, "ann")
    assert claimed(session, 6) == ["ann"] * 6
    for _ in range(10):
        add(session, bob, "bob")
    order = claimed(session, 8)
    assert order.count("bob") == 4


def test_those_who_ask_one_after_another_do_not_pass_what_waits_for_ever(
    session: Session, ann: Token, bob: Token
) -> None:
    """On one slot, two of them take turns: without their debts, the third's second never came."""
    tokens.create(session, "eve")
    eve = tokens.all_tokens(session)[2]
    add(session, ann, "ann 0")
    running = claim(session)
    for number in (1, 2):
        add(session, ann, f"ann {number}")
    order = []
    for _ in range(8):
        for token in (bob, eve):
            waits_already = select(PredictionRow.id).where(
                PredictionRow.token_id == token.id, PredictionRow.status == Status.STARTING
            )
            if session.scalar(waits_already) is None:
                add(session, token, token.name)
        end(session, running)
        running = claim(session)
        assert running is not None
        order.append(running.request["prompt"])
    assert order.index("ann 1") <= 2
    assert order.index("ann 2") <= 5


@pytest.mark.parametrize("how", ["cancel", "remove", "fail", "overdue"])
def test_what_leaves_the_queue_unrun_costs_its_token_nothing(
    session: Session, ann: Token, bob: Token, how: str
) -> None:
    rows = [add(session, ann, f"ann {number}", ready=how != "fail") for number in range(5)]
    for _ in range(3):
        add(session, bob, "bob")
    for row in rows[:4]:
        if how == "cancel":
            predictions.cancel(session, row.id)
        elif how == "overdue":
            predictions.cancel(session, row.id, is_overdue=True)
        elif how == "remove":
            removals.remove(session, row.id, ann.id)
        else:
            held = predictions.claim_files(session, row.id, "this")
            assert held is not None
            failed = Ended(Status.FAILED, "gone", FailureKind.INPUTS)
            predictions.settle(session, held.frozen(), failed)
    if how == "fail":
        held = predictions.claim_files(session, rows[4].id, "this")
        assert held is not None
        predictions.set_ready(session, held, {}, 0)
    assert "ann 4" in claimed(session, 2)


def test_what_is_broken_off_costs_the_steps_that_it_took(
    session: Session, ann: Token, bob: Token
) -> None:
    large = add(session, ann, "large", cost=80.0)
    claim(session)
    predictions.cancel(session, large.id)
    live = replace(large.frozen(), metrics={"progress": {"step": 3, "steps": 10}})
    predictions.settle(session, live, Ended(Status.CANCELED))
    add(session, ann, "ann")
    for number in range(9):
        add(session, bob, f"bob {number}")
    order = claimed(session, 10)
    assert order.index("ann") == 3


def test_what_goes_back_keeps_its_turn(session: Session, ann: Token, bob: Token) -> None:
    for number in range(3):
        add(session, ann, f"ann {number}")
    row = claim(session)
    assert row is not None
    for number in range(2):
        add(session, bob, f"bob {number}")
    predictions.requeue(session, row)
    assert claimed(session, 3) == ["ann 0", "bob 0", "ann 1"]


def test_a_suspect_is_waited_for_by_those_of_a_later_turn_only(
    session: Session, ann: Token, bob: Token
) -> None:
    rows = [add(session, ann, f"ann {number}") for number in range(3)]
    assert claimed(session, 2) == ["ann 0", "ann 1"]
    predictions.crash(session, rows[1], Crashed("it died"))
    bobs = add(session, bob, "bob")
    assert (bobs.turn, rows[1].turn) == (1.0, 1.0)  # who came first is first
    assert claim(session, has_others=True) is None
    assert claimed(session, 1) == ["ann 1"]
    assert claimed(session, 2, has_others=True) == ["bob", "ann 2"]


def test_while_its_files_are_fetched_a_prediction_gathers_no_credit(
    session: Session, ann: Token, bob: Token
) -> None:
    slow = [add(session, ann, f"slow {number}", ready=False) for number in range(5)]
    for number in range(8):
        add(session, bob, f"bob {number}")
    assert claimed(session, 6) == [f"bob {number}" for number in range(6)]
    for row in slow:
        held = predictions.claim_files(session, row.id, "this")
        assert held is not None
        predictions.set_ready(session, held, {}, 0)
    order = ["slow 0", "slow 1", "bob 6", "slow 2", "bob 7", "slow 3", "slow 4"]
    assert claimed(session, 9) == order


def test_batch_predictions_have_an_eighth_of_the_weight(session: Session, ann: Token) -> None:
    for _ in range(20):
        add(session, ann, "batch", priority=BATCH)
        add(session, ann, "waited for")
    order = claimed(session, 18)
    assert order.count("batch") == 2


def test_batch_predictions_are_claimed_only_where_they_may(
    session: Session, ann: Token, bob: Token
) -> None:
    add(session, ann, "batch", priority=BATCH)
    assert claim(session, takes_batch=False) is None
    add(session, bob, "waited for")
    assert claimed(session, 2, takes_batch=False) == ["waited for"]
    assert claimed(session, 1, takes_batch=True) == ["batch"]


def test_the_order_outlives_what_is_over(session: Session, ann: Token, bob: Token) -> None:
    for _ in range(4):
        add(session, ann, "ann")
    rows = [claim(session) for _ in range(4)]
    for row in rows:
        end(session, row)
    before = turns.clock(session, "img2img")
    assert before > 0
    predictions.expire(session, 9e9)
    assert turns.clock(session, "img2img") == before
    assert add(session, bob, "bob").turn == before
    assert add(session, ann, "ann").turn > before


def test_tasks_have_queues_of_their_own(session: Session, ann: Token) -> None:
    for _ in range(5):
        add(session, ann, "fox")
    claimed(session, 5)
    assert add(session, ann, "owl", task="upscale").turn == 0


def test_places_are_in_the_order_of_turns(session: Session, ann: Token, bob: Token) -> None:
    for number in range(3):
        add(session, ann, f"ann {number}")
    bobs = add(session, bob, "bob")
    found = waits.load(session, "img2img").waiting
    assert [one.id for one in found].index(bobs.id) == 1


def test_a_claim_reads_the_index_in_its_order(tmp_path: Path) -> None:
    database = Database(tmp_path / "predictions.db")
    statements: list[tuple[str, Any]] = []
    engine = database._engine
    event.listen(
        engine,
        "before_cursor_execute",
        lambda _a, _b, statement, values, _c, _d: statements.append((statement, values)),
    )
    database.write_now(predictions.claim, "img2img", True, "this", takes_batch=False)
    ((statement, values),) = [one for one in statements if "predictions.turn" in one[0]]
    with engine.connect() as connection:
        raw: Any = connection.connection.driver_connection
        plan = " ".join(row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", values))
    assert "USING INDEX queue (status=? AND task=?)" in plan
    assert "TEMP B-TREE" not in plan
    database.close()


@pytest.fixture(scope="module")
def filed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = Database(tmp_path_factory.mktemp("bound") / "predictions.db")
    for name in "abc":
        database.write_now(tokens.create, name)
    for name, weight in (("a", 1.0), ("b", 2.0), ("c", 0.5)):
        database.write_now(tokens.limit, name, weight, {})
    yield database
    database.close()


WEIGHTS = {"a": 1.0, "b": 2.0, "c": 0.5}
STEPS = st.lists(
    st.sampled_from(("claim", "claim", "end", "cancel", "requeue"))
    | st.tuples(st.sampled_from("abc"), st.sampled_from((8.0, 24.0, 400.0))),
    max_size=40,
)


@settings(max_examples=40)
@given(STEPS)
def test_others_have_no_more_before_it_than_its_token_had_by_weight_and_one_each(
    filed: Database, steps: list[Any]
) -> None:
    """Whatever is asked for, claimed, ended, cancelled and put back, in any order."""

    def run(session: Session) -> None:
        owners = {token.id: token.name for token in tokens.all_tokens(session)}
        by_name = {token.name: token for token in tokens.all_tokens(session)}
        asked_before: dict[str, float] = {}
        had_since: dict[str, dict[str, float]] = {}
        asked: dict[str, float] = defaultdict(float)
        largest: dict[str, float] = defaultdict(float)
        waiting: list[PredictionRow] = []
        running: list[PredictionRow] = []
        again: set[str] = set()
        for step in [*steps, *["claim"] * len(steps)]:
            if isinstance(step, tuple):
                name, cost = step
                row = add(session, by_name[name], cost=cost)
                asked_before[row.id], had_since[row.id] = asked[name], defaultdict(float)
                asked[name] += cost
                largest[name] = max(largest[name], cost)
                waiting.append(row)
            elif step == "claim":
                found = claim(session)
                if found is None:
                    continue
                waiting.remove(found)
                running.append(found)
                own = owners[found.token_id]
                for name, cost in had_since.pop(found.id, {}).items():
                    if name != own:
                        by_weight = asked_before[found.id] * WEIGHTS[name] / WEIGHTS[own]
                        assert cost <= by_weight + largest[name] + 1e-6
                if found.id not in again:  # what is put back was counted
                    for others in had_since.values():
                        others[own] += found.cost
            elif step == "end" and running:
                end(session, running.pop(0))
            elif step == "requeue" and running:
                row = running.pop(0)
                predictions.requeue(session, row)
                again.add(row.id)
                waiting.append(row)
            elif step == "cancel" and waiting:
                row = waiting.pop(0)
                predictions.cancel(session, row.id)
                had_since.pop(row.id, None)
        assert not waiting
        session.execute(text("DELETE FROM predictions"))
        session.execute(text("DELETE FROM flows"))
        session.execute(text("DELETE FROM queues"))

    filed.write_now(run)
