from __future__ import annotations

import io
import itertools
import struct
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import ExifTags, Image, ImageOps

from stable_diffusion import decoding, images
from stable_diffusion.request import AUTOMATIC_SIZES, RESIZE_MODES, SIZES, InputError, Request
from tests.support.pictures import difference, half_mask, opened, picture_of
from tests.support.properties import given
from tests.support.properties import strategies as st
from tools.attacks.pictures import png


def saved(folder: Path, picture: Image.Image, file_format: str, **options: Any) -> Path:
    path = folder / "upload"
    picture.save(path, file_format, **options)
    return path


def refusal(path: object) -> str:
    with pytest.raises(InputError) as caught:
        images.read_image(path)
    assert len(caught.value.faults) == 1
    return str(caught.value)


# What comes in


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_the_documented_formats_are_read(tmp_path: Path, file_format: str) -> None:
    picture = Image.new("RGB", (40, 30), (200, 100, 50))
    read = images.read_image(saved(tmp_path, picture, file_format))
    assert (read.mode, read.size) == ("RGB", (40, 30))
    assert numpy.allclose(numpy.asarray(read)[5, 5], (200, 100, 50), atol=6)


def test_other_formats_are_refused(tmp_path: Path) -> None:
    for file_format in ("PPM", "ICO", "TGA", "PDF"):
        assert "give PNG, JPEG" in refusal(saved(tmp_path, picture_of(), file_format))


@pytest.mark.parametrize("colours", ["L", "1", "P", "CMYK", "LA", "RGBA", "YCbCr"])
def test_all_kinds_of_colour_become_rgb(tmp_path: Path, colours: str) -> None:
    halves = Image.new("RGB", (8, 8), "white")
    halves.paste("black", (4, 0, 8, 8))
    read = images.read_image(saved(tmp_path, halves.convert(colours), "TIFF"))
    assert read.mode == "RGB"
    assert read.getpixel((1, 1)) == (255, 255, 255)
    assert read.getpixel((6, 6)) == (0, 0, 0)


def test_a_cmyk_photo_keeps_its_colours(tmp_path: Path) -> None:
    orange = Image.new("RGB", (16, 16), (240, 120, 10))
    read = images.read_image(saved(tmp_path, orange.convert("CMYK"), "JPEG", quality=95))
    assert numpy.allclose(numpy.asarray(read)[8, 8], (240, 120, 10), atol=6)


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    grey = numpy.array([[0, 257 * 100, 257 * 200, 65535]], numpy.uint16)
    for file_format in ("PNG", "TIFF"):
        read = images.read_image(saved(tmp_path, Image.fromarray(grey), file_format))
        assert [read.getpixel((x, 0)) for x in range(4)] == [(v,) * 3 for v in (0, 100, 200, 255)]
    colour = b"\0" + struct.pack(">6H", 257 * 10, 257 * 20, 257 * 30, 65535, 0, 257 * 7)
    (tmp_path / "colour").write_bytes(png(2, 1, 16, 2, colour))
    read = images.read_image(tmp_path / "colour")
    assert [read.getpixel((x, 0)) for x in range(2)] == [(10, 20, 30), (255, 0, 7)]


def test_transparency_is_laid_on_white_in_an_image_and_on_black_in_a_mask(tmp_path: Path) -> None:
    layer = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    layer.putpixel((0, 0), (255, 255, 255, 255))
    for picture in (layer, layer.convert("LA"), layer.quantize(4)):
        path = saved(tmp_path, picture, "PNG")
        assert images.read_image(path).getpixel((2, 2)) == (255, 255, 255)
        mask, _ = images.read_picture("mask", path)
        assert (mask.mode, mask.getpixel((2, 2)), mask.getpixel((0, 0))) == ("L", 0, 255)


def test_by_its_alpha_channel_a_mask_is_white_where_it_is_transparent(tmp_path: Path) -> None:
    layer = Image.new("RGBA", (4, 1), (255, 0, 0, 255))
    layer.putpixel((1, 0), (255, 255, 255, 0))
    layer.putpixel((2, 0), (0, 0, 0, 0))
    layer.putpixel((3, 0), (255, 255, 255, 200))
    for picture, last in ((layer, 55), (layer.convert("LA"), 55), (layer.quantize(4), 55)):
        path = saved(tmp_path, picture, "PNG")
        mask, notes = images.read_picture("mask", path, mask_source="alpha")
        assert (mask.mode, list(mask.getdata()), notes) == ("L", [0, 255, 255, last], [])
        mask, notes = images.read_picture("mask", path, mask_source="opacity")
        assert (list(mask.getdata()), notes) == ([255, 0, 0, 255 - last], [])
    image, _ = images.read_picture("image", saved(tmp_path, layer, "PNG"), mask_source="alpha")
    assert image.getpixel((1, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_a_mask_without_transparency_is_read_by_its_brightness(tmp_path: Path, mode: str) -> None:
    greys = Image.frombytes("L", (4, 1), bytes([0, 99, 200, 255]))
    path = saved(tmp_path, greys.convert(mode), "PNG")
    said = ["mask: nothing of it is transparent; by its brightness, white is repainted"]
    for mask_source, expected in (("alpha", said), ("opacity", [])):
        mask, notes = images.read_picture("mask", path, mask_source=mask_source)
        assert (list(mask.getdata()), notes) == (list(greys.getdata()), expected)


def adjusted(mask: Image.Image, **options: Any) -> list[int]:
    request = Request.of({"prompt": "", "image": mask.convert("RGB"), "mask": mask, **options})
    return list((images.adjusted_mask(request) or mask).getdata())


def test_a_mask_is_inverted_unless_it_is_read_by_alpha_and_then_blurred() -> None:
    half = half_mask((40, 1))
    assert adjusted(half) == list(half.getdata())
    assert adjusted(half, invert_mask=True) == list(ImageOps.invert(half).getdata())
    assert adjusted(half, invert_mask=True, mask_source="alpha") == list(half.getdata())
    opaque = adjusted(half, invert_mask=True, mask_source="opacity")
    assert opaque == list(ImageOps.invert(half).getdata())
    soft = adjusted(half, mask_blur=4)
    assert soft == sorted(soft)
    assert (soft[0], soft[39]) == (0, 255)
    # The share of a Gaussian on this side, 3.5 px from the edge: 0.81.
    assert abs(soft[23] / 255 - 0.81) < 0.02
    inverted = adjusted(half, invert_mask=True, mask_blur=4)
    assert all(abs(one + other - 255) <= 1 for one, other in zip(soft, inverted, strict=True))


@given(st.integers(-12, 12), st.integers(1, 40), st.integers(1, 40))
def test_a_mask_grows_and_shrinks_across_and_down(pixels: int, width: int, height: int) -> None:
    mask = Image.new("L", (width, height), 30)
    box = (width // 3, height // 3, 1 + 2 * width // 3, 1 + 2 * height // 3)
    mask.paste(200, box)
    expected = Image.new("L", (width, height), 30)
    left, top, right, bottom = (box[0] - pixels, box[1] - pixels, box[2] + pixels, box[3] + pixels)
    # What is at the edge goes on beyond it, so that nothing shrinks from there.
    left, top = (0 if old == 0 else new for old, new in zip(box[:2], (left, top), strict=True))
    right = width if box[2] == width else right
    bottom = height if box[3] == height else bottom
    if left < right and top < bottom:
        expected.paste(200, (max(0, left), max(0, top), min(width, right), min(height, bottom)))
    assert adjusted(mask, mask_grow=pixels) == list(expected.getdata())


def test_a_mask_grows_after_it_is_inverted_and_before_it_is_blurred() -> None:
    half = half_mask((40, 1))
    grown = adjusted(half, invert_mask=True, mask_grow=5)
    assert grown == [255] * 25 + [0] * 15
    again = Image.frombytes("L", (40, 1), bytes(grown))
    assert adjusted(half, invert_mask=True, mask_grow=5, mask_blur=3) == adjusted(
        again, mask_blur=3
    )


@pytest.mark.parametrize("grey", [0, 127, 128, 255])
def test_the_blur_of_one_grey_is_that_grey(grey: int) -> None:
    assert set(adjusted(Image.new("L", (90, 50), grey), mask_blur=64)) == {grey}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_that_was_taken_sideways_is_upright(tmp_path: Path, orientation: int) -> None:
    upright = Image.new("RGB", (20, 12), "white")
    upright.paste("black", (0, 0, 4, 4))
    exif = Image.Exif()
    exif[0x0112] = orientation
    turns = {
        2: 0,
        3: 3,
        4: 1,
        5: 5,
        6: 2,
        7: 6,
        8: 4,
    }  # what brings the upright one into that state
    stored = upright.transpose(Image.Transpose(turns[orientation])) if orientation > 1 else upright
    read = images.read_image(saved(tmp_path, stored, "PNG", exif=exif))
    assert read.size == (20, 12)
    assert list(read.getdata()) == list(upright.getdata())


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (10, 10), colour) for colour in ("red", "blue")]
    for file_format in ("GIF", "WEBP", "TIFF"):
        options = {"lossless": True} if file_format == "WEBP" else {}
        path = saved(
            tmp_path, frames[0], file_format, save_all=True, append_images=frames[1:], **options
        )
        assert images.read_image(path).getpixel((5, 5)) == (255, 0, 0)


def test_a_decompression_bomb_is_refused_before_a_pixel_is_decoded(tmp_path: Path) -> None:
    for width, height in ((8001, 8000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)):
        (tmp_path / "bomb").write_bytes(png(width, height, 8, 2, b"nothing that could be decoded"))
        assert "at most 64 megapixels" in refusal(tmp_path / "bomb")


def test_a_jpeg_that_goes_over_its_pixels_without_end_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, picture_of(), "JPEG", progressive=True)
    assert images.read_image(path).size == (128, 128)
    data = path.read_bytes()
    scan = data[data.rindex(b"\xff\xda") : -2]
    path.write_bytes(data[:-2] + scan * 200 + data[-2:])
    assert "more than 100 scans" in refusal(path)


def test_what_is_no_picture_is_refused_in_plain_words(tmp_path: Path) -> None:
    whole = io.BytesIO()
    picture_of().save(whole, "PNG")
    for name, data, words in (
        ("text", b"hello", "not a picture"),
        ("empty", b"", "not a picture"),
        ("truncated.png", whole.getvalue()[:2000], "ends too early"),
        ("vector.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is SVG, which can't"),
    ):
        (tmp_path / name).write_bytes(data)
        assert words in refusal(tmp_path / name)


def test_a_text_is_no_way_to_a_file_of_the_server() -> None:
    for text in ("/etc/hostname", "file:///etc/hostname", "", "ftp://a/b.png", 5):
        assert "is not an upload" in refusal(text)


@given(st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    file_format = data.draw(st.sampled_from(decoding.FORMATS))
    whole = io.BytesIO()
    picture_of(size=(16, 16)).save(whole, file_format)
    damaged = bytearray(whole.getvalue())
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "file"
    path.write_bytes(damaged[: data.draw(st.integers(1, len(damaged)))])
    try:
        assert images.read_image(path).mode == "RGB"
    except InputError as error:
        assert len(error.faults) == 1


# Which size comes out


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((500, 500), (768, 768)),
        ((3000, 2000), (960, 640)),
        ((2000, 3000), (640, 960)),
        ((4032, 3024), (768, 576)),
        ((1920, 1080), (1024, 576)),
        ((1, 1), (768, 768)),
        ((1, 5000), (384, 1024)),
        ((5000, 1), (1024, 384)),
    ],
)
def test_an_empty_size_follows_the_pictures_shape(
    shape: tuple[int, int], size: tuple[int, int]
) -> None:
    assert images.choose_size(None, None, shape, native=768) == size


def test_without_a_picture_the_empty_size_is_the_native_one() -> None:
    assert images.choose_size(None, None, None, native=768) == (768, 768)
    assert images.choose_size(512, None, None, native=768) == (512, 768)


def test_with_one_side_given_the_other_follows_the_shape() -> None:
    assert images.choose_size(768, None, (3000, 2000), native=768) == (768, 512)
    assert images.choose_size(None, 768, (2000, 3000), native=768) == (512, 768)
    assert images.choose_size(128, None, (1, 1), native=768) == (128, 128)


def test_what_is_left_empty_is_chosen_from_the_documented_thirteen() -> None:
    # 192 and 320 may be asked for, and would be closer.
    assert images.choose_size(192, None, (1, 1), native=768) == (192, 256)
    assert images.choose_size(None, None, (5, 2), native=384) == (640, 256)
    assert images.choose_size(320, 192, (1, 1), native=768) == (320, 192)


@pytest.mark.parametrize(
    ("result", "drawn"),
    [
        ((520, 776), (576, 832)),
        ((512, 512), (512, 512)),
        ((8, 8), (64, 64)),
        ((1024, 1023), (1024, 1024)),
        ((1536, 1024), (1024, 704)),
        ((1536, 1536), (1024, 1024)),
        ((1025, 512), (1024, 512)),
        ((1536, 8), (1024, 64)),
    ],
)
def test_what_is_drawn_has_the_shape_of_a_result_of_another_size(
    result: tuple[int, int], drawn: tuple[int, int]
) -> None:
    for shape in (None, (1, 5), (700, 300)):
        assert images.choose_size(None, None, shape, 768, result) == drawn
        assert images.choose_size(None, None, shape, 768, result[::-1]) == drawn[::-1]


def test_with_a_result_size_what_is_asked_is_drawn_and_one_side_follows_the_results_shape() -> None:
    assert images.choose_size(320, 192, (1, 1), 768, (520, 776)) == (320, 192)
    assert images.choose_size(512, None, (1, 1), 768, (520, 1040)) == (512, 1024)
    assert images.choose_size(None, 512, None, 768, (1500, 1000)) == (768, 512)


result_sides = st.integers(8, 1536)


@given(result_sides, result_sides)
def test_what_is_drawn_covers_the_result_and_is_no_larger_than_it_must_be(
    width: int, height: int
) -> None:
    drawn = images.choose_size(None, None, None, 768, (width, height))
    scale = min(1, 1024 / max(width, height))
    for side, wanted in zip(drawn, (width * scale, height * scale), strict=True):
        assert side in SIZES
        assert wanted <= side + 1e-9 < wanted + 64


sides = st.integers(1, 10_000)


@given(sides, sides, st.sampled_from([128, 256, 512, 768]))
def test_no_pair_of_about_the_native_area_is_closer_in_shape(
    width: int, height: int, native: int
) -> None:
    chosen = images.choose_size(None, None, (width, height), native)

    def distance(size: tuple[int, int]) -> float:
        return float(abs(numpy.log(size[0] / size[1]) - numpy.log(width / height)))

    every = itertools.product(AUTOMATIC_SIZES, AUTOMATIC_SIZES)
    pairs = [(w, h) for w, h in every if native**2 / 2 <= w * h <= native**2 * 2]
    assert chosen in pairs
    assert distance(chosen) <= min(map(distance, pairs)) + 1e-9
    mirrored = images.choose_size(None, None, (height, width), native)
    assert (
        mirrored == chosen[::-1] or width == height or distance(mirrored[::-1]) == distance(chosen)
    )


# How it is fitted


def test_a_picture_of_the_asked_size_is_not_touched() -> None:
    picture = picture_of(size=(256, 128))
    assert list(images.fit(picture, (256, 128)).getdata()) == list(picture.getdata())


def test_the_middle_is_taken_and_nothing_is_squashed() -> None:
    picture = Image.new("L", (300, 100), "white")
    picture.paste("black", (90, 0, 210, 100))
    assert images.fit(picture, (128, 128)).getextrema() == (0, 0)
    square = ImageOps.expand(Image.new("L", (20, 20), 255), border=40)
    fitted = images.fit(square, (512, 256)).point(lambda grey: 255 * (grey > 127))
    left, top, right, bottom = fitted.getbbox() or (0, 0, 0, 0)
    assert abs((right - left) - 102) <= 1
    assert abs((bottom - top) - 102) <= 1


@given(sides, sides, st.sampled_from(SIZES), st.sampled_from(SIZES))
def test_any_shape_fits_any_size(width: int, height: int, asked_width: int, asked: int) -> None:
    picture = Image.new("L", (min(width, 2000), min(height, 2000)), 77)
    fitted = images.fit(picture, (asked_width, asked))
    assert fitted.size == (asked_width, asked)
    assert fitted.getextrema() == (77, 77)


def gradient(width: int, height: int) -> Image.Image:
    """A picture whose values say where one is: red across, green down."""
    across = numpy.linspace(0, 255, width)[None].repeat(height, 0)
    down = numpy.linspace(0, 255, height)[:, None].repeat(width, 1)
    pixels = numpy.stack([across, down, 0 * down], axis=2).round().astype(numpy.uint8)
    return Image.fromarray(pixels)


short_sides = st.integers(40, 400)


@given(
    short_sides,
    short_sides,
    *[short_sides] * 2,
    *[st.sampled_from(SIZES[:6])] * 2,
    st.sampled_from(RESIZE_MODES),
)
def test_what_is_seen_within_another_shape_is_what_is_seen_in_that_shape(
    width: int,
    height: int,
    result_width: int,
    result_height: int,
    drawn_width: int,
    drawn: int,
    mode: str,
) -> None:
    picture, result = gradient(width, height), (result_width, result_height)
    seen = images.fit(picture, (drawn_width, drawn), within=result, mode=mode)
    assert seen.size == (drawn_width, drawn)
    cropped = images.fit(seen, result)
    # A pixel of what is drawn, in the gradient's values, and the edges' ringing.
    scale = min(drawn_width / result_width, drawn / result_height, 1)
    allowed = 6 + 255 / scale / min(result)
    assert difference(cropped, images.fit(picture, result, mode=mode))[1] < allowed / 2


@given(*[short_sides] * 4)
def test_stretching_shows_all_of_the_picture_distorted(
    width: int, height: int, result_width: int, result_height: int
) -> None:
    picture, size = gradient(width, height), (result_width, result_height)
    expected = picture.resize(size, Image.Resampling.LANCZOS)
    assert difference(images.fit(picture, size, mode="stretch"), expected)[0] <= 1


@given(*[st.integers(1, 60)] * 2, st.integers(1, 4), st.integers(0, 50), st.booleans())
def test_padding_shows_all_of_the_picture_between_its_repeated_edges(
    width: int, height: int, scale: int, margin: int, is_wide: bool
) -> None:
    picture = gradient(width, height)
    inner = picture.resize((width * scale, height * scale), Image.Resampling.LANCZOS)
    margins = (margin, 0, margin, 0) if is_wide else (0, margin, 0, margin)
    size = inner.width + 2 * margins[0], inner.height + 2 * margins[1]
    found = images.fit(picture, size, mode="pad")
    assert difference(found, images.with_margins(inner, margins)) == (0, 0)


def test_around_what_is_seen_is_what_surrounds_it_and_beyond_the_picture_its_edge() -> None:
    picture = gradient(200, 100)
    wide = numpy.asarray(images.fit(picture, (128, 64), within=(64, 64))).astype(int)
    # The middle square, and on both sides all that is there.
    assert wide[32, :, 0].min() < 3
    assert wide[32, :, 0].max() > 252
    assert (numpy.diff(wide[32, :, 0]) > 0).mean() > 0.9
    high = numpy.asarray(images.fit(picture, (64, 128), within=(64, 64)))
    assert (high[:32] == high[32]).all()
    assert (high[96:] == high[95]).all()
    grey = images.fit(picture.convert("L"), (64, 128), within=(64, 64))
    assert (grey.mode, grey.size) == ("L", (64, 128))


def test_nearest_makes_no_new_colours() -> None:
    two = Image.new("RGB", (10, 10), "white")
    two.paste("black", (0, 0, 5, 10))
    assert len(images.fit(two, (73, 61), "nearest").getcolors() or []) == 2
    assert len(images.fit(two, (73, 61), "lanczos").getcolors() or []) > 2


# What goes out


@pytest.mark.parametrize("file_format", ["png", "webp", "jpg"])
def test_a_file_carries_its_metadata(tmp_path: Path, file_format: str) -> None:
    metadata = {"prompt": "röd äpple 🍎\n\x00", "seed": 2**53 - 1, "strength": 0.1}
    path = tmp_path / f"picture.{file_format}"
    images.save(picture_of(), path, file_format, 90, metadata)
    assert images.read_metadata(path) == metadata
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    with Image.open(path) as picture:
        assert picture.format == {"jpg": "JPEG"}.get(file_format, file_format.upper())
        assert picture.size == (128, 128)


@pytest.mark.parametrize("file_format", ["png", "webp", "jpg"])
def test_the_longest_prompts_do_not_keep_a_picture_from_being_written(
    tmp_path: Path, file_format: str
) -> None:
    metadata: dict[str, Any] = {
        "prompt": "🍎" * 100_000,
        "negative_prompt": "é" * 100_000,
        "seed": 5,
    }
    path = tmp_path / f"picture.{file_format}"
    images.save(picture_of(), path, file_format, 90, metadata)
    read = images.read_metadata(path)
    assert read["seed"] == 5
    assert metadata["prompt"].startswith(read["prompt"].removesuffix("…"))
    assert (read == metadata) == (file_format == "png")


def infotext_in(path: Path) -> str:
    """The text that AUTOMATIC1111 and image browsers find in a file."""
    with Image.open(path) as picture:
        if picture.format == "PNG":
            return str(picture.text["parameters"])  # type: ignore[attr-defined]
        exif = picture.getexif()
        comment = exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
        # Some readers take its text for numbers where its type is not that of EXIF: undefined, 7.
        assert picture.info["exif"].count(struct.pack(">HH", ExifTags.Base.UserComment, 7)) == 1
    assert comment[:8] == b"UNICODE\0"
    return str(comment[8:], "utf-16-be")


@pytest.mark.parametrize("file_format", ["png", "webp", "jpg"])
@pytest.mark.parametrize(
    "text", ["a lamp\nSteps: 9", "röd 🍎 \u200b\nNegative prompt: né\nSteps: 9"]
)
def test_a_file_carries_its_infotext_beside_its_metadata(
    tmp_path: Path, file_format: str, text: str
) -> None:
    path = tmp_path / f"picture.{file_format}"
    images.save(picture_of(), path, file_format, 90, {"seed": 5}, text)
    assert infotext_in(path) == text
    assert images.read_metadata(path) == {"seed": 5}


@pytest.mark.parametrize("file_format", ["png", "webp", "jpg"])
@pytest.mark.parametrize("letters", ["🍎x", "xyz"])
def test_of_the_longest_infotext_the_last_line_is_kept(
    tmp_path: Path, file_format: str, letters: str
) -> None:
    prompt = letters * 50_000
    path = tmp_path / f"picture.{file_format}"
    images.save(picture_of(), path, file_format, 90, {"prompt": prompt}, f"{prompt}\nSteps: 9")
    start, last = infotext_in(path).split("\n")
    assert last == "Steps: 9"
    assert prompt.startswith(start.removesuffix("…"))
    assert (start == prompt) == (file_format == "png")
    assert len(start) > 9000


def test_png_is_exact_and_quality_matters_to_the_others(tmp_path: Path) -> None:
    picture = picture_of()
    images.save(picture, tmp_path / "a.png", "png", 1, {})
    assert list(opened(tmp_path / "a.png").getdata()) == list(picture.getdata())
    for file_format in ("webp", "jpg"):
        sizes = []
        for quality in (10, 95):
            images.save(picture, tmp_path / "b", file_format, quality, {})
            sizes.append((tmp_path / "b").stat().st_size)
        assert sizes[0] < sizes[1] / 2


def test_the_uploads_own_metadata_is_not_in_the_result(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "SecretCamera"
    for file_format in ("PNG", "JPEG", "WEBP", "TIFF"):
        path = saved(tmp_path, picture_of(), file_format, exif=exif)
        fitted = images.fit(images.read_image(path), (128, 128))
        for kind in ("png", "webp", "jpg"):
            images.save(fitted, tmp_path / "out", kind, 90, {"seed": 1})
            assert b"SecretCamera" not in (tmp_path / "out").read_bytes()
