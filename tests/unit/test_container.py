"""cog.yaml, and those of the siblings, agree with what they name."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

import predict
from cog_schema.schema import PREDICTORS, ROOT


@pytest.fixture
def build() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / "cog.yaml").read_text())
    assert getattr(predict, config["predict"].removeprefix("predict.py:"))
    build: dict[str, Any] = config["build"]
    return build


def test_every_predictor_has_a_container_that_differs_in_nothing_else() -> None:
    configs = [yaml.safe_load(path.read_text()) for path in sorted(ROOT.glob("cog*.yaml"))]
    predictors = [config.pop("predict").removeprefix("predict.py:") for config in configs]
    assert sorted(predictors) == sorted(PREDICTORS.values())
    assert all(config == configs[0] for config in configs)


def test_the_container_installs_the_versions_that_are_tested(build: dict[str, Any]) -> None:
    requirements = (ROOT / build["python_requirements"]).read_text()
    pins = dict(re.findall(r"^([\w-]+)==(.+)$", requirements, re.MULTILINE))
    assert build["sdk_version"] == pins["cog"] == pins["coglet"]
    lines = [line for line in requirements.splitlines() if line and not line.startswith("#")]
    assert len(lines) == len(pins)
    chosen = (ROOT / "requirements.txt").read_text()
    assert pins.items() >= set(re.findall(r"^([\w-]+)==(.+)$", chosen, re.MULTILINE))


def test_the_container_has_a_gpu_and_a_python_that_the_project_takes(
    build: dict[str, Any],
) -> None:
    assert build["gpu"] is True
    assert build["python_version"] in ("3.11", "3.12", "3.13")


def test_the_container_gets_all_that_predict_imports_and_no_tests() -> None:
    kept = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert {"predict.py", "infotext", "stable_diffusion", "requirements.txt", "weights"} <= kept
    assert not kept & {"tests", "scripts", "commands", "tools", ".venv", ".git", "examples"}
