from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cog_schema.schema import ROOT
from tests.support.front import Front, front, wait_until
from tools.fake_cog import MEASURED, CogServer

MODEL = "/v1/models/stability-ai/stable-diffusion-img2img/predictions"
Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def cog() -> Iterator[CogServer]:
    with CogServer(slots=2).served() as cog:
        yield cog


@pytest.fixture
def one(cog: CogServer, tmp_path: Path) -> Iterator[Front]:
    with front(tmp_path, cog, cog_slots=2) as one:
        yield one


def figures(one: Front, **headers: str) -> Figures:
    """Each sample, by its name and its labels."""
    answer = one.client.get("/metrics", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name.removeprefix("stable_diffusion_"), tuple(sorted(sample.labels.items()))): (
            sample.value
        )
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def ask(one: Front, prompt: str, wait: bool = True) -> None:
    headers = {"prefer": "wait"} if wait else {}
    one.client.post(MODEL, json={"input": {"prompt": prompt}}, headers=headers)


def test_the_queue_and_the_endpoints_are_as_they_are_now(one: Front, cog: CogServer) -> None:
    cog.tell("slow", "hold")
    for _ in range(5):
        ask(one, "slow", wait=False)
    wait_until(lambda: len(cog.running) == 2)
    seen = figures(one)
    task = ("task", "img2img")
    assert seen["queue", (("status", "starting"), task)] == 3
    assert seen["queue", (("status", "processing"), task)] == 2
    endpoint = ("endpoint", cog.url)
    assert seen["endpoint_running", (endpoint,)] == 2
    assert seen["endpoint_slots", (endpoint,)] == 2
    assert seen["endpoint_state", (endpoint, ("state", "READY"))] == 1
    assert seen["endpoint_state", (endpoint, ("state", "UNHEALTHY"))] == 0
    cog.let_go("slow")
    wait_until(lambda: not any(one.client.get("/health").json()["queue"].values()))
    seen = figures(one)
    assert seen["queue", (("status", "starting"), task)] == 0


def test_what_ends_is_counted_with_its_times_and_its_reason(one: Front, cog: CogServer) -> None:
    cog.tell("bad", "fail")
    cog.tell("deadly", "die")
    cog.tell("flagged", "nsfw")
    cog.tell("strange", "err")
    # Its worker has died, of another perhaps; what it failed of are its own inputs.
    cog.tell("bad and unlucky", "break", "fail")
    for prompt in ("fox", "fox", "bad", "deadly", "flagged", "strange", "bad and unlucky"):
        ask(one, prompt)
    seen = figures(one)

    def ended(status: str, kind: str) -> float:
        labels = (("kind", kind), ("status", status), ("task", "img2img"))
        return seen["predictions_total", labels]

    assert ended("succeeded", "") == 2
    assert ended("failed", "inputs") == 2
    assert ended("failed", "worker") == 1
    assert ended("failed", "nsfw") == 1
    assert ended("failed", "internal") == 1
    assert seen["worker_deaths_total", (("endpoint", cog.url),)] == 5
    task = ("task", "img2img")
    assert seen["run_seconds_count", (task,)] == seen["wait_seconds_count", (task,)] == 7
    assert seen["run_seconds_bucket", (("le", "+Inf"), task)] == 7
    assert 0 < seen["run_seconds_sum", (task,)] < 60


def test_one_that_is_cancelled_is_no_failure(one: Front, cog: CogServer) -> None:
    cog.tell("slow", "hold")
    answer = one.client.post(MODEL, json={"input": {"prompt": "slow"}}).json()
    wait_until(lambda: cog.running)
    one.client.post(f"/v1/predictions/{answer['id']}/cancel")
    labels = (("kind", ""), ("status", "canceled"), ("task", "img2img"))
    wait_until(lambda: figures(one).get(("predictions_total", labels)) == 1)


def test_it_needs_a_token_as_soon_as_there_is_one(one: Front) -> None:
    assert one.client.get("/metrics").status_code == 200
    header = one.token("prometheus")
    assert one.client.get("/metrics").status_code == 401
    assert figures(one, **header)


def test_what_the_engine_has_measured_is_gathered(one: Front, cog: CogServer) -> None:
    cog.measured = MEASURED
    ask(one, "fox")
    labels = (("model", cog.description["model"]), ("task", "img2img"))
    endpoint = (("endpoint", cog.url),)
    seen = figures(one)
    for phase, seconds in MEASURED["seconds"].items():
        assert seen[f"engine_{phase}_seconds_sum", labels] == seconds
    for name in ("rows_per_call", "join_seconds", "first_step_seconds", "steps_per_second"):
        assert seen[f"engine_{name}_sum", labels] == MEASURED[name]
        assert seen[f"engine_{name}_count", labels] == 1
    assert seen["engine_lora_combinations", endpoint] == 2
    assert seen["engine_lora_slots", endpoint] == 4
    assert seen["engine_memory_allocated_bytes", endpoint] == 5_000_000
    assert seen["engine_rows_total", labels] == 350
    # The worker counts from its own start, and begins anew with another process.
    for calls, expected in ((130, 130), (7, 137), (9, 139)):
        cog.measured = {**MEASURED, "totals": {**MEASURED["totals"], "calls": calls}}
        ask(one, "fox")
        assert figures(one)["engine_calls_total", labels] == expected


def test_each_part_of_a_prediction_is_measured(one: Front, cog: CogServer) -> None:
    cog.measured = MEASURED
    body = {"input": {"prompt": "fox", "num_outputs": 6}}
    answer = one.client.post(MODEL, json=body, headers={"prefer": "wait"})
    assert len(answer.json()["output"]) == 6
    labels = (("model", cog.description["model"]), ("task", "img2img"))
    assert figures(one)["engine_denoise_seconds_count", labels] == 2


def test_its_client_is_told_what_was_measured_of_it_and_nothing_of_others(
    one: Front, cog: CogServer
) -> None:
    cog.measured = MEASURED
    answer = one.client.post(MODEL, json={"input": {"prompt": "fox"}}, headers={"prefer": "wait"})
    metrics = answer.json()["metrics"]
    assert metrics["engine"] == {
        name: value for name, value in MEASURED.items() if name not in ("phases", "totals")
    }
    assert metrics["predict_time"] == 0.25


@pytest.mark.parametrize(
    "nonsense",
    [
        "fast",
        {},
        {**MEASURED, "calls": -1},
        {**MEASURED, "seconds": {"denoise": "long"}},
        {**MEASURED, "rows_per_call": float("nan")},
        {**MEASURED, "totals": {"calls": 1}},
    ],
)
def test_what_is_no_measurement_is_left_aside(one: Front, cog: CogServer, nonsense: object) -> None:
    cog.measured = nonsense
    answer = one.client.post(MODEL, json={"input": {"prompt": "fox"}}, headers={"prefer": "wait"})
    assert answer.json()["status"] == "succeeded"
    assert "engine" not in answer.json()["metrics"]
    assert not any(name.startswith("engine_denoise_seconds") for name, _ in figures(one))


def test_the_dashboard_asks_for_nothing_that_is_not_there(one: Front, cog: CogServer) -> None:
    cog.measured = MEASURED
    ask(one, "fox")
    families = text_string_to_metric_families(one.client.get("/metrics").text)
    known = {sample.name for family in families for sample in family.samples}
    known |= {"stable_diffusion_worker_deaths_total", "stable_diffusion_device_memory_bytes"}
    board = json.loads((ROOT / "docs" / "grafana.json").read_text())
    asked = {
        name
        for panel in board["panels"]
        for target in panel.get("targets", [])
        for name in re.findall(r"stable_diffusion_\w+", target["expr"])
    }
    assert len(asked) > 20
    assert asked <= known
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
