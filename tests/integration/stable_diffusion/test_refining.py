"""Two passes: what was drawn is made larger, and drawn over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from stable_diffusion import images
from stable_diffusion.events import Picture, Progress, Resized
from stable_diffusion.request import InputError
from tests.support.pictures import EXAMPLES, difference, half_mask, picture_of
from tests.support.studio import Studio, demo_model

ASKED: dict[str, Any] = {"prompt": "a castle", "seed": 4, "num_inference_steps": 4}
FLOWER = images.read_image(EXAMPLES / "flower.png")


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    studio = Studio(demo_model())
    yield studio
    studio.close()


def test_a_second_pass_draws_over_what_the_first_has_drawn(studio: Studio) -> None:
    (first,) = studio.draw(**ASKED)
    events = list(studio.events(**ASKED, refine_scale=2, refine_strength=0.5))
    (picture,) = [event for event in events if isinstance(event, Picture)]
    assert picture.image.size == (256, 256)
    assert picture.drawn_size == (128, 128)
    # It is what image to image makes of the enlarged one.
    larger = first.resize((256, 256), Image.Resampling.LANCZOS)
    size = {"width": 256, "height": 256}
    (expected,) = studio.draw(**ASKED, **size, image=larger, strength=0.5)
    assert difference(picture.image, expected)[0] <= 2
    assert 1 < difference(picture.image, larger)[1] < 40
    # One progress, over the four steps of the first and the two of the second.
    told = [(event.step, event.steps) for event in events if isinstance(event, Progress)]
    assert told == [(step, 6) for step in range(1, 7)]
    (said,) = [event.warning for event in events if isinstance(event, Resized)]
    assert said == "refine_scale: drawn at 128 × 128 px, then refined at 256 × 256 px"


def test_a_second_pass_has_steps_of_its_own_and_may_have_none(studio: Studio) -> None:
    events = list(studio.events(**ASKED, refine_scale=1.5, refine_steps=10, refine_strength=0.5))
    told = [event for event in events if isinstance(event, Progress)]
    assert (told[-1].step, told[-1].steps) == (9, 9)
    (first,) = studio.draw(**ASKED)
    (enlarged,) = studio.draw(**ASKED, refine_scale=2, refine_strength=0)
    expected = first.resize((256, 256), Image.Resampling.LANCZOS)
    assert difference(enlarged, expected) == (0, 0)


def test_images_beside_each_other_are_refined_as_they_are_alone(studio: Studio) -> None:
    refined = {**ASKED, "refine_scale": 2}
    alone = [studio.draw(**refined)[0], studio.draw(**{**refined, "seed": 5})[0]]
    several, plain = studio.draw_together([{**refined, "num_images": 2}, ASKED])
    for picture, expected in zip(several, alone, strict=True):
        assert difference(picture, expected)[0] <= 2
    assert difference(plain[0], studio.draw(**ASKED)[0])[0] <= 2


def test_an_image_is_refined_as_it_is_at_strength_0(studio: Studio) -> None:
    asked = {**ASKED, "image": FLOWER, "width": 128, "height": 128, "strength": 0}
    (picture,) = studio.draw(**asked, refine_scale=2, refine_strength=0.25)
    larger = images.fit(FLOWER, (128, 128)).resize((256, 256), Image.Resampling.LANCZOS)
    assert picture.size == (256, 256)
    assert 0 < difference(picture, larger)[1] < 30


def test_a_mask_preserves_in_both_passes(studio: Studio) -> None:
    mask = half_mask((512, 512))
    asked = {**ASKED, "image": FLOWER, "mask": mask, "width": 128, "height": 128}
    (picture,) = studio.draw(**asked, refine_scale=2)
    kept, drawn = (0, 0, 128, 256), (136, 0, 256, 256)
    fitted = images.fit(FLOWER, (256, 256))
    assert difference(picture.crop(kept), fitted.crop(kept)) == (0, 0)
    assert difference(picture.crop(drawn), fitted.crop(drawn))[1] > 2


def test_a_size_that_is_asked_for_is_the_results(studio: Studio) -> None:
    (picture,) = studio.draw(**ASKED, refine_scale=2, result_size="200x200")
    assert picture.size == (200, 200)


def test_more_than_four_megapixels_are_refused(studio: Studio) -> None:
    with pytest.raises(InputError, match="refine_scale: 1024 × 1024 px become 3072 × 3072"):
        studio.draw(**ASKED, width=1024, height=1024, refine_scale=3)


def test_a_mask_without_white_has_the_image_enlarged_and_nothing_drawn(studio: Studio) -> None:
    asked = {**ASKED, "image": FLOWER, "mask": Image.new("L", FLOWER.size), "width": 128}
    events = list(studio.events(**asked, height=128, refine_scale=2))
    (picture,) = [event for event in events if isinstance(event, Picture)]
    assert difference(picture.image, images.fit(FLOWER, (256, 256))) == (0, 0)
    assert not any(isinstance(event, Progress) for event in events)
    said = [event.warning for event in events if isinstance(event, Resized)]
    assert said == [
        "refine_scale: the image is taken at 128 × 128 px, enlarged to 256 × 256 px",
    ]


def test_what_is_only_enlarged_was_drawn_at_no_size(studio: Studio) -> None:
    asked = {**ASKED, "image": FLOWER, "strength": 0, "refine_strength": 0, "crop": "3,4,99,77"}
    (picture,) = [
        event for event in studio.events(**asked, refine_scale=2) if isinstance(event, Picture)
    ]
    assert (picture.image.size, picture.drawn_size) == ((198, 154), None)


def test_what_is_scaled_last_is_what_the_second_pass_has_drawn(studio: Studio) -> None:
    events = list(studio.events(**ASKED, refine_scale=2, result_size="200x200"))
    (picture,) = [event for event in events if isinstance(event, Picture)]
    assert (picture.image.size, picture.drawn_size) == ((200, 200), (256, 256))
    assert [event.warning for event in events if isinstance(event, Resized)] == [
        "refine_scale: drawn at 256 × 256 px, then refined at 512 × 512 px",
        "result_size: drawn at 512 × 512 px, then scaled and cropped to 200 × 200 px by the filter "
        "lanczos",
    ]


def test_a_file_has_no_more_pixels_than_its_format_can_have(studio: Studio) -> None:
    asked = {**ASKED, "image": picture_of(size=(2, 5000)), "strength": 0, "refine_strength": 0}
    with pytest.raises(InputError, match="8 × 20000 px are more than a file of webp has, 16383"):
        studio.draw(**asked, refine_scale=4, output_format="webp")
    (picture,) = studio.draw(**asked, refine_scale=4)
    assert picture.size == (8, 20000)
