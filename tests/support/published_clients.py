"""The published clients of the APIs, unmodified: each in its own environment, and what it runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from cog_schema.schema import ROOT

FOLDER = ROOT / "tests" / "clients"
EXAMPLE = re.compile(
    r"^## (?P<title>[^\n]+)\n\n```(?P<language>python|js)\n(?P<code>.*?)```\n"
    r"(\n```text\n(?P<printed>.*?)```\n)?",
    re.MULTILINE | re.DOTALL,
)
LONGEST_SECONDS = 60


@dataclass(frozen=True)
class Example:
    """A program, and what it prints, where `...` stands for anything."""

    title: str
    language: str
    code: str
    printed: str


def examples(name: str) -> list[Example]:
    """Return the examples of a file in tests/clients/."""
    text = (FOLDER / name).read_text()
    found = [
        Example(match["title"], match["language"], match["code"], match["printed"] or "")
        for match in EXAMPLE.finditer(text)
    ]
    assert len(found) == text.count("\n## "), f"{name} has a part that is no example"
    return found


@cache
def environment(client: str) -> Path:
    """Return the folder in which a client is installed, after it was, if need be.

    Args:
        client: its name in tests/clients/python.txt, or npm.
    """
    script = ROOT / "scripts" / "clients"
    done = subprocess.run([script, client], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if client == "npm" and not done.stdout:
        pytest.skip(done.stderr.strip())
    assert done.stdout, f"There is no client {client}"
    return Path(done.stdout.strip())


def run(client: str, example: Example, folder: Path, **variables: str) -> str:
    """Run an example and return what it prints.

    Args:
        folder: its working folder.
        variables: all that is in its environment but PATH and HOME.
    """
    installed = environment(client)
    given = {"PATH": os.environ["PATH"], "HOME": str(folder), **variables}
    if example.language == "js":
        script, command = folder / "example.mjs", ["node"]
        (folder / "node_modules").symlink_to(installed / "node_modules")
    else:
        # Without the packages of the tests' own environment.
        script, command = folder / "example.py", [sys.executable, "-S"]
        given["PYTHONPATH"] = str(installed)
    script.write_text(example.code)
    done = subprocess.run(
        [*command, script],
        cwd=folder,
        env=given,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
