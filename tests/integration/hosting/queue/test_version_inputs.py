"""Every field of every published version: what is made of it, and what arrives at Cog."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest

from hosting import models_file
from hosting.published_models import Input, Version
from hosting.queue import version_inputs
from hosting.queue.inputs import InvalidInputs
from tests.support.front import Front, front
from tools.fake_cog import SCHEMAS, CogServer, data_url, pixels

MODELS = models_file.load()
VERSIONS = [version for model in MODELS.models for version in MODELS.versions(model)]
DIFFERENT = {str((version.model.task, version.inputs)): version for version in VERSIONS}.values()
"""One of each that takes the same: a model's newest version is there by our own id, too."""
OUR_NAMES = {
    "num_outputs": "num_images",
    "prompt_strength": "strength",
    "init_image": "image",
    "input_image": "image",
}
WITHOUT_EFFECT = ("disable_safety_checker", "scale")
FILE = data_url(pixels("image", 1))
SEEDS = {-1: 2**53 - 1, -(2**53): 0, 0: 0, 2**53 - 1: 2**53 - 1, 2**53: 0, 2**64 + 5: 5}
"""Seeds of the originals, and what they are here."""

every_version = pytest.mark.parametrize("version", DIFFERENT, ids=lambda one: one.id[:8])


@pytest.fixture(scope="module")
def cogs() -> Iterator[dict[str, CogServer]]:
    with (
        CogServer("img2img").served() as img2img,
        CogServer("inpainting").served() as inpainting,
        CogServer("depth").served() as depth,
        CogServer("upscale").served() as upscale,
    ):
        yield {"img2img": img2img, "inpainting": inpainting, "depth": depth, "upscale": upscale}


@pytest.fixture(scope="module")
def one(cogs: dict[str, CogServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("front")
    with front(folder, *cogs.values(), queue_limit=10_000) as one:
        yield one


def required(version: Version) -> dict[str, Any]:
    """What has to be given: by the version, or by what serves it."""
    ours = SCHEMAS[version.model.task]["components"]["schemas"]["Input"]["required"]
    theirs = {OUR_NAMES.get(name, name): name for name in version.inputs}
    names = {theirs.get(name, name) for name in ours if name not in version.all_defaults}
    return {name: "a fox" if name == "prompt" else FILE for name in names}


def ours(version: Version, name: str) -> Mapping[str, Any]:
    """The schema of what serves a version has of an input."""
    schemas = SCHEMAS[version.model.task]["components"]["schemas"]
    entry = schemas["Input"]["properties"].get(OUR_NAMES.get(name, name), {})
    parts = [schemas[part["$ref"].rpartition("/")[2]] for part in entry.get("allOf", ())]
    return {key: value for part in (*parts, entry) for key, value in part.items()}


def expected(version: Version, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What is to arrive for inputs that are right, and its defaults; but for files and a seed."""
    published = {
        name: field.default
        for name, field in version.inputs.items()
        if field.default is not None and name not in ("width", "height", "image_dimensions")
    }
    given = {name: value for name, value in inputs.items() if value is not None}
    arrives: dict[str, Any] = {}
    for name, value in {**version.defaults, **published, **given}.items():
        if name == "image_dimensions":
            arrives["width"], arrives["height"] = map(int, value.split("x"))
        elif name == "seed":
            arrives[name] = SEEDS[value]
        elif value != FILE and name not in WITHOUT_EFFECT:
            arrives[OUR_NAMES.get(name, name)] = "KLMS" if value == "K-LMS" else value
    if version.black_repainted and "mask" in given:
        arrives["invert_mask"] = True
    return arrives


def ask(one: Front, version: Version, inputs: Mapping[str, Any]) -> Any:
    body = {"version": version.id, "input": dict(inputs)}
    return one.client.post("/v1/predictions", json=body)


def taken(version: Version, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What becomes of inputs that are taken; but for files."""
    arrives = version_inputs.read(version, inputs, SCHEMAS[version.model.task])
    return {name: value for name, value in arrives.items() if value != FILE}


def values(field: Input) -> list[Any]:
    """What a field took, as far as its source says: its choices, or both ends of its range."""
    ends = [value for value in (field.minimum, field.maximum) if value is not None]
    return field.choices or ends or ([] if field.default is None else [field.default])


@every_version
def test_what_a_version_took_is_taken(version: Version) -> None:
    files = {name: FILE for name, field in version.inputs.items() if field.type == "file"}
    of_each = [values(field) for field in version.inputs.values()]
    for row in itertools.zip_longest(*of_each):  # None where a field has no more values
        chosen = dict(zip(version.inputs, row, strict=True))
        inputs = {**chosen, **required(version), **files}
        assert taken(version, inputs) == expected(version, inputs)


@every_version
def test_what_is_left_out_is_the_versions_own_default(version: Version) -> None:
    inputs = required(version)
    assert taken(version, inputs) == expected(version, inputs)


@every_version
def test_null_is_as_left_out(version: Version) -> None:
    inputs = {**dict.fromkeys(version.inputs), **required(version)}
    assert taken(version, inputs) == expected(version, inputs)


@every_version
def test_each_default_may_be_given(version: Version) -> None:
    defaults = {
        name: field.default for name, field in version.inputs.items() if field.default is not None
    }
    inputs = {**required(version), **defaults}
    assert taken(version, inputs) == expected(version, inputs)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "version", [one for one in DIFFERENT if "seed" in one.inputs], ids=lambda one: one.id[:8]
)
def test_a_seed_has_no_bounds(version: Version, seed: int) -> None:
    inputs = {**required(version), "seed": seed}
    assert taken(version, inputs)["seed"] == SEEDS[seed]


@every_version
def test_what_is_required_is_asked_for(one: Front, version: Version) -> None:
    needed = required(version)
    answer = ask(one, version, {})
    if not needed:
        assert answer.status_code == 201
        return
    assert answer.status_code == 422
    faults = {(fault["type"], fault["field"]) for fault in answer.json()["invalid_fields"]}
    names = {OUR_NAMES.get(name, name) for name in needed}
    assert faults == {("required", f"input.{name}") for name in names}


@every_version
@pytest.mark.parametrize(("limit", "step"), [("minimum", -1), ("maximum", 1)])
def test_what_neither_takes_is_refused(version: Version, limit: str, step: int) -> None:
    beyond = {}
    for name, field in version.inputs.items():
        ends = [ours(version, name).get(limit), getattr(field, limit)]
        known = [end for end in ends if end is not None]
        if known and name != "seed":
            beyond[name] = (max if step > 0 else min)(known) + step
    refused(version, beyond, f"number_{'lte' if step > 0 else 'gte'}")


@every_version
def test_what_is_no_choice_of_either_is_refused(version: Version) -> None:
    wrong: dict[str, Any] = {}
    for name, field in version.inputs.items():
        if name not in ("num_outputs", "image_dimensions") and field.choices:
            wrong[name] = "nothing" if field.type == "string" else 3
    refused(version, wrong, "enum")


@every_version
def test_what_is_of_another_type_is_refused(version: Version) -> None:
    wrong: dict[str, Any] = {name: [] for name in version.inputs if name != "image_dimensions"}
    refused(version, wrong, "invalid_type")


def refused(version: Version, wrong: Mapping[str, Any], fault_type: str) -> None:
    """All of these inputs are named as at fault, by the names that they were given by."""
    if not wrong:
        pytest.skip("the version has no such field")
    with pytest.raises(InvalidInputs) as caught:
        taken(version, {**required(version), **wrong})
    faults = {fault.field: fault for fault in caught.value.faults}
    assert faults.keys() == {f"input.{name}" for name in wrong}
    assert {fault.type for fault in faults.values()} == {fault_type}
    assert all("; give " in fault.description for fault in faults.values())


@every_version
def test_our_wider_values_and_our_own_inputs_stay_usable(version: Version) -> None:
    inputs: dict[str, Any] = {
        **required(version),
        "num_inference_steps": 512,
        "use_compel": True,
        "output_format": "webp",
        "scheduler": "PNDM",
    }
    if version.model.task != "upscale":
        inputs |= {"width": 320, "height": 1024, "strength": 0.5}
    assert (
        taken(version, inputs).items()
        >= {name: value for name, value in inputs.items() if value != FILE}.items()
    )


@every_version
def test_names_that_neither_knows_are_dropped(one: Front, version: Version) -> None:
    inputs = {**required(version), "refiner": "expert_ensemble_refiner", "lora_scale": []}
    answer = ask(one, version, inputs)
    assert answer.status_code == 201
    assert not {"refiner", "lora_scale"} & answer.json()["input"].keys()


@pytest.mark.parametrize(
    "version", VERSIONS, ids=lambda version: f"{version.model.id}:{version.id[:8]}"
)
def test_a_version_is_drawn_and_answers_in_its_form(
    one: Front, cogs: dict[str, CogServer], version: Version
) -> None:
    prompt = f"a fox of {version.id}"
    inputs = {**required(version), "prompt": prompt}
    body = {"version": version.id, "input": inputs, "stream": True}
    answer = one.client.post("/v1/predictions", json=body, headers={"Prefer": "wait"})
    document = answer.json()
    assert document["status"] == "succeeded"
    assert (document["model"], document["version"]) == (version.model.id, version.id)
    (run,) = cogs[version.model.task].runs_of(prompt)
    arrived = {k: v for k, v in run.input.items() if k not in ("image", "mask", "seed")}
    assert arrived == expected(version, inputs)
    output = document["output"]
    assert isinstance(output, str if version.output == "one" else list)
    (url,) = [output] if isinstance(output, str) else output
    assert one.client.get(url).content.startswith(b"\x89PNG")

    events = one.client.get(document["urls"]["stream"]).text
    assert events.count("event: output\n") == events.count(urlsplit(url).path) == 1
    listed = one.client.get("/v1/predictions").json()["results"]
    assert next(p for p in listed if p["id"] == document["id"])["output"] == output
