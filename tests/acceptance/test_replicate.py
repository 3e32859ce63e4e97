"""Replicate's own client, unmodified, draws here: its inputs, its outputs, its errors."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from replicate.client import Client
from replicate.exceptions import ReplicateError
from replicate.helpers import FileOutput

from hosting import models_file
from tests.support.front_process import (
    IMAGE_TO_IMAGE,
    TEXT_TO_IMAGE,
    Front,
    Site,
    picture,
    png_of,
    small,
    until,
)
from tests.support.pictures import difference, half_mask, picture_of, same

MODELS = models_file.load()
PUBLISHED = {
    model.id: tuple(version.id for version in MODELS.versions(model)[1:]) for model in MODELS.models
}
ORIGINAL = picture_of()
"""Of the native size, so that strength 0 gives it back pixel for pixel."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the original."""
    path = tmp_path / "original.png"
    path.write_bytes(png_of(ORIGINAL))
    return path


def draw(client: Client, model: str = TEXT_TO_IMAGE, **inputs: Any) -> list[Image.Image]:
    return [picture(output) for output in client.run(model, small(**inputs))]


def is_followed(client: Client, image: object, **options: Any) -> bool:
    """Whether an image, however it is given, comes back at strength 0."""
    (output,) = client.run(IMAGE_TO_IMAGE, small(image=image, strength=0), **options)
    return difference(picture(output), ORIGINAL) == (0, 0)


# What it gives


def test_the_same_seed_draws_the_same_picture_again(client: Client) -> None:
    outputs = client.run(TEXT_TO_IMAGE, small(seed=5))
    assert isinstance(outputs, list)
    (output,) = outputs
    assert isinstance(output, FileOutput)
    first = picture(output)
    assert first.size == (128, 128)
    assert same(first, draw(client, seed=5)[0])
    assert not same(first, draw(client, seed=6)[0])


@pytest.mark.parametrize("version", PUBLISHED[TEXT_TO_IMAGE])
def test_an_originals_version_gives_a_list(client: Client, version: str) -> None:
    inputs = {"scheduler": "DDIM"}  # in which they have different defaults
    outputs = client.run(f"{TEXT_TO_IMAGE}:{version}", small(num_outputs=2, **inputs))
    assert isinstance(outputs, list)
    drawn = draw(client, num_images=2, **inputs)
    assert [same(picture(one), other) for one, other in zip(outputs, drawn, strict=True)] == [
        True,
        True,
    ]


def test_a_model_and_a_version_object_can_be_run(client: Client) -> None:
    model = client.models.get(TEXT_TO_IMAGE)
    (drawn,) = draw(client)
    for reference in (model, model.latest_version, model.versions.list()[1]):
        assert reference is not None
        outputs = client.run(reference, small())  # type: ignore[arg-type]
        assert isinstance(outputs, list)
        assert same(picture(outputs[0]), drawn)


def test_without_file_output_there_are_urls(client: Client) -> None:
    (url,) = client.run(TEXT_TO_IMAGE, small(), use_file_output=False)
    assert isinstance(url, str)
    head, _, data = url.partition(",")
    assert head == "data:image/png;base64"
    assert same(picture(base64.b64decode(data)), draw(client)[0])


@pytest.mark.parametrize("wait", [True, 60])
def test_it_makes_no_difference_how_long_is_waited(client: Client, wait: Any) -> None:
    (output,) = client.run(TEXT_TO_IMAGE, small(), wait=wait)
    assert same(picture(output), draw(client)[0])


# How an image is given


def test_an_open_file_is_an_image(client: Client, path: Path) -> None:
    with path.open("rb") as file:
        assert is_followed(client, file)


def test_a_path_is_an_image(client: Client, path: Path) -> None:
    before = {file.id for file in client.files.list()}
    assert is_followed(client, path)
    (uploaded,) = (file for file in client.files.list() if file.id not in before)
    assert uploaded.name == "original.png"


def test_a_file_in_base64_is_an_image(client: Client, path: Path) -> None:
    before = client.files.list()
    with path.open("rb") as file:
        assert is_followed(client, file, file_encoding_strategy="base64")
    assert client.files.list() == before


def test_an_uploaded_file_is_an_image_by_both_its_urls(client: Client, path: Path) -> None:
    file = client.files.create(path)
    for url in (file.urls["get"], file.urls["download"]):
        assert is_followed(client, url)


def test_what_a_site_gives_is_an_image(client: Client, site: Site, path: Path) -> None:
    site.files["/original.png"] = path.read_bytes()
    assert is_followed(client, f"{site.url}/original.png")


def test_a_data_url_is_an_image_and_shown_as_a_link(
    front: Front, client: Client, path: Path
) -> None:
    url = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    assert is_followed(client, url)
    prediction = client.models.predictions.create(IMAGE_TO_IMAGE, small(image=url, strength=0))
    assert prediction.input is not None
    assert {**prediction.input, "image": ""} == small(image="", strength=0)
    with front.http() as http:
        assert http.get(prediction.input["image"]).content == path.read_bytes()


def test_an_earlier_output_is_an_image(front: Front, client: Client, path: Path) -> None:
    prediction = client.models.predictions.create(
        IMAGE_TO_IMAGE, small(image=path, strength=0), wait=60
    )
    assert prediction.output is not None
    assert is_followed(client, prediction.output[0])
    with front.http("ada") as http:
        (link,) = http.get(f"/v1/predictions/{prediction.id}").json()["output"]
    assert link.startswith(f"{front.url}/files/")
    assert is_followed(client, link)
    with pytest.raises(ReplicateError, match=r"input\.image: The link has expired"):
        is_followed(client, link[:-1])


def test_a_mask_is_a_file_too(client: Client, path: Path, tmp_path: Path) -> None:
    half_mask().save(tmp_path / "mask.png")
    (drawn,) = draw(client, IMAGE_TO_IMAGE, image=path, mask=tmp_path / "mask.png", strength=1)
    left, right = (0, 0, 60, 128), (68, 0, 128, 128)
    assert difference(drawn.crop(left), ORIGINAL.crop(left)) == (0, 0)
    assert difference(drawn.crop(right), ORIGINAL.crop(right))[1] > 2


# What inputs are called


def test_the_originals_names_mean_what_ours_do(client: Client, path: Path) -> None:
    ours = {"num_images": 2, "strength": 0.5, "guidance_scale": 3, "seed": 7, "width": 256}
    theirs = {
        "num_outputs": "2",
        "prompt_strength": "0.5",
        "guidance_scale": "3.0",
        "seed": "7",
        "image_dimensions": "256x128",
        "negative_prompt": None,
        "mask": None,
        "scheduler": "K-LMS",
    }
    drawn = draw(client, IMAGE_TO_IMAGE, image=path, height=128, scheduler="KLMS", **ours)
    again = draw(client, IMAGE_TO_IMAGE, init_image=path, **theirs)
    assert [one.size for one in again] == [(256, 128)] * 2
    assert [same(*pair) for pair in zip(drawn, again, strict=True)] == [True, True]
    # Each of them counts.
    for name, other in (
        ("prompt_strength", "0.9"),
        ("guidance_scale", "12"),
        ("seed", "9"),
        ("scheduler", "DDIM"),
        ("negative_prompt", "apple"),
    ):
        different = {**theirs, "num_outputs": "1", name: other}
        changed = draw(client, IMAGE_TO_IMAGE, init_image=path, **different)
        assert not same(changed[0], drawn[0]), name


def test_an_original_has_its_own_defaults(client: Client) -> None:
    for model, steps in ((TEXT_TO_IMAGE, 50), ("stability-ai/stable-diffusion-2-1", 25)):
        prediction = client.models.predictions.create(model, {"prompt": "a red apple"})
        until(lambda: client.predictions.get(prediction.id).progress is not None)  # noqa: B023
        prediction.cancel()
        prediction.wait()
        assert prediction.progress is not None
        assert prediction.progress.total == steps


# What there is


def test_models_have_versions_and_schemas(client: Client) -> None:
    listed = [model.id for model in client.models.list()]
    assert {TEXT_TO_IMAGE, IMAGE_TO_IMAGE} <= set(listed)
    assert "stability-ai/stable-diffusion-inpainting" not in listed
    model = client.models.get("stability-ai", "stable-diffusion")
    assert model.url.startswith("http://127.0.0.1:")
    before = model.run_count
    draw(client)
    model = client.models.get(TEXT_TO_IMAGE)
    assert model.run_count == before + 1
    assert model.latest_version is not None
    assert model.latest_version.id == MODELS.versions(MODELS.models[0])[0].id
    ids = [version.id for version in model.versions.list()]
    assert ids == [model.latest_version.id, *PUBLISHED[TEXT_TO_IMAGE]]
    schemas = model.versions.get(ids[-1]).openapi_schema["components"]["schemas"]
    assert schemas["Input"]["properties"]["num_inference_steps"]["default"] == 50
    assert schemas["Output"]["type"] == "array"


def test_an_account_is_who_the_token_is_of(client: Client, bob: Client) -> None:
    assert (client.accounts.current().username, bob.accounts.current().username) == ("ada", "bob")
