"""Every predictor over the real server, with a small model of its task."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from cog_schema.schema import PREDICTORS, ROOT
from stable_diffusion import catalogue, images
from stable_diffusion.models import Model
from tests.support import random_models
from tests.support.pictures import EXAMPLES, difference, half_mask, picture_of
from tests.support.server import Server, bare_cog, file_of, picture_in, start

NATIVE = (128, 128)
FLOWER = images.fit(images.read_image(EXAMPLES / "flower.png"), NATIVE)


@dataclass
class Sibling:
    """A server of one of the other predictors."""

    task: str
    server: Server

    def draw(self, image: Image.Image, **inputs: Any) -> Image.Image:
        """What it makes of an image, with a mask where it needs one."""
        asked: dict[str, Any] = {"prompt": "a red apple", "image": file_of(image), "seed": 1}
        if self.task == "inpainting":
            asked["mask"] = file_of(half_mask())
        (picture,) = self.server.draw(**asked | {"num_inference_steps": 2} | inputs)
        return picture


@pytest.fixture(scope="module", params=["inpainting", "depth", "upscale"])
def sibling(
    request: pytest.FixtureRequest, demo: Model, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sibling]:
    weights = random_models.make(request.param, demo, tmp_path_factory.mktemp("model"))
    server = start(tmp_path_factory.mktemp("server"), "--model", str(weights.path))
    yield Sibling(request.param, server)
    assert not any("Traceback" in line for line in server.printed)
    server.stop()


def test_its_schema_is_its_own(sibling: Sibling) -> None:
    with sibling.server.ask("/openapi.json") as response:
        served = json.load(response)["components"]["schemas"]["Input"]
    upscales = sibling.task == "upscale"
    assert ("noise_level" in served["properties"]) == upscales
    assert ("strength" in served["properties"]) == (not upscales)
    mask = ["mask"] if sibling.task == "inpainting" else []
    assert served["required"] == ["prompt", "image", *mask]


def test_it_draws_a_picture_of_its_size(sibling: Sibling) -> None:
    scale = 4 if sibling.task == "upscale" else 1
    picture = sibling.draw(FLOWER)
    assert picture.size == (128 * scale, 128 * scale)
    assert difference(picture, FLOWER.resize(picture.size))[1] > 5


def test_the_file_carries_its_metadata(sibling: Sibling, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"prompt": "a rose", "image": file_of(FLOWER), "seed": 3}
    asked["mask"] = file_of(half_mask())
    _, answer = sibling.server.predict(**asked, num_inference_steps=1)
    path = tmp_path / "picture.png"
    path.write_bytes(base64.b64decode(answer["output"][0].partition(",")[2]))
    metadata = images.read_metadata(path)
    assert (metadata["prompt"], metadata["seed"]) == ("a rose", 3)
    assert ("noise_level" in metadata) == (sibling.task == "upscale")
    assert ("strength" in metadata) == (sibling.task != "upscale")
    (made,) = answer["metrics"]["images"]
    assert (made["index"], made["seed"], made["nsfw"]) == (0, 3, None)


def test_it_draws_the_same_again_and_something_else_of_another_image(sibling: Sibling) -> None:
    assert difference(sibling.draw(FLOWER), sibling.draw(FLOWER)) == (0, 0)
    assert difference(sibling.draw(FLOWER), sibling.draw(picture_of()))[1] > 1


def test_what_it_needs_is_required(sibling: Sibling) -> None:
    status, answer = sibling.server.predict(prompt="a red apple")
    assert status == 422
    assert "image" in json.dumps(answer["detail"])


def test_bad_inputs_are_told(sibling: Sibling) -> None:
    text = file_of(FLOWER)[: len("data:image/png;base64,") + 4000]
    inputs = {"prompt": "", "image": text, "mask": text, "num_inference_steps": 2}
    status, answer = sibling.server.predict(**inputs)
    assert (status, answer["status"]) == (200, "failed")
    assert "image: the picture can't be read" in answer["error"]


@pytest.mark.parametrize("sibling", ["inpainting"], indirect=True)
def test_the_inpainter_preserves_black(sibling: Sibling) -> None:
    picture, left = sibling.draw(FLOWER), (0, 0, 64, 128)
    assert difference(picture.crop(left), FLOWER.crop(left)) == (0, 0)


@pytest.mark.parametrize("sibling", ["upscale"], indirect=True)
def test_the_upscaler_takes_up_to_2000_pixels_a_side(sibling: Sibling) -> None:
    assert sibling.draw(picture_of(size=(7, 30)), noise_level=350).size == (28, 120)
    assert sibling.draw(picture_of(size=(520, 8))).size == (2080, 32)
    wide = file_of(picture_of(size=(2008, 8)))
    _, answer = sibling.server.predict(prompt="", image=wide)
    assert answer["status"] == "failed"
    assert (
        "image: the picture of 2008 × 8 pixels is too large; give at most 2000 × 2000 pixels"
        in answer["error"]
    )


def test_a_folder_is_served_itself_whatever_its_name(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path / "demo"
    shutil.copytree(catalogue.WEIGHTS / "demo", folder)
    unet = folder / "unet" / "config.json"
    unet.write_text(json.dumps(json.loads(unet.read_text()) | {"sample_size": 32}))
    relative = os.path.relpath(folder, ROOT)
    server = start(tmp_path_factory.mktemp("server"), "--model", relative)
    (picture,) = server.draw(prompt="a rose", num_inference_steps=1)
    assert picture.size == (256, 256)
    server.stop()


def test_the_demo_model_serves_the_inpainting_predictor(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    predictor = PREDICTORS["inpainting"]
    arguments = ("--predictor", predictor, "--model", "demo")
    server = start(tmp_path_factory.mktemp("server"), *arguments)
    picture = Sibling("inpainting", server).draw(FLOWER)
    left, right = (0, 0, 64, 128), (64, 0, *NATIVE)
    assert difference(picture.crop(left), FLOWER.crop(left)) == (0, 0)
    assert difference(picture.crop(right), FLOWER.crop(right))[1] > 5
    with server.ask("/openapi.json") as response:
        served = json.load(response)["components"]["schemas"]["Input"]
    assert served["required"] == ["prompt", "image", "mask"]
    server.stop()


def test_one_front_serves_several_models_by_their_names(
    demo: Model, tmp_path_factory: pytest.TempPathFactory
) -> None:
    weights = random_models.make("upscale", demo, tmp_path_factory.mktemp("model"))
    models = ("--model", "demo", str(weights.path))
    server = start(tmp_path_factory.mktemp("server"), *models, ready=2)

    def draw(name: str, **inputs: Any) -> Image.Image:
        asked = {"input": {"prompt": "a rose", "num_inference_steps": 1, **inputs}}
        path = f"/v1/models/stability-ai/{name}/predictions"
        with server.ask(path, asked, Prefer="wait") as response:
            (url,) = json.load(response)["output"]
        with server.ask(url.partition(str(server.port))[2]) as response:
            return Image.open(io.BytesIO(response.read()))

    assert draw("stable-diffusion").size == NATIVE
    assert draw("stable-diffusion-x4-upscaler", image=file_of(FLOWER)).size == (512, 512)
    with server.ask("/v1/models") as response:
        names = {model["name"] for model in json.load(response)["results"]}
    assert {"stable-diffusion", "stable-diffusion-x4-upscaler"} <= names
    assert "stable-diffusion-inpainting" not in names
    server.stop()


def test_a_front_uses_cog_servers_that_run_already(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with bare_cog(tmp_path_factory.mktemp("cog")) as cog:
        server = start(tmp_path_factory.mktemp("server"), COG_URLS=cog.url)
        (picture,) = server.draw(prompt="a rose", seed=1)
        (output,) = cog.predict({"prompt": "a rose", "seed": 1})["output"]
        assert difference(picture, picture_in(output)) == (0, 0)
        assert psutil.Process(server.process.pid).children() == []
        server.stop()
        assert cog.get("/health-check")["status"] == "READY"
