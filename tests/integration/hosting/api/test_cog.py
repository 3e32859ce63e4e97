from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from hosting.prediction import Prediction
from hosting.storage import predictions
from tests.support.front import Front, front, said, wait_until
from tools.fake_cog import CogServer, data_url, pixels

DONE = {"step": 2, "steps": 2, "seconds_left": 0}


@pytest.fixture(scope="module")
def cog(everywhere: None) -> Iterator[CogServer]:
    with CogServer(slots=4).served() as cog:
        yield cog


@pytest.fixture(scope="module")
def one(cog: CogServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("front")
    with front(folder, cog, cog_slots=4, allowed_networks=("127.0.0.0/8",)) as one:
        yield one


def record(one: Front, prediction_id: str, token: str = "local") -> Prediction:
    found = one.database.write_now(predictions.find, prediction_id, token)
    assert found is not None
    return found.frozen()


def events(text: str) -> list[tuple[str, Any]]:
    """The kinds and data of server-sent events."""
    parts = [part for part in text.split("\n\n") if part and not part.startswith(":")]
    return [
        (lines["event"], json.loads(lines["data"]))
        for lines in (dict(line.split(": ", 1) for line in part.split("\n")) for part in parts)
    ]


def put_of(cog: CogServer, prompt: str) -> Any:
    """What Cog was sent for a prompt."""
    (sent,) = [
        one for one in cog.received if one.method == "PUT" and f'"{prompt}"'.encode() in one.body
    ]
    return sent


def test_a_prediction_is_answered_with_its_pictures(one: Front) -> None:
    inputs = {"prompt": "fox", "seed": 5, "num_images": 2}
    answer = one.client.post("/predictions", json={"input": inputs})
    assert answer.status_code == 200
    document = answer.json()
    made = [
        {"index": index, "seed": 5 + index, "nsfw": None, "file": f"out-{index}.png"}
        for index in (0, 1)
    ]
    assert document == {
        "id": document["id"],
        "status": "succeeded",
        "logs": document["logs"],
        "metrics": {"progress": DONE, "predict_time": 0.25, "images": made},
        "output": [data_url(pixels("fox", 5, index)) for index in (0, 1)],
    }
    assert said(document["logs"]) == "drawing fox\n"


@pytest.mark.parametrize("weights", ["stable-diffusion-2-1", "demo"])
def test_a_prediction_is_recorded_as_of_the_model_that_draws_it(
    tmp_path: Path, weights: str
) -> None:
    cog = CogServer()
    cog.description["model"] = weights
    with cog.served(), front(tmp_path, cog) as one:
        answer = one.client.post("/predictions", json={"input": {"prompt": "fox"}}).json()
        model = one.client.get(f"/v1/predictions/{answer['id']}").json()["model"]
    assert model == ("demo" if weights == "demo" else f"stability-ai/{weights}")


def test_a_seed_is_drawn_and_told(one: Front, cog: CogServer) -> None:
    bodies = [
        one.client.post("/predictions", json={"input": {"prompt": "seeds"}}).json()
        for _ in range(2)
    ]
    seeds = [body["metrics"]["images"][0]["seed"] for body in bodies]
    assert seeds[0] != seeds[1]
    assert [run.input["seed"] for run in cog.runs_of("seeds")] == seeds
    assert [body["output"] for body in bodies] == [[data_url(pixels("seeds", s))] for s in seeds]
    again = {"prompt": "seeds", "seed": 0}
    assert one.client.post("/predictions", json={"input": again}).json()["output"] == [
        data_url(pixels("seeds", 0))
    ]


def test_only_inputs_reach_cog(one: Front, cog: CogServer) -> None:
    image = pixels("image", 1)
    body = {
        "id": "mine",
        "input": {"prompt": "secret", "seed": 1, "image": data_url(image), "other": "/etc/passwd"},
        "webhook": "https://example.com/hook",
        "webhook_events_filter": ["completed"],
        "context": {"a": "b"},
        "output_file_prefix": "https://example.com/",
        "created_at": "2020-01-01",
    }
    headers = {"authorization": "Bearer sd_secret", "cookie": "a=b", "traceparent": "00-1"}
    assert one.client.post("/predictions", json=body, headers=headers).status_code == 200
    sent = put_of(cog, "secret")
    assert json.loads(sent.body) == {
        "input": {"prompt": "secret", "seed": 1, "image": data_url(image)},
        "context": {"previews": "on"},  # the front's own
    }
    assert not {"authorization", "cookie", "traceparent"} & set(sent.headers)
    assert "mine" not in sent.path


@pytest.mark.parametrize(
    "image", ["/etc/passwd", "file:///etc/passwd", "weights/demo", "ftp://127.0.0.1/", "", "data:"]
)
def test_what_is_no_file_never_reaches_cog(one: Front, cog: CogServer, image: str) -> None:
    body = {"input": {"prompt": "path", "image": image}}
    answer = one.client.post("/predictions", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "input", "image"]
    assert cog.runs_of("path") == []


def test_faults_are_told_as_cog_tells_them(one: Front) -> None:
    body = {"input": {"num_images": 9, "width": 100, "scheduler": "none"}}
    answer = one.client.post("/predictions", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/json"
    detail = answer.json()["detail"]
    assert {tuple(one["loc"]) for one in detail} == {
        ("body", "input", name) for name in ("prompt", "num_images", "width", "scheduler")
    }
    assert all(one["msg"] and one["type"] == "value_error" for one in detail)


def test_a_failed_prediction_says_why(one: Front, cog: CogServer) -> None:
    cog.tell("fails", "fail")
    answer = one.client.post("/predictions", json={"input": {"prompt": "fails"}})
    assert answer.status_code == 200
    assert answer.json()["status"] == "failed"
    assert answer.json()["error"] == "image: it is not a picture"
    assert "output" not in answer.json()


def test_an_id_of_ones_own_is_one_prediction(one: Front, cog: CogServer) -> None:
    body = {"input": {"prompt": "once", "seed": 3}}
    answers = [one.client.put("/predictions/my-id.1", json=body) for _ in range(2)]
    answers.append(one.client.post("/predictions", json={"id": "my-id.1", **body}))
    assert [one.status_code for one in answers] == [200] * 3
    assert answers[0].json()["id"] == "my-id.1"
    assert answers[0].json() == answers[1].json() == answers[2].json()
    assert len(cog.runs_of("once")) == 1


def test_an_id_that_is_sent_twice_at_once_is_one_prediction(one: Front, cog: CogServer) -> None:
    cog.tell("at once", "hold")
    together = threading.Barrier(4)

    def put(_: int) -> httpx2.Response:
        together.wait()
        return one.client.put("/predictions/same", json={"input": {"prompt": "at once"}})

    with ThreadPoolExecutor(4) as threads:
        answers = threads.map(put, range(4))
        wait_until(lambda: cog.runs_of("at once"))
        cog.let_go("at once")
        bodies = [answer.json() for answer in answers]
    assert [body["status"] for body in bodies] == ["succeeded"] * 4
    assert all(body == bodies[0] for body in bodies)
    assert len(cog.runs_of("at once")) == 1


@pytest.mark.parametrize("given", ["a b", "a%2Fb", "x" * 65, "é"])
def test_some_ids_are_none(one: Front, given: str) -> None:
    answer = one.client.put(f"/predictions/{given}", json={"input": {"prompt": "fox"}})
    assert answer.status_code in (404, 422)


def test_who_does_not_wait_is_answered_at_once(one: Front, cog: CogServer) -> None:
    cog.tell("later", "hold")
    answer = one.client.put(
        "/predictions/later",
        json={"input": {"prompt": "later"}},
        headers={"prefer": "respond-async"},
    )
    assert (answer.status_code, answer.json()) == (202, {"id": "later", "status": "starting"})
    cog.let_go("later")
    wait_until(lambda: record(one, "later").status == "succeeded")


def test_cancelling_ends_a_prediction(one: Front, cog: CogServer) -> None:
    cog.tell("endless", "hold")
    headers = {"prefer": "respond-async"}
    one.client.put("/predictions/endless", json={"input": {"prompt": "endless"}}, headers=headers)
    wait_until(lambda: "endless" in cog.running)
    answer = one.client.post("/predictions/endless/cancel")
    assert (answer.status_code, answer.json()) == (200, {})
    wait_until(lambda: record(one, "endless").status == "canceled")
    assert cog.runs_of("endless")[0].cancelled
    for known in ("endless", "never-heard-of"):
        answer = one.client.post(f"/predictions/{known}/cancel")
        assert (answer.status_code, answer.json()) == (404, {})


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
def test_who_hangs_up_cancels(one: Front, cog: CogServer, kind: str) -> None:
    prompt, given = f"hangs up {kind}", kind.replace("/", "-")
    cog.tell(prompt, "hold")
    place = urlsplit(one.url)
    body = json.dumps({"input": {"prompt": prompt}})
    with socket.create_connection((place.hostname, place.port), timeout=30) as client:
        client.sendall(
            f"PUT /predictions/{given} HTTP/1.1\r\nHost: localhost\r\nAccept: {kind}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            f"{body}".encode()
        )
        wait_until(lambda: prompt in cog.running)
        assert record(one, given).status == "processing"
    wait_until(lambda: record(one, given).status == "canceled")
    assert cog.runs_of(prompt)[0].cancelled
    assert prompt not in cog.running


def test_a_stream_tells_all_that_happens(one: Front) -> None:
    answer = one.client.put(
        "/predictions/streamed",
        json={"input": {"prompt": "stream", "seed": 4, "num_images": 2}},
        headers={"accept": "text/event-stream"},
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = events(answer.text)
    assert told[0] == ("start", {"id": "streamed", "status": "processing"})
    logs = "".join(data["data"] for kind, data in told if kind == "log")
    assert said(logs) == "drawing stream\n"
    assert all(data["source"] == "stdout" for kind, data in told if kind == "log")
    pictures = [data_url(pixels("stream", 4, index)) for index in (0, 1)]
    assert [data["chunk"] for kind, data in told if kind == "output"] == pictures
    metrics = {data["name"]: data["value"] for kind, data in told if kind == "metric"}
    assert metrics["progress"] == DONE
    assert [one["file"] for one in metrics["images"]] == ["out-0.png", "out-1.png"]
    kind, last = told[-1]
    assert kind == "completed"
    assert (last["id"], last["status"]) == ("streamed", "succeeded")
    assert (last["output"], last["logs"]) == (pictures, logs)


def test_a_stream_of_what_is_over_tells_it_again(one: Front, cog: CogServer) -> None:
    cog.tell("over", "fail")
    for _ in range(2):
        answer = one.client.put(
            "/predictions/over",
            json={"input": {"prompt": "over"}},
            headers={"accept": "text/event-stream"},
        )
        kind, last = events(answer.text)[-1]
        assert (kind, last["status"]) == ("completed", "failed")
        assert last["error"] == "image: it is not a picture"
    assert len(cog.runs_of("over")) == 1


def test_a_stream_goes_on_when_the_worker_dies(one: Front, cog: CogServer) -> None:
    cog.tell("again", "break", "succeed")
    answer = one.client.post(
        "/predictions",
        json={"input": {"prompt": "again", "seed": 1}},
        headers={"accept": "text/event-stream"},
    )
    told = events(answer.text)
    assert told[-1][1]["status"] == "succeeded"
    assert [data["chunk"] for kind, data in told if kind == "output"] == [
        data_url(pixels("again", 1))
    ]


def test_the_schema_is_that_of_the_model_without_a_way_to_shut_it_down(
    one: Front, cog: CogServer
) -> None:
    document = one.client.get("/openapi.json").json()
    assert document["components"] == cog.schema["components"]
    assert set(cog.schema["paths"]) - set(document["paths"]) == {"/shutdown"}
    assert one.client.post("/shutdown").status_code == 404


def test_the_schema_of_a_name_has_its_defaults(one: Front) -> None:
    name = "stability-ai/stable-diffusion"
    document = one.client.get("/openapi.json", params={"model": name}).json()
    inputs = document["components"]["schemas"]["Input"]["properties"]
    assert inputs["num_inference_steps"]["default"] == 50
    assert "/shutdown" not in document["paths"]
    assert one.client.get("/openapi.json", params={"model": "a/b"}).status_code == 404


def test_it_says_that_it_is_ready(one: Front) -> None:
    assert one.client.get("/health-check").json() == {"status": "READY"}


def test_one_does_not_see_the_predictions_of_others(cog: CogServer, tmp_path: Path) -> None:
    cog.tell("private", "hold")
    with front(tmp_path, cog, cog_slots=4) as one:
        ann, bob = one.token("ann"), one.token("bob")
        body = {"input": {"prompt": "private", "seed": 1}}
        headers = {**ann, "prefer": "respond-async"}
        one.client.put("/predictions/mine", json=body, headers=headers)
        wait_until(lambda: "private" in cog.running)
        assert one.client.post("/predictions/mine/cancel", headers=bob).status_code == 404
        other = {"input": {"prompt": "other", "seed": 1}}
        answer = one.client.put("/predictions/mine", json=other, headers=bob)
        assert answer.json()["output"] == [data_url(pixels("other", 1))]
        cog.let_go("private")
        answer = one.client.put("/predictions/mine", json=body, headers=ann)
        assert answer.json()["output"] == [data_url(pixels("private", 1))]
