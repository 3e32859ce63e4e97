"""What the engine's files say of their making, by the library's reader."""

from __future__ import annotations

import asyncio
import json
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import c2pa
import pytest
from PIL import Image

import predict
from cog_schema import schema
from stable_diffusion import __version__, content_credentials, images, results
from stable_diffusion.catalogue import SetupError
from stable_diffusion.decoder_processes import DecoderProcesses
from tests.support.pictures import EXAMPLES, half_mask
from tests.support.studio import Studio

AI = content_credentials.SOURCE_TYPES


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def drawn(studio: Studio, is_signed: bool = True, **inputs: Any) -> Path:
    """The file of the one picture that a request draws."""
    request = studio.request(num_inference_steps=2, width=128, height=128, **inputs)
    signer = content_credentials.signer_of({"C2PA": "on" if is_signed else "off"})

    async def collect() -> Path:
        files = results.generate_files(studio.engine, request, lambda _: None, signer=signer)
        (path,) = [path async for _, path in files]
        return path

    return asyncio.run(collect())


def manifest_in(path: Path) -> dict[str, Any]:
    with c2pa.Reader(path) as reader:
        assert reader.get_validation_state() == "Valid"
        store = json.loads(reader.json())
    manifest: dict[str, Any] = store["manifests"][store["active_manifest"]]
    return manifest


def actions_in(path: Path) -> list[tuple[str, str | None]]:
    """The actions with the kind of their source, in their order."""
    (assertion,) = manifest_in(path)["assertions"]
    assert assertion["label"] == "c2pa.actions.v2"
    return [
        (one["action"], one.get("digitalSourceType", "").removeprefix(AI) or None)
        for one in assertion["data"]["actions"]
    ]


def flower() -> Image.Image:
    return images.read_image(EXAMPLES / "flower.png")


@pytest.mark.parametrize("file_format", ["png", "jpg", "webp"])
def test_a_picture_from_a_prompt_was_created_by_the_model(studio: Studio, file_format: str) -> None:
    path = drawn(studio, output_format=file_format, prompt="a secret word")
    manifest = manifest_in(path)
    (action,) = manifest["assertions"][0]["data"]["actions"]
    assert action["action"] == "c2pa.created"
    assert action["digitalSourceType"] == f"{AI}trainedAlgorithmicMedia"
    assert action["softwareAgent"] == {"name": "stable-diffusion", "version": __version__}
    (generator,) = manifest["claim_generator_info"]
    assert (generator["name"], generator["version"]) == ("stable-diffusion", __version__)
    (model,) = manifest["ingredients"]
    assert (model["title"], model["relationship"]) == ("demo", "inputTo")
    assert "secret" not in json.dumps(manifest)


def test_signed_or_not_it_is_the_same_picture_with_the_same_metadata(studio: Studio) -> None:
    signed, plain = drawn(studio), drawn(studio, is_signed=False)
    with Image.open(signed) as one, Image.open(plain) as other:
        assert one.tobytes() == other.tobytes()
        assert one.info == other.info
    assert content_credentials.read(plain.read_bytes()) is None


def test_from_an_image_it_was_opened_and_edited_and_the_image_is_not_within(
    studio: Studio,
) -> None:
    path = drawn(studio, image=flower())
    assert actions_in(path) == [("c2pa.opened", None), ("c2pa.edited", "trainedAlgorithmicMedia")]
    image, model = manifest_in(path)["ingredients"]
    assert (image["title"], image["relationship"]) == ("image", "parentOf")
    assert "thumbnail" not in image
    assert model["title"] == "demo"


def test_with_a_mask_it_is_a_composite(studio: Studio) -> None:
    image = flower()
    path = drawn(studio, image=image, mask=half_mask(image.size))
    assert actions_in(path)[1] == ("c2pa.edited", "compositeWithTrainedAlgorithmicMedia")


def test_what_ignores_the_image_was_created_and_what_follows_it_exactly_only_resized(
    studio: Studio,
) -> None:
    path = drawn(studio, image=flower(), strength=1)
    assert actions_in(path) == [("c2pa.created", "trainedAlgorithmicMedia")]
    path = drawn(studio, image=flower(), strength=0)
    assert actions_in(path) == [("c2pa.opened", None), ("c2pa.resized", None)]
    (image,) = manifest_in(path)["ingredients"]
    assert image["relationship"] == "parentOf"


def test_the_predictor_signs_where_the_environment_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("C2PA", "yes")
    with pytest.raises(SetupError, match="C2PA is 'yes'"):
        predict.Predictor().load()
    monkeypatch.setenv("C2PA", "on")
    monkeypatch.setenv("MODEL", "demo")
    predictor: Any = predict.Predictor()
    predictor.decoders = DecoderProcesses(most=1)
    monkeypatch.setattr(predictor, "record_metric", lambda *_: None)
    predictor.load()
    properties = schema.schema(schema.PREDICT.read_text())["components"]["schemas"]["Input"]
    defaults = {name: one.get("default") for name, one in properties["properties"].items()}
    asked = {**defaults, "prompt": "an apple", "num_inference_steps": 2}

    async def collect() -> list[Path]:
        return [path async for path in predictor.predict(**asked)]

    with closing(predictor.engine):
        (path,) = asyncio.run(collect())
    assert actions_in(path) == [("c2pa.created", "trainedAlgorithmicMedia")]
