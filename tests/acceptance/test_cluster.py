"""Several replicas answer as one Cog server does, whatever happens to them."""

from __future__ import annotations

import http.client
import json
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from cog_schema import schema
from hosting.backends.description import Description
from tests.support.cluster import SLOTS, Cluster
from tests.support.front_process import site
from tests.support.pictures import same
from tests.support.server import picture_in, start, until
from tools.benchmark.server import url_of

pytestmark = pytest.mark.slow

INPUTS = {"prompt": "a red apple", "num_inference_steps": 3, "seed": 7}
ENDLESS = {"prompt": "a red apple", "num_inference_steps": 512, "num_images": 4}
STREAM = {"Accept": "text/event-stream"}
ASYNC = {"Prefer": "respond-async"}


@contextmanager
def running(cluster: Cluster, number: int) -> Iterator[list[str]]:
    """The paths of endless predictions that have begun; they are hung up on in the end."""
    with ExitStack() as stack:
        client = stack.enter_context(httpx.Client(base_url=cluster.url, timeout=90))
        paths = [f"/predictions/endless-{time.time_ns()}" for _ in range(number)]
        lines: list[Iterator[str]] = []

        def ask(path: str) -> httpx.Response:
            asked = client.stream("PUT", path, json={"input": ENDLESS}, headers=STREAM)
            return stack.enter_context(asked)

        for path in paths:
            answer = once_there_is_a_slot(partial(ask, path))
            assert answer.status_code == 200
            lines.append(answer.iter_lines())  # what forgets them hangs up
            assert next(lines[-1]) == "event: start"
        yield paths
        for path in paths:
            cluster.ask("POST", f"{path}/cancel")


def once_there_is_a_slot(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """Ask for a prediction; again while all slots are taken.

    What was cancelled has its slot to the end of its step, which may take seconds.
    """
    end = time.monotonic() + 90
    while (answer := ask()).status_code == 503:
        assert time.monotonic() < end
    return answer


def bare(answer: dict[str, Any]) -> dict[str, Any]:
    """What a prediction answers, without what differs from time to time."""
    del answer["logs"], answer["metrics"]
    return answer


@pytest.mark.parametrize(
    ("method", "path", "asked"),
    [
        ("GET", "/", {}),
        ("GET", "/openapi.json", {}),
        ("POST", "/predictions", {"json": {"input": {"prompt": "x", "seed": -1}}}),
        ("POST", "/predictions", {"json": {"input": {}}, "headers": STREAM}),
        ("POST", "/predictions", {"json": {"input": {}}, "headers": ASYNC}),
        ("POST", "/predictions", {"content": b"{", "headers": {"Content-Type": "text/json"}}),
        (
            "POST",
            "/predictions",
            {"content": b"{", "headers": {"Content-Type": "application/json"}},
        ),
        ("PUT", "/predictions/x", {"json": {"input": {**INPUTS, "prompt": 1}}}),
        ("PUT", "/predictions/1", {"json": {"input": INPUTS}, "headers": ASYNC}),
        ("POST", "/predictions/nobody/cancel", {}),
        ("PUT", "/predictions/a%20%3Fb%25", {"json": {"input": INPUTS}, "headers": ASYNC}),
        ("PUT", "/predictions/a%22b", {"json": {"input": INPUTS}, "headers": ASYNC}),
        ("POST", "/predictions", {"json": {"input": {}}, "headers": {"X-Name": "Zoë".encode()}}),
        ("HEAD", "/", {}),
        ("POST", "/health-check", {}),
        ("GET", "/predictions/x/cancel", {}),
        ("GET", "/predictions", {}),
        ("DELETE", "/predictions/x", {}),
        ("POST", "/openapi.json", {}),
    ],
)
def test_it_answers_byte_for_byte_as_a_cog_server(
    whole: Cluster, method: str, path: str, asked: dict[str, Any]
) -> None:
    alone = httpx.request(method, url_of(whole.cog_servers()[0]) + path, timeout=90, **asked)
    ours = whole.ask(method, path, **asked)
    assert (ours.status_code, ours.content) == (alone.status_code, alone.content)
    kept = ("content-type", "content-length", "allow")
    assert [ours.headers.get(name) for name in kept] == [alone.headers.get(name) for name in kept]


def test_a_prediction_answers_as_from_a_cog_server(whole: Cluster) -> None:
    alone, ours = (
        httpx.put(f"{url}/predictions/one", json={"input": INPUTS}, timeout=90)
        for url in (url_of(whole.cog_servers()[0]), whole.url)
    )
    assert ours.status_code == alone.status_code == 200
    assert list(ours.json()) == list(alone.json())
    told, known = bare(ours.json()), bare(alone.json())
    # Not bit for bit: predictions that nobody waits for, of the tests before, may run beside it.
    assert same(*(picture_in(answer.pop("output")[0]) for answer in (told, known)))
    assert told == known


def test_the_same_request_gives_the_same_picture_alone_and_through_the_cluster(
    whole: Cluster, tmp_path: Path
) -> None:
    server = start(tmp_path, "--model", "demo", OMP_NUM_THREADS="1")
    (alone,) = server.draw(**INPUTS)
    server.stop()
    with ThreadPoolExecutor() as pool:
        asked = [
            pool.submit(whole.ask, "POST", "/predictions", json={"input": INPUTS})
            for _ in range(2 * SLOTS)
        ]
        answers = [one.result().json() for one in asked]
    assert all(same(picture_in(answer["output"][0]), alone) for answer in answers)


def test_events_come_when_they_happen_and_a_cancelled_prediction_says_so(whole: Cluster) -> None:
    path = "/predictions/told"
    with httpx.stream(
        "PUT", whole.url + path, json={"input": ENDLESS}, headers=STREAM, timeout=90
    ) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        lines = answer.iter_lines()
        kinds = [line for line in (next(lines) for _ in range(12)) if line.startswith("event")]
        assert kinds[0] == "event: start"
        assert {"event: log", "event: metric"} <= set(kinds)
        assert whole.ask("POST", f"{path}/cancel").status_code == 200
        *_, kind, data, _ = lines
    assert kind == "event: completed"
    assert json.loads(data.removeprefix("data: "))["status"] == "canceled"


def test_cancelled_predictions_and_those_hung_up_on_free_their_slots(whole: Cluster) -> None:
    with running(whole, 2 * SLOTS) as paths:
        states = {cog_status(cog) for cog in whole.cog_servers()}
        assert states == {"BUSY"}
        for path in paths[:SLOTS]:
            assert whole.ask("POST", f"{path}/cancel").json() == {}
        # The others are hung up on below.
        assert whole.ask("POST", "/predictions", json={"input": INPUTS}).status_code == 200
        paths.clear()
    with running(whole, 2 * SLOTS):
        pass


def test_a_plain_request_that_is_hung_up_on_leaves_nothing(whole: Cluster) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.put(f"{whole.url}/predictions/plain", json={"input": ENDLESS}, timeout=3)
    until(lambda: whole.ask("POST", "/predictions/plain/cancel").status_code == 404)
    with running(whole, 2 * SLOTS):
        pass


def test_one_that_waits_to_be_alone_can_be_asked_for_again_and_cancelled(whole: Cluster) -> None:
    asked = {"json": {"input": ENDLESS}, "headers": {"Cog-Alone": "1"}}
    with running(whole, 2 * SLOTS - 2), ThreadPoolExecutor() as pool:
        # Whichever comes first has it, and waits; the other is told so.
        both = [pool.submit(whole.ask, "PUT", "/predictions/lone", **asked) for _ in range(2)]
        until(lambda: any(one.done() for one in both))
        waits, told = sorted(both, key=Future.done)
        assert told.result().json() == {"id": "lone", "status": "starting"}
        assert not waits.done()
        assert whole.ask("POST", "/predictions/lone/cancel").json() == {}
        assert waits.result().json() == {"id": "lone", "status": "canceled"}


def cog_status(cog: psutil.Process) -> str:
    return str(httpx.get(f"{url_of(cog)}/health-check", timeout=90).json()["status"])


def test_it_hands_on_the_description_of_its_model(whole: Cluster) -> None:
    description = Description.read(whole.ask("GET", "/health-check").json()["setup"]["logs"])
    assert description
    assert (description.model, description.task, description.native_size) == (
        "demo",
        "img2img",
        128,
    )


def test_when_all_slots_are_taken_it_says_when_to_come_again(whole: Cluster) -> None:
    with running(whole, 2 * SLOTS), ThreadPoolExecutor(40) as pool:
        asked = [
            pool.submit(whole.ask, "POST", "/predictions", json={"input": INPUTS})
            for _ in range(40)
        ]
        while not all(one.done() for one in asked):
            health = whole.ask("GET", "/health-check")
            assert (health.json()["status"], health.headers["cog-slots"]) == ("BUSY", "16")
        for refused in asked:
            answer = refused.result()
            assert (answer.status_code, answer.headers.get("retry-after")) == (503, "1"), (
                answer.text
            )
    with running(whole, 2 * SLOTS):
        pass


def test_asked_for_again_a_running_prediction_says_how_far_it_is(whole: Cluster) -> None:
    with running(whole, 1) as (path,):
        again = whole.ask("PUT", path, json={"input": ENDLESS})
        assert (again.status_code, again.json()["status"]) == (202, "processing")
        assert again.json()["input"] == ENDLESS


def test_a_prediction_that_nobody_waits_for_has_its_slot_until_its_webhook(
    whole: Cluster,
) -> None:
    with site() as receiver:
        asked = {"input": ENDLESS, "webhook": f"{receiver.url}/hook"}
        for number in range(2 * SLOTS):
            path = f"/predictions/a{number}"
            ask = partial(whole.ask, "PUT", path, json=asked, headers=ASYNC)
            answer = once_there_is_a_slot(ask)
            assert answer.json() == {"id": f"a{number}", "status": "starting"}
        assert {cog_status(cog) for cog in whole.cog_servers()} == {"BUSY"}
        for number in range(2 * SLOTS):
            whole.ask("POST", f"/predictions/a{number}/cancel")
        until(lambda: len(completed(receiver)) == 2 * SLOTS)
    with running(whole, 2 * SLOTS):
        pass


def completed(receiver: Any) -> list[dict[str, Any]]:
    bodies = [json.loads(call.body) for call in receiver.to("/hook")]
    return [body for body in bodies if body["status"] == "canceled"]


def test_pages_in_a_browser_and_shutdown_do_not_get_through(whole: Cluster) -> None:
    evil = {"Origin": "http://evil.example"}
    for method, path in (("GET", "/health-check"), ("POST", "/predictions")):
        assert whole.ask(method, path, headers=evil).status_code == 403
    connection = http.client.HTTPConnection(whole.url.partition("//")[2], timeout=90)
    for path in ("/shutdown", "/predictions/a/../../shutdown", "//shutdown", "/predictions/%2e"):
        connection.request("POST", path)  # as it is: others make something else of the dots
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (404, b"")
    connection.close()
    assert whole.slots == 2 * SLOTS


@pytest.mark.parametrize("victim", ["replica", "Cog server"])
def test_a_request_whose_replica_dies_before_it_answers_is_tried_at_another(
    whole: Cluster, victim: str
) -> None:
    inputs = {**INPUTS, "num_inference_steps": 50, "num_images": 2}
    with ThreadPoolExecutor() as pool:
        asked = [
            pool.submit(whole.ask, "POST", "/predictions", json={"input": inputs}) for _ in range(4)
        ]
        until(lambda: all(has_work(cog) for cog in whole.cog_servers()))
        cog = whole.cog_servers()[0]
        (cog.parent() or cog if victim == "replica" else cog).kill()
        answers = [one.result() for one in asked]
    assert [answer.status_code for answer in answers] == [200] * 4
    pictures = [[picture_in(url) for url in answer.json()["output"]] for answer in answers]
    for others in pictures[1:]:
        assert all(same(*pair) for pair in zip(pictures[0], others, strict=True))


def has_work(cog: psutil.Process) -> bool:
    (worker,) = cog.children()
    return worker.cpu_percent(0.2) > 20


def test_a_dead_worker_is_replaced(whole: Cluster) -> None:
    before = {cog.pid for cog in whole.cog_servers()}
    (worker,) = whole.cog_servers()[0].children()
    worker.kill()
    began = time.monotonic()
    until(lambda: whole.slots == SLOTS)
    until(lambda: whole.slots == 2 * SLOTS)
    print(f"a dead worker was replaced within {time.monotonic() - began:.1f} s")
    assert len({cog.pid for cog in whole.cog_servers()} - before) == 1
    assert psutil.wait_procs([worker], timeout=10)[1] == []


def test_an_upgrade_to_changed_code_replaces_all_replicas_and_drops_nothing(
    whole: Cluster, tmp_path: Path
) -> None:
    before = {cog.pid for cog in whole.cog_servers()}
    assert whole.upgrade().returncode == 0
    assert {cog.pid for cog in whole.cog_servers()} == before  # nothing has changed
    for folder in ("hosting", "commands", "cog_schema", "infotext", "stable_diffusion"):
        shutil.copytree(schema.ROOT / folder, tmp_path / folder)
    (tmp_path / "weights").symlink_to(schema.ROOT / "weights")
    text = (schema.ROOT / "predict.py").read_text()
    (tmp_path / "predict.py").write_text(text.replace("random seed", "any number"))

    answers: list[httpx.Response] = []
    with ThreadPoolExecutor() as pool:
        upgrade: Future[Any] = pool.submit(whole.upgrade, root=tmp_path)

        def ask() -> None:
            while not upgrade.done():
                inputs = {**INPUTS, "num_inference_steps": 20}
                answers.append(whole.ask("POST", "/predictions", json={"input": inputs}))

        for one in [pool.submit(ask) for _ in range(3)]:
            one.result()
    assert upgrade.result().returncode == 0, upgrade.result()
    assert {answer.status_code for answer in answers} == {200}
    assert len(answers) > 5
    until(lambda: len(whole.cog_servers()) == 2)
    assert before.isdisjoint(cog.pid for cog in whole.cog_servers())
    assert "any number" in whole.ask("GET", "/openapi.json").text


def test_a_model_that_does_not_start_is_told_in_a_sentence(whole: Cluster, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    content = yaml.safe_load(whole.config.read_text())
    content["applications"].append(
        {**content["applications"][0], "name": "second", "route_prefix": "/second"}
    )
    content["applications"][1]["args"] = {"model": "stable-diffusion-2-1"}
    other.write_text(yaml.safe_dump(content))
    done = whole.upgrade(other)
    assert done.returncode == 1
    assert done.stderr == (
        "second: the weights of stable-diffusion-2-1 are not in "
        f"{schema.ROOT / 'weights/stable-diffusion-2-1'}; "
        "run: scripts/download-weights stable-diffusion-2-1\n"
    )
    assert whole.upgrade().returncode == 0
