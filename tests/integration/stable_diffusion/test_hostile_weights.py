"""Every hostile file of weights ends in one sentence, soon, and takes no memory to speak of."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cog_schema.schema import ROOT
from stable_diffusion import json_files
from stable_diffusion.json_files import FileError
from tests.support.hostile_weights import CHECKPOINTS, CONFIGURATIONS, FOLDERS, TOLD

MOST_MEGABYTES = {"checkpoints": 400, "folders": 1600}
"""The most memory that a process may take for all of them; of folders, torch has the most."""

Outcomes = dict[str, tuple[float, int, str, str]]


def outcomes(kind: str, folder: Path) -> Outcomes:
    command = [sys.executable, "-m", "tests.support.hostile_weights", kind, str(folder)]
    ended = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=900, check=False
    )
    lines = map(json.loads, ended.stdout.splitlines())
    return {name: tuple(outcome) for name, *outcome in lines}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return outcomes("checkpoints", tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return outcomes("folders", tmp_path_factory.mktemp("folders"))


def assert_refused(outcome: tuple[float, int, str, str] | None, kind: str, told: str = "") -> None:
    assert outcome, "the process ended before it"
    _, megabytes, ending, message = outcome
    assert ending == "refused", message
    assert re.search(told, message), message
    assert "\n" not in message
    assert megabytes < MOST_MEGABYTES[kind]


@pytest.mark.parametrize("ending", [".ckpt", ".safetensors"])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_hostile_checkpoint_is_refused(name: str, ending: str, checkpoints: Outcomes) -> None:
    assert_refused(checkpoints.get(name + ending), "checkpoints", CHECKPOINTS[name][1])


@pytest.mark.parametrize("name", FOLDERS)
def test_a_hostile_folder_is_refused(name: str, folders: Outcomes) -> None:
    assert_refused(folders.get(name), "folders", TOLD[name][1] if name in TOLD else "")


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_hostile_configuration_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    CONFIGURATIONS[name](path)
    with pytest.raises(FileError, match=re.escape(str(path))):
        json_files.read_configuration(path)


def test_what_diffusers_writes_for_a_scheduler_is_read(tmp_path: Path) -> None:
    path = tmp_path / "scheduler_config.json"
    path.write_text('{"lambda_min_clipped": -Infinity, "trained_betas": null, "beta_end": 0.012}')
    assert json_files.read_configuration(path)["beta_end"] == 0.012
