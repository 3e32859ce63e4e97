"""OpenAI's API of images: what is asked, what is drawn of it, and what is answered."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.front import Front, front, wait_until
from tests.support.pictures import EXAMPLES
from tools.fake_cog import CogServer, data_url, pixels

ROOTS = ("/v1", "/v1/openai")
CAT = (EXAMPLES / "cat.png").read_bytes()
MASK = (EXAMPLES / "flower-mask.png").read_bytes()
FILE = ("cat.png", CAT, "image/png")


@pytest.fixture(scope="module")
def cog(everywhere: None) -> Iterator[CogServer]:
    with CogServer().served() as cog:
        cog.tell("bad", "fail")
        cog.tell("flagged", "nsfw")
        cog.tell("strange", "err")
        yield cog


def generate(one: Front, **fields: Any) -> httpx2.Response:
    return one.client.post("/v1/images/generations", json={"prompt": "fox", **fields})


def edit(one: Front, *files: tuple[str, Any], **fields: Any) -> httpx2.Response:
    data = {"prompt": "fox", **fields}
    return one.client.post("/v1/images/edits", data=data, files=list(files) or [("image", FILE)])


def sent(cog: CogServer, *left_aside: str) -> dict[str, Any]:
    """The inputs of the last prediction as the model had them."""
    inputs = cog.runs[-1].input
    return {name: value for name, value in inputs.items() if name not in left_aside}


def error(answer: httpx2.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    document = answer.json()
    assert document.keys() == {"error"}
    found: dict[str, Any] = document["error"]
    assert found.keys() == {"message", "type", "param", "code"}
    return found


# What is drawn


@pytest.mark.parametrize("root", ROOTS)
def test_pictures_come_of_a_prompt(one: Front, cog: CogServer, root: str) -> None:
    asked = {"prompt": "fox", "n": 2, "seed": 7}
    answer = one.client.post(f"{root}/images/generations", json=asked)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert sent(cog) == {"prompt": "fox", "num_images": 2, "seed": 7}
    drawn = [pixels("fox", 7, index) for index in (0, 1)]
    assert [base64.b64decode(image["b64_json"]) for image in document["data"]] == drawn
    assert [one.client.get(image["url"]).content for image in document["data"]] == drawn
    assert [image["seed"] for image in document["data"]] == [7, 8]
    assert document["warnings"] == []
    made = one.client.get(f"/v1/predictions/{document['id']}").json()
    assert made["status"] == "succeeded"
    assert answer.headers["x-request-id"] == made["id"]


@pytest.mark.parametrize(
    ("wanted", "keys"),
    [
        ({}, {"url", "b64_json"}),
        ({"response_format": None}, {"url", "b64_json"}),
        ({"response_format": "url"}, {"url"}),
        ({"response_format": "b64_json"}, {"b64_json"}),
        ({"response_format": "base64"}, {"b64_json"}),
    ],
)
def test_pictures_are_links_base64_or_both(
    one: Front, wanted: dict[str, Any], keys: set[str]
) -> None:
    (image,) = generate(one, **wanted).json()["data"]
    assert image.keys() & {"url", "b64_json"} == keys


@pytest.mark.parametrize("model", ["dall-e-2", "dall-e-3", "gpt-image-1.5", "anybody's/model", ""])
def test_any_model_name_is_taken(one: Front, cog: CogServer, model: str) -> None:
    assert generate(one, model=model).status_code == 200


@pytest.mark.parametrize(
    ("given", "size", "says"),
    [
        ("512x768", "512x768", ""),
        ("1024x1024", "1024x1024", ""),
        (
            "1792x1024",
            "1024x576",
            "size: 1792x1024 is drawn as 1024x576, the nearest there is here",
        ),
        ("1024x1792", "576x1024", "1024x1792 is drawn as 576x1024"),
        ("1536x1024", "1024x704", "1536x1024 is drawn as 1024x704"),
        ("500x500", "512x512", "500x500"),
        ("1x1", "64x64", "1x1"),
        ("20000x10", "1024x64", "20000x10"),
    ],
)
def test_a_size_is_the_nearest_there_is_and_the_answer_says_so(
    one: Front, cog: CogServer, given: str, size: str, says: str
) -> None:
    document = generate(one, size=given).json()
    assert document["size"] == size
    assert f"{sent(cog)['width']}x{sent(cog)['height']}" == size
    assert says in "".join(document["warnings"])
    assert bool(document["warnings"]) == bool(says)


@pytest.mark.parametrize("size", ["auto", "", None])
def test_a_size_may_be_left_to_the_model(one: Front, cog: CogServer, size: str | None) -> None:
    document = generate(one, size=size).json()
    assert not sent(cog).keys() & {"width", "height"}
    assert document["size"] == "2x2"  # the picture's own
    assert document["warnings"] == []


def test_what_the_model_says_of_its_inputs_is_in_the_answer(one: Front, cog: CogServer) -> None:
    cog.tell("noted", "note")
    said = ["prompt: its end is left out", "image: it is small"]
    assert generate(one, prompt="noted", n=6).json()["warnings"] == said
    said[1] = "image_url: it is small"
    assert generate(one, prompt="noted", image_url=data_url(CAT)).json()["warnings"] == said


def test_a_model_that_is_not_there_is_their_error(one: Front) -> None:
    answer = one.client.get("/v1/models/nobody")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_what_the_model_takes_may_be_given_besides_and_what_it_does_not_is_ignored(
    one: Front, cog: CogServer
) -> None:
    ours = {"negative_prompt": "red", "guidance_scale": 3, "scheduler": "DDIM", "seed": 0}
    theirs = {"quality": "hd", "style": "vivid", "user": "ann", "background": "transparent"}
    theirs |= {"moderation": "low", "partial_images": 0, "stream": False}  # type: ignore[dict-item]
    answer = generate(one, **ours, **theirs, num_inference_steps=9)
    assert answer.status_code == 200, answer.text
    assert sent(cog) == {"prompt": "fox", **ours, "num_inference_steps": 9}


def test_their_names_for_what_we_have_are_taken(one: Front, cog: CogServer) -> None:
    answer = generate(
        one, steps=9, width=500, height=500, output_format="jpeg", output_compression=80, n=1
    )
    assert answer.status_code == 200, answer.text
    expected = {"prompt": "fox", "num_inference_steps": 9, "num_images": 1}
    expected |= {"width": 512, "height": 512, "output_format": "jpg", "output_quality": 80}
    assert sent(cog, "seed") == expected


def test_a_picture_may_be_a_url_of_a_generation(one: Front, cog: CogServer) -> None:
    assert generate(one, image_url=data_url(CAT)).status_code == 200
    assert sent(cog, "seed") == {"prompt": "fox", "image": data_url(CAT)}


def test_more_than_four_are_drawn_in_parts(one: Front, cog: CogServer) -> None:
    begun = len(cog.runs)
    document = generate(one, n=10, seed=7, response_format="b64_json").json()
    assert [run.input["num_images"] for run in cog.runs[begun:]] == [4, 4, 2]
    assert [image["seed"] for image in document["data"]] == list(range(7, 17))
    assert len({image["b64_json"] for image in document["data"]}) == 10


def test_how_many_is_a_setting(cog: CogServer, tmp_path: Path) -> None:
    with front(tmp_path, cog, most_images=2) as one:
        assert generate(one, n=2).status_code == 200
        said = error(generate(one, n=3), 400)
        assert said["param"] == "n"
        assert said["message"] == "n: 3 is not allowed; give a whole number from 1 to 2"
        named = generate(
            one, n=10, model="stability-ai/stable-diffusion-img2img", image=data_url(CAT)
        )
        assert error(named, 400)["param"] == "n"


# Edits and variations


@pytest.mark.parametrize("name", ["image", "image[]"])
def test_an_edit_draws_from_its_image(one: Front, cog: CogServer, name: str) -> None:
    answer = edit(one, (name, FILE), n="1", strength="0.5", size="auto")
    assert answer.status_code == 200, answer.text
    assert sent(cog, "seed") == {
        "prompt": "fox",
        "image": data_url(CAT),
        "num_images": 1,
        "strength": 0.5,
    }


def test_an_edit_without_a_mask_has_the_models_own_strength(one: Front, cog: CogServer) -> None:
    edit(one)
    assert sent(cog, "seed") == {"prompt": "fox", "image": data_url(CAT)}


def test_a_mask_is_read_as_they_mean_it(one: Front, cog: CogServer) -> None:
    files = ("image", FILE), ("mask", ("mask.png", MASK, "image/png"))
    assert edit(one, *files).status_code == 200
    assert sent(cog, "seed", "prompt") == {
        "image": data_url(CAT),
        "mask": data_url(MASK),
        "mask_source": "alpha",
        "strength": 1,
    }
    assert edit(one, *files, mask_source="brightness", strength="0.5").status_code == 200
    assert (sent(cog)["mask_source"], sent(cog)["strength"]) == ("brightness", 0.5)


@pytest.mark.parametrize("name", ["image", "image[]"])
def test_of_several_images_the_first_is_drawn_from_and_the_answer_says_so(
    one: Front, cog: CogServer, name: str
) -> None:
    answer = edit(one, (name, FILE), (name, ("b.png", MASK, "image/png")))
    assert answer.status_code == 200, answer.text
    assert sent(cog)["image"] == data_url(CAT)
    assert answer.json()["warnings"] == [
        "image: of 2 images the first is drawn from; the model takes no more"
    ]


def test_a_variation_needs_no_prompt(one: Front, cog: CogServer) -> None:
    answer = one.client.post("/v1/images/variations", files={"image": FILE})
    assert answer.status_code == 200, answer.text
    assert sent(cog, "seed") == {"prompt": "", "image": data_url(CAT)}


def test_a_known_name_chooses_the_model_and_a_mask_the_best_for_any_other(tmp_path: Path) -> None:
    with (
        CogServer("img2img").served() as drawing,
        CogServer("inpainting").served() as inpainting,
        front(tmp_path, drawing, inpainting) as one,
    ):
        files = ("image", FILE), ("mask", ("mask.png", MASK, "image/png"))
        edit(one, *files)
        edit(one)
        edit(one, *files, model="stabilityai/stable-diffusion-2-1")
        generate(one, model="stable-diffusion-2-1")
        assert len(inpainting.runs) == 1
        assert len(drawing.runs) == 3
        said = error(generate(one, model="stabilityai/stable-diffusion-x4-upscaler"), 404)
        assert said["code"] == "model_not_found"


def test_an_upscaler_says_that_a_size_has_no_effect(tmp_path: Path) -> None:
    with CogServer("upscale").served() as cog, front(tmp_path, cog) as one:
        name = "stabilityai/stable-diffusion-x4-upscaler"
        document = edit(one, model=name, size="1024x1024").json()
        assert document["size"] == "2x2"  # the picture's own
        assert "has no effect" in document["warnings"][0]
        assert error(generate(one), 404)["message"].startswith("Nothing that runs here does this")


def test_a_picture_that_was_flagged_is_said(
    one: Front, monkeypatch: pytest.MonkeyPatch, cog: CogServer
) -> None:
    from tools import fake_cog

    drawn = fake_cog._image

    def image(run: Any, index: int, file: str | None = None) -> dict[str, Any]:
        return drawn(run, index, None if index == 0 else file)

    async def no_first(send: Any, run: Any, what: str) -> None:
        url = data_url(pixels(run.prompt, run.input["seed"], 1))
        await fake_cog._metric(send, "images", [image(run, index, "a.png") for index in (0, 1)])
        await fake_cog._event(send, "output", {"chunk": url})
        run.status = "succeeded"
        await cog._complete(send, run)

    monkeypatch.setattr(cog, "_draw", no_first)
    document = generate(one, n=2, seed=7, response_format="b64_json").json()
    assert [(image["index"], image["seed"]) for image in document["data"]] == [(1, 8)]
    assert document["warnings"] == ["Of the 2 images, 1 had NSFW content and was left out"]


# Models


def test_one_document_lists_the_models_for_both(one: Front) -> None:
    document = one.client.get("/v1/models").json()
    names = [f"{model['owner']}/{model['name']}" for model in document["results"]]
    assert document["object"] == "list"
    assert [model["id"] for model in document["data"]] == names
    assert all(model["object"] == "model" for model in document["data"])
    assert document["data"] == one.client.get("/v1/openai/models").json()["data"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/stable-diffusion-2-1",
        "/v1/models/stability-ai/stable-diffusion-2-1",
        "/v1/models/stability-ai%2Fstable-diffusion-2-1",
        "/v1/openai/models/stability-ai/stable-diffusion-2-1",
        "/v1/openai/models/stabilityai%2Fstable-diffusion-2-1",
    ],
)
def test_a_model_is_found_by_its_name(one: Front, path: str) -> None:
    document = one.client.get(path).json()
    assert document["id"].endswith("stable-diffusion-2-1")
    assert document["object"] == "model"
    assert isinstance(document["created"], int)


def test_a_model_that_is_not_there_is_not_found(one: Front) -> None:
    said = error(one.client.get("/v1/openai/models/a/b"), 404)
    assert said["message"] == "There is no model a/b"
    assert one.client.get("/v1/models/dall-e-2").status_code == 404


# Errors


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"prompt": None}, "prompt", "prompt is required"),
        ({"n": 11}, "n", "n: 11 is not allowed; give a whole number from 1 to 10"),
        ({"n": "many"}, "n", '"many" is not allowed'),
        ({"size": "large"}, "size", 'size: "large" is not allowed; give auto'),
        ({"size": "0x512"}, "size", "size"),
        ({"size": 512}, "size", "size"),
        ({"stream": True}, "stream", "stream: Pictures are not streamed"),
        ({"response_format": "png"}, "response_format", "give url or b64_json"),
        ({"model": 7}, "model", "give a model's name"),
        ({"steps": 1000}, "steps", "steps: 1000 is not allowed"),
        ({"output_compression": 101}, "output_compression", "101"),
        ({"image_url": "file:///etc/passwd"}, "image_url", "image_url"),
        ({"strength": 2}, "strength", "strength: 2 is not allowed"),
    ],
)
def test_what_is_wrong_is_named_as_the_client_names_it(
    one: Front, cog: CogServer, fields: dict[str, Any], param: str, says: str
) -> None:
    begun = len(cog.runs)
    said = error(generate(one, **fields), 400)
    assert said["type"] == "invalid_request_error"
    assert said["param"] == param
    assert says in said["message"]
    assert len(cog.runs) == begun


def test_an_edit_needs_an_image_that_is_one(one: Front) -> None:
    answer = one.client.post("/v1/images/edits", data={"prompt": "fox"})
    assert error(answer, 400)["param"] == "image"
    said = error(edit(one, ("image[]", ("a.png", b"no picture", "image/png"))), 400)
    assert said["param"] == "image[]"
    assert "is not a picture" in said["message"]


def test_what_failed_is_not_to_be_tried_again(one: Front) -> None:
    for prompt, status, code in (
        ("bad", 400, "invalid_value"),
        ("flagged", 400, "content_policy_violation"),
        ("strange", 500, None),
    ):
        answer = generate(one, prompt=prompt)
        assert error(answer, status)["code"] == code
        assert answer.headers["x-should-retry"] == "false"


def test_tokens_queues_and_rates_have_their_errors(cog: CogServer, tmp_path: Path) -> None:
    cog.tell("endless", "hold")
    with front(tmp_path, cog, queue_limit=1) as one:
        token = one.token("ada")
        said = error(generate(one), 401)
        assert (said["type"], said["code"]) == ("authentication_error", "invalid_api_key")
        one.client.headers.update(token)
        one.client.post(
            "/predictions",
            json={"input": {"prompt": "endless"}},
            headers={"prefer": "respond-async"},
        )
        answer = generate(one)
        assert error(answer, 429)["type"] == "rate_limit_error"
        assert answer.headers["retry-after"] == "5"
        cog.let_go("endless")


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/openai/images/edits"])
@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 100_000])
def test_what_is_no_object_is_refused(one: Front, path: str, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    said = error(one.client.post(path, content=body, headers=headers), 400)
    assert "JSON object" in said["message"]


def test_who_hangs_up_cancels_it(one: Front, cog: CogServer) -> None:
    cog.tell("endless 2", "hold")
    with pytest.raises(httpx2.ReadTimeout):
        one.client.post("/v1/images/generations", json={"prompt": "endless 2"}, timeout=1)
    wait_until(lambda: cog.runs_of("endless 2") and cog.runs_of("endless 2")[0].cancelled)


def test_a_deadline_ends_it(one: Front, cog: CogServer) -> None:
    assert error(_with_deadline(one, "soon"), 400)["param"] == "Cancel-After"
    assert _with_deadline(one, "30s").status_code == 200


def _with_deadline(one: Front, text: str) -> httpx2.Response:
    return one.client.post(
        "/v1/images/generations", json={"prompt": "fox"}, headers={"cancel-after": text}
    )
