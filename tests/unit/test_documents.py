"""The documents say what is there."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

from cog_schema import schema
from cog_schema.schema import ROOT
from hosting.settings import Settings

FOR_DEVELOPERS = ("ARCHITECTURE.md", "CONTRIBUTING.md", "docs/glossary.md")
"""Documents that name parts of the code."""


def paths(*patterns: str) -> list[str]:
    found = {path for pattern in patterns for path in ROOT.glob(pattern)}
    return sorted(str(path.relative_to(ROOT)) for path in found)


DOCUMENTS = paths("*.md", "docs/**/*.md", "weights/demo/*.md", "weights/original/*.md")
PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["files"]
MODULES = paths("predict.py", *(f"{package}/**/*.py" for package in PACKAGES))


@cache
def text_of(name: str) -> str:
    """A document without its examples."""
    return re.sub(r"^```.*?^```$", "", (ROOT / name).read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(name: str) -> set[str]:
    """The headings of a document, as GitHub links to them."""
    headings = re.findall(r"^#+ (.+)$", text_of(name), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(name: str) -> list[tuple[str, str]]:
    """The links within the project: path from its root, and heading."""
    found = re.findall(r"\]\((?!https?:)([^)]+)\)", text_of(name))
    parts = [link.partition("#") for link in found]
    folder = (ROOT / name).parent
    targets = [(folder / path if path else ROOT / name).resolve() for path, _, _ in parts]
    inside = [str(target.relative_to(ROOT.resolve())) for target in targets]
    return [(path, heading) for path, (_, _, heading) in zip(inside, parts, strict=True)]


def code_in(name: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", text_of(name))


def table(name: str, columns: int) -> list[list[str]]:
    """Rows of tables that begin with a name in capitals or small letters, as code."""
    rows = re.findall(r"^\| (`\w+` \|.*) \|$", text_of(name), re.MULTILINE)
    cells = [[cell.strip().strip("`") for cell in row.split("|")] for row in rows]
    return [row for row in cells if len(row) == columns]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    for path, heading in links(name):
        assert (ROOT / path).exists(), path
        assert not heading or heading in anchors(path), f"{path}#{heading}"


def test_every_document_can_be_reached_from_the_readme() -> None:
    reached, ahead = set[str](), ["README.md"]
    while ahead:
        name = ahead.pop()
        if name not in reached and name.endswith(".md"):
            reached.add(name)
            ahead += [path for path, _ in links(name)]
    assert set(DOCUMENTS) <= reached


@pytest.mark.parametrize("name", [*FOR_DEVELOPERS, "README.md"])
def test_paths_that_are_named_are_there(name: str) -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()}
    words = [code.split()[0] for code in code_in(name)]
    named = [word for word in words if "/" in word and word.partition("/")[0] in folders]
    assert named
    for path in named:
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("name", FOR_DEVELOPERS)
def test_names_of_the_code_are_in_the_code(name: str) -> None:
    sources = [
        *MODULES,
        *paths("*.toml", "*.txt", "cog*.yaml", "hosting/form/*.*", "hosting/form/*/*.*"),
    ]
    known = {word for path in sources for word in re.findall(r"\w+", (ROOT / path).read_text())}
    known |= {Path(path).stem for path in sources}
    for code in code_in(name):
        if re.fullmatch(r"[A-Za-z_][\w.]*(\(\))?", code):
            assert set(re.findall(r"\w+", code)) <= known, code


def test_the_architecture_has_every_package_and_every_module_of_the_engine() -> None:
    named = {word.rstrip("/") for word in code_in("ARCHITECTURE.md")}
    modules = [Path(name) for name in MODULES]
    folders = {str(path.parent) for path in modules if path.parts[0] in ("hosting", "tools")}
    expected = {*PACKAGES, *(folder for folder in folders if folder.count("/") < 2)}
    engine = {path.stem for path in modules if path.parent == Path("stable_diffusion")}
    assert expected | engine - {"__init__"} <= named


def test_settings_has_every_setting_of_the_front_with_its_default() -> None:
    assert table("docs/settings.md", 3) == [
        [known.name.upper(), _shown(known.default), known.metadata["description"]]
        for known in fields(Settings)
    ]


def _shown(default: object) -> str:
    if default in ("", ()):
        return ""
    return f"{default:g}" if isinstance(default, int | float) else "data/"


def test_inputs_has_every_input_with_its_default_and_description() -> None:
    schemas = schema.schema(schema.PREDICT.read_text())["components"]["schemas"]
    inputs = schemas["Input"]["properties"]
    expected = []
    for name, entry in inputs.items():
        kind = "file" if entry.get("format") == "uri" else (entry | schemas.get(name, {}))["type"]
        kind = "list of texts" if kind == "array" else kind
        default = entry.get("default")
        shown = default if default and isinstance(default, str) else json.dumps(default)
        if name in schemas["Input"]["required"]:
            shown = "required"
        elif default in ("", None, []):
            shown = {"negative_prompt": "empty", "seed": "random"}.get(name, "none")
        expected.append([name, kind, shown, entry["description"]])
    rows = [
        [name, kind, default, text] for name, kind, default, _, text in table("docs/inputs.md", 5)
    ]
    assert rows == expected


def test_what_the_demo_model_knows_is_counted_right() -> None:
    vocabulary = json.loads((ROOT / "weights" / "demo" / "vocabulary.json").read_text())
    for name in ("README.md", "weights/demo/README.md"):
        counts = re.findall(r"(\d+) things", (ROOT / name).read_text())
        assert set(counts) == {str(len(vocabulary["things"]))}, name
