from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from cog_schema import schema
from hosting import published_models
from hosting.published_models import MODELS, Model
from hosting.queue import inputs
from stable_diffusion import catalogue

SCHEMAS = {
    task: schema.schema(schema.PREDICT.read_text(), predictor)
    for task, predictor in schema.PREDICTORS.items()
}
ID = re.compile("[0-9a-f]{64}")
every_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)


def found(reference: str) -> Model:
    model = published_models.find(reference)
    assert model
    return model


@every_model
def test_a_model_is_found_by_its_name_in_any_case(model: Model) -> None:
    assert found(model.id) is found(model.id.upper()) is model


@every_model
def test_a_model_is_found_by_each_of_its_versions(model: Model) -> None:
    for version in (published_models.version_of(model), *model.versions):
        assert found(version) is found(f"{model.id}:{version}") is model


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "/",
        ":",
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
    assert published_models.find(reference) is None


def test_no_name_and_no_version_is_there_twice() -> None:
    names = [model.id for model in MODELS]
    versions = [one for m in MODELS for one in (published_models.version_of(m), *m.versions)]
    assert len(set(names)) == len(names)
    assert len(set(versions)) == len(versions)
    assert all(ID.fullmatch(version) for version in versions)
    assert all(name == name.lower() for name in names)


@every_model
def test_versions_in_whose_masks_black_was_repainted_are_versions(model: Model) -> None:
    assert {*model.black_repainted} <= {*model.versions}


def test_a_version_of_ours_stays_the_same() -> None:
    assert published_models.version_of(found("stability-ai/stable-diffusion")) == (
        "4d89d73ed238c0109a2607dee658a1a1f622a5190a69bf88a3055edda323073b"
    )


def test_all_weights_have_a_name_of_the_right_task() -> None:
    tasks = {model.name: model.task for model in MODELS}
    for name, entry in catalogue.entries().items():
        if name not in ("safety-checker", catalogue.DEMO):
            assert tasks[name] == entry.get("task", "img2img"), name


@every_model
def test_a_models_defaults_are_allowed_and_not_the_endpoints_own(model: Model) -> None:
    document = SCHEMAS[model.task]
    entries = document["components"]["schemas"]["Input"]["properties"]
    files = dict.fromkeys(inputs.file_inputs(document), "data:,")
    values = inputs.read({"prompt": "a fox", **files, **model.defaults}, document)
    assert values.items() >= model.defaults.items()
    for name, value in model.defaults.items():
        assert entries[name].get("default") != value


@every_model
def test_a_models_schema_has_its_defaults_and_nothing_else_changes(model: Model) -> None:
    document = SCHEMAS[model.task]
    before = copy.deepcopy(document)
    changed = published_models.openapi_schema(model, document)
    assert document == before

    schemas = changed["components"]["schemas"]
    for name, value in model.defaults.items():
        assert schemas["Input"]["properties"][name]["default"] == value
        assert name not in schemas["Input"]["required"]
    assert schemas["Output"] == {
        "title": "Output",
        "type": "array",
        "items": {"type": "string", "format": "uri"},
    }
    schemas["Input"] = before["components"]["schemas"]["Input"]
    schemas["Output"] = before["components"]["schemas"]["Output"]
    assert changed == before


@pytest.mark.parametrize(
    ("reference", "defaults"),
    [
        ("stability-ai/stable-diffusion", {"num_inference_steps": 50}),
        ("stability-ai/stable-diffusion-img2img", {}),
        ("stability-ai/stable-diffusion-inpainting", {"num_inference_steps": 50}),
        ("cjwbw/stable-diffusion-v2", {"num_inference_steps": 50, "scheduler": "K_EULER"}),
    ],
)
def test_the_originals_defaults_are_those_that_were_published(
    reference: str, defaults: dict[str, Any]
) -> None:
    assert found(reference).defaults == defaults


def test_a_model_can_be_a_key() -> None:
    assert {model: model.id for model in MODELS}[MODELS[0]] == MODELS[0].id


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
    running = published_models.running(task, weights)
    assert (running.id, running.task, running.defaults) == (name, task, {})
