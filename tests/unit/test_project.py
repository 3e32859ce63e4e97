"""What pyproject.toml and .pre-commit-config.yaml name is there."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from cog_schema.schema import ROOT
from stable_diffusion import __version__

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("name", PROJECT["project"]["scripts"])
def test_each_entry_point_is_that_of_a_script(name: str) -> None:
    script = (ROOT / "scripts" / name.removeprefix("stable-diffusion-")).read_text()
    module, _, function = PROJECT["project"]["scripts"][name].partition(":")
    assert f" {module} " in script
    assert f"\ndef {function}(" in (ROOT / f"{module.replace('.', '/')}.py").read_text()


def test_versions_stand_in_one_place_each() -> None:
    dynamic = PROJECT["tool"]["setuptools"]["dynamic"]
    assert {"version", "dependencies", "optional-dependencies"} == set(
        PROJECT["project"]["dynamic"]
    )
    assert dynamic["version"] == {"attr": "stable_diffusion.__version__"}
    listed = [dynamic["dependencies"], *dynamic["optional-dependencies"].values()]
    files = sorted(file for entry in listed for file in entry["file"])
    assert files == sorted(path.name for path in ROOT.glob("requirements*.txt"))


def test_the_changelog_has_the_version_first() -> None:
    versions = re.findall(
        r"^## (\d+\.\d+\.\d+) - ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert versions[0] == __version__


INSTALLED = Path(sys.executable).parent


def test_hooks_before_a_commit_are_our_own_tools() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    for repository in config["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            assert hook["language"] == "system"
            command, *arguments = hook["entry"].split()
            assert command.startswith((".venv/bin/", "scripts/"))
            folder = ROOT / "scripts" if command.startswith("scripts/") else INSTALLED
            assert (folder / Path(command).name).exists(), command
            assert all(Path(ROOT, name).exists() for name in arguments if "/" in name)
