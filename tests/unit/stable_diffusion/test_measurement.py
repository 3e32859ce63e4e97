from __future__ import annotations

from stable_diffusion.measurement import MOST_PHASES, Measurement


def test_times_are_told_from_when_the_inputs_came() -> None:
    measurement = Measurement(asked=10.5)
    measurement.add("text", 11, 11.25)
    measurement.joined, measurement.stepped = 12, 13
    measurement.add("denoise", 12, 16)
    measurement.steps = 8
    measurement.count(calls=3, rows=6, replays=1)
    measurement.count(calls=1, rows=4, replays=0)
    assert measurement.document(began=10) == {
        "seconds": {"read": 0.5, "text": 0.25, "denoise": 4},
        "phases": [
            {"name": "read", "start": 0, "end": 0.5},
            {"name": "text", "start": 1, "end": 1.25},
            {"name": "denoise", "start": 2, "end": 6},
        ],
        "steps": 8,
        "calls": 4,
        "replays": 1,
        "rows_per_call": 2.5,
        "join_seconds": 1.5,
        "first_step_seconds": 2.5,
        "steps_per_second": 2,
    }


def test_a_request_without_steps_has_no_times_of_them() -> None:
    document = Measurement(asked=1).document(began=1)
    assert document == {
        "seconds": {"read": 0},
        "phases": [{"name": "read", "start": 0, "end": 0}],
        "steps": 0,
        "calls": 0,
        "replays": 0,
    }


def test_of_very_many_phases_the_first_are_told_and_the_time_of_all() -> None:
    measurement = Measurement(asked=0)
    for start in range(3 * MOST_PHASES):
        measurement.add("decode", start, start + 1)
    document = measurement.document(began=0)
    assert len(document["phases"]) == 1 + MOST_PHASES
    assert document["seconds"]["decode"] == 3 * MOST_PHASES
