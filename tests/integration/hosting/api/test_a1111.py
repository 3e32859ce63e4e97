"""AUTOMATIC1111's API, by the unmodified client of PyPI and by what the sources of others send."""

from __future__ import annotations

import base64
import doctest
import io
import json
import socket
import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests.support.front import Front, front, said, unresolved, wait_until
from tests.support.pictures import EXAMPLES
from tests.support.published_clients import FOLDER, Example, examples, run
from tools.attacks import values
from tools.fake_cog import CogServer, data_url, pixels

ROOT = "/sdapi/v1"
CAT = (EXAMPLES / "cat.png").read_bytes()
BASE64 = base64.b64encode(CAT).decode()
BODIES: list[dict[str, Any]] = json.loads((FOLDER / "automatic1111.json").read_text())


def post(one: Front, path: str, **body: Any) -> httpx2.Response:
    headers = {"content-type": "application/json"}
    return one.client.post(f"{ROOT}/{path}", content=json.dumps(body), headers=headers)


def drawn(one: Front, path: str = "txt2img", **body: Any) -> dict[str, Any]:
    """The answer to a request that is drawn, with its `info` read."""
    answer = post(one, path, **{"prompt": "fox", **body})
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return {**document, "info": json.loads(document["info"])}


def sent(cog: CogServer) -> dict[str, Any]:
    """The inputs of the last prediction as the model had them."""
    return cog.runs[-1].input


def refused(answer: httpx2.Response, status: int) -> Any:
    """What an error's `detail` says."""
    assert answer.status_code == status, answer.text
    document = answer.json()
    assert document.keys() == {"error", "detail", "body", "errors"}
    return document["detail"]


def colours(picture: bytes) -> bytes:
    with Image.open(io.BytesIO(picture)) as image:
        return image.tobytes()


# Its clients


@pytest.mark.parametrize(
    "example", [pytest.param(one, id=one.title) for one in examples("webuiapi.md")]
)
def test_what_its_clients_documentation_shows_works(
    example: Example, cog: CogServer, tmp_path: Path
) -> None:
    (tmp_path / "cat.png").write_bytes(CAT)
    with front(tmp_path / "data", cog) as one:
        token = one.token("ann")["authorization"].removeprefix("Bearer ")
        printed = run("webuiapi", example, tmp_path, BASE_URL=f"{one.url}{ROOT}", TOKEN=token)
    checker = doctest.OutputChecker()
    assert checker.check_output(example.printed, printed, doctest.ELLIPSIS), printed


@pytest.mark.parametrize("known", [pytest.param(one, id=one["client"]) for one in BODIES])
def test_what_the_sources_of_others_send_is_drawn(
    known: dict[str, Any], one: Front, cog: CogServer
) -> None:
    content = json.dumps(known["body"]).replace("BASE64", BASE64).encode()
    kind = known["content_type"]
    headers = {"content-type": kind} if kind else {}
    answer = one.client.post(f"{ROOT}/{known['path']}", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    expected = {
        name: data_url(CAT, "application/octet-stream") if value == "DATA URL" else value
        for name, value in known["drawn"].items()
    }
    had = sent(cog)
    if "image" in expected:
        assert base64.b64decode(had["image"].partition(",")[2]) == CAT
        del expected["image"]
    assert {name: had[name] for name in expected} == expected
    document = answer.json()
    info = json.loads(document["info"])
    assert info["warnings"] == known["warnings"]
    for index, image in enumerate(document["images"]):
        picture = pixels("a fox", info["seed"], index)
        assert colours(base64.b64decode(image)) == colours(picture)
    assert len(document["images"]) == known["body"].get("batch_size", 1)
    assert all(info[name] for name in ("all_seeds", "infotexts", "width", "sd_model_name"))


# What is asked and answered


def test_a_body_of_nothing_is_drawn_with_its_defaults(one: Front, cog: CogServer) -> None:
    answer = post(one, "txt2img", prompt=None, seed=None).json()
    had = sent(cog)
    assert {**had, "seed": 0} == {
        "prompt": "",
        "negative_prompt": "",
        "use_compel": False,
        "num_images": 1,
        "num_inference_steps": 50,
        "guidance_scale": 7.0,
        "scheduler": "K_EULER",
        "width": 512,
        "height": 512,
        "output_format": "png",
        "seed": 0,
    }
    assert json.loads(answer["info"])["seed"] == had["seed"]


def test_the_picture_says_how_it_was_made_as_it_was_asked_for(one: Front) -> None:
    answer = drawn(one, prompt="a (red:1.3) fox", negative_prompt="[blue]", seed=5, steps=20)
    with Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))) as image:
        text = image.info["parameters"]
    assert [text] == answer["info"]["infotexts"]
    assert text == (
        "a (red:1.3) fox\nNegative prompt: [blue]\nSteps: 20, Sampler: Euler, CFG scale: 7, "
        "Seed: 5, Size: 512x512, Model: stable-diffusion-2-1"
    )
    found = post(one, "png-info", image=f"data:image/png;base64,{answer['images'][0]}").json()
    assert found["info"] == text
    assert found["parameters"]["Prompt"] == "a (red:1.3) fox"
    assert found["parameters"]["Negative prompt"] == "[blue]"
    assert post(one, "png-info", image=BASE64).json() == {"info": "", "items": {}, "parameters": {}}


def test_weights_become_compels_where_there_are_any(one: Front, cog: CogServer) -> None:
    answer = drawn(one, prompt="a (red:1.3) fox, ((big)), C++", negative_prompt=r"\(x\)")
    assert sent(cog)["prompt"] == "a (red)1.3 fox, (big)1.21 , C ++"
    assert sent(cog)["negative_prompt"] == r"\(x\)"
    assert sent(cog)["use_compel"] is True
    assert answer["info"]["prompt"] == "a (red:1.3) fox, ((big)), C++"
    drawn(one, prompt=r"C++ \(:-\)")
    assert sent(cog)["prompt"] == "C++ (:-)"
    assert sent(cog)["use_compel"] is False


def test_a_long_prompt_is_read_whole(one: Front, cog: CogServer) -> None:
    drawn(one, prompt="word " * 5000)
    assert sent(cog)["use_compel"] is True
    assert sent(cog)["prompt"].split() == ["word"] * 5000


def test_values_beyond_ours_are_brought_to_our_ends_and_said(one: Front, cog: CogServer) -> None:
    body = {"steps": 1000, "cfg_scale": 30, "denoising_strength": 1.2, "init_images": [BASE64]}
    body |= {"mask": BASE64, "mask_blur": 100, "inpainting_fill": 1, "inpaint_full_res": False}
    answer = drawn(one, "img2img", **body, inpainting_mask_invert=1)
    had = sent(cog)
    assert (had["num_inference_steps"], had["guidance_scale"]) == (512, 20)
    assert (had["strength"], had["mask_blur"], had["invert_mask"]) == (1, 64, True)
    assert had["mask_source"] == "opacity"
    warnings = answer["info"]["warnings"]
    assert warnings == [
        "steps: 1000 was brought to 512; here it is 1 to 512",
        "cfg_scale: 30 was brought to 20; here it is 1 to 20",
        "denoising_strength: 1.2 was brought to 1; here it is 0 to 1",
        "mask_blur: 100 was brought to 64; here it is 0 to 64",
    ]
    assert answer["info"]["steps"] == 512
    latest = one.client.get("/v1/predictions").json()["results"][0]
    assert said(latest["logs"]).splitlines()[:4] == warnings


def test_the_steps_of_both_passes_are_brought_to_those_of_the_sampler(
    one: Front, cog: CogServer
) -> None:
    asked: dict[str, Any] = {"sampler_name": "LCM", "steps": 60, "enable_hr": True}
    answer = drawn(one, **asked, hr_second_pass_steps=70)
    had = sent(cog)
    assert (had["scheduler"], had["num_inference_steps"], had["refine_steps"]) == ("LCM", 50, 50)
    assert answer["info"]["warnings"] == [
        "steps: 60 was brought to 50; here it is 1 to 50",
        "hr_second_pass_steps: 70 was brought to 50; here it is 1 to 50",
    ]


def test_what_is_said_stays_in_the_logs_of_one_that_went_back(one: Front, cog: CogServer) -> None:
    cog.tell("busy", "full", "succeed")
    drawn(one, prompt="busy", steps=1000)
    latest = one.client.get("/v1/predictions").json()["results"][0]
    assert said(latest["logs"]).startswith("steps: 1000 was brought to 512")


def test_what_the_model_says_of_its_inputs_is_said_once_in_the_clients_words(
    one: Front, cog: CogServer
) -> None:
    cog.tell("noted", "note")
    info = drawn(one, prompt="noted", batch_size=6)["info"]
    assert info["warnings"] == ["prompt: its end is left out", "init_images: it is small"]


@pytest.mark.parametrize(
    ("mode", "ours"), [({}, "stretch"), (0, "stretch"), (1, "crop"), (2, "pad"), (3, "stretch")]
)
def test_an_image_of_another_shape_is_fitted_as_it_is_there(
    one: Front, cog: CogServer, mode: Any, ours: str
) -> None:
    fields = {"resize_mode": mode} if mode != {} else {}
    answer = drawn(one, "img2img", init_images=[BASE64], width=512, height=256, **fields)
    assert sent(cog)["resize_mode"] == ours
    assert answer["info"]["warnings"] == []
    (fault,) = refused(post(one, "img2img", init_images=[BASE64], resize_mode=4), 422)
    assert fault["loc"] == ["body", "resize_mode"]


def test_only_the_masked_part_is_drawn_unless_it_is_not_to_be(one: Front, cog: CogServer) -> None:
    body = {"init_images": [BASE64], "mask": BASE64, "inpainting_fill": 1}
    answer = drawn(one, "img2img", **body, inpaint_full_res_padding=300, width=520, height=2000)
    had = sent(cog)
    assert (had["only_masked"], had["only_masked_padding"]) == (True, 256)
    assert (had["width"], had["height"]) == (256, 1024)
    assert {"resize_mode", "result_size"}.isdisjoint(had)
    assert answer["info"]["warnings"] == [
        "inpaint_full_res_padding: 300 was brought to 256; here it is 0 to 256",
        "width, height: 520 × 2000 was brought to 399 × 1536; here a side has 8 to 1536 pixels",
        "size: 399x1536 is drawn as 256x1024, the nearest there is here",
    ]
    (text,) = answer["info"]["infotexts"]
    assert text.endswith("Inpaint area: Only masked, Masked area padding: 256")
    drawn(one, "img2img", **body)
    assert (sent(cog)["only_masked"], sent(cog)["only_masked_padding"]) == (True, 0)
    answer = drawn(one, "img2img", **body, inpaint_full_res=0, width=520)
    assert "only_masked" not in sent(cog)
    assert (sent(cog)["resize_mode"], sent(cog)["result_size"]) == ("stretch", "520x512")
    assert answer["info"]["warnings"] == []


def test_a_model_that_can_not_draw_a_part_alone_says_so(tmp_path: Path) -> None:
    old = CogServer()
    old.schema = json.loads(json.dumps(old.schema))
    for name in ("only_masked", "resize_mode"):
        del old.schema["components"]["schemas"]["Input"]["properties"][name]
    with old.served(), front(tmp_path, old) as one:
        body = {"init_images": [BASE64], "mask": BASE64, "inpainting_fill": 1}
        for fields, name in (({}, "inpaint_full_res"), ({"mask": None}, "resize_mode")):
            answer = drawn(one, "img2img", **{**body, **fields})
            (warning,) = answer["info"]["warnings"]
            assert warning.startswith(f"{name}: has no effect, as stable-diffusion-2-1 is served")


def test_a_model_that_has_no_second_pass_or_spacing_says_so(tmp_path: Path) -> None:
    old = CogServer()
    old.schema = json.loads(json.dumps(old.schema))
    for name in ("refine_scale", "spacing"):
        del old.schema["components"]["schemas"]["Input"]["properties"][name]
    with old.served(), front(tmp_path, old) as one:
        answer = drawn(one, enable_hr=True, sampler_name="DPM++ 2M Karras")
        names = [warning.partition(":")[0] for warning in answer["info"]["warnings"]]
        assert names == ["hr_scale", "scheduler"]


def test_any_size_is_drawn(one: Front, cog: CogServer) -> None:
    answer = drawn(one, width=520, height=776)
    assert sent(cog)["result_size"] == "520x776"
    assert (answer["info"]["width"], answer["info"]["height"]) == (520, 776)
    answer = drawn(one, width=4000, height=2000)
    assert sent(cog)["result_size"] == "1536x768"
    assert "4000 × 2000 was brought to 1536 × 768" in answer["info"]["warnings"][0]
    drawn(one, width=1, height=1)
    assert sent(cog)["result_size"] == "8x8"
    drawn(one, "img2img", init_images=[BASE64], denoising_strength=0, width=4000, height=2000)
    assert sent(cog)["result_size"] == "4000x2000"


def test_a_size_that_the_model_does_not_draw_is_refused(tmp_path: Path) -> None:
    old = CogServer()
    old.schema = json.loads(json.dumps(old.schema))
    del old.schema["components"]["schemas"]["Input"]["properties"]["result_size"]
    with old.served(), front(tmp_path, old) as one:
        faults = refused(post(one, "txt2img", width=520), 422)
        assert [fault["loc"][1] for fault in faults] == ["width", "height"]
        assert post(one, "txt2img", width=576).status_code == 200


def test_a_second_pass_refines_what_was_drawn(one: Front, cog: CogServer) -> None:
    asked: dict[str, Any] = {"enable_hr": True, "hr_scale": 1.5, "hr_second_pass_steps": 9}
    asked["hr_upscaler"] = "Latent"
    answer = drawn(one, **asked, denoising_strength=0.4)
    had = sent(cog)
    assert (had["refine_scale"], had["refine_strength"], had["refine_steps"]) == (1.5, 0.4, 9)
    assert "strength" not in had
    assert (answer["info"]["width"], answer["info"]["height"]) == (768, 768)
    assert answer["info"]["warnings"] == ["hr_upscaler: Latent is not here; Lanczos was used"]
    (text,) = answer["info"]["infotexts"]
    assert "Size: 512x512, " in text
    assert text.endswith(
        "Denoising strength: 0.4, Hires upscale: 1.5, Hires steps: 9, Hires upscaler: Lanczos"
    )
    drawn(one, enable_hr=True, width=500, height=500)
    had = sent(cog)
    assert (had["width"], had["height"], had["result_size"]) == (512, 512, "1000x1000")
    assert (had["refine_scale"], had["refine_strength"]) == (2, 0.75)
    assert "refine_steps" not in had
    drawn(one, "img2img", init_images=[BASE64], enable_hr=True)
    assert "refine_scale" not in sent(cog)


@pytest.mark.parametrize(
    ("asked", "inputs", "size", "warnings"),
    [
        ({"hr_resize_x": 1024, "hr_resize_y": 1024}, {"refine_scale": 2}, (1024, 1024), []),
        ({"hr_resize_x": 768}, {"refine_scale": 1.5}, (768, 768), []),
        ({"hr_resize_y": 1600, "hr_scale": 9}, {"refine_scale": 3.125}, (1600, 1600), []),
        (
            {"hr_resize_x": 1200, "hr_resize_y": 768},
            {"refine_scale": 2.34375, "result_size": "1200x768"},
            (1200, 768),
            [],
        ),
        (
            {"hr_resize_x": 1600, "hr_resize_y": 800},
            {"refine_scale": 3.125, "result_size": "1536x768"},
            (1536, 768),
            ["hr_resize_x, hr_resize_y: 1600 × 800 px was brought to 1536 × 768 px, the nearest"],
        ),
        (
            {"hr_resize_x": 4096, "hr_resize_y": 4096},
            {"refine_scale": 4},
            (2048, 2048),
            ["hr_resize_x, hr_resize_y: 4096 × 4096 px was brought to 2048 × 2048 px, the nearest"],
        ),
        (
            {"width": 500, "height": 250, "hr_resize_x": 1000},
            {"width": 512, "height": 256, "refine_scale": 2, "result_size": "1000x500"},
            (1000, 500),
            [],
        ),
        (
            {"width": 1024, "height": 1024, "hr_scale": 2.5},
            {"refine_scale": 2},
            (2048, 2048),
            ["hr_scale: 2.5 was brought to 2; here it is 1 to 2"],
        ),
        (
            {"width": 1024, "height": 1024, "hr_scale": 4},
            {"refine_scale": 2},
            (2048, 2048),
            ["hr_scale: 4 was brought to 2; here it is 1 to 2"],
        ),
        (
            {"width": 768, "height": 768, "hr_scale": 3},
            {"refine_scale": 2048 / 768},
            (2048, 2048),
            ["hr_scale: 3 was brought to 2.66667; here it is 1 to 2.66667"],
        ),
        (
            {"width": 832, "height": 448, "hr_scale": 4},
            {"refine_scale": 2790 / 832},
            (2790, 1502),
            ["hr_scale: 4 was brought to 3.35337; here it is 1 to 3.35337"],
        ),
        (
            {"width": 1000, "height": 1000, "hr_scale": 2},
            {"width": 1024, "height": 1024, "refine_scale": 2, "result_size": "1536x1536"},
            (1536, 1536),
            ["hr_scale: 2000 × 2000 px was brought to 1536 × 1536 px, the nearest"],
        ),
    ],
)
def test_the_second_pass_makes_the_size_that_is_asked_for_or_says_what_it_makes(
    one: Front,
    cog: CogServer,
    asked: dict[str, Any],
    inputs: dict[str, Any],
    size: tuple[int, int],
    warnings: list[str],
) -> None:
    info = drawn(one, enable_hr=True, **asked)["info"]
    had = sent(cog)
    names = ("width", "height", "refine_scale", "result_size")
    expected = {"width": 512, "height": 512, **asked, **inputs}
    assert [had.get(name) for name in names] == [expected.get(name) for name in names]
    assert round(had["width"] * had["refine_scale"]) * round(
        had["height"] * had["refine_scale"]
    ) <= (2048**2)
    assert (info["width"], info["height"]) == size
    first = asked.get("width", 512), asked.get("height", 512)
    assert "Size: {}x{}, ".format(*first) in info["infotexts"][0]
    assert len(info["warnings"]) == len(warnings)
    for warning, start in zip(info["warnings"], warnings, strict=True):
        assert warning.startswith(start)


@pytest.mark.parametrize(
    ("asked", "size"),
    [({"hr_scale": 1}, (512, 512)), ({"hr_resize_x": 256, "hr_upscaler": "x"}, (256, 256))],
)
def test_what_is_made_no_larger_has_no_second_pass(
    one: Front, cog: CogServer, asked: dict[str, Any], size: tuple[int, int]
) -> None:
    info = drawn(one, enable_hr=True, hr_prompt="dog", **asked)["info"]
    assert not any(name.startswith("refine_") for name in sent(cog))
    assert (info["width"], info["height"]) == size
    (warning,) = info["warnings"]
    assert warning.startswith(next(iter(asked)))
    assert warning.endswith("so that there is no second pass")
    assert "Size: {}x{}, ".format(*size) in info["infotexts"][0]
    assert "Hires" not in info["infotexts"][0]


def test_where_the_second_pass_was_to_differ_from_the_first_is_said(one: Front) -> None:
    same: dict[str, Any] = {"hr_sampler_name": "k_dpmpp_2m", "hr_scheduler": "karras"}
    same |= {"hr_prompt": "fox", "hr_negative_prompt": "", "hr_cfg": 5}
    same |= {"hr_checkpoint_name": "Use same checkpoint"}
    first: dict[str, Any] = {"enable_hr": True, "sampler_name": "DPM++ 2M Karras", "cfg_scale": 5}
    assert drawn(one, **first, **same)["info"]["warnings"] == []
    named = {"hr_sampler_name": "Use same sampler", "hr_scheduler": "Use same scheduler"}
    assert drawn(one, **first, **named)["info"]["warnings"] == []
    others = {"hr_sampler_name": "DPM++ 2M Exponential", "hr_scheduler": "Exponential"}
    others |= {"hr_checkpoint_name": "x", "hr_prompt": "dog", "hr_negative_prompt": "x"}
    said = drawn(one, **first, **others, hr_cfg=7)["info"]["warnings"]
    assert [warning.partition(":")[0] for warning in said] == [*others, "hr_cfg"]
    assert all(warning.endswith("it has no effect") for warning in said)
    said = drawn(one, **first, hr_sampler_name="Euler")["info"]["warnings"]
    assert [warning.partition(":")[0] for warning in said] == ["hr_sampler_name"]
    assert drawn(one, hr_prompt="dog", hr_resize_x=64)["info"]["warnings"] == []


def test_a_network_enlarges_before_the_second_pass(tmp_path: Path) -> None:
    cog = CogServer()
    cog.description["upscalers"] = ["4x-UltraSharp", "RealESRGAN_x4plus"]
    with cog.served(), front(tmp_path, cog) as one:
        for theirs, ours in (
            ("4x-UltraSharp", "4x-UltraSharp"),
            ("R-ESRGAN 4x+", "RealESRGAN_x4plus"),
        ):
            answer = drawn(one, enable_hr=True, hr_upscaler=theirs)
            assert sent(cog)["upscaler"] == ours
            assert answer["info"]["warnings"] == []
        answer = drawn(one, enable_hr=True, hr_upscaler="R-ESRGAN 2x+")
        assert "upscaler" not in sent(cog)
        said = ["hr_upscaler: R-ESRGAN 2x+ is not here; Lanczos was used"]
        assert answer["info"]["warnings"] == said


def test_what_is_not_there_is_said(one: Front) -> None:
    fields: dict[str, Any] = {"styles": ["x"], "restore_faces": True}
    fields |= {"subseed_strength": 0.5, "scheduler": "Beta", "eta": 0.5}
    fields |= {"override_settings": {"sd_model_checkpoint": "dreamshaper", "sd_vae": "x"}}
    info = drawn(one, prompt="fox <lora:x:1> BREAK [a:b:0.5] AND big", **fields)["info"]
    names = [warning.partition(":")[0] for warning in info["warnings"]]
    assert names == [
        *("styles", "subseed_strength", "restore_faces"),
        *("override_settings", "prompt", "prompt", "prompt", "prompt", "scheduler", "eta"),
        "sd_model_checkpoint",
    ]


@pytest.mark.parametrize(
    ("fields", "inputs", "text"),
    [
        (
            {"sampler_name": "DPM++ 2M SDE Karras", "clip_skip": 2},
            {"scheduler": "DPMSolverMultistepSDE", "spacing": "karras", "clip_skip": 1},
            "Sampler: DPM++ 2M SDE, Schedule type: Karras, ",
        ),
        (
            {"sampler_name": "DDIM", "eta": 0.5, "clip_skip": 1},
            {"scheduler": "DDIM", "eta": 0.5},
            "Eta DDIM: 0.5",
        ),
        (
            {
                "sampler_name": "DDIM",
                "override_settings": {"eta_ddim": 7, "CLIP_stop_at_last_layers": 40},
            },
            {"scheduler": "DDIM", "eta": 1, "clip_skip": 11},
            "Clip skip: 12",
        ),
    ],
)
def test_spacing_eta_and_clip_skip_are_drawn_and_written(
    one: Front, cog: CogServer, fields: dict[str, Any], inputs: dict[str, Any], text: str
) -> None:
    info = drawn(one, **fields)["info"]
    names = ("scheduler", "spacing", "eta", "clip_skip")
    assert {name: value for name, value in sent(cog).items() if name in names} == inputs
    assert text in info["infotexts"][0]
    assert info["clip_skip"] == inputs.get("clip_skip", 0) + 1
    said = [warning.partition(":")[0] for warning in info["warnings"]]
    assert said == (["eta", "clip_skip"] if "override_settings" in fields else [])


def test_beyond_four_images_are_drawn_in_parts_up_to_a_limit(one: Front, cog: CogServer) -> None:
    begun = len(cog.runs)
    answer = drawn(one, batch_size=5, n_iter=2, seed=9)
    assert [run.input["num_images"] for run in cog.runs[begun:]] == [4, 4, 2]
    assert len(answer["images"]) == 10
    assert answer["info"]["all_seeds"] == [*range(9, 19)]
    (fault,) = refused(post(one, "txt2img", prompt="fox", batch_size=11), 422)
    assert fault["loc"] == ["body", "batch_size"]
    assert "at most 10 images" in fault["msg"]


def test_the_answer_may_be_without_images_or_with_those_that_were_sent(one: Front) -> None:
    assert drawn(one, send_images=False)["images"] == []
    shown = drawn(one, "img2img", init_images=[BASE64])["parameters"]
    assert (shown["init_images"], shown["denoising_strength"]) == (None, 0.75)
    shown = drawn(one, "img2img", init_images=[BASE64], include_init_images=True)["parameters"]
    assert shown["init_images"] == [BASE64]


# Enlarging


def test_a_filter_enlarges_by_a_factor_or_to_a_size(one: Front, cog: CogServer) -> None:
    with Image.open(io.BytesIO(CAT)) as cat:
        width, height = cat.size
    answer = post(one, "extra-single-image", image=BASE64, upscaler_1="Nearest")
    assert answer.status_code == 200, answer.text
    had = sent(cog)
    assert had["result_size"] == f"{2 * width}x{2 * height}"
    assert (had["strength"], had["resample"]) == (0, "nearest")
    assert answer.json()["image"]
    fields = {"resize_mode": 1, "upscaling_resize_w": 300, "upscaling_resize_h": 200}
    post(one, "extra-single-image", image=BASE64, upscaler_1="Lanczos", **fields)
    assert (sent(cog)["result_size"], sent(cog)["resample"]) == ("300x200", "lanczos")
    (fault,) = refused(post(one, "extra-single-image", image=BASE64, upscaling_resize=99), 422)
    assert "a side may have 8 to 4096" in fault["msg"]
    (fault,) = refused(post(one, "extra-single-image", image=BASE64, upscaler_1="magic"), 422)
    assert "None, Lanczos, Nearest" in fault["msg"]


def test_the_upscaler_enlarges_where_it_is_served(tmp_path: Path) -> None:
    with CogServer("upscale").served() as cog, front(tmp_path, cog) as one:
        names = [entry["name"] for entry in one.client.get(f"{ROOT}/upscalers").json()]
        assert names == ["None", "Lanczos", "Nearest", "stable-diffusion-x4-upscaler"]
        refused(post(one, "txt2img", prompt="fox"), 404)
        answer = post(one, "extra-single-image", image=BASE64, upscaler_1=names[3])
        assert answer.status_code == 200, answer.text
        assert "four times" in answer.json()["html_info"]
        assert "strength" not in sent(cog)
        refused(post(one, "extra-single-image", image=BASE64, upscaler_1="Lanczos"), 404)


def test_an_image_that_is_too_large_for_the_upscaler_is_enlarged_by_a_filter(
    tmp_path: Path,
) -> None:
    with (
        CogServer().served() as cog,
        CogServer("upscale").served() as upscaler,
        front(tmp_path, cog, upscaler) as one,
    ):
        asked = {"image": png_of(2001, 20), "upscaler_1": "R-ESRGAN 4x+", "upscaling_resize": 2}
        answer = post(one, "extra-single-image", **asked)
        assert answer.status_code == 200, answer.text
        assert answer.json()["html_info"] == (
            "<p>upscaler_1: R-ESRGAN 4x+ is not here; stable-diffusion-x4-upscaler takes 2000 px "
            "a side, and the image has 2001 × 20; Lanczos was used</p>"
        )
        assert (sent(cog)["result_size"], sent(cog)["resample"]) == ("4002x40", "lanczos")
        assert upscaler.runs == []


def png_of(width: int, height: int) -> str:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_a_network_enlarges_an_image_in_its_own_size(tmp_path: Path) -> None:
    cog = CogServer()
    cog.description["upscalers"] = ["RealESRGAN_x4plus"]
    with cog.served(), front(tmp_path, cog) as one:
        names = [entry["name"] for entry in one.client.get(f"{ROOT}/upscalers").json()]
        assert names == ["None", "Lanczos", "Nearest", "RealESRGAN_x4plus"]

        def enlarge(image: str, **fields: Any) -> tuple[dict[str, Any], str]:
            asked = {"image": image, "upscaler_1": "R-ESRGAN 4x+", **fields}
            answer = post(one, "extra-single-image", **asked)
            assert answer.status_code == 200, answer.text
            return sent(cog), answer.json()["html_info"]

        had, said = enlarge(png_of(300, 200), upscaling_resize=3)
        assert (had["upscaler"], had["refine_scale"]) == ("RealESRGAN_x4plus", 3)
        assert (had["strength"], had["refine_strength"]) == (0, 0)
        assert (had["result_size"], said) == ("900x600", "")
        # Beyond four times Lanczos goes on.
        had, _ = enlarge(png_of(30, 20), upscaling_resize=8)
        assert (had["refine_scale"], had["result_size"]) == (4, "240x160")
        fields = {"resize_mode": 1, "upscaling_resize_w": 600, "upscaling_resize_h": 300}
        had, _ = enlarge(png_of(300, 200), **fields)
        assert (had["refine_scale"], had["result_size"]) == (2, "600x300")
        for image, factor, reason in (
            (png_of(800, 800), 4, "makes up to 2048 × 2048 px, and not 3200 × 3200"),
            (png_of(300, 200), 1, "makes nothing smaller"),
        ):
            had, said = enlarge(image, upscaling_resize=factor)
            assert "upscaler" not in had
            assert said == f"<p>upscaler_1: RealESRGAN_x4plus {reason}; Lanczos was used</p>"


# Progress and the end


def test_progress_and_interrupt_are_about_the_tokens_own_newest(
    cog: CogServer, tmp_path: Path
) -> None:
    cog.tell("long", "hold")
    answers: list[httpx2.Response] = []
    with front(tmp_path, cog) as one:
        ann, ben = one.token("ann"), one.token("ben")

        def ask() -> None:
            body = {"prompt": "long", "batch_size": 1}
            url = f"{one.url}{ROOT}/txt2img"
            answers.append(httpx2.post(url, json=body, headers=ann, timeout=60, trust_env=False))

        def progress(token: dict[str, str]) -> Any:
            return one.client.get(f"{ROOT}/progress", headers=token).json()

        asking = threading.Thread(target=ask)
        asking.start()
        wait_until(lambda: progress(ann)["state"]["sampling_step"] == 1)
        now = progress(ann)
        assert (now["progress"], now["eta_relative"], now["state"]["job_count"]) == (0.5, 0.5, 1)
        others = progress(ben)
        assert (others["progress"], others["state"]["job_count"]) == (0, 0)
        for path, token, answer in (("interrupt", ben, {}), ("skip", ben, None)):
            assert one.client.post(f"{ROOT}/{path}", headers=token).json() == answer
        assert progress(ann)["state"]["interrupted"] is False
        assert one.client.post(f"{ROOT}/interrupt", headers=ann).json() == {}
        asking.join()
        assert "canceled" in refused(answers[0], 409)
        assert progress(ann)["state"]["job_count"] == 0


def test_who_hangs_up_cancels(one: Front, cog: CogServer) -> None:
    cog.tell("unwanted", "hold")
    with pytest.raises(httpx2.TimeoutException):
        one.client.post(f"{ROOT}/txt2img", json={"prompt": "unwanted"}, timeout=0.5)
    wait_until(lambda: any(run.cancelled for run in cog.runs_of("unwanted")))


def test_what_was_finished_before_an_interrupt_is_given(one: Front, cog: CogServer) -> None:
    cog.tell("many", "succeed", "hold")
    answers: list[dict[str, Any]] = []
    asking = threading.Thread(
        target=lambda: answers.append(drawn(one, prompt="many", batch_size=6))
    )
    asking.start()
    wait_until(lambda: len(cog.runs_of("many")) == 2)
    one.client.post(f"{ROOT}/skip")
    asking.join()
    assert len(answers[0]["images"]) == len(answers[0]["info"]["infotexts"]) == 4
    assert "interrupted" in answers[0]["info"]["warnings"][-1]


# Errors


def test_its_own_words_are_used_where_clients_look_for_them(one: Front) -> None:
    assert refused(post(one, "txt2img", sampler_name="magic"), 404) == "Sampler not found"
    assert refused(post(one, "img2img", prompt="fox"), 404) == "Init image not found"
    assert refused(post(one, "nothing"), 404) == "Not Found"
    assert (
        refused(post(one, "txt2img", script_name="x/y plot"), 422) == "Script 'x/y plot' not found"
    )
    scripts: dict[str, Any] = {"controlnet": {"args": []}}
    assert refused(post(one, "txt2img", alwayson_scripts=scripts), 422) == (
        "always on script controlnet not found"
    )


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"steps": "many"}, "steps"),
        ({"width": 0}, "width"),
        ({"init_images": [BASE64, BASE64]}, "init_images"),
        ({"init_images": ["no picture"]}, "init_images"),
        ({"prompt": "\ud800"}, "prompt"),
        ({"prompt": "a" * 2**20, "negative_prompt": "b"}, "prompt"),
        (
            {"override_settings": {"a": [[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]}},
            "override_settings",
        ),
    ],
)
def test_a_bad_field_is_named_as_it_was_given(one: Front, fields: Any, name: str) -> None:
    faults = refused(post(one, "img2img", **{"init_images": [BASE64], **fields}), 422)
    assert [fault["loc"] for fault in faults] == [["body", name]]


def test_what_the_model_finds_wrong_is_said(one: Front) -> None:
    assert refused(post(one, "txt2img", prompt="bad"), 422) == [
        {"loc": ["body", "init_images"], "msg": "it is not a picture", "type": "invalid_value"}
    ]


@pytest.mark.parametrize("text", values.urls())
def test_no_inner_network_is_reached_for_an_image(
    one: Front, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    url = json.loads(text)
    answer = post(one, "img2img", init_images=[url], prompt="fox")
    refused(answer, 422 if url else 404)


def test_a_token_is_the_password_or_the_bearers(cog: CogServer, tmp_path: Path) -> None:
    with front(tmp_path, cog) as one:
        header = one.token("ann")
        token = header["authorization"].removeprefix("Bearer ")
        answer = one.client.get(f"{ROOT}/options")
        refused(answer, 401)
        assert answer.headers["www-authenticate"] == "Basic"
        for credentials in ("ann:wrong", "ann", f"{token}:", ":"):
            text = base64.b64encode(credentials.encode()).decode()
            headers = {"authorization": f"Basic {text}"}
            refused(one.client.get(f"{ROOT}/options", headers=headers), 401)
        for text in ("!!!", "/////w=="):
            headers = {"authorization": f"Basic {text}"}
            refused(one.client.get(f"{ROOT}/options", headers=headers), 401)
        assert one.client.get(f"{ROOT}/options", auth=("anyone", token)).status_code == 200
        assert one.client.get(f"{ROOT}/options", headers=header).status_code == 200
        body = {"prompt": "fox"}
        answer = one.client.post(f"{ROOT}/txt2img", json=body, auth=("anyone", token))
        assert answer.status_code == 200


def test_settings_can_be_set_to_what_they_are(one: Front) -> None:
    options = one.client.get(f"{ROOT}/options").json()
    assert post(one, "options", **options).json() is None
    assert post(one, "options", sd_model_checkpoint="stable-diffusion-2-1 [abc]").json() is None
    body = json.dumps({"sd_model_checkpoint": "stable-diffusion-2-1"}).encode()
    assert one.client.post(f"{ROOT}/options", content=body).status_code == 200  # as Dify does
    (fault,) = refused(post(one, "options", sd_model_checkpoint="dreamshaper"), 422)
    assert "there are stable-diffusion-2-1" in fault["msg"]
