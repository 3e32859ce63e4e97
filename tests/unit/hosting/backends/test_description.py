from __future__ import annotations

import json
from typing import Any

import pytest

from hosting.backends.description import Description

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
