"""Predictions and files by Replicate's own client: waited for, canceled, listed, one's own."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import replicate
from replicate.client import Client
from replicate.exceptions import ReplicateError
from replicate.helpers import FileOutput

from hosting import models_file
from tests.support.front_process import (
    ARCHIVED,
    IMAGE_TO_IMAGE,
    TEXT_TO_IMAGE,
    Front,
    all_slots_taken,
    ask,
    endless,
    endless_prediction,
    picture,
    png_of,
    small,
    until,
)
from tests.support.pictures import difference, picture_of, same

MODELS = models_file.load()
OURS, ORIGINAL, *_ = (one.id for one in MODELS.versions(MODELS.models[0]))


# Waiting


def test_a_prediction_is_made_and_waited_for(client: Client) -> None:
    inputs = small(num_outputs=2, seed=20)
    prediction = client.predictions.create(version=OURS, input=inputs)
    assert (prediction.status, prediction.output) == ("starting", None)
    prediction.wait()
    assert (prediction.status, prediction.error) == ("succeeded", None)
    assert (prediction.model, prediction.version) == (TEXT_TO_IMAGE, OURS)
    assert prediction.input == inputs
    assert prediction.progress is not None
    assert (prediction.progress.current, prediction.progress.total) == (3, 3)
    times = [prediction.created_at, prediction.started_at, prediction.completed_at]
    assert all(times)
    assert times == sorted(map(str, times))
    assert prediction.metrics is not None
    assert [one["seed"] for one in prediction.metrics["images"]] == [20, 21]
    assert prediction.metrics["predict_time"] > 0
    assert client.predictions.get(prediction.id) == prediction
    assert prediction.output is not None
    assert len(prediction.output) == 2
    (second,) = client.run(TEXT_TO_IMAGE, small(seed=21))
    (_, url) = prediction.output
    assert same(picture(FileOutput(url, client)), picture(second))


@pytest.mark.parametrize(
    "reference",
    [
        {"version": TEXT_TO_IMAGE},
        {"version": f"{TEXT_TO_IMAGE}:{OURS}"},
        {"model": TEXT_TO_IMAGE},
        {"model": ("Stability-AI", "Stable-Diffusion")},
    ],
)
def test_a_model_is_named_in_several_ways(client: Client, reference: Any) -> None:
    prediction = client.predictions.create(**reference, input=small())
    assert (prediction.model, prediction.version) == (TEXT_TO_IMAGE, OURS)
    prediction.wait()
    assert prediction.status == "succeeded"


def test_an_originals_version_stays_as_it_was_asked_for(client: Client) -> None:
    prediction = client.predictions.create(ORIGINAL, small(), wait=60)
    assert (prediction.status, prediction.version) == ("succeeded", ORIGINAL)


def test_one_that_is_not_over_in_time_is_answered_as_starting(front: Front, client: Client) -> None:
    with front.http("ada") as http:
        answer = http.post(
            f"/v1/models/{TEXT_TO_IMAGE}/predictions",
            json={"input": endless()},
            headers={"Prefer": "wait=1"},
        )
    assert (answer.status_code, answer.json()["status"]) == (201, "starting")
    prediction = client.predictions.get(answer.json()["id"])
    try:
        assert prediction.status == "processing"
    finally:
        prediction.cancel()
        prediction.wait()


def test_run_polls_when_its_wait_is_over(front: Front, bob: Client) -> None:
    answers: list[httpx.Response] = []
    hooks = {"response": [answers.append]}
    with (
        front.client("ada", event_hooks=hooks) as client,
        ThreadPoolExecutor() as threads,
        all_slots_taken(bob) as blockers,
    ):
        # It has to wait in the queue until its first request was answered.
        running = threads.submit(client.run, TEXT_TO_IMAGE, small(), wait=1)
        until(lambda: len(answers) >= 2)
        for one in blockers:
            one.cancel()
        (output,) = running.result()
    first, *others = [(one.request.method, one.request.headers.get("prefer")) for one in answers]
    assert first == ("POST", "wait=1")
    assert set(others) == {("GET", None)}
    with front.client("ada") as client:
        (again,) = client.run(TEXT_TO_IMAGE, small())
    assert same(picture(output), picture(again))


def test_pictures_are_seen_as_they_come(front: Front, client: Client) -> None:
    prediction = ask(client, small(num_outputs=4, num_inference_steps=1))
    seen: list[list[str]] = [[]]
    while prediction.status not in ("succeeded", "failed", "canceled"):
        prediction.reload()
        seen.append(prediction.output or [])
    assert len(seen[-1]) == 4
    for before, now in itertools.pairwise(seen):
        assert now[: len(before)] == before
    assert all(url.startswith(f"{front.url}/files/") for urls in seen for url in urls)


# Canceling


def test_one_that_runs_is_canceled_between_two_steps(client: Client) -> None:
    with endless_prediction(client) as prediction:
        prediction.cancel()
        prediction.wait()
    assert (prediction.status, prediction.output, prediction.error) == ("canceled", None, None)
    assert prediction.progress is not None
    assert 1 <= prediction.progress.current < prediction.progress.total == 512
    assert prediction.completed_at


def test_one_that_waits_says_its_place_and_is_canceled_at_once(
    front: Front, client: Client, bob: Client
) -> None:
    with all_slots_taken(bob), front.http("ada") as http:
        first, second = (ask(client, small()) for _ in range(2))
        queue = http.get(f"/v1/predictions/{second.id}").json()["queue"]
        assert queue["position"] == 2
        first.cancel()
        assert (first.status, first.started_at, first.logs) == ("canceled", None, "")
        assert first.completed_at
        assert http.get(f"/v1/predictions/{second.id}").json()["queue"]["position"] == 1
    second.wait()
    assert second.status == "succeeded"


def test_one_that_is_over_stays_as_it_is(client: Client) -> None:
    prediction = ask(client, small(), wait=60)
    assert prediction.status == "succeeded"
    assert client.predictions.cancel(prediction.id) == prediction


# Lists


def prompts(page: object) -> list[int]:
    return [int(one.input["prompt"]) for one in page]  # type: ignore[attr-defined]


def test_pages_lead_to_every_prediction_and_back(eve: Client) -> None:
    pages = list(replicate.paginate(eve.predictions.list))
    assert [len(page) for page in pages] == [100, 100, 50]
    assert [prompt for page in pages for prompt in prompts(page)] == [*range(ARCHIVED)][::-1]
    assert (pages[0].previous, pages[-1].next) == (None, None)
    for page, earlier in zip(pages[1:], pages, strict=False):
        assert page.previous is not None
        back = eve.predictions.list(page.previous)
        assert prompts(back) == prompts(earlier)
        assert (back.previous is None, back.next is None) == (earlier is pages[0], False)


def test_the_newest_is_the_first_of_the_list(front: Front, client: Client) -> None:
    made = [ask(client, small(seed=seed), wait=60) for seed in (1, 2)]
    listed = client.predictions.list().results[:2]
    for one, same_one in zip(listed, made[::-1], strict=True):
        assert {**one.dict(), "output": None} == {**same_one.dict(), "output": None}
        # A page of pictures would be much, so here they are links.
        assert one.output is not None
        assert same_one.output is not None
        with front.http() as http:
            drawn = picture(FileOutput(same_one.output[0], client))
            assert same(picture(http.get(one.output[0]).content), drawn)


def test_a_cursor_of_nobody_is_refused(client: Client) -> None:
    with pytest.raises(ReplicateError, match="cursor: It must be one that a page has given"):
        client.predictions.list("/v1/predictions?cursor=abc")


# Files


def test_a_file_is_kept_listed_and_removed(front: Front, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "müll.png"
    path.write_bytes(png_of(picture_of()))
    made = client.files.create(path, metadata={"for": "a test"})
    assert (made.name, made.content_type) == ("müll.png", "image/png")
    assert (made.size, made.metadata) == (path.stat().st_size, {"for": "a test"})
    assert client.files.get(made.id) == made
    assert client.files.list()[0] == made
    with front.http() as http:
        assert http.get(made.urls["download"]).content == path.read_bytes()
        assert client.files.delete(made.id)
        assert http.get(made.urls["download"]).status_code == 404
    assert made not in client.files.list()
    with pytest.raises(ReplicateError, match="There is no file"):
        client.files.get(made.id)


def test_a_file_may_go_when_a_prediction_has_it(client: Client, bob: Client) -> None:
    file = client.files.create(io.BytesIO(png_of(picture_of())))
    with all_slots_taken(bob):
        inputs = small(image=file.urls["get"], strength=0)
        prediction = client.models.predictions.create(IMAGE_TO_IMAGE, inputs)
        client.files.delete(file.id)
    prediction.wait()
    assert prediction.output is not None
    (output,) = (FileOutput(url, client) for url in prediction.output)
    assert difference(picture(output), picture_of()) == (0, 0)


# Whose they are


def test_what_is_someones_is_nobody_elses(client: Client, bob: Client) -> None:
    file = client.files.create(io.BytesIO(png_of(picture_of())))
    with endless_prediction(client) as prediction:
        looks: list[Callable[[], object]] = [
            lambda: bob.predictions.get(prediction.id),
            lambda: bob.predictions.cancel(prediction.id),
            lambda: bob._request("GET", f"/v1/predictions/{prediction.id}/stream"),
            lambda: bob.files.get(file.id),
            lambda: bob.files.delete(file.id),
        ]
        for look in looks:
            with pytest.raises(ReplicateError) as error:
                look()
            assert (error.value.status, error.value.title) == (404, "Not Found")
        assert client.predictions.get(prediction.id).status == "processing"
        assert prediction.id in {one.id for one in client.predictions.list()}
        assert prediction.id not in {one.id for one in bob.predictions.list()}
    assert file in client.files.list()
    assert file not in bob.files.list()
    with pytest.raises(ReplicateError, match=r"input\.image: There is no file") as error:
        bob.run(IMAGE_TO_IMAGE, small(image=file.urls["get"]))
    assert error.value.status == 422
