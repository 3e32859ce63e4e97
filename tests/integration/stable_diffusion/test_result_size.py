"""Results of any size: what is drawn, scaled and cropped."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from PIL import Image

from stable_diffusion import images
from stable_diffusion.events import Resized
from tests.support.pictures import EXAMPLES, difference, half_mask, picture_of, same
from tests.support.studio import Studio, count_calls

FLOWER = images.read_image(EXAMPLES / "flower.png")


def resized(studio: Studio, **inputs: Any) -> str:
    """What the client is told of the sizes."""
    (event,) = (event for event in studio.events(**inputs) if isinstance(event, Resized))
    return event.warning


@pytest.mark.parametrize("size", [(100, 136), (65, 127), (8, 8), (8, 200), (128, 128), (131, 129)])
@pytest.mark.parametrize("image", [None, FLOWER])
def test_the_result_has_exactly_that_size(
    studio: Studio, size: tuple[int, int], image: Image.Image | None
) -> None:
    asked = f"{size[0]}x{size[1]}"
    (picture,) = studio.draw(num_inference_steps=1, image=image, result_size=asked)
    assert (picture.size, picture.mode) == (size, "RGB")


@pytest.mark.parametrize(
    ("sides", "drawn"),
    [({}, (128, 192)), ({"width": 64}, (64, 128)), ({"width": 256, "height": 128}, (256, 128))],
)
@pytest.mark.parametrize("resample", ["lanczos", "nearest"])
def test_it_is_what_is_drawn_at_width_and_height_with_that_seed_scaled_and_cropped(
    studio: Studio, sides: dict[str, int], drawn: tuple[int, int], resample: str
) -> None:
    options = {"result_size": "100x136", "resample": resample, "num_images": 2}
    results = studio.draw(num_inference_steps=3, **sides, **options)
    assert len(results) == 2
    for picture, whole in zip(
        results,
        studio.draw(num_inference_steps=3, width=drawn[0], height=drawn[1], num_images=2),
        strict=True,
    ):
        assert same(picture, images.fit(whole, (100, 136), resample))
    told = resized(studio, num_inference_steps=1, **sides, **options)
    assert told == (
        f"result_size: drawn at {drawn[0]} × {drawn[1]} px, then scaled and cropped to "
        f"100 × 136 px by the filter {resample}"
    )


def test_a_large_result_is_drawn_small_and_enlarged(studio: Studio) -> None:
    options = {"width": 128, "height": 64, "result_size": "1536x768", "num_inference_steps": 2}
    (large,) = studio.draw(resample="nearest", **options)
    assert large.size == (1536, 768)
    blocks = numpy.asarray(large).reshape(64, 12, 128, 12, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()
    (smooth,) = studio.draw(resample="lanczos", **options)
    assert smooth.size == (1536, 768)
    assert 0 < difference(large, smooth)[1] < 8


def test_at_strength_zero_the_image_is_fitted_straight_to_it(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = count_calls(studio.model, monkeypatch)
    for image, size in ((FLOWER, (100, 136)), (picture_of(size=(33, 20)), (4096, 2048))):
        for resample in ("lanczos", "nearest"):
            (picture,) = studio.draw(
                image=image,
                strength=0,
                result_size=f"{size[0]}x{size[1]}",
                resample=resample,
                width=64,
            )
            assert difference(picture, images.fit(image, size, resample)) == (0, 0)
    told = resized(studio, image=FLOWER, strength=0, result_size="9x8")
    assert told == (
        "result_size: the image is scaled and cropped to 9 × 8 px by the filter lanczos"
    )
    assert rows == []


@pytest.mark.parametrize("resample", ["lanczos", "nearest"])
def test_at_strength_zero_an_image_of_that_size_comes_back_as_it_is(
    studio: Studio, resample: str
) -> None:
    for size in ((520, 776), (8, 8), (131, 77)):
        image = picture_of(size=size)
        asked = {"result_size": f"{size[0]}x{size[1]}", "resample": resample}
        (picture,) = studio.draw(image=image, strength=0, **asked)
        assert difference(picture, image) == (0, 0)


@pytest.mark.parametrize("shape", [(300, 200), (120, 400), (100, 136)])
def test_little_strength_shows_what_strength_zero_shows(
    studio: Studio, shape: tuple[int, int]
) -> None:
    asked: dict[str, Any] = {"result_size": "100x136", "image": FLOWER.resize(shape)}
    (still,) = studio.draw(strength=0, **asked)
    nearer = still.crop((5, 7, 95, 129)).resize(still.size)
    for sides in ({}, {"width": 128, "height": 128}):
        (picture,) = studio.draw(strength=0.01, **sides, **asked)
        assert difference(picture, still)[1] < 7
        assert difference(picture, still)[1] < difference(picture, nearer)[1] / 1.5


@pytest.mark.parametrize(
    "asked",
    [
        {"result_size": "100x136"},
        {"result_size": "200x300", "width": 64, "height": 64},
        {"result_size": "131x77", "resample": "nearest"},
    ],
)
def test_black_is_preserved_exactly_in_the_results_size(
    studio: Studio, asked: dict[str, Any]
) -> None:
    image, mask = picture_of(size=(230, 310)), half_mask((230, 310))
    (picture,) = studio.draw(image=image, mask=mask, strength=0.9, **asked)
    resample = asked.get("resample", "lanczos")
    fitted, shape = images.fit(image, picture.size, resample), picture.size
    preserved = numpy.asarray(images.fit(mask, shape, resample)) < 128
    assert 0.3 < preserved.mean() < 0.7
    changed = numpy.asarray(picture) != numpy.asarray(fitted)
    assert not changed[preserved].any()
    assert changed[~preserved].mean() > 0.5


def test_a_black_mask_returns_the_image_in_the_results_size(studio: Studio) -> None:
    black = Image.new("L", (10, 10), 0)
    (picture,) = studio.draw(image=FLOWER, mask=black, strength=1, result_size="100x136")
    assert difference(picture, images.fit(FLOWER, (100, 136))) == (0, 0)
