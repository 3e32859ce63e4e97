from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import pytest
from PIL import Image

from stable_diffusion.request import (
    EXTENSIONS,
    LONGEST_PROMPT_CHARACTERS,
    SCHEDULERS,
    InputError,
    Request,
    UsedLora,
    quote,
)
from tests.support.properties import given
from tests.support.properties import strategies as st

RANGES = {
    "num_images": (1, 4),
    "num_inference_steps": (1, 512),
    "guidance_scale": (1, 20),
    "strength": (0, 1),
    "seed": (0, 2**53 - 1),
    "output_quality": (1, 100),
    "mask_blur": (0, 64),
    "mask_grow": (-256, 256),
    "only_masked_padding": (0, 256),
    "clip_skip": (0, 11),
}
WHOLE = [name for name in RANGES if name not in ("guidance_scale", "strength")]


def faults(**inputs: Any) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        Request.of({"prompt": "a cat"} | inputs)
    return caught.value.faults


def test_what_is_left_out_takes_the_documented_default() -> None:
    request = Request.of({"prompt": "a cat"})
    assert request.negative_prompt == ""
    assert request.image is None
    assert request.mask is None
    assert (request.num_images, request.num_inference_steps) == (1, 25)
    assert (request.guidance_scale, request.strength) == (7.5, 0.8)
    assert (request.width, request.height) == (None, None)
    assert request.use_compel is False
    assert request.scheduler == "DPMSolverMultistep"
    assert (request.output_format, request.output_quality) == ("png", 90)
    assert (request.mask_source, request.invert_mask) == ("brightness", False)
    assert (request.mask_blur, request.mask_grow) == (0, 0)
    assert (request.only_masked, request.only_masked_padding) == (False, 32)
    assert request.extensions == (0, 0, 0, 0)
    assert (request.keep_size, request.resize_mode, request.crop) == (False, "crop", None)
    assert (request.spacing, request.eta, request.clip_skip) == ("default", 0, 0)


@pytest.mark.parametrize("name", RANGES)
def test_both_ends_of_a_range_are_allowed(name: str) -> None:
    for end in RANGES[name]:
        assert getattr(Request.of({"prompt": "", name: end}), name) == end


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize(
    "value", [-1000, 2**53, 2**70, 10**400, 1e300, float("nan"), float("inf"), "2", True, [1], {}]
)
def test_what_is_outside_of_a_range_or_no_number_is_named_with_what_is_allowed(
    name: str, value: Any
) -> None:
    (fault,) = faults(**{name: value})
    low, high = RANGES[name]
    assert fault.startswith(f"{name}: ")
    assert f"from {low} to {high}" in fault


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_number_may_come_as_a_float_but_not_a_broken_one(name: str) -> None:
    value = getattr(Request.of({"prompt": "", name: 2.0}), name)
    assert (value, type(value)) == (2, int)
    assert "2.5 is not allowed" in faults(**{name: 2.5})[0]


def test_null_is_allowed_where_empty_means_something_and_nowhere_else() -> None:
    request = Request.of({"prompt": "", "width": None, "height": None, "image": None, "mask": None})
    assert (request.width, request.height) == (None, None)
    assert Request.of({"prompt": "", "seed": None}).seed < 2**32
    for name in ("negative_prompt", "num_images", "strength", "use_compel", "scheduler"):
        assert faults(**{name: None})[0].startswith(f"{name}: null is not allowed")


def test_only_multiples_of_64_from_64_to_1024_are_allowed() -> None:
    for size in range(64, 1024 + 1, 64):
        assert Request.of({"prompt": "", "width": size, "height": size * 1.0}).height == size
    for size in (0, 32, 100, 1088):
        assert "give one of 64, 128, 192, 256" in faults(width=size)[0]
    assert faults(height="128")[0].startswith("height: ")


def test_a_mask_has_two_sources() -> None:
    assert Request.of({"prompt": "", "mask_source": "alpha"}).mask_source == "alpha"
    assert "give one of brightness, alpha, opacity" in faults(mask_source="red")[0]
    assert faults(invert_mask=1)[0].startswith("invert_mask: 1 is not allowed; give true or false")


@pytest.mark.parametrize("scheduler", ["DDIM", "K_EULER_ANCESTRAL", "PNDM", "LCM", "TCD"])
@pytest.mark.parametrize("spacing", ["karras", "exponential"])
def test_a_spacing_that_the_sampler_does_not_have_is_refused_by_both_names(
    scheduler: str, spacing: str
) -> None:
    assert faults(scheduler=scheduler, spacing=spacing) == (
        f'spacing: "{spacing}" is not allowed; give default or sgm_uniform: '
        f"the scheduler {scheduler} has no other",
    )
    assert Request.of({"prompt": "", "scheduler": scheduler, "spacing": "sgm_uniform"})
    assert Request.of({"prompt": "", "spacing": spacing}).spacing == spacing


def test_eta_is_ddims_alone() -> None:
    assert Request.of({"prompt": "", "scheduler": "DDIM", "eta": 0.5}).eta == 0.5
    assert Request.of({"prompt": "", "scheduler": "K_EULER", "eta": 0}).eta == 0
    assert faults(eta=0.5) == (
        "eta: 0.5 is not allowed; give 0: only DDIM has it, and the scheduler is "
        "DPMSolverMultistep",
    )
    # What is wrong by itself is named once.
    assert len(faults(eta=2)) == len(faults(scheduler="magic", eta=1)) == 1
    assert len(faults(scheduler="DDIM", spacing="magic")) == 1


@pytest.mark.parametrize("scheduler", ["LCM", "TCD"])
def test_more_steps_than_the_sampler_has_are_refused_by_both_names(scheduler: str) -> None:
    few = {"prompt": "", "scheduler": scheduler, "num_inference_steps": 50, "refine_steps": 50}
    assert Request.of(few).num_inference_steps == 50
    allowed = f"is not allowed; give at most 50: the scheduler {scheduler} has no more"
    assert faults(scheduler=scheduler, num_inference_steps=80, strength=0.1, refine_steps=51) == (
        f"num_inference_steps: 80 {allowed}",
        f"refine_steps: 51 {allowed}",
    )
    # What is wrong by itself is named once.
    assert len(faults(scheduler=scheduler, num_inference_steps=600)) == 1
    assert len(faults(scheduler="magic", num_inference_steps=80)) == 1


def nested() -> list[Any]:
    value: list[Any] = []
    for _ in range(5000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "name",
    [field.name for field in fields(Request) if field.name not in ("image", "mask", "notes")],
)
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(nested(), id="list"),
        pytest.param({"a": nested()}, id="object"),
        pytest.param(10**5000, id="number"),
    ],
)
def test_what_is_nested_deeply_or_has_many_digits_is_refused_in_a_sentence(
    name: str, value: Any
) -> None:
    (fault,) = faults(**{name: value})
    assert fault.startswith(f"{name}: ")
    assert len(fault) < 400


NO_TEXTS: tuple[Any, ...] = (False, 0, 0.0, [], {})
"""Values that are as empty as the text of no characters, and no texts."""


@pytest.mark.parametrize("name", ["result_size", "crop", "upscaler"])
def test_a_text_of_no_characters_is_left_out(name: str) -> None:
    asked = {"prompt": "", "image": IMAGE}
    for nothing in (None, ""):
        request = Request.of({**asked, name: nothing}, upscalers=INSTALLED)
        assert getattr(request, name) is None


def size_of(text: Any, **inputs: Any) -> Any:
    return Request.of({"prompt": "", "result_size": text} | inputs).result_size


def test_a_result_has_a_size_of_its_own_or_that_which_is_drawn() -> None:
    assert size_of(None) is None
    assert Request.of({"prompt": ""}).result_size is None
    assert Request.of({"prompt": ""}).resample == "lanczos"
    assert size_of("520x776") == (520, 776)
    assert size_of(" 8 × 1536 ") == size_of("8X1536") == (8, 1536)
    image = Image.new("RGB", (9, 9))
    assert size_of("4096x8", image=image, strength=0) == (4096, 8)
    assert size_of("1536x1536", image=image, strength=0.01) == (1536, 1536)


@pytest.mark.parametrize(
    "text",
    [
        *["520", "520x", "x", "7x8", "8x7", "0x0", "-8x8", "8.5x9", "1537x8", "8x99999", "٨x٨"],
        *["512x512x512", "1024 x 1024 px", 512, 5.5, True, [512, 512], "9" * 5000 + "x8"],
        *NO_TEXTS,
    ],
)
def test_another_result_size_is_named_with_what_is_allowed(text: Any) -> None:
    (fault,) = faults(result_size=text)
    assert fault.startswith("result_size: ")
    assert fault.endswith(
        " is not allowed; give width x height, such as 520x776: 8 to 1536 px a side, and to 4096 "
        "for an image at strength 0"
    )


def test_beyond_1536_px_nothing_is_drawn() -> None:
    image = Image.new("RGB", (9, 9))
    for inputs in ({"image": image}, {"image": image, "strength": 0.01}, {"strength": 0}):
        assert faults(result_size="1537x512", **inputs)[0].startswith('result_size: "1537x512" is')
    assert faults(result_size="4097x8", image=image, strength=0)
    assert "give one of lanczos, nearest" in faults(resample="bicubic")[0]


ENLARGED = {"strength": 0, "refine_strength": 0, "refine_scale": 2}
IMAGE = Image.new("RGB", (300, 200))
MASK = Image.new("L", (300, 200), 255)


def test_a_crop_is_a_part_of_the_image() -> None:
    for text, crop in (
        ("0,0,300,200", (0, 0, 300, 200)),
        (" 299 ,199, 1,1 ", (299, 199, 1, 1)),
        ("10,20,030,40", (10, 20, 30, 40)),
    ):
        assert Request.of({"prompt": "", "image": IMAGE, "crop": text}).crop == crop
    for text in ("1,0,300,200", "0,1,300,200", "300,0,1,1", "0,200,1,1", "99999,99999,99999,1"):
        (fault,) = faults(image=IMAGE, crop=text)
        assert fault == (
            f'crop: "{text}" is not allowed; give a part of the image, which has 300 × 200 px'
        )


@pytest.mark.parametrize(
    "value",
    [
        *["1,2,3", "1,2,3,4,5", "1 2 3 4", "-1,0,5,5", "0,0,0,5", "0,0,5,0", "0.5,0,5,5"],
        *["٠,٠,٨,٨", "0,0,100000,1", 5, True, [0, 0, 5, 5], {"x": 0}, "9" * 5000],
        *NO_TEXTS,
    ],
)
def test_what_is_no_crop_is_named_with_what_is_allowed(value: Any) -> None:
    (fault,) = faults(image=IMAGE, crop=value)
    assert fault.startswith("crop: ")
    assert fault.endswith("give x,y,width,height in px of the image, such as 0,40,512,512")


@pytest.mark.parametrize("name", EXTENSIONS)
def test_an_extension_is_a_multiple_of_8(name: str) -> None:
    for pixels in (0, 8, 64, 1472, 64.0):
        assert getattr(Request.of({"prompt": "", "image": IMAGE, name: pixels}), name) == pixels
    (fault,) = faults(image=IMAGE, **{name: 100})
    assert fault == f"{name}: 100 is not allowed; give a multiple of 8"
    for value in (-8, 1480, "8", True, None, 8.5):
        (fault,) = faults(image=IMAGE, **{name: value})
        assert "give a whole number from 0 to 1472" in fault


@pytest.mark.parametrize(
    ("inputs", "fault"),
    [
        ({"image": IMAGE, "only_masked": True}, "only_masked: there is no mask to draw around"),
        (
            {"image": IMAGE, "mask": MASK, "only_masked": True, "result_size": "64x64"},
            "only_masked: the result has the image's own size; leave result_size out",
        ),
        ({"crop": "0,0,5,5"}, "crop: there is no image"),
        ({"keep_size": True}, "keep_size: there is no image"),
        (
            {"image": IMAGE, "keep_size": True, "result_size": "64x64"},
            "keep_size: result_size is another size",
        ),
        ({"extend_top": 8}, "extend_top: there is no image to extend"),
        (
            {"image": IMAGE, "extend_top": 8, "tiling": True},
            "extend_top: a texture goes on at its own edges; leave tiling out",
        ),
        (
            {"image": IMAGE, "mask": MASK, "only_masked": True, "tiling": True},
            "tiling: a part of an image has no edges that could meet",
        ),
        (
            {"width": 1024, "height": 768, "refine_scale": 4},
            "refine_scale: 1024 × 768 px become 4096 × 3072; a second pass has up to 2048 × 2048",
        ),
        *(
            (
                {"image": IMAGE, "mask": MASK, name: True, **ENLARGED},
                f"{name}: at strength 0 the image is only enlarged",
            )
            for name in ("keep_size", "only_masked")
        ),
        (
            {"image": IMAGE, "extend_top": 8, "strength": 0},
            "extend_top: at strength 0 nothing is drawn",
        ),
        (
            {"image": IMAGE, "mask": MASK, "extend_top": 8, "only_masked": True},
            "extend_top: only_masked draws nothing beyond the image",
        ),
        (
            {"image": IMAGE, "extend_right": 8, "result_size": "64x64"},
            "extend_right: the result has the image's size and what is added",
        ),
        (
            {"image": IMAGE, "extend_right": 520, "width": 1024},
            "extend_right: the image's width of 1024 px and 520 px beyond it are more than 1536; "
            "extend it less, or give a smaller width",
        ),
        (
            {"image": IMAGE, "extend_top": 1000, "extend_bottom": 480},
            "extend_top: the image's height of 64 px and 1480 px beyond it are more than 1536; "
            "extend it less",
        ),
    ],
)
def test_what_makes_no_sense_together_is_refused_in_words(
    inputs: dict[str, Any], fault: str
) -> None:
    (found,) = faults(**inputs)
    assert found.startswith(fault)


def test_what_makes_no_sense_together_is_named_with_the_other_faults() -> None:
    found = faults(
        num_images=9, crop="0,0,5,5", only_masked=True, keep_size=True, extend_left=8, extend_top=9
    )
    names = [fault.partition(":")[0] for fault in found]
    assert names == [
        *("num_images", "extend_top", "crop", "only_masked", "keep_size", "extend_left"),
        "extend_left",
    ]


def test_a_picture_that_is_at_fault_is_not_missing_too() -> None:
    with pytest.raises(InputError) as caught:
        Request.of(
            {"prompt": "", "only_masked": True, "keep_size": True, "crop": "0,0,5,5"},
            ["image: broken", "mask: broken"],
        )
    assert caught.value.faults == ("image: broken", "mask: broken")


def test_the_largest_extensions_are_allowed() -> None:
    asked = {"prompt": "", "image": IMAGE, "extend_left": 8, "extend_right": 504, "width": 1024}
    asked |= {"extend_top": 1472, "height": 64}
    assert Request.of(asked).extensions == (8, 1472, 504, 0)
    assert Request.of({**asked, "width": None, "keep_size": True, "height": 1024})


INSTALLED = ("RealESRGAN_x4plus", "RealESRGAN_x2plus", "ESRGAN", "a", "b", "c")


def upscaler_fault(value: Any, installed: Sequence[str] = INSTALLED) -> str:
    with pytest.raises(InputError) as caught:
        Request.of({"prompt": "", "upscaler": value}, upscalers=installed)
    (fault,) = caught.value.faults
    return fault


def test_an_upscaler_is_one_of_those_that_are_installed() -> None:
    for name in INSTALLED:
        asked = {"prompt": "", "upscaler": name}
        assert Request.of(asked, upscalers=INSTALLED).upscaler == name


def test_another_upscaler_is_refused_with_the_nearest() -> None:
    fault = upscaler_fault("realesrgan-x4plus")
    start = 'upscaler: "realesrgan-x4plus" is not allowed; give the name of one, such as '
    assert fault.startswith(f"{start}RealESRGAN_x4plus, RealESRGAN_x2plus, ESRGAN, ")
    fault = upscaler_fault("x", INSTALLED[:2])
    assert fault.startswith('upscaler: "x" is not allowed; give one of RealESRGAN_x')
    assert upscaler_fault("x", ()) == (
        'upscaler: "x" is not allowed; no upscaler is installed; put one into weights/upscalers'
    )
    for value in (5, True, ["a"], {"a": "b"}, *NO_TEXTS):
        assert "give the name of an upscaler, as a text" in upscaler_fault(value)
    assert len(upscaler_fault("x" * 10**6)) < 300


def test_all_faults_are_named_at_once() -> None:
    found = faults(
        prompt=5, num_images=5, num_inference_steps=513, width=100, scheduler="DPM", colour="red"
    )
    assert [fault.partition(":")[0] for fault in found] == [
        "prompt",
        "num_images",
        "num_inference_steps",
        "width",
        "scheduler",
        "colour",
    ]


def test_a_missing_prompt_is_a_fault_and_an_empty_one_is_none() -> None:
    with pytest.raises(InputError, match="prompt: is required"):
        Request.of({})
    assert Request.of({"prompt": ""}).prompt == ""


def test_any_text_is_a_prompt_but_half_a_character_and_one_without_end() -> None:
    for text in ("C++ :-) (red)1.3", "\x00\x1b[31m", "👩‍🚀", "word " * 10_000):
        assert Request.of({"prompt": text}).prompt == text
    assert "half a character" in faults(prompt="\ud83d")[0]
    assert (
        str(LONGEST_PROMPT_CHARACTERS)
        in faults(negative_prompt="x" * (LONGEST_PROMPT_CHARACTERS + 1))[0]
    )


def test_seed_zero_is_a_seed_and_an_empty_one_is_drawn_from_32_bits() -> None:
    assert Request.of({"prompt": "", "seed": 0}).seed == 0
    drawn = {Request.of({"prompt": ""}).seed for _ in range(50)}
    assert len(drawn) > 40
    assert max(drawn) < 2**32


def test_seeds_of_the_images_count_up_and_wrap_round() -> None:
    request = Request.of({"prompt": "", "seed": 2**53 - 2})
    assert [request.seed_of(index) for index in range(4)] == [2**53 - 2, 2**53 - 1, 0, 1]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
names = st.sampled_from(
    [
        *RANGES,
        "prompt",
        "negative_prompt",
        "width",
        "height",
        "use_compel",
        "scheduler",
        "result_size",
        "resample",
        "only_masked",
        "keep_size",
        "resize_mode",
        "crop",
        *EXTENSIONS,
    ]
)


@given(st.dictionaries(names | st.text(), values))
def test_whatever_comes_in_is_a_request_or_a_fault_that_names_an_input(
    inputs: dict[str, Any],
) -> None:
    inputs.pop("image", None)
    inputs.pop("mask", None)
    try:
        request = Request.of(inputs)
    except InputError as error:
        assert all(
            fault.startswith(("prompt: ", *(f"{n}: " for n in inputs))) for fault in error.faults
        )
    else:
        assert request.scheduler in SCHEDULERS


@dataclass(frozen=True)
class Lora:
    hash: str
    reason: str | None = None


LORAS = {
    "ink": Lora("0123456789ab" + "f" * 52),
    "Film grain v1.2": Lora("c" * 64),
    "of-xl": Lora("d" * 64, "it is for Stable Diffusion XL"),
}


def loras_fault(*values: Any) -> str:
    with pytest.raises(InputError) as caught:
        Request.of({"prompt": "", "loras": list(values)}, installed_loras=LORAS)
    (fault,) = caught.value.faults
    return fault


@pytest.mark.parametrize(
    ("value", "name", "weight"),
    [
        ("ink", "ink", 1),
        ("ink:0.7", "ink", 0.7),
        ("ink:-2", "ink", -2),
        ("ink:+.5", "ink", 0.5),
        ("ink:0", "ink", 0),
        ("ink@0123456789AB:2.", "ink", 2),
        ("Film grain v1.2:1.25", "Film grain v1.2", 1.25),
        ("Film grain v1.2@" + "c" * 64, "Film grain v1.2", 1),
    ],
)
def test_a_lora_is_a_name_with_a_weight_or_without(value: str, name: str, weight: float) -> None:
    (lora,) = Request.of({"prompt": "", "loras": [value]}, installed_loras=LORAS).loras
    assert lora == UsedLora(name, LORAS[name].hash, weight)


def test_what_a_lora_is_written_as_asks_for_it_again() -> None:
    asked = {"prompt": "", "loras": ["Film grain v1.2:-0.25", "ink:0.1"]}
    used = Request.of(asked, installed_loras=LORAS).loras
    assert [str(lora) for lora in used] == [
        "Film grain v1.2@cccccccccccc:-0.25",
        "ink@0123456789ab:0.1",
    ]
    assert Request.of(asked | {"loras": list(map(str, used))}, installed_loras=LORAS).loras == used
    assert Request.of({"prompt": ""}).loras == Request.of({"prompt": "", "loras": []}).loras == ()


@pytest.mark.parametrize(
    "value",
    ["ink:2.1", "ink:-3", "ink:1e0", "ink:nan", "ink:", ":1", "", 1, None, ["ink"], "ink:1:1"],
)
def test_a_lora_that_is_none_is_refused_with_what_is_allowed(value: Any) -> None:
    assert loras_fault(value).startswith(f"loras: {quote(value)} is not allowed; give ")


def test_an_unknown_lora_is_refused_with_the_nearest_that_the_model_can_use() -> None:
    assert loras_fault("in:1") == 'loras: "in" is not allowed; give one of ink, Film grain v1.2'
    assert "give name or name:weight, such as" in loras_fault("../ink")
    gone = loras_fault("gone@0123456789ac")
    assert gone == 'loras: "gone" is not allowed; its file is not there any more'
    assert loras_fault("of-xl") == 'loras: "of-xl" is not allowed; it is for Stable Diffusion XL'
    assert faults(loras=["ink"])[0].endswith(
        "no LoRA for this model is installed; put one into weights/loras"
    )


def test_a_lora_whose_file_is_another_one_now_is_refused_by_name() -> None:
    assert loras_fault("ink@0123456789ac") == (
        'loras: "ink@0123456789ac" is not allowed; its file has become another one; '
        "ask again for the one that is there"
    )


def test_loras_are_a_list_of_at_most_eight_without_the_same_twice() -> None:
    assert loras_fault("ink:1", "ink:0.5") == 'loras: "ink" is there twice; give it once'
    many = {f"l{number}": Lora("a" * 64) for number in range(9)}
    assert len(Request.of({"prompt": "", "loras": list(many)[:8]}, installed_loras=many).loras) == 8
    assert faults(loras=list(many))[0].endswith("give at most 8, not 9")
    for value in ("ink", {"ink": 1}, 1, True):
        assert faults(loras=value)[0].endswith('give a list, such as ["NAME:0.8"]')
