from __future__ import annotations

import itertools
import json
import math
from types import MappingProxyType
from typing import Any

import pytest

from cog_schema import schema
from hosting.published_models import RENAMED
from hosting.queue import inputs
from hosting.queue.inputs import Fault, InvalidInputs
from stable_diffusion.request import AUTOMATIC_SIZES, SCHEDULERS
from tests.support.properties import given as for_all
from tests.support.properties import strategies as st

SCHEMAS = {
    task: schema.schema(schema.PREDICT.read_text(), predictor)
    for task, predictor in schema.PREDICTORS.items()
}
FILE = "data:image/png;base64,AA=="
ORDER = list(SCHEMAS["img2img"]["components"]["schemas"]["Input"]["properties"])


def read(
    task: str = "img2img", defaults: Any = MappingProxyType({}), **given: Any
) -> dict[str, Any]:
    """What comes out beside the prompt."""
    values = inputs.read({"prompt": "a fox"} | given, SCHEMAS[task], defaults)
    return {name: value for name, value in values.items() if name != "prompt"}


def faults(task: str = "img2img", **given: Any) -> tuple[Fault, ...]:
    with pytest.raises(InvalidInputs) as caught:
        inputs.read({"prompt": "a fox"} | given, SCHEMAS[task])
    return caught.value.faults


def fault(task: str = "img2img", **given: Any) -> Fault:
    (only,) = faults(task, **given)
    return only


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Heun", {"scheduler": "K_HEUN"}),
        ("K-LMS", {"scheduler": "KLMS"}),
        ("EulerDiscreteScheduler", {"scheduler": "K_EULER"}),
        ("DPM++ 2M Karras", {"scheduler": "DPMSolverMultistep", "spacing": "karras"}),
        ("k_dpmpp_2m_ka", {"scheduler": "DPMSolverMultistep", "spacing": "karras"}),
    ],
)
def test_a_sampler_is_taken_by_the_names_that_others_have_for_it(
    name: str, expected: dict[str, str]
) -> None:
    assert read(scheduler=name) == expected
    assert read(defaults={"scheduler": name}) == expected
    assert read(scheduler=name, spacing="karras") == {**expected, "spacing": "karras"}


def test_a_samplers_name_and_a_spacing_must_not_contradict_each_other() -> None:
    found = fault(scheduler="DPM++ 2M Karras", spacing="exponential")
    assert (found.type, found.field) == ("conflict", "input.spacing")
    assert fault(scheduler="magic").field == "input.scheduler"
    assert fault(scheduler=["Heun"]).field == "input.scheduler"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"scheduler": "DDIM", "spacing": "karras", "eta": 0.5}),
        ({"scheduler": "DDIM"}, {"scheduler": "DDIM", "eta": 0.5}),
        ({"scheduler": "Euler a"}, {"scheduler": "K_EULER_ANCESTRAL"}),
        ({"scheduler": "Heun"}, {"scheduler": "K_HEUN", "spacing": "karras"}),
        (
            {"scheduler": "DPM++ 2M Exponential"},
            {"scheduler": "DPMSolverMultistep", "spacing": "exponential"},
        ),
        (
            {"scheduler": "DDIM", "spacing": "exponential"},
            {"scheduler": "DDIM", "spacing": "exponential", "eta": 0.5},
        ),
        ({"scheduler": "Heun", "eta": 1}, {"scheduler": "K_HEUN", "spacing": "karras", "eta": 1}),
    ],
)
def test_defaults_that_the_clients_sampler_lacks_are_left_out(
    given: dict[str, Any], expected: dict[str, Any]
) -> None:
    defaults = {"scheduler": "DDIM", "spacing": "karras", "eta": 0.5}
    assert read(defaults=defaults, **given) == expected


def test_default_steps_beyond_those_of_the_clients_sampler_are_left_out() -> None:
    defaults = {"num_inference_steps": "80", "refine_steps": 50}
    assert read(defaults=defaults, scheduler="lcm") == {"scheduler": "LCM", "refine_steps": 50}
    assert read(defaults=defaults, scheduler="DDIM")["num_inference_steps"] == 80


def test_a_clients_spacing_is_used_instead_of_that_in_a_default_samplers_name() -> None:
    defaults = {"scheduler": "DPM++ 2M Karras"}
    spaced = {"scheduler": "DPMSolverMultistep", "spacing": "exponential"}
    assert read(defaults=defaults, spacing="exponential") == spaced
    assert read(defaults=defaults, scheduler="Heun") == {"scheduler": "K_HEUN"}


def test_what_the_endpoint_takes_passes_unchanged() -> None:
    given: dict[str, Any] = {
        "negative_prompt": "",
        "image": FILE,
        "num_images": 4,
        "num_inference_steps": 512,
        "guidance_scale": 7.5,
        "strength": 0,
        "width": 128,
        "height": 1024,
        "seed": 2**53 - 1,
        "use_compel": True,
        "mask": FILE,
        "scheduler": "KLMS",
        "output_format": "webp",
        "output_quality": 1,
    }
    assert read(**given) == given


def test_nulls_and_unknown_names_are_dropped() -> None:
    assert read(seed=None, width=None, disable_safety_checker=True, webhook={"a": [1]}) == {}


def test_the_endpoints_own_defaults_are_left_to_it() -> None:
    assert read() == {}


def test_a_default_stands_in_for_what_is_left_out_or_null() -> None:
    assert read(defaults={"num_inference_steps": 50}) == {"num_inference_steps": 50}
    assert read(defaults={"num_inference_steps": 50}, num_inference_steps=None) == {
        "num_inference_steps": 50
    }
    assert read(defaults={"num_inference_steps": 50}, num_inference_steps=7) == {
        "num_inference_steps": 7
    }


def test_a_default_satisfies_what_is_required() -> None:
    values = inputs.read({"image": FILE}, SCHEMAS["upscale"], {"prompt": ""})
    assert values == {"prompt": "", "image": FILE}


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        ("num_outputs", "num_images", 3),
        ("prompt_strength", "strength", 0.6),
        ("init_image", "image", FILE),
        ("input_image", "image", FILE),
    ],
)
def test_the_originals_names_become_the_endpoints(old: str, new: str, value: Any) -> None:
    assert read(**{old: value}) == {new: value}
    assert read(**{old: value, new: value}) == {new: value}
    assert read(**{old: value, new: None}) == {new: value}


def test_an_original_name_is_dropped_where_the_endpoint_has_no_such_input() -> None:
    assert read("upscale", image=FILE, prompt_strength=0.6, size="512x512") == {"image": FILE}


def test_a_default_is_for_the_original_name_too() -> None:
    assert read(defaults={"num_images": 2}, num_outputs=3) == {"num_images": 3}


def test_an_input_given_by_two_names_with_two_values_is_a_fault() -> None:
    assert fault(num_outputs=1, num_images=2) == Fault(
        "conflict",
        "input.num_outputs",
        "num_outputs and num_images contradict each other; give only one of them",
    )
    assert fault(init_image=FILE, input_image="data:,").field == "input.input_image"


def test_lists_too_deep_to_be_compared_are_faults_like_any_other() -> None:
    deep: list[list[Any]] = [[], []]
    for _ in range(10_000):
        deep = [[one] for one in deep]
    types = [fault.type for fault in faults(num_outputs=deep[0], num_images=deep[1])]
    assert types == ["conflict", "invalid_type"]


def test_a_fault_names_the_input_as_it_was_given() -> None:
    assert fault(num_outputs=8) == Fault(
        "number_lte", "input.num_outputs", "8 is not allowed; give a whole number from 1 to 4"
    )
    assert fault(num_images=8).field == "input.num_images"


def test_the_originals_scheduler_name_becomes_the_endpoints() -> None:
    assert read(scheduler="K-LMS") == {"scheduler": "KLMS"}
    assert read(negative_prompt="K-LMS") == {"negative_prompt": "K-LMS"}


def test_jpeg_is_jpg_and_no_quality_is_the_least() -> None:
    assert read(output_format="jpeg") == {"output_format": "jpg"}
    for least in (0, "0", 0.0, 1):
        assert read(output_quality=least) == {"output_quality": 1}
    assert fault(output_quality=-1).type == "number_gte"


@pytest.mark.parametrize("name", ["size", "image_dimensions"])
@pytest.mark.parametrize("text", ["512x768", "512X768", "512×768", " 512 x 768 "])
def test_a_size_becomes_width_and_height(name: str, text: Any) -> None:
    assert read(**{name: text}) == {"width": 512, "height": 768}


def test_a_size_may_repeat_what_width_and_height_say_but_not_deny_it() -> None:
    assert read(size="512x768", width=512) == {"width": 512, "height": 768}
    assert fault(size="512x768", height=512).type == "conflict"


def test_a_size_is_held_to_the_endpoints_choices() -> None:
    wide, high = faults(size="500x700")
    assert wide.field == high.field == "input.size"
    assert wide.description.startswith("500 is not allowed; give one of 64, 128")
    assert high.description.startswith("700 is not allowed; give one of 64, 128")
    assert fault(size="500x500") == wide


@pytest.mark.parametrize("value", ["512", "0x512", "-1x512", "512x", "x", 512, [512, 512], "9" * 9])
def test_what_is_no_size_is_a_fault(value: Any) -> None:
    assert fault(size=value).type == "format"
    assert fault(size=value).description.endswith("give width and height, such as 512x768")


@pytest.mark.parametrize(
    ("ratio", "size"),
    [
        ("1:1", (768, 768)),
        ("16:9", (1024, 576)),
        ("9:16", (576, 1024)),
        ("3:2", (960, 640)),
        (" 4 : 3 ", (1024, 768)),
        ("1.5:1", (960, 640)),
        ("99999:1", (1024, 384)),
        ("0.00001:99999", (384, 1024)),
    ],
)
def test_an_aspect_ratio_becomes_the_closest_size(ratio: str, size: tuple[int, int]) -> None:
    width, height = size
    assert read(aspect_ratio=ratio) == {"width": width, "height": height}


@for_all(
    width=st.integers(1, 99999),
    height=st.integers(1, 99999),
    native=st.sampled_from([128, 512, 768]),
)
def test_no_size_near_the_native_one_is_closer_to_an_aspect_ratio_than_the_one_taken(
    width: int, height: int, native: int
) -> None:
    def distance(wide: int, high: int) -> float:
        return abs(math.log(wide / high / (width / height)))

    values = inputs.read(
        {"prompt": "a fox", "aspect_ratio": f"{width}:{height}"}, SCHEMAS["img2img"], {}, native
    )
    pairs = list(itertools.product(AUTOMATIC_SIZES, repeat=2))
    near = [one for one in pairs if native**2 / 2 <= math.prod(one) <= 2 * native**2]
    taken = (values["width"], values["height"])
    assert taken in near
    assert distance(*taken) == min(distance(*size) for size in near)


@pytest.mark.parametrize(
    ("native", "ratio", "size"),
    [
        (512, "1:1", (512, 512)),
        (512, "16:9", (896, 512)),
        (128, "16:9", (256, 128)),
        (768, "1:1", (768, 768)),
        (None, "1:1", (768, 768)),
        (20, "1:1", (128, 128)),
    ],
)
def test_an_aspect_ratio_is_near_the_native_size(
    native: int | None, ratio: str, size: tuple[int, int]
) -> None:
    asked = {"prompt": "a fox", "aspect_ratio": ratio}
    values = inputs.read(asked, SCHEMAS["img2img"], {}, native)
    assert (values["width"], values["height"]) == size


@pytest.mark.parametrize(
    "value", ["16/9", "0:9", "16:0.0", "-1:2", "match_input_image", 1.5, "١:٢"]
)
def test_what_is_no_aspect_ratio_is_a_fault(value: Any) -> None:
    assert fault(aspect_ratio=value).type == "format"
    assert fault(aspect_ratio=value).description.endswith("give width and height, such as 16:9")


def test_an_aspect_ratio_goes_with_no_other_size() -> None:
    assert fault(aspect_ratio="1:1", width=768).type == "conflict"
    assert fault(aspect_ratio="1:1", height=768).type == "conflict"
    assert (
        "aspect_ratio and size contradict" in fault(aspect_ratio="1:1", size="512x512").description
    )


@pytest.mark.parametrize("value", [25, 25.0, "25", " 25 ", "+25", "25.0", "25.", "2.5e1"])
def test_a_whole_number_may_be_written_in_many_ways(value: Any) -> None:
    steps = read(num_inference_steps=value)["num_inference_steps"]
    assert steps == 25
    assert type(steps) is int


@pytest.mark.parametrize("value", [0.8, "0.8", " 0.8 ", ".8", "8e-1"])
def test_a_number_may_be_text(value: Any) -> None:
    assert read(strength=value) == {"strength": 0.8}


def test_whole_text_keeps_all_digits_of_a_seed() -> None:
    assert read(seed=str(2**53 - 1)) == {"seed": 2**53 - 1}
    assert read(width="512") == {"width": 512}


@pytest.mark.parametrize(
    "value",
    [
        *(True, False, math.nan, math.inf, -math.inf, [1], {}, "", " ", "a", "1_0", "0x10", "1,5"),
        *("٢", "1 2", "nan", "inf", "-Infinity", "1e999", "9" * 5000),
    ],
)
def test_what_is_no_number_is_a_fault_with_the_range(value: Any) -> None:
    for name, allowed in (
        ("num_images", "give a whole number from 1 to 4"),
        ("guidance_scale", "give a number from 1 to 20"),
    ):
        assert fault(**{name: value}).type == "invalid_type"
        assert fault(**{name: value}).description.endswith(f" is not allowed; {allowed}")


@pytest.mark.parametrize("value", [2.5, "2.5", 1e-9])
def test_a_part_of_a_whole_is_a_fault(value: Any) -> None:
    assert fault(num_images=value).type == "invalid_type"


@pytest.mark.parametrize(
    ("value", "fault_type"),
    [
        (5, "number_lte"),
        (0, "number_gte"),
        ("-1", "number_gte"),
        (1e300, "number_lte"),
        (10**300, "number_lte"),
        pytest.param(-(10**5000), "number_gte", id="so many digits that Python writes none"),
        ("9" * 399, "number_lte"),
    ],
)
def test_a_number_out_of_range_is_a_fault_with_the_range(value: Any, fault_type: str) -> None:
    assert fault(num_images=value).type == fault_type
    assert fault(num_images=value).description.endswith("give a whole number from 1 to 4")
    assert len(fault(num_images=value).description) < 120


@pytest.mark.parametrize(
    ("value", "meant"),
    [(True, True), ("true", True), ("True", True), ("1", True), ("false", False), (" 0 ", False)],
)
def test_a_boolean_may_be_text(value: Any, meant: bool) -> None:
    assert read(use_compel=value) == {"use_compel": meant}


@pytest.mark.parametrize("value", [1, 0, 1.0, "yes", "", []])
def test_what_is_no_boolean_is_a_fault(value: Any) -> None:
    assert fault(use_compel=value).description.endswith("give true or false")


@pytest.mark.parametrize("value", [5, True, ["a"], {"a": 1}])
def test_what_is_no_text_is_a_fault(value: Any) -> None:
    assert fault(prompt=value).type == "invalid_type"
    assert fault(prompt=value).description.endswith("is not allowed; give a text")


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ([], []),
        ("", []),
        (["ink:0.7", "a b"], ["ink:0.7", "a b"]),
        ("ink:0.7", ["ink:0.7"]),
        (" ink:0.7 ,, a b,", ["ink:0.7", "a b"]),
        (["a,b"], ["a,b"]),
    ],
)
def test_a_list_of_texts_may_be_one_with_commas(value: Any, meant: list[str]) -> None:
    assert read(loras=value) == {"loras": meant}
    assert read(lora=value) == {"loras": meant}
    assert read(defaults={"loras": value}) == {"loras": meant}


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        (5, "5"),
        (True, "true"),
        ({"ink": 1}, "an object"),
        (["ink", 5], "5"),
        ([["ink"]], "a list"),
        ([{"path": "ink"}], "an object"),
        ([None], "null"),
    ],
)
def test_what_is_no_list_of_texts_is_a_fault(value: Any, quoted: str) -> None:
    only = fault(loras=value)
    assert only.type == "invalid_type"
    assert only.description == f"{quoted} is not allowed; give a list of texts"
    assert fault(lora=value).field == "input.lora"


def test_half_a_character_in_a_list_is_a_fault() -> None:
    assert fault(loras=["a \ud83e"]).description.startswith('"a ?" is not allowed; give valid')


def test_lora_and_loras_contradict_each_other() -> None:
    assert fault(loras=["ink"], lora="ink").type == "conflict"


def test_half_a_character_is_a_fault_that_can_be_sent() -> None:
    only = fault(prompt="a \ud83e fox")
    assert only.description == (
        '"a ? fox" is not allowed; give valid Unicode: a part of it is half a character'
    )


@pytest.mark.parametrize("value", ["", "magic", "DPM++", 3])
def test_what_is_no_choice_is_a_fault_with_the_choices(value: Any) -> None:
    assert fault(scheduler=value).description.endswith(f"give one of {', '.join(SCHEDULERS)}")


@pytest.mark.parametrize(
    "value", ["http://a/b.png", "https://a/b.png", "HTTPS://a/b.png", "data:,", "Data:image/png,a"]
)
def test_a_file_is_a_url(value: str) -> None:
    assert read(image=value) == {"image": value}
    assert read(image=f" {value}\n") == {"image": value}


@pytest.mark.parametrize(
    "value", ["/etc/passwd", "cat.png", "file:///etc/passwd", "ftp://a/b", "", "http:/a", 5]
)
def test_any_other_file_is_a_fault(value: Any) -> None:
    assert fault(image=value).type == ("format" if isinstance(value, str) else "invalid_type")
    assert fault(image=value).description.endswith("give a file as http://, https:// or data: URL")


def test_what_is_required_is_told() -> None:
    with pytest.raises(InvalidInputs) as caught:
        inputs.read({"prompt": None}, SCHEMAS["inpainting"])
    assert caught.value.faults == tuple(
        Fault("required", f"input.{name}", f"{name} is required")
        for name in ("prompt", "image", "mask")
    )


def test_an_original_name_satisfies_what_is_required() -> None:
    assert read("depth", input_image=FILE) == {"image": FILE}


def test_all_faults_are_told_at_once_in_the_schemas_order() -> None:
    with pytest.raises(InvalidInputs) as caught:
        inputs.read(
            {"seed": -1, "aspect_ratio": "wide", "image": "cat.png", "num_outputs": "many"},
            SCHEMAS["img2img"],
        )
    assert str(caught.value) == (
        "- input.prompt: prompt is required\n"
        '- input.image: "cat.png" is not allowed; '
        "give a file as http://, https:// or data: URL\n"
        '- input.num_outputs: "many" is not allowed; give a whole number from 1 to 4\n'
        '- input.aspect_ratio: "wide" is not allowed; give width and height, such as 16:9\n'
        "- input.seed: -1 is not allowed; give a whole number from 0 to 9007199254740991"
    )


def test_a_long_value_is_cut_in_its_fault() -> None:
    assert fault(image="a" * 10**6).description.startswith(f'"{"a" * 49}…" is not allowed')


@pytest.mark.parametrize("task", SCHEMAS)
def test_the_file_inputs_are_image_and_mask(task: str) -> None:
    expected = {"image"} if task == "upscale" else {"image", "mask"}
    assert inputs.file_inputs(SCHEMAS[task]) == expected


numbers = st.integers() | st.floats() | st.integers(1, 1024)
texts = st.text(st.characters(), max_size=20) | st.sampled_from([FILE, "512x768", "16:9", "KLMS"])
anything = st.recursive(
    st.none() | st.booleans() | numbers | texts | numbers.map(str),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
names = st.sampled_from([*ORDER, "noise_level", *RENAMED, *inputs.SIZE_NAMES]) | texts


@for_all(
    task=st.sampled_from(list(SCHEMAS)),
    given=st.dictionaries(names, anything, max_size=6),
    defaults=st.sampled_from([{}, {"prompt": "a fox", "num_inference_steps": 50}]),
)
def test_any_json_is_read_for_good_or_refused_with_sentences_that_can_be_sent(
    task: str, given: dict[str, Any], defaults: dict[str, Any]
) -> None:
    try:
        values = inputs.read(given, SCHEMAS[task], defaults)
    except InvalidInputs as error:
        assert error.faults
        str(error).encode()
        assert all(fault.field.startswith("input.") for fault in error.faults)
    else:
        assert inputs.read(values, SCHEMAS[task], defaults) == values
        json.dumps(values, allow_nan=False).encode()


@pytest.mark.parametrize("name", ["seed", "guidance_scale", "size", "aspect_ratio"])
@pytest.mark.parametrize("text", ["1" * 10**6 + "x", "1" * 10**6, " " * 10**6 + "x"])
def test_a_million_characters_for_a_number_cost_nothing(name: str, text: str) -> None:
    with pytest.raises(InvalidInputs):  # after hours, if each digit is tried as the last
        inputs.read({"prompt": "a fox", name: text}, SCHEMAS["img2img"])
