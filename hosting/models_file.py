"""Files of models: what is published, and the operator's own names."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from hosting.published_models import (
    Input,
    Model,
    OutputForm,
    PublishedModels,
    Scalar,
    Task,
    Version,
    own_id,
)

PUBLISHED = Path(__file__).parent / "published_models.yaml"
"""Its head says what a model, a version and an input may have."""


class ModelsError(ValueError):
    """A sentence for the person who wrote a file of models: what in it is wrong."""


def load(own: Path | None = None) -> PublishedModels:
    """Return the published models, and the operator's own.

    Args:
        own: a file of the same form; it may be missing.

    Raises:
        ModelsError: when it can't be used, with what in it is wrong and what is allowed.
    """
    models = _published()
    if own is not None and own.exists():
        models = [*models, *_read(own)]
    return PublishedModels(models)


_ID = r"^[0-9a-f]{64}$"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$"
_PATTERNS = {
    _ID: "give 64 hexadecimal digits, in small letters and in quotes",
    _NAME: "give owner/name, of letters, digits, full stops, hyphens and underscores",
}
_SCALAR = "give a text, a number, true or false"
_MESSAGES = {
    "list_type": "give a list, each of whose lines begins with a hyphen",
    "dict_type": "give names and values",
    "dataclass_type": "give keys and values",
    "string_type": "give a text",
    "bool_type": _SCALAR,
}
_KEYS = (
    "a model has name, aliases, task, description, weights, versions, inputs, defaults and output, "
    "a version id, source, inputs, defaults, output and black_repainted, "
    "an input type, minimum, maximum, choices, default and required"
)
_BRANCHES = ("bool", "int", "float", "str", "list[str]")
"""What pydantic adds to the place of a fault in a value that may have several types."""
_Name = Annotated[str, Field(pattern=_NAME)]


@dataclass(frozen=True, kw_only=True)
class _VersionEntry:
    __pydantic_config__ = ConfigDict(extra="forbid")

    id: Annotated[str, Field(pattern=_ID)]
    source: str = ""
    inputs: dict[str, Input] | None = None
    defaults: dict[str, Scalar | list[str]] | None = None
    output: OutputForm | None = None
    black_repainted: bool = False


@dataclass(frozen=True, kw_only=True)
class _ModelEntry:
    __pydantic_config__ = ConfigDict(extra="forbid")

    name: _Name
    task: Task
    description: str = ""
    aliases: list[_Name] = field(default_factory=list)
    weights: str | None = None
    inputs: dict[str, Input] = field(default_factory=dict)
    defaults: dict[str, Scalar | list[str]] = field(default_factory=dict)
    output: OutputForm = "list"
    versions: list[_VersionEntry] = field(default_factory=list)

    def made(self) -> tuple[Version, ...]:
        """Return its versions; before the published ones that of `own_id`, which is the newest."""
        aliases = tuple(self.aliases)
        model = Model(self.name, self.task, self.description, aliases, self.weights)
        published = [
            Version(
                model,
                entry.id,
                self.inputs if entry.inputs is None else entry.inputs,
                self.defaults if entry.defaults is None else entry.defaults,
                entry.output or self.output,
                entry.black_repainted,
            )
            for entry in self.versions
        ]
        plain = Version(model, own_id(model), self.inputs, self.defaults, self.output)
        return (replace(published[0], id=plain.id) if published else plain, *published)


_ENTRIES = TypeAdapter(list[_ModelEntry])


@functools.cache
def _published() -> list[tuple[Version, ...]]:
    """Return what is published, which never changes."""
    return _read(PUBLISHED)


def _read(path: Path) -> list[tuple[Version, ...]]:
    """Return the models of a file, each with its versions.

    Raises:
        ModelsError: when it can't be read, or is wrong.
    """
    try:
        document = yaml.safe_load(path.read_bytes()) or []
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise ModelsError(f"{path} can't be read as YAML: {' '.join(str(error).split())}") from None
    try:
        entries = _ENTRIES.validate_python(document)
    except ValidationError as error:
        raise ModelsError(f"{path}: {_fault(error, document)}") from None
    taken: set[str] = set()
    for entry in entries:
        for said in (entry.name, *entry.aliases, *(one.id for one in entry.versions)):
            if said.lower() in taken:
                raise ModelsError(f"{path}: {said} is there twice; give it once")
            taken.add(said.lower())
    return [entry.made() for entry in entries]


def _fault(error: ValidationError, document: object) -> str:
    """Return the first of what is wrong with a file, where, and what is allowed."""
    fault = error.errors()[0]
    kind, place = fault["type"], [part for part in fault["loc"] if part not in _BRANCHES]
    if place and isinstance(document, list) and isinstance(document[int(place[0])], dict):
        place[0] = document[int(place[0])].get("name", f"model {int(place[0]) + 1}")
    where = ", ".join(map(str, place)) or "the file"
    if kind in ("missing", "missing_keyword_only_argument"):
        return f"{where} is missing"
    if kind == "unexpected_keyword_argument":
        return f"{where} is not a key; {_KEYS}"
    message = _PATTERNS.get(str(fault.get("ctx", {}).get("pattern"))) or _MESSAGES.get(kind)
    message = message or fault["msg"].replace("Input should be", "give")
    return f"{where} is {str(fault['input'])[:50]!r}; {message}"
