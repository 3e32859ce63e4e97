"""What of the image is used, drawn and kept: parts, extensions, crops and sizes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy
import pytest
from PIL import Image

from stable_diffusion import images
from stable_diffusion.events import Resized
from stable_diffusion.request import EXTENSIONS, InputError
from tests.support.pictures import EXAMPLES, difference, half_mask, picture_of, same
from tests.support.properties import given, settings
from tests.support.properties import strategies as st
from tests.support.studio import Studio, count_calls

FLOWER = images.read_image(EXAMPLES / "flower.png")
PHOTO = picture_of(size=(300, 200))


def notes(studio: Studio, **inputs: Any) -> list[str]:
    """What the client is told of the sizes."""
    return [event.warning for event in studio.events(**inputs) if isinstance(event, Resized)]


def box_mask(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> Image.Image:
    """White in some boxes."""
    mask = Image.new("L", size)
    for box in boxes:
        mask.paste(255, box)
    return mask


def kept(picture: Image.Image, image: Image.Image, mask: Image.Image) -> bool:
    """Whether what a mask preserves is that of the image, bit for bit."""
    black = numpy.asarray(mask) < 128
    return bool((numpy.asarray(picture)[black] == numpy.asarray(image)[black]).all())


def changed(picture: Image.Image, image: Image.Image, box: tuple[int, int, int, int]) -> float:
    return difference(picture.crop(box), image.crop(box))[1]


# Only the masked part


@settings(max_examples=12)
@given(
    st.tuples(st.integers(1, 400), st.integers(1, 300)),
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
    st.integers(0, 80),
    st.sampled_from([{}, {"width": 64}, {"width": 192, "height": 64}, {"mask_blur": 5}]),
)
def test_the_image_keeps_its_size_and_every_preserved_pixel(
    studio: Studio,
    size: tuple[int, int],
    corners: list[float],
    padding: int,
    more: dict[str, int],
) -> None:
    across, down = sorted(corners[:2]), sorted(corners[2:])
    left, right = (int(place * size[0]) for place in across)
    top, bottom = (int(place * size[1]) for place in down)
    image, mask = picture_of(size=size), box_mask(size, (left, top, right + 1, bottom + 1))
    options = {"only_masked": True, "only_masked_padding": padding, "num_inference_steps": 1}
    (picture,) = studio.draw(image=image, mask=mask, strength=1, **options, **more)
    assert picture.size == size
    if "mask_blur" not in more:
        assert kept(picture, image, mask)
        assert changed(picture, image, (left, top, min(right + 1, size[0]), bottom + 1)) > 0


def test_it_is_the_part_drawn_by_itself_and_put_back(studio: Studio) -> None:
    size = (300, 200)
    mask = box_mask(size, (100, 60, 180, 100))
    # The part with 24 px around it has 128 × 88 px, and is widened to the shape of 192 × 128.
    asked = {"width": 192, "height": 128, "strength": 0.9, "mask_blur": 2}
    part = (74, 36, 206, 124)
    (alone,) = studio.draw(
        image=PHOTO.crop(part), mask=mask.crop(part), **asked, result_size="132x88"
    )
    options = {**asked, "only_masked": True, "only_masked_padding": 24}
    (picture,) = studio.draw(image=PHOTO, mask=mask, **options)
    assert same(picture.crop(part), alone)
    expected = PHOTO.copy()
    expected.paste(alone, part[:2])
    assert same(picture, expected)
    assert notes(studio, image=PHOTO, mask=mask, **options) == [
        "only_masked: the part of 132 × 88 px at 74, 36 is drawn at 192 × 128 px, then scaled by "
        "the filter lanczos and put back"
    ]


def test_with_both_sides_empty_a_part_has_the_native_area_in_its_shape(studio: Studio) -> None:
    size = (1200, 900)
    image = picture_of(size=size)
    for white, drawn in (
        ((300, 300, 700, 700), "128 × 128"),
        ((100, 400, 900, 800), "256 × 128"),
        ((600, 100, 700, 850), "128 × 256"),
    ):
        options = {"only_masked": True, "only_masked_padding": 0, "num_inference_steps": 1}
        (told,) = notes(studio, image=image, mask=box_mask(size, white), **options)
        assert f"is drawn at {drawn} px" in told


def test_all_white_parts_are_one_cut(studio: Studio) -> None:
    size = (300, 200)
    mask = box_mask(size, (10, 10, 20, 20), (250, 150, 290, 190))
    options = {
        "only_masked": True,
        "num_inference_steps": 2,
        "strength": 1,
        "only_masked_padding": 0,
    }
    (picture,) = studio.draw(image=PHOTO, mask=mask, **options)
    assert kept(picture, PHOTO, mask)
    assert changed(picture, PHOTO, (10, 10, 20, 20)) > 2
    assert changed(picture, PHOTO, (250, 150, 290, 190)) > 2
    (told,) = notes(studio, image=PHOTO, mask=mask, **options)
    # Of the shape of 256 × 128, as far as there is room.
    assert told.startswith("only_masked: the part of 300 × 180 px at 0, 10 is drawn at 256 × 128")


def test_a_part_at_the_edge_is_drawn_with_what_is_there(studio: Studio) -> None:
    image = picture_of(size=(400, 30))
    mask = box_mask(image.size, (0, 0, 8, 30))
    options = {"only_masked": True, "width": 64, "height": 64, "num_inference_steps": 2}
    (picture,) = studio.draw(image=image, mask=mask, strength=1, **options)
    assert kept(picture, image, mask)
    assert changed(picture, image, (0, 0, 8, 30)) > 2


def test_without_white_or_strength_the_image_comes_back(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = count_calls(studio.model, monkeypatch)
    for mask, strength in ((Image.new("L", (10, 10)), 1), (half_mask(), 0)):
        (picture,) = studio.draw(image=PHOTO, mask=mask, strength=strength, only_masked=True)
        assert difference(picture, PHOTO) == (0, 0)
    assert rows == []


def test_an_image_beyond_4096_px_is_scaled_to_them(studio: Studio) -> None:
    image = picture_of(size=(5000, 40))
    asked = {"image": image, "mask": half_mask(), "only_masked": True, "num_inference_steps": 1}
    (picture,) = studio.draw(**asked)
    fitted = images.fit(image, (4096, 33))
    assert picture.size == fitted.size
    assert changed(picture, fitted, (0, 0, 1000, 33)) == 0
    assert notes(studio, **asked)[0] == (
        "only_masked: the image's 5000 × 40 px are more than a result has; they are scaled to "
        "4096 × 33 px"
    )


# Beyond the image's edge


@settings(max_examples=10)
@given(
    st.lists(st.integers(0, 6).map(lambda steps: 8 * steps), min_size=4, max_size=4).filter(any),
    st.sampled_from([(64, 64), (128, 64), (64, 192)]),
    st.sampled_from([0.5, 1]),
)
def test_what_was_there_is_kept_and_more_is_around_it(
    studio: Studio, added: list[int], sides: tuple[int, int], strength: float
) -> None:
    left, top, right, bottom = added
    width, height = sides
    (picture,) = studio.draw(
        image=PHOTO,
        width=width,
        height=height,
        strength=strength,
        num_inference_steps=2,
        **dict(zip(EXTENSIONS, added, strict=True)),
    )
    assert picture.size == (left + width + right, top + height + bottom)
    inner = picture.crop((left, top, left + width, top + height))
    assert difference(inner, images.fit(PHOTO, sides)) == (0, 0)
    strips = [
        picture.crop((0, 0, left, picture.height)),
        picture.crop((0, 0, picture.width, top)),
        picture.crop((left + width, 0, picture.width, picture.height)),
        picture.crop((0, top + height, picture.width, picture.height)),
    ]
    for pixels, strip in zip(added, strips, strict=True):
        assert not pixels or numpy.asarray(strip).std() > 1


def test_an_extension_begins_with_the_colours_of_the_edge(studio: Studio) -> None:
    image = Image.new("RGB", (128, 128), (230, 40, 40))
    image.paste((40, 40, 230), (0, 64, 128, 128))
    asked = {"image": image, "extend_right": 64, "num_inference_steps": 10, "seed": 2}
    (picture,) = studio.draw(strength=0.3, **asked)
    top, bottom = (
        numpy.asarray(picture.crop(box)).mean((0, 1))
        for box in ((136, 8, 184, 56), (136, 72, 184, 120))
    )
    assert top[0] > top[2] + 100
    assert bottom[2] > bottom[0] + 100
    # At the seam, it takes over step by step.
    columns = numpy.asarray(picture).astype(int)[8:56, 128:132].mean(0)
    for here, there in pairwise([numpy.array((230, 40, 40)), *columns]):
        assert abs(here - there).max() < 20


def test_a_masks_white_is_repainted_with_what_is_new(studio: Studio) -> None:
    image, mask = images.fit(FLOWER, (128, 128)), half_mask()
    (picture,) = studio.draw(image=image, mask=mask, extend_left=32, strength=1)
    assert picture.size == (160, 128)
    assert difference(picture.crop((32, 0, 96, 128)), image.crop((0, 0, 64, 128))) == (0, 0)
    assert changed(picture.crop((32, 0, 160, 128)), image, (64, 0, 128, 128)) > 2


def test_with_its_size_kept_an_image_is_extended_in_its_own_pixels(studio: Studio) -> None:
    asked = {"image": PHOTO, "keep_size": True, "extend_top": 40, "extend_right": 8}
    (picture,) = studio.draw(**asked)
    assert picture.size == (308, 240)
    assert difference(picture.crop((0, 40, 300, 240)), PHOTO) == (0, 0)
    assert notes(studio, **asked) == [
        "keep_size: drawn at 320 × 256 px, then scaled and cropped to 308 × 240 px by the filter "
        "lanczos"
    ]
    wide = picture_of(size=(3000, 30))
    asked = {"image": wide, "keep_size": True, "extend_left": 136, "num_inference_steps": 1}
    (picture,) = studio.draw(width=128, height=64, **asked)
    assert picture.size == (1536, 14)
    assert difference(picture.crop((136, 0, 1536, 14)), images.fit(wide, (1400, 14))) == (0, 0)


def test_an_extension_that_is_too_large_for_the_chosen_size_is_named(studio: Studio) -> None:
    with pytest.raises(InputError) as caught:
        studio.draw(image=PHOTO, extend_bottom=1000, extend_top=472)
    assert caught.value.faults == (
        "extend_top: the image's height of 128 px and 1472 px beyond it are more than 1536; extend "
        "it less, or give a smaller height",
    )


def test_an_extension_has_its_own_pictures_by_seed_in_one_batch(studio: Studio) -> None:
    asked = {"image": FLOWER, "extend_right": 64, "strength": 1, "num_inference_steps": 3}
    first, second = studio.draw(num_images=2, **asked)
    assert difference(first, second)[1] > 1
    ((alone,), _) = studio.draw_together([{**asked, "seed": 2}, {"width": 64, "height": 64}])
    assert same(alone, second)


# Which part, in which size and how


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"result_size": "70x90"},
        {"keep_size": True},
        {"strength": 0},
        {"mask": half_mask((300, 200))},
        {"mask": half_mask((300, 200)), "only_masked": True, "strength": 1},
        {"extend_left": 16},
    ],
)
def test_a_crop_is_the_image_cropped_before(studio: Studio, more: dict[str, Any]) -> None:
    box = (140, 20, 260, 190)
    (picture,) = studio.draw(image=PHOTO, crop="140,20,120,170", **more)
    if "mask" in more:
        more = {**more, "mask": more["mask"].crop(box)}
    (expected,) = studio.draw(image=PHOTO.crop(box), **more)
    assert difference(picture, expected) == (0, 0)


def test_a_mask_of_another_size_lies_on_the_image_before_it_is_cropped(studio: Studio) -> None:
    asked = {"image": PHOTO, "crop": "100,0,100,200", "strength": 1, "keep_size": True}
    (picture,) = studio.draw(mask=half_mask((30, 20)), **asked)
    part = PHOTO.crop((100, 0, 200, 200))
    # It is made ten times as large, and its edge is not sharp then.
    assert changed(picture, part, (0, 0, 45, 200)) == 0
    assert changed(picture, part, (55, 0, 100, 200)) > 2


@pytest.mark.parametrize(
    ("size", "strength", "result"),
    [
        ((131, 77), 0.5, (131, 77)),
        ((5, 3), 0.5, (5, 3)),
        ((1536, 8), 0.5, (1536, 8)),
        ((1600, 200), 0.5, (1536, 192)),
        ((200, 3200), 0.5, (96, 1536)),
        ((3200, 20), 0, (3200, 20)),
        ((8192, 20), 0, (4096, 10)),
    ],
)
def test_a_size_is_kept_up_to_what_a_result_has(
    studio: Studio, size: tuple[int, int], strength: float, result: tuple[int, int]
) -> None:
    image = picture_of(size=size)
    asked: dict[str, Any] = {"image": image, "keep_size": True, "strength": strength}
    asked |= {"num_inference_steps": 1}
    (picture,) = studio.draw(width=64, height=64, **asked)
    assert picture.size == result
    told = notes(studio, width=64, height=64, **asked)
    expected = [
        f"keep_size: the image's {size[0]} × {size[1]} px are more than a result has; they are "
        f"scaled to {result[0]} × {result[1]} px"
    ]
    assert told[:-1] == expected * (size != result)
    assert told[-1].startswith("keep_size: drawn at 64 × 64 px, " if strength else "keep_size: the")
    if not strength and size == result:
        assert difference(picture, image) == (0, 0)


@pytest.mark.parametrize("mode", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("more", [{}, {"result_size": "90x140"}])
def test_an_image_of_another_shape_is_cropped_padded_or_stretched(
    studio: Studio, mode: str, more: dict[str, Any]
) -> None:
    image = FLOWER.resize((300, 200))
    size = (90, 140) if more else (128, 128)
    asked = {"image": image, "width": 128, "height": 128, "resize_mode": mode, **more}
    (still,) = studio.draw(strength=0, **asked)
    assert difference(still, images.fit(image, size, mode=mode)) == (0, 0)
    (picture,) = studio.draw(strength=0.01, **asked)
    others = {
        other: difference(picture, images.fit(image, size, mode=other))[1]
        for other in ("crop", "pad", "stretch")
    }
    assert min(others, key=lambda other: others[other]) == mode
    mask = half_mask((300, 200))
    (picture,) = studio.draw(strength=1, mask=mask, **asked)
    assert kept(picture, still, images.fit(mask, size, mode=mode))


def test_a_mask_that_grows_repaints_more_and_one_that_shrinks_less(studio: Studio) -> None:
    image, mask = images.fit(FLOWER, (128, 128)), box_mask((128, 128), (48, 48, 80, 80))
    for grow, white in ((8, (40, 40, 88, 88)), (-8, (56, 56, 72, 72))):
        (picture,) = studio.draw(image=image, mask=mask, mask_grow=grow, strength=1)
        assert kept(picture, image, box_mask((128, 128), white))
        rim = (white[0], white[1], white[2], white[1] + 3)
        assert changed(picture, image, rim) > 1
    (picture,) = studio.draw(image=image, mask=mask, mask_grow=-16, strength=1)
    assert difference(picture, image) == (0, 0)
