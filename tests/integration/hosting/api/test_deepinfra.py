"""DeepInfra's API, by the unmodified client of PyPI where that can do it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import deepinfra
import httpx2
import pytest
from deepinfra.models.base.text_to_image import TextToImage

from tests.support.front import Front, front, wait_until
from tests.support.front_process import Site, site
from tests.support.pictures import EXAMPLES
from tools.fake_cog import CogServer, data_url, pixels

MODEL = "stabilityai/stable-diffusion-2-1"
PATH = f"/v1/inference/{MODEL}"
CAT = (EXAMPLES / "cat.png").read_bytes()


@pytest.fixture(scope="module")
def one(cog: CogServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("front")
    with front(folder, cog, allowed_networks=("127.0.0.0/8",)) as one:
        yield one


@pytest.fixture
def receiver() -> Iterator[Site]:
    with site() as receiver:
        yield receiver


@contextmanager
def client(one: Front, path: str = PATH, token: str = "none") -> Iterator[TextToImage]:
    """The client of a model, which is told nothing but the URL and a token."""
    client = TextToImage(f"{one.url}{path}", token)
    try:
        yield client
    finally:
        client.client.close()


@pytest.fixture
def model(one: Front) -> Iterator[TextToImage]:
    with client(one) as model:
        yield model


def sent(cog: CogServer) -> dict[str, Any]:
    """The inputs of the last prediction as the model had them."""
    return cog.runs[-1].input


def detail(answer: httpx2.Response, status: int) -> Any:
    """What an error says, which it says twice: as the API did, and in one text."""
    assert answer.status_code == status, answer.text
    document = answer.json()
    assert document.keys() == {"detail", "error"}
    assert isinstance(document["error"], str)
    return document["detail"]


# What is asked and answered


def test_its_client_has_pictures_made(model: TextToImage, cog: CogServer) -> None:
    # The client's types say bool and str, where its server gave lists and numbers.
    answer: Any = model.generate({"prompt": "fox", "seed": 7, "num_images": 2})
    assert answer.images == [data_url(pixels("fox", 7, index)) for index in (0, 1)]
    assert answer.nsfw_content_detected == [False, False]
    assert answer.seed == 7
    assert answer.request_id
    assert answer.inference_status["status"] == "succeeded"
    assert answer.inference_status["runtime_ms"] == 250
    assert sent(cog) == {"prompt": "fox", "seed": 7, "num_images": 2}


def test_the_answer_has_every_field_that_is_documented(one: Front) -> None:
    answer = one.client.post(PATH, json={"prompt": "fox"}).json()
    assert answer.keys() == {
        *("images", "nsfw_content_detected", "seed", "request_id", "inference_status"),
    }
    status = answer["inference_status"]
    assert status == {
        "status": "succeeded",
        "runtime_ms": 250,
        "cost": 0,
        "tokens_generated": 0,
        "tokens_input": 0,
    }
    assert isinstance(answer["seed"], int)


def test_numbers_may_be_text_and_a_picture_a_data_url(one: Front, cog: CogServer) -> None:
    given = {"prompt": "fox", "num_inference_steps": "10", "strength": "0.5", "seed": "7"}
    given |= {"width": "512", "use_compel": "true", "image": data_url(CAT), "height": None}  # type: ignore[dict-item]
    assert one.client.post(PATH, json=given).status_code == 200
    assert sent(cog) == {
        "prompt": "fox",
        "num_inference_steps": 10,
        "strength": 0.5,
        "seed": 7,
        "width": 512,
        "use_compel": True,
        "image": data_url(CAT),
    }


def test_a_form_with_a_file_is_the_same(one: Front, cog: CogServer) -> None:
    fields = {"prompt": "fox", "seed": "7", "strength": "0.5"}
    file = {"image": ("cat.png", CAT, "application/octet-stream")}
    answer = one.client.post(PATH, data=fields, files=file)
    assert answer.json()["images"] == [data_url(pixels("fox", 7))]
    assert sent(cog) == {"prompt": "fox", "seed": 7, "strength": 0.5, "image": data_url(CAT)}
    answer = one.client.post(PATH, data={**fields, "image": data_url(CAT)})
    assert answer.status_code == 200
    assert sent(cog)["image"] == data_url(CAT)


@pytest.mark.parametrize(
    "name",
    [
        "stabilityai/stable-diffusion-2-1",
        "stabilityai/stable-diffusion-2-1-base",
        "runwayml/stable-diffusion-v1-5",
        "CompVis/stable-diffusion-v1-4",
        "stability-ai/stable-diffusion-img2img",
    ],
)
def test_its_models_have_their_names(one: Front, name: str) -> None:
    answer = one.client.post(f"/v1/inference/{name}", json={"prompt": "fox"})
    assert answer.status_code == 200, answer.text


def test_a_picture_that_was_left_out_is_flagged_in_its_place(
    one: Front, monkeypatch: pytest.MonkeyPatch, cog: CogServer
) -> None:
    from tools import fake_cog

    metric = fake_cog._metric

    async def flagging(send: Any, name: str, value: Any) -> None:
        if name == "images":
            value = [{**one, "nsfw": one["index"] == 0} for one in value]
        await metric(send, name, value)

    monkeypatch.setattr(fake_cog, "_metric", flagging)
    asked = {"prompt": "fox", "num_images": 2}
    assert one.client.post(PATH, json=asked).json()["nsfw_content_detected"] == [True, False]


# Webhooks


def test_with_a_webhook_it_is_answered_at_once_and_told_later(
    model: TextToImage, one: Front, cog: CogServer, receiver: Site
) -> None:
    cog.tell("slow", "hold")
    hook = f"{receiver.url}/hook"
    answer: Any = model.generate({"prompt": "slow", "seed": 7, "num_images": 2, "webhook": hook})
    assert answer.inference_status["status"] == "queued"
    assert answer.images == []
    cog.let_go("slow")
    wait_until(lambda: receiver.to("/hook"))
    (call,) = receiver.to("/hook")
    assert json.loads(call.body) == {
        "request_id": answer.request_id,
        "inference_status": {
            "status": "succeeded",
            "runtime_ms": 250,
            "cost": 0,
            "tokens_generated": 0,
            "tokens_input": 0,
        },
        "results": {
            "images": [data_url(pixels("slow", 7, index)) for index in (0, 1)],
            "nsfw_content_detected": [False, False],
            "seed": 7,
        },
    }
    assert call.headers["webhook-signature"]


def test_a_webhook_is_told_of_a_failure(one: Front, receiver: Site) -> None:
    hook = f"{receiver.url}/hook"
    answer = one.client.post(PATH, json={"prompt": "bad", "webhook": hook})
    assert answer.json()["inference_status"]["status"] == "queued"
    wait_until(lambda: receiver.to("/hook"))
    told = json.loads(receiver.to("/hook")[0].body)
    assert told["request_id"] == answer.json()["request_id"]
    assert told["inference_status"]["status"] == "failed"
    assert told["error"] == "image: it is not a picture"
    assert "results" not in told


# Errors


def test_each_bad_input_is_named(one: Front) -> None:
    faults = detail(one.client.post(PATH, json={"num_images": 5, "strength": "much"}), 422)
    assert {tuple(fault["loc"]): fault["type"] for fault in faults} == {
        ("body", "prompt"): "required",
        ("body", "num_images"): "number_lte",
        ("body", "strength"): "invalid_type",
    }
    assert all(fault["msg"] for fault in faults)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'"fox"', b"[" * 100_000, b'{"prompt": "\xff"}']
)
def test_what_is_no_object_is_refused(one: Front, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    said = detail(one.client.post(PATH, content=body, headers=headers), 400)
    assert "JSON object" in said["error"]


def test_a_form_that_is_none_is_refused(one: Front) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    detail(one.client.post(PATH, content=b"nothing", headers=headers), 400)


def test_what_the_model_finds_wrong_is_the_clients_to_mend(model: TextToImage) -> None:
    with pytest.raises(deepinfra.BadRequestError) as raised:
        model.generate({"prompt": "bad"})
    assert raised.value.message == "image: it is not a picture"


@pytest.mark.parametrize(
    ("prompt", "what", "status"),
    [
        ("bad and unlucky", ("break", "fail"), 400),
        ("flagged", ("nsfw",), 400),
        ("strange", ("err",), 500),
        ("deadly", ("break",), 500),
    ],
)
def test_only_what_the_client_can_mend_is_its_fault(
    one: Front, cog: CogServer, prompt: str, what: tuple[str, ...], status: int
) -> None:
    cog.tell(prompt, *what)
    detail(one.client.post(PATH, json={"prompt": prompt}), status)


def test_a_model_that_is_not_there_is_not_found(one: Front) -> None:
    for name, says in (
        ("a/b", "There is no model a/b"),
        ("stabilityai/stable-diffusion-x4-upscaler", "does not run here"),
    ):
        with (
            client(one, f"/v1/inference/{name}") as model,
            pytest.raises(deepinfra.NotFoundError, match=says),
        ):
            model.generate({"prompt": "fox"})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lora", "some/lora"),
        ("lora_scale", True),
        ("webhook", 3),
        ("webhook", "file:///etc/passwd"),
    ],
)
def test_what_can_not_be_had_is_refused_and_not_ignored(
    one: Front, cog: CogServer, field: str, value: object
) -> None:
    before = len(cog.runs)
    faults = detail(one.client.post(PATH, json={"prompt": "fox", field: value}), 422)
    assert [fault["loc"][-1] for fault in faults] == [field]
    assert len(cog.runs) == before


def test_a_file_that_is_no_picture_is_named(one: Front) -> None:
    file = {"image": ("cat.png", b"no picture", "image/png")}
    faults = detail(one.client.post(PATH, data={"prompt": "fox"}, files=file), 422)
    assert [fault["loc"] for fault in faults] == [["body", "image"]]


def test_tokens_queues_and_rates_have_their_errors(cog: CogServer, tmp_path: Path) -> None:
    cog.tell("endless", "hold")
    with front(tmp_path, cog, queue_limit=1) as one:
        token = one.token("ada")["authorization"].partition(" ")[2]
        with (
            client(one, token="wrong") as stranger,
            pytest.raises(deepinfra.AuthenticationError, match="valid token"),
        ):
            stranger.generate({"prompt": "fox"})
        with client(one, token=token) as model:
            model.generate({"prompt": "endless", "webhook": "https://example.com/hook"})
            with pytest.raises(deepinfra.RateLimitError, match="1 unfinished"):
                model.generate({"prompt": "fox"})
        cog.let_go("endless")


def test_files_beyond_what_a_token_may_keep_are_its_error(cog: CogServer, tmp_path: Path) -> None:
    asked = {"prompt": "fox", "image": data_url(pixels("image", 1) + bytes(2**20))}
    with front(tmp_path, cog, kept_megabytes=1) as one:
        answer = one.client.post(PATH, json=asked)
        assert answer.status_code == 413
        assert "together they may have 1 MiB" in answer.json()["detail"]["error"]
        assert "together they may have 1 MiB" in answer.json()["error"]


def test_who_hangs_up_cancels_it(one: Front, cog: CogServer) -> None:
    cog.tell("endless 2", "hold")
    with pytest.raises(httpx2.ReadTimeout):
        one.client.post(PATH, json={"prompt": "endless 2"}, timeout=1)
    wait_until(lambda: cog.runs_of("endless 2") and cog.runs_of("endless 2")[0].cancelled)


def test_the_schema_says_what_a_part_of_a_form_is_and_not_how_it_travels(one: Front) -> None:
    parts = {
        "prompt": ("prompt.txt", "ein grüner Fuchs".encode(), "text/plain"),
        "seed": ("", b"7", "application/octet-stream"),
        "image": ("cat.png", CAT, "image/png"),
    }
    as_files = one.client.post(PATH, files=parts)
    as_text = one.client.post(
        PATH,
        data={"prompt": "ein grüner Fuchs", "seed": "7"},
        files={"image": ("cat.png", CAT, "image/png")},
    )
    assert as_files.status_code == as_text.status_code == 200, as_files.text
    assert as_files.json()["images"] == as_text.json()["images"]
    assert as_files.json()["seed"] == 7


def test_what_is_left_empty_in_a_form_is_left_out(one: Front) -> None:
    empty = {"prompt": "fox", "seed": "", "guidance_scale": "", "scheduler": ""}
    chosen_nothing = {"image": ("", b"", "application/octet-stream")}
    answer = one.client.post(PATH, data=empty, files=chosen_nothing)
    assert answer.status_code == 200, answer.text
    assert answer.json()["images"]


def test_a_file_that_is_no_text_is_no_prompt(one: Front) -> None:
    answer = one.client.post(PATH, files={"prompt": ("a.bin", b"\xff\xfe\xfd", "text/plain")})
    assert answer.status_code == 422
    assert detail(answer, 422) == [
        {
            "loc": ["body", "prompt"],
            "msg": "The text is not in UTF-8; give it in UTF-8",
            "type": "invalid_type",
        }
    ]


def form(*parts: bytes) -> dict[str, Any]:
    """A form of parts that are named as given, which clients don't send by themselves."""
    lines = (b"--b\r\nContent-Disposition: form-data; name=" + part + b"\r\n" for part in parts)
    headers = {"content-type": "multipart/form-data; boundary=b"}
    return {"content": b"".join(lines) + b"--b--\r\n", "headers": headers}


@pytest.mark.parametrize("name", ["image", "init_image"])
@pytest.mark.parametrize("kind", [b"Content-Type: image/png\r\n", b""])
def test_a_picture_needs_no_file_name(one: Front, cog: CogServer, kind: bytes, name: str) -> None:
    part = name.encode() + b"\r\n" + kind + b"\r\n" + CAT
    answer = one.client.post(PATH, **form(b"prompt\r\n\r\nfox", part))
    assert answer.status_code == 200, answer.text
    assert sent(cog)["image"] == data_url(CAT)


def test_a_picture_without_a_file_name_may_be_a_url_or_be_left_empty(
    one: Front, cog: CogServer
) -> None:
    for image, expected in ((data_url(CAT), {"image": data_url(CAT)}), ("", {})):
        part = b"image\r\n\r\n" + image.encode()
        answer = one.client.post(PATH, **form(b"prompt\r\n\r\nfox", b"seed\r\n\r\n7", part))
        assert answer.status_code == 200, answer.text
        assert sent(cog) == {"prompt": "fox", "seed": 7, **expected}
    answer = one.client.post(PATH, **form(b"prompt\r\n\r\nfox", b"image\r\n\r\n\xe4\xff"))
    assert "is not a picture" in detail(answer, 422)[0]["msg"]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (form(b"prompt\r\n\r\nB\xe4r"), "prompt"),
        (form(b"B\xe4r\r\n\r\nfox"), "B\ufffdr"),
        (form(b"prompt\r\n\r\nfox", b'image; filename="B\xe4r"\r\n\r\nfox'), "image.filename"),
        (form(b'prompt; filename="a"\r\n\r\nB\xe4r'), "prompt"),
        ({"content": b"prompt=B%E4r"}, "prompt"),
        ({"content": b"prompt=B\xe4r"}, "prompt"),
        ({"content": b"B%E4r=fox"}, "B\ufffdr"),
    ],
)
def test_a_text_that_is_not_in_utf_8_is_refused_by_its_field_in_every_form(
    one: Front, asked: dict[str, Any], field: str
) -> None:
    urlencoded = {"content-type": "application/x-www-form-urlencoded; charset=latin-1"}
    answer = one.client.post(PATH, **{"headers": urlencoded, **asked})
    (fault,) = detail(answer, 422)
    assert fault["loc"] == ["body", *field.split(".")]
    assert fault["msg"] == "The text is not in UTF-8; give it in UTF-8"


@pytest.mark.parametrize("text", ["prompt=ein+gr%C3%BCner+Fuchs", "prompt=ein+grüner+Fuchs"])
def test_an_urlencoded_form_is_in_utf_8(one: Front, cog: CogServer, text: str) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert one.client.post(PATH, content=text.encode(), headers=headers).status_code == 200
    assert sent(cog)["prompt"] == "ein grüner Fuchs"
