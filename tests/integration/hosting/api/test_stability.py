"""Stability AI's REST API: what is asked, what is drawn of it, and what is answered."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from hosting.api.stability import fields
from tests.support.front import Front, front, wait_until
from tests.support.pictures import EXAMPLES
from tools.fake_cog import CogServer, data_url, pixels

ENGINE = "/v1/generation/stable-diffusion-v1-5"
CAT = (EXAMPLES / "cat.png").read_bytes()
MASK = (EXAMPLES / "flower-mask.png").read_bytes()
FILE = ("cat.png", CAT, "image/png")


def draw(
    one: Front, *prompts: Any, headers: Mapping[str, str] = {}, **fields: Any
) -> httpx2.Response:
    body = {"text_prompts": list(prompts) or [{"text": "fox"}], **fields}
    return one.client.post(f"{ENGINE}/text-to-image", json=body, headers=dict(headers))


def change(one: Front, path: str, fields: dict[str, str], mask: bytes = b"") -> httpx2.Response:
    files: dict[str, Any] = {"init_image": FILE}
    if mask:
        files["mask_image"] = ("mask.png", mask)
    data = {"text_prompts[0][text]": "fox", **fields}
    return one.client.post(f"{ENGINE}/image-to-image{path}", data=data, files=files)


def sent(cog: CogServer, *left_aside: str) -> dict[str, Any]:
    """The inputs of the last prediction as the model had them."""
    inputs = cog.runs[-1].input
    return {name: value for name, value in inputs.items() if name not in left_aside}


def error(answer: httpx2.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    document = answer.json()
    assert document.keys() == {"id", "name", "message"}
    return str(document["message"])


# Text to image


def test_pictures_come_of_a_prompt(one: Front, cog: CogServer) -> None:
    asked: dict[str, Any] = {
        "cfg_scale": 7,
        "samples": 2,
        "steps": 30,
        "seed": 7,
        "sampler": "K_DPMPP_2M",
    }
    answer = draw(one, {"text": "fox", "weight": 1}, **asked, width=512, height=768)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "artifacts": [
            {
                "base64": base64.b64encode(pixels("fox", 7, index)).decode(),
                "finishReason": "SUCCESS",
                "seed": 7 + index,
            }
            for index in (0, 1)
        ],
        "warnings": [],
    }
    assert sent(cog) == {
        "prompt": "fox",
        "guidance_scale": 7,
        "num_images": 2,
        "num_inference_steps": 30,
        "seed": 7,
        "scheduler": "DPMSolverMultistep",
        "width": 512,
        "height": 768,
    }


def test_the_picture_itself_is_answered_where_it_is_accepted(one: Front) -> None:
    answer = draw(one, headers={"accept": "image/png"}, seed=7, cfg_scale=35)
    assert json.loads(answer.headers["x-warnings"]) == ["cfg_scale: 35 is drawn as 20"]
    assert answer.content == pixels("fox", 7)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["seed"] == "7"
    assert answer.headers["finish-reason"] == "SUCCESS"
    several = draw(one, headers={"accept": "image/png"}, samples=2)
    assert error(several, 400).startswith("samples: The answer is one picture")


def test_more_than_four_are_drawn_in_parts(one: Front) -> None:
    assert len(draw(one, samples=10).json()["artifacts"]) == 10
    assert "samples: 11 is not allowed" in error(draw(one, samples=11), 400)


def test_seed_0_is_random(one: Front, cog: CogServer) -> None:
    seeds = set()
    for seed in (0, 0, None):
        assert draw(one, seed=seed).status_code == 200
        seeds.add(sent(cog)["seed"])
    assert len(seeds) == 3


def test_what_is_beyond_ours_is_brought_to_the_nearest_and_said(one: Front, cog: CogServer) -> None:
    answer = draw(
        one,
        cfg_scale=35,
        width=1536,
        height=640,
        sampler="K_DPMPP_2S_ANCESTRAL",
        style_preset="anime",
    )
    assert answer.json()["warnings"] == [
        "cfg_scale: 35 is drawn as 20",
        "sampler: K_DPMPP_2S_ANCESTRAL is drawn as DPMSolverSinglestepSDE",
        "style_preset: has no effect here",
        "size: 1536x640 is drawn as 1024x448, the nearest there is here",
    ]
    inputs = sent(cog, "seed")
    assert inputs == {
        "prompt": "fox",
        "guidance_scale": 20,
        "scheduler": "DPMSolverSinglestepSDE",
        "width": 1024,
        "height": 448,
    }
    assert draw(one, cfg_scale=0).json()["warnings"] == ["cfg_scale: 0 is drawn as 1"]


@pytest.mark.parametrize(
    ("sampler", "inputs"),
    [
        ("K_LMS", {"scheduler": "KLMS"}),
        ("K_HEUN", {"scheduler": "K_HEUN"}),
        ("K_DPM_2_ANCESTRAL", {"scheduler": "K_DPM_2_ANCESTRAL"}),
        ("DDPM", {"scheduler": "DDIM", "eta": 1}),
    ],
)
def test_their_samplers_are_drawn_by_ours(
    one: Front, cog: CogServer, sampler: str, inputs: dict[str, Any]
) -> None:
    assert draw(one, sampler=sampler).json()["warnings"] == []
    assert sent(cog, "seed") == {"prompt": "fox", **inputs}


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        (["a (red)1.3 fox"], {"prompt": "a (red)1.3 fox"}),
        ([("fox", 0.5)], {"prompt": "fox"}),
        ([("fox", 1), ("red", -1)], {"prompt": "fox", "negative_prompt": "red"}),
        (
            [("fox", 1), ("C++ (dog)", 0.5), ("red", -0.25)],
            {
                "prompt": r'("fox", "C ++ \(dog\)").blend(0.6667, 0.3333)',
                "negative_prompt": '("red").blend(1.0000)',
                "use_compel": True,
            },
        ),
        (
            [("fox", 1), ("red", -1), ("blue", -2)],
            {
                "prompt": '("fox").blend(1.0000)',
                "negative_prompt": '("red", "blue").blend(0.3333, 0.6667)',
                "use_compel": True,
            },
        ),
        (
            [("fox", 0.00001), ("dog", 0.00001)],
            {"prompt": '("fox", "dog").blend(0.5000, 0.5000)', "use_compel": True},
        ),
        ([("fox", 1), ("nothing", 0), ("  ", 2)], {"prompt": "fox"}),
    ],
)
def test_prompts_become_one_and_those_not_wanted_the_negative_one(
    one: Front, cog: CogServer, prompts: list[Any], expected: dict[str, Any]
) -> None:
    given = [
        {"text": one} if isinstance(one, str) else dict(zip(("text", "weight"), one, strict=True))
        for one in prompts
    ]
    assert draw(one, *given).status_code == 200
    assert sent(cog, "seed") == expected


# Image to image


@pytest.mark.parametrize(
    ("fields", "strength"),
    [
        ({}, 0.65),
        ({"image_strength": "0.2"}, 0.8),
        ({"image_strength": "1"}, 0),
        ({"init_image_mode": "IMAGE_STRENGTH", "image_strength": "0"}, 1),
        ({"init_image_mode": "STEP_SCHEDULE", "step_schedule_start": "0.6"}, 0.4),
        ({"init_image_mode": "STEP_SCHEDULE"}, 0.35),
    ],
)
def test_the_strength_of_the_image_is_the_opposite_of_ours(
    one: Front, cog: CogServer, fields: dict[str, str], strength: float
) -> None:
    answer = change(one, "", fields)
    assert answer.status_code == 200, answer.text
    assert sent(cog, "seed") == {
        "prompt": "fox",
        "image": data_url(CAT),
        "strength": strength,
    }


def test_a_forms_prompts_have_weights(one: Front, cog: CogServer) -> None:
    more = {"text_prompts[1][text]": "red", "text_prompts[1][weight]": "-1", "samples": "2"}
    assert change(one, "", more).status_code == 200
    assert sent(cog)["negative_prompt"] == "red"
    assert sent(cog)["num_images"] == 2


@pytest.mark.parametrize(
    ("source", "mask", "expected"),
    [
        ("MASK_IMAGE_WHITE", MASK, {"mask": data_url(MASK)}),
        ("MASK_IMAGE_BLACK", MASK, {"mask": data_url(MASK), "invert_mask": True}),
    ],
)
def test_a_mask_says_what_is_replaced(
    one: Front, cog: CogServer, source: str, mask: bytes, expected: dict[str, Any]
) -> None:
    answer = change(one, "/masking", {"mask_source": source}, mask)
    assert answer.status_code == 200, answer.text
    assert sent(cog, "seed") == {
        "prompt": "fox",
        "image": data_url(CAT),
        "strength": 1,
        **expected,
    }


def test_which_part_of_an_image_is_drawn_may_be_said_besides(one: Front, cog: CogServer) -> None:
    asked = {"mask_source": "MASK_IMAGE_WHITE", "crop": "0,0,64,64", "resize_mode": "pad"}
    asked |= {"only_masked": "true", "only_masked_padding": "8", "mask_grow": "-4"}
    answer = change(one, "/masking", asked, CAT)
    assert answer.status_code == 200, answer.text
    drawn = {"crop": "0,0,64,64", "resize_mode": "pad", "mask_grow": -4}
    drawn |= {"only_masked": True, "only_masked_padding": 8}
    assert sent(cog).items() >= drawn.items()
    assert change(one, "", {"extend_left": "64", "keep_size": "true"}).status_code == 200
    assert sent(cog).items() >= {"extend_left": 64, "keep_size": True}.items()


def test_every_input_that_has_no_name_there_may_be_given_by_ours(
    one: Front, cog: CogServer
) -> None:
    properties = cog.schema["components"]["schemas"]["Input"]["properties"]
    theirs = {*fields.NAMES, *("strength", "width", "height", "seed", "use_compel")}
    theirs |= {"mask_source", "invert_mask", "output_format"}  # which other fields of theirs say
    theirs |= {"model"}  # which the path says
    assert set(properties) == {name for name in properties if name in fields.OURS} | theirs
    asked: dict[str, Any] = {"refine_scale": 2, "refine_strength": 0.5, "refine_steps": 9}
    asked |= {"tiling": True, "spacing": "karras", "resample": "nearest", "result_size": "520x776"}
    assert draw(one, **asked).status_code == 200
    assert sent(cog).items() >= asked.items()


def test_an_image_is_its_own_mask_by_its_transparency(one: Front, cog: CogServer) -> None:
    asked = {"mask_source": "INIT_IMAGE_ALPHA"}
    assert "init_image: It has no transparency" in error(change(one, "/masking", asked), 400)
    for picture in (Image.new("RGBA", (8, 8)), Image.new("P", (8, 8))):
        file = io.BytesIO()
        picture.save(file, "PNG", **({"transparency": 0} if picture.mode == "P" else {}))
        files = {"init_image": ("a.png", file.getvalue())}
        data = {"text_prompts[0][text]": "fox", **asked}
        path = f"{ENGINE}/image-to-image/masking"
        assert one.client.post(path, data=data, files=files).status_code == 200
        assert (sent(cog)["mask"], sent(cog)["mask_source"]) == (sent(cog)["image"], "alpha")


def test_what_the_model_says_of_its_inputs_is_in_the_answer(one: Front, cog: CogServer) -> None:
    cog.tell("noted", "note")
    answer = draw(one, {"text": "noted"}, samples=6)
    said = ["text_prompts: its end is left out", "init_image: it is small"]
    assert answer.json()["warnings"] == said
    answer = draw(one, {"text": "noted"}, headers={"accept": "image/png"})
    assert json.loads(answer.headers["x-warnings"]) == said


def test_an_image_is_upscaled_where_an_upscaler_is_served(one: Front, tmp_path: Path) -> None:
    path = "/v1/generation/stable-diffusion-x4-latent-upscaler/image-to-image/upscale"
    asked: dict[str, Any] = {"data": {"width": "1024"}, "files": {"image": FILE}}
    assert "Nothing that runs here does this" in error(one.client.post(path, **asked), 404)
    other_engine = path.replace("stable-diffusion-x4-latent-upscaler", "stable-diffusion-2-1")
    said = error(one.client.post(other_engine, **asked), 404)
    assert said == "stable-diffusion-2-1 does not do this; see /v1/engines/list"
    with CogServer("upscale").served() as upscaler, front(tmp_path, upscaler) as other:
        answer = other.client.post(path, **asked)
        assert answer.status_code == 200, answer.text
        assert answer.json()["warnings"][0].startswith("size: has no effect here")
        assert sent(upscaler, "seed") == {"prompt": "", "image": data_url(CAT)}
        upscaler.tell("bad", "fail")
        answer = other.client.post(
            path, data={"text_prompts[0][text]": "bad"}, files=asked["files"]
        )
        assert error(answer, 400) == "image: it is not a picture"


# The rest


def test_engines_account_and_balance(one: Front) -> None:
    engines = one.client.get("/v1/engines/list").json()
    assert {"stable-diffusion-v1-5", "stable-diffusion-2-1"} <= {one["id"] for one in engines}
    assert all(one["type"] == "PICTURE" for one in engines)
    assert one.client.get("/v1/user/account").json()["id"]
    assert one.client.get("/v1/user/balance").json()["credits"] > 0


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"text_prompts": None}, "text_prompts: Give at least one"),
        ({"text_prompts": "fox"}, "give a list of objects"),
        ({"text_prompts": [{"text": 7}]}, "text_prompts[0][text]: Give a text"),
        ({"text_prompts": [{"text": "a", "weight": 11}]}, "give a number from -10 to 10"),
        ({"text_prompts": [{"text": "a", "weight": -1}]}, "weight is above 0"),
        ({"cfg_scale": "much"}, 'cfg_scale: "much" is not allowed; give a number'),
        ({"steps": 1000}, "steps: 1000 is not allowed"),
        ({"sampler": "MAGIC"}, 'sampler: "MAGIC" is not allowed; give one of'),
        ({"width": 0}, "width: Give a number from 1 on"),
        ({"text_prompts": [{"text": "bad"}]}, "init_image: it is not a picture"),
    ],
)
def test_what_is_wrong_is_named_as_the_client_names_it(
    one: Front, fields: dict[str, Any], says: str
) -> None:
    assert says in error(draw(one, **fields), 400)


@pytest.mark.parametrize(
    ("path", "fields", "says"),
    [
        ("", {"image_strength": "2"}, "image_strength: 2.0 is not allowed"),
        ("", {"init_image_mode": "ALL"}, "give IMAGE_STRENGTH or STEP_SCHEDULE"),
        ("/masking", {}, "mask_source: null is not allowed"),
        ("/masking", {"mask_source": "MASK_IMAGE_WHITE"}, "mask_image is required"),
    ],
)
def test_what_is_wrong_with_an_image_is_named(
    one: Front, path: str, fields: dict[str, str], says: str
) -> None:
    assert says in error(change(one, path, fields), 400)


def test_strangers_have_their_error(cog: CogServer, tmp_path: Path) -> None:
    with front(tmp_path, cog) as one:
        one.token("ada")
        assert "valid token" in error(draw(one), 401)
        assert "valid token" in error(one.client.get("/v1/user/balance"), 401)


def test_who_hangs_up_cancels_it(one: Front, cog: CogServer) -> None:
    cog.tell("endless", "hold")
    body = {"text_prompts": [{"text": "endless"}]}
    with pytest.raises(httpx2.ReadTimeout):
        one.client.post(f"{ENGINE}/text-to-image", json=body, timeout=1)
    wait_until(lambda: cog.runs_of("endless") and cog.runs_of("endless")[0].cancelled)
