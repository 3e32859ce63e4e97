from __future__ import annotations

import pytest

from hosting.backends.cog import Busy, Died, DiskFull, OutOfMemory, Refused, Unreachable
from hosting.prediction import Crashed, Ended, Outcome, Requeued
from hosting.queue.runs import MOST_FULL_DISKS, outcome_of
from hosting.states import FailureKind, Status
from hosting.storage.database import Unavailable
from hosting.timings import Timings

TIMINGS = Timings(poll_seconds=2.0, disk_retry_seconds=30.0)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Busy("no slot"), Requeued("the endpoint is full", 2.0)),
        (Unreachable("refused"), Requeued("refused")),
        (OSError("no space left"), Requeued("no space left", 30.0)),
        (Unavailable("locked"), Requeued("locked", 30.0)),
        (DiskFull("no space left"), Requeued("no space left", 30.0)),
        (OutOfMemory("too large"), Crashed("too large", has_died=False)),
        (Died("it ended"), Crashed("it ended")),
        (ValueError("odd"), Crashed("ValueError('odd')")),
        (Refused("too large"), Ended(Status.FAILED, "too large", FailureKind.INPUTS)),
        (
            FileNotFoundError("in-image"),
            Ended(Status.FAILED, "The files of its inputs are gone", FailureKind.INTERNAL),
        ),
    ],
)
def test_each_fault_of_a_run_has_its_outcome(fault: Exception, outcome: Outcome) -> None:
    assert outcome_of(fault, 1, TIMINGS) == outcome


def test_a_disk_that_stays_full_fails_a_prediction_in_the_end() -> None:
    outcome = outcome_of(DiskFull("no space left"), MOST_FULL_DISKS, TIMINGS)
    assert isinstance(outcome, Ended)
    assert outcome.failure is FailureKind.INTERNAL
    assert outcome.error == "The disk of the model's machine was full 1000 times: no space left"
