from __future__ import annotations

import json
from typing import Any

import pytest

from hosting.backends.description import Description, adapters_of

DOCUMENT: dict[str, Any] = {
    "model": "stable-diffusion-2-1",
    "task": "img2img",
    "native_size": 768,
    "checker": False,
    "samplers": ["DDIM", "PNDM"],
    "versions": {"torch": "2.13.0"},
    "upscalers": ["RealESRGAN_x4plus"],
    "vocabulary": {
        "words": ["cat", "kitten"],
        "colours": ["red"],
        "backgrounds": ["white"],
        "styles": [],
        "sizes": [128],
    },
    "loras": [{"name": "ink", "hash": "1c" * 32, "trigger": "ink drawing", "reason": None}],
    "embeddings": [{"name": "far", "tokens": ["far", "off"], "hash": "fa" * 32, "reason": "No"}],
    "token_limit": 75,
}
LINE = f"model {json.dumps(DOCUMENT)}"


@pytest.mark.parametrize(
    "logs",
    [
        LINE,
        f"loading\n{LINE}\n",
        f"[coglet] Running setup\n[coglet::setup] {LINE}\n[coglet] Server ready\n",
        f"model {{}}\n[coglet::setup] {LINE}\n",
        f"model {json.dumps(DOCUMENT | {'warming': True})}",
    ],
)
def test_it_is_read_from_a_setups_logs(logs: str) -> None:
    read = Description.read(logs)
    assert read
    assert read.model_dump(mode="json") == DOCUMENT


def test_the_path_of_its_tokenizer_is_read_and_told_to_nobody() -> None:
    read = Description.read(f"model {json.dumps(DOCUMENT | {'tokenizer': '/cache/t.json'})}")
    assert read
    assert read.tokenizer == "/cache/t.json"
    assert read.with_adapters(read.adapters).model_dump(mode="json") == DOCUMENT


def test_a_model_without_upscalers_may_leave_them_out() -> None:
    without = {name: value for name, value in DOCUMENT.items() if name != "upscalers"}
    read = Description.read(f"model {json.dumps(without)}")
    assert read
    assert read.upscalers == ()


def test_a_model_without_a_vocabulary_may_leave_it_out() -> None:
    without = {name: value for name, value in DOCUMENT.items() if name != "vocabulary"}
    for document in (without, without | {"vocabulary": None}):
        read = Description.read(f"model {json.dumps(document)}")
        assert read
        assert read.vocabulary is None


def test_a_model_without_adapters_may_leave_them_out() -> None:
    adapters = ("loras", "embeddings")
    without = {name: value for name, value in DOCUMENT.items() if name not in adapters}
    read = Description.read(f"model {json.dumps(without)}")
    assert read
    assert (read.loras, read.embeddings) == ((), ())


def test_adapters_are_replaced_by_those_that_a_prediction_tells_of() -> None:
    read = Description.read(LINE)
    told = adapters_of({"loras": [{"name": "new", "hash": "0" * 64}], "embeddings": [], "x": 1})
    assert read
    assert told
    changed = read.with_adapters(told)
    assert changed.adapters == told
    assert changed.with_adapters(read.adapters) == read
    assert changed.adapters.for_names(None) == told
    assert changed.adapters.for_names({"ink"}).loras == ()


@pytest.mark.parametrize(
    "metric",
    [None, [], "x", {"loras": [{}]}, {"embeddings": 1}, {"loras": [{"name": 1, "hash": "0"}]}],
)
def test_another_metric_tells_of_no_adapters(metric: object) -> None:
    assert adapters_of(metric) is None


@pytest.mark.parametrize(
    "logs",
    [
        "",
        "model",
        "model {",
        "model {}",
        "model " + "{" * 10_000 + "}",
        f"the {LINE}",
        f"{LINE} and more",
        *(f"model {json.dumps(DOCUMENT | {name: [{}]})}" for name in DOCUMENT),
    ],
)
def test_what_is_none_is_not_taken_for_one(logs: str) -> None:
    assert Description.read(logs) is None
