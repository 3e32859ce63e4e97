"""What Replicate's own client is told when something is wrong."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError

from hosting import models_file
from tests.support.front_process import (
    IMAGE_TO_IMAGE,
    QUEUE_LIMIT,
    TEXT_TO_IMAGE,
    Front,
    Site,
    all_slots_taken,
    ask,
    png_of,
    small,
)
from tests.support.pictures import picture_of


def refusal(error: pytest.ExceptionInfo[ReplicateError]) -> tuple[int | None, str | None, str]:
    return error.value.status, error.value.title, str(error.value.detail)


@pytest.mark.parametrize("token", ["sd_none", "r8_1234"])
def test_a_wrong_token_is_refused(front: Front, token: str) -> None:
    stranger = Client(token, base_url=front.url)
    with pytest.raises(ReplicateError) as error:
        stranger.run(TEXT_TO_IMAGE, small())
    stranger._client.close()
    status, title, detail = refusal(error)
    assert (status, title) == (401, "Unauthorized")
    assert "valid token" in detail


def test_no_token_is_refused(front: Front) -> None:
    with front.http() as http:
        for path in ("predictions", "models", "files", "account", "webhooks/default/secret"):
            answer = http.get(f"/v1/{path}")
            assert (answer.status_code, answer.json()["status"]) == (401, 401)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("reference", "status", "title", "words"),
    [
        ("nobody/nothing", 404, "Not Found", "There is no model nobody/nothing; there are"),
        (f"{TEXT_TO_IMAGE}:{'0' * 64}", 422, "Input validation failed", "There is no version 000"),
        ("stability-ai/stable-diffusion-inpainting", 404, "Not Found", "does not run here"),
    ],
)
def test_what_is_not_there_is_named(
    client: Client, reference: str, status: int, title: str, words: str
) -> None:
    with pytest.raises(ReplicateError) as error:
        client.run(reference, small())
    assert refusal(error)[:2] == (status, title)
    assert words in refusal(error)[2]


def test_unknown_models_versions_and_predictions_are_404(client: Client) -> None:
    foreign = models_file.load().find(IMAGE_TO_IMAGE)
    assert foreign is not None
    looks: list[Callable[[], object]] = [
        lambda: client.models.get("nobody/nothing"),
        lambda: client.models.get(TEXT_TO_IMAGE).versions.get("0" * 64),
        lambda: client.models.get(TEXT_TO_IMAGE).versions.get(foreign.id),
        lambda: client.predictions.get("nothing"),
        lambda: client.predictions.cancel("nothing"),
        lambda: client.files.get("nothing"),
    ]
    for look in looks:
        with pytest.raises(ReplicateError) as error:
            look()
        assert refusal(error)[:2] == (404, "Not Found")


def test_each_bad_input_is_named(front: Front, client: Client) -> None:
    inputs = {
        "prompt": 7,
        "image": "/etc/hostname",
        "num_outputs": 5,
        "num_inference_steps": "many",
        "prompt_strength": -1,
        "width": 100,
        "scheduler": "DPM",
    }
    with front.http("ada") as http:
        body = {"input": inputs, "webhook": "file:///etc/hostname"}
        answer = http.post(f"/v1/models/{TEXT_TO_IMAGE}/predictions", json=body)
    assert answer.status_code == 422
    problem = answer.json()
    found = {one["field"]: (one["type"], one["description"]) for one in problem["invalid_fields"]}
    kinds = {field: kind for field, (kind, _) in found.items()}
    assert kinds == {
        "input.prompt": "invalid_type",
        "input.image": "format",
        "input.num_outputs": "number_lte",
        "input.num_inference_steps": "invalid_type",
        "input.prompt_strength": "number_gte",
        "input.width": "enum",
        "input.scheduler": "enum",
        "webhook": "invalid_url",
    }
    assert found["input.num_inference_steps"][1] == (
        '"many" is not allowed; give a whole number from 1 to 512'
    )
    with pytest.raises(ReplicateError) as error:
        client.run(TEXT_TO_IMAGE, inputs)
    status, title, detail = refusal(error)
    assert (status, title) == (422, "Input validation failed")
    assert all(f"- {field}: " in detail for field in kinds if field != "webhook")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (png_of(picture_of())[:3000], "image: the picture can't be read, since its file ends"),
        (b"<html></html>", "is not a picture; give PNG"),
        (None, "answered 404"),
    ],
)
def test_a_broken_picture_fails_the_prediction(
    client: Client, site: Site, data: bytes | None, words: str
) -> None:
    if data is not None:
        site.files["/broken.png"] = data
    with pytest.raises(ModelError) as error:
        client.run(IMAGE_TO_IMAGE, small(image=f"{site.url}/broken.png"))
    assert str(error.value).startswith("image: ")
    assert words in str(error.value)
    assert error.value.prediction.status == "failed"
    assert error.value.prediction.output is None


def test_who_has_too_much_in_the_queue_is_told_to_come_later(
    front: Front, client: Client, bob: Client
) -> None:
    with all_slots_taken(client) as blockers:
        waiting = [ask(client, small()) for _ in range(QUEUE_LIMIT - len(blockers))]
        with pytest.raises(ReplicateError) as error:
            ask(client, small())
        status, title, detail = refusal(error)
        assert (status, title) == (429, "Too Many Requests")
        assert str(QUEUE_LIMIT) in detail
        with front.http("ada") as http:
            body = {"input": small()}
            answer = http.post(f"/v1/models/{TEXT_TO_IMAGE}/predictions", json=body)
        assert answer.status_code == httpx.codes.TOO_MANY_REQUESTS
        assert int(answer.headers["retry-after"]) > 0
        others = ask(bob, small())
        waiting[0].cancel()
        waiting.append(ask(client, small()))
    for one in waiting[1:]:
        one.wait()
        assert one.status == "succeeded"
    others.wait()
    assert others.status == "succeeded"
