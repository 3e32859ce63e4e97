from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hosting.api import deadlines
from hosting.api.deadlines import seconds_of
from hosting.api.problems import Problem
from tests.support.front import Front, front, wait_until
from tools.fake_cog import CogServer

MODEL = "stability-ai/stable-diffusion-img2img"


@pytest.fixture
def cog(everywhere: None) -> Iterator[CogServer]:
    with CogServer(slots=1).served() as cog:
        cog.tell("fox", "hold")
        yield cog


@pytest.fixture
def one(cog: CogServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    monkeypatch.setattr(deadlines, "LEAST_SECONDS", 1)
    with front(tmp_path, cog, cog_slots=1) as one:
        yield one


def create(one: Front, prompt: str, cancel_after: str | None = "1s", **fields: Any) -> Any:
    headers = {"Cancel-After": cancel_after} if cancel_after else {}
    body = {"version": MODEL, "input": {"prompt": prompt}, **fields}
    return one.client.post("/v1/predictions", json=body, headers=headers)


def status_of(one: Front, prediction: Any) -> str:
    return str(one.client.get(f"/v1/predictions/{prediction['id']}").json()["status"])


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("5s", 5),
        ("1m", 60),
        ("1h30m45s", 5445),
        ("1h", 3600),
        ("90", 90),
        (" 5s ", 5),
        (30, 30),
        ("720h", 30 * 24 * 3600),
    ],
)
def test_durations(given: str | int, seconds: int) -> None:
    assert seconds_of(None, given) == seconds
    assert seconds_of(str(given)) == seconds


def test_the_field_is_asked_before_the_header() -> None:
    assert seconds_of("1m", "2m") == 120
    assert seconds_of("1m", None) == 60
    assert seconds_of(None) is None


@pytest.mark.parametrize(
    "given",
    ["", "4s", "4", "0", "-5s", "5 s", "5S", "5x", "1.5m", "m", "s", "721h", "9" * 400, "٥s"],
)
def test_a_duration_that_cant_be_read_is_refused_by_name(given: str) -> None:
    with pytest.raises(Problem, match="Cancel-After is .*; give a time from 5 s to 30 days"):
        seconds_of(given)
    with pytest.raises(Problem, match="cancel_after is .*; give a time from 5 s to 30 days"):
        seconds_of(None, given)


@pytest.mark.parametrize("given", [True, 1.5, [], {}])
def test_a_field_of_another_type_is_refused(given: object) -> None:
    with pytest.raises(Problem, match="cancel_after"):
        seconds_of(None, given)


def test_what_runs_is_canceled_and_what_waits_is_aborted(one: Front, cog: CogServer) -> None:
    fox, owl = create(one, "fox", "2s").json(), create(one, "owl").json()
    assert fox["deadline"] > fox["created_at"]
    wait_until(lambda: status_of(one, owl) == "aborted")
    wait_until(lambda: status_of(one, fox) == "canceled")
    assert cog.prompts == ["fox"]


@pytest.mark.parametrize(
    "agent",
    [
        "replicate-python/0.8.3",
        "replicate-python/1.0.7",
        "replicate-javascript/1.4.0",
        "Replicate/Python 2.0.0b1",
        "AsyncReplicate/Python 2.0.0b1",
        "replicate/go",
    ],
)
def test_replicates_own_clients_are_told_canceled_which_they_wait_for(
    one: Front, cog: CogServer, agent: str
) -> None:
    fox = create(one, "fox", cancel_after=None).json()
    owl = create(one, "owl").json()
    wait_until(lambda: status_of(one, owl) == "aborted")
    told = {"User-Agent": agent}
    path = f"/v1/predictions/{owl['id']}"
    assert one.client.get(path, headers=told).json()["status"] == "canceled"
    newest = one.client.get("/v1/predictions", headers=told).json()["results"][0]
    assert (newest["id"], newest["status"]) == (owl["id"], "canceled")
    assert "canceled" in one.client.get(f"{path}/stream", headers=told).text
    one.client.post(f"/v1/predictions/{fox['id']}/cancel")


def test_what_is_over_in_time_stays_so(one: Front) -> None:
    (elk,) = (create(one, "elk").json(),)
    wait_until(lambda: status_of(one, elk) == "succeeded")
    hare = create(one, "hare", cancel_after=None).json()
    assert "deadline" not in hare
    document = one.client.get(f"/v1/predictions/{elk['id']}").json()
    assert document["deadline"] == elk["deadline"]


def test_a_deadline_outlives_a_restart(
    cog: CogServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "LEAST_SECONDS", 1)
    with front(tmp_path, cog, cog_slots=1) as one:
        fox, owl = create(one, "fox", "2s").json(), create(one, "owl").json()
        wait_until(lambda: cog.running)
    with front(tmp_path, cog, cog_slots=1) as one:
        wait_until(lambda: status_of(one, owl) == "aborted")
        wait_until(lambda: status_of(one, fox) == "canceled")


PROMPT = {"prompt": "elk"}
WITH_FIELD: dict[str, dict[str, Any]] = {
    "/v1/predictions": {"version": MODEL, "input": PROMPT},
    f"/v1/models/{MODEL}/predictions": {"input": PROMPT},
    f"/v1/deployments/{MODEL}/predictions": {"input": PROMPT},
    "/predictions": {"input": PROMPT},
    f"/v1/inference/{MODEL}": PROMPT,
    "/v1/images/generations": PROMPT,
    "/sdapi/v1/txt2img": PROMPT,
    "/v1/generation/sd/text-to-image": {"text_prompts": [{"text": "elk"}]},
}
BODIES: dict[str, dict[str, Any]] = {
    **WITH_FIELD,
    f"/models/{MODEL}": {"inputs": "elk"},
}


@pytest.mark.parametrize("path", BODIES)
def test_every_api_refuses_by_name_and_begins_nothing(
    one: Front, cog: CogServer, path: str
) -> None:
    answer = one.client.post(path, json=BODIES[path], headers={"Cancel-After": "soon"})
    assert answer.status_code in (400, 422)
    assert "Cancel-After" in answer.text
    if path in WITH_FIELD:
        answer = one.client.post(path, json={**WITH_FIELD[path], "cancel_after": "soon"})
        assert answer.status_code in (400, 422)
        assert "cancel_after" in answer.text
    assert cog.prompts == []


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("/predictions", {"input": {"prompt": "elk"}}, 200, '"status":"canceled"'),
        (f"/v1/inference/{MODEL}", PROMPT, 409, "Its deadline came before it could begin"),
        ("/v1/images/generations", PROMPT, 409, "Its deadline came before it could begin"),
        ("/sdapi/v1/txt2img", PROMPT, 409, "Its deadline came before it could begin"),
    ],
)
def test_other_apis_say_it_in_their_words(
    one: Front, cog: CogServer, path: str, body: dict[str, Any], status: int, sentence: str
) -> None:
    fox = create(one, "fox", cancel_after=None).json()
    wait_until(lambda: cog.running)
    answer = one.client.post(path, json=body, headers={"Cancel-After": "1s"})
    assert answer.status_code == status
    assert sentence in answer.text
    one.client.post(f"/v1/predictions/{fox['id']}/cancel")
