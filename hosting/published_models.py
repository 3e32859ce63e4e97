"""The models that the front offers by name, and what each of their published versions takes."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from infotext.loras import LoraError, read, split

RENAMED = {
    "num_outputs": "num_images",
    "prompt_strength": "strength",
    "init_image": "image",
    "input_image": "image",
    "lora": "loras",
}
"""Inputs of the originals, and what the endpoints call them."""
RENAMED_VALUES: Mapping[str, Mapping[Any, Any]] = {
    "scheduler": {"K-LMS": "KLMS"},
    "output_format": {"jpeg": "jpg"},
    "output_quality": {0: 1},
}
"""By the input, values of the originals and others, and what the endpoints call them."""
LEFT_EMPTY = ("width", "height", "image_dimensions")
"""Inputs whose published defaults don't count: left out, the size follows picture and model."""
UNNAMED = {
    "img2img": "stability-ai/stable-diffusion-img2img",
    "inpainting": "stability-ai/stable-diffusion-2-inpainting",
    "depth": "stability-ai/stable-diffusion-2-depth",
    "upscale": "stability-ai/stable-diffusion-x4-upscaler",
}
"""By task, the name for weights that have none of their own."""
LATEST = "latest"
LIMITED = "x-token-limit"
"""What is in the schema of an input that a token may have less of than others."""
LOCAL = "local"
"""The owner of weights that nobody has published a name for, where several are served."""

Task = Literal["img2img", "inpainting", "depth", "upscale"]
Kind = Literal["string", "integer", "number", "boolean", "file"]
Scalar = bool | int | float | str
OutputForm = Literal["list", "one"]


@dataclass(frozen=True)
class Input:
    """An input as a version published it; what no source says is None."""

    type: Kind
    minimum: int | float | None = None
    maximum: int | float | None = None
    choices: list[int | str] | None = None
    default: Scalar | None = None
    required: bool = False


@dataclass(frozen=True)
class Model:
    """A name that clients ask for, served by the endpoint of its task.

    id: owner/name, as Replicate has or had it; without an owner, the name that weights have in the
        catalogue, where nobody has published them under another.
    task: img2img (text to image too, and masked), inpainting, depth or upscale.
    description: a sentence for whoever looks the model up.
    aliases: other names, owner/name, by which it is found.
    weights: what draws for it where several models are served; None is what has its name, or the
        usual one.
    """

    id: str
    task: str
    description: str = ""
    aliases: tuple[str, ...] = ()
    weights: str | None = None

    @property
    def owner(self) -> str:
        """What is before the slash."""
        return self.id.rpartition("/")[0]

    @property
    def name(self) -> str:
        """What is after the slash."""
        return self.id.rpartition("/")[2]


@dataclass(frozen=True)
class Version:
    """What a model takes by one id.

    id: 64 hexadecimal digits: published, so that clients have it in their code, or `own_id`.
    inputs: by the names that they had.
    defaults: by our names, beside those of `inputs`.
    output: whether its pictures come as a list, or its only one as a string.
    black_repainted: whether a mask's black was repainted, and its white preserved.
    """

    model: Model
    id: str
    inputs: Mapping[str, Input] = field(default_factory=dict, hash=False)
    defaults: Mapping[str, Any] = field(default_factory=dict, hash=False)
    output: OutputForm = "list"
    black_repainted: bool = False
    most: Mapping[str, int] = field(default_factory=dict, hash=False)
    """By our names, what a token may have of some inputs, whatever the version took."""

    @property
    def all_defaults(self) -> dict[str, Any]:
        """What is left out is this, by our names. Width and height are only in `defaults`."""
        published = {
            RENAMED.get(name, name): RENAMED_VALUES.get(name, {}).get(one.default, one.default)
            for name, one in self.inputs.items()
            if one.default is not None and name not in LEFT_EMPTY
        }
        return {**published, **self.defaults}

    def for_loras(self, names: Set[str] | None) -> Version:
        """Return it with these LoRAs only among its defaults; None is all."""
        default = self.all_defaults.get("loras")
        if names is None or default is None:
            return self
        entries = split(default) if isinstance(default, str) else default
        usable = [entry for entry in entries or () if _asks_for_one_of(names, entry)]
        inputs = {
            name: replace(one, default=None) if RENAMED.get(name, name) == "loras" else one
            for name, one in self.inputs.items()
        }
        return replace(self, inputs=inputs, defaults={**self.defaults, "loras": usable})

    def within(self, most: Mapping[str, int]) -> Version:
        """Return it with no more than this of some inputs, by our names."""
        return replace(self, most=most)


class PublishedModels:
    """All models that the front offers by name.

    Args:
        models: each with its versions, the newest first. One that comes later replaces another of
            its name.
    """

    def __init__(self, models: Iterable[tuple[Version, ...]]) -> None:
        self.several: Callable[[], Iterable[tuple[str, str]]] = tuple
        """Returns the tasks and weights that are served where one endpoint serves several."""
        self._versions = {versions[0].model.id.lower(): versions for versions in models}
        self._names = {
            name.lower(): versions[0].model.id.lower()
            for versions in self._versions.values()
            for name in (*versions[0].model.aliases, versions[0].model.id)
        }
        self._by_id = {one.id: one for versions in self._versions.values() for one in versions}

    @property
    def models(self) -> list[Model]:
        """All models."""
        local = [version.model for version in self._local()]
        return [*(versions[0].model for versions in self._versions.values()), *local]

    def versions(self, model: Model) -> tuple[Version, ...]:
        """Return a model's versions, the newest first: the one of `own_id`."""
        if model.owner == LOCAL:
            return (Version(model, own_id(model)),)
        return self._versions[model.id.lower()]

    def find(self, reference: str) -> Version | None:
        """Return the version that a client means; None where there is none.

        Args:
            reference: owner/name, in any case, is the newest; so is owner/name:latest. Else
                owner/name:id, or an id alone.
        """
        if reference in self._by_id:
            return self._by_id[reference]
        local = list(self._local())
        name, colon, version_id = reference.partition(":")
        known_as = self._names.get(name.lower())
        if known_as is not None:
            versions = self._versions[known_as]
        else:
            versions = tuple(one for one in local if one.model.id.lower() == name.lower())
        if not versions:
            return next((one for one in local if one.id == reference), None)
        if not colon or version_id == LATEST:
            return versions[0]
        return next((one for one in versions if one.id == version_id), None)

    def offered(self, task: str, weights: str) -> Version:
        """Return the version by whose model's name the web form asks an endpoint.

        It is the one that is named as the weights and takes what the endpoint takes.

        Args:
            weights: what the endpoint serves; `demo` is nobody's name.
        """
        for newest, *_ in self._versions.values():
            if newest.model.task == task and newest.model.name == weights and not newest.inputs:
                return newest
        local = (one for one in self._local() if one.model.weights == weights)
        return next(local, self._versions[UNNAMED[task]][0])

    def _local(self) -> Iterator[Version]:
        """Yield a version of each of several weights for which nobody has published a name."""
        published = {
            (versions[0].model.task, versions[0].model.weights or versions[0].model.name)
            for versions in self._versions.values()
        }
        for task, weights in self.several():
            if (task, weights) not in published:
                model = Model(f"{LOCAL}/{weights}", task, weights=weights)
                yield Version(model, own_id(model))

    def running(self, task: str, weights: str) -> Version:
        """Return what an endpoint runs, with the defaults of the endpoint's own schema.

        Args:
            weights: their name in the catalogue.
        """
        model = self.offered(task, weights).model
        if model.name != weights:
            model = Model(weights, task, weights=weights)
        return Version(model, own_id(model))


def own_id(model: Model) -> str:
    """Our own version id: 64 hexadecimal digits, the same after a restart and an update.

    It is made of the name alone: a client that pins it means the model as this front serves it.
    """
    return hashlib.sha256(model.id.encode()).hexdigest()


def _asks_for_one_of(names: Set[str], entry: str) -> bool:
    try:
        return read(entry).name in names
    except LoraError:
        return False


def taken_schema(version: Version, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return an endpoint's OpenAPI document that allows what the version took, too.

    Its inputs have the endpoint's names, and ranges and choices of both. A version's seed has no
    bounds. It also has the version's defaults, and what has one is not required.

    Args:
        schema: the document of the endpoint that serves the model; it is not changed.
    """
    document: dict[str, Any] = copy.deepcopy(dict(schema))
    schemas = document["components"]["schemas"]
    inputs = schemas["Input"]
    for name, published in version.inputs.items():
        entry = inputs["properties"].get(RENAMED.get(name, name))
        if entry is not None:
            for part in entry.get("allOf", ()):  # Cog writes the choices of an input beside it
                _widen(schemas[part["$ref"].rpartition("/")[2]], name, published)
            _widen(entry, name, published)
    _narrow_inputs(document, version.most)
    defaults = defaults_of(version, document)
    for name in defaults.keys() & inputs["properties"].keys():
        entry, default = inputs["properties"][name], defaults[name]
        is_text_of_list = entry.get("type") == "array" and isinstance(default, str)
        entry["default"] = split(default) if is_text_of_list else default
    inputs["required"] = [name for name in inputs.get("required", ()) if name not in defaults]
    return document


def narrowed(schema: Mapping[str, Any], most: Mapping[str, int]) -> dict[str, Any]:
    """Return an endpoint's OpenAPI document that allows no more than this of some inputs.

    Args:
        schema: the document; it is not changed.
    """
    document: dict[str, Any] = copy.deepcopy(dict(schema))
    _narrow_inputs(document, most)
    return document


def defaults_of(version: Version, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is left out, by our names, where that is not left to the endpoint.

    That is what the version has, and no more of it than a token may have.

    Args:
        schema: the document of the endpoint that serves the model.
    """
    properties = schema["components"]["schemas"]["Input"]["properties"]
    usual = {name: properties.get(name, {}).get("default") for name in version.most}
    defaults = version.all_defaults
    for name, default in {**usual, **defaults}.items():
        most = version.most.get(name)
        if most is not None and isinstance(default, int | float) and default > most:
            defaults[name] = most
    return defaults


def published_schema(version: Version, known: Set[str]) -> dict[str, Any]:
    """Return an OpenAPI document of a version's inputs, by its own names, but for those known."""
    properties = {
        name: _property(name, published)
        for name, published in version.inputs.items()
        if name not in known
    }
    return {"components": {"schemas": {"Input": {"properties": properties}}}}


def openapi_schema(version: Version, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a version's OpenAPI document: what it takes by our names and its own, and its output.

    Cog's `x-cog-array-type: iterator` is taken away, since for that the replicate client returns a
    generator instead of the originals' list.

    Args:
        schema: the document of the endpoint that serves the model; it is not changed.
    """
    document = taken_schema(version, schema)
    schemas = document["components"]["schemas"]
    properties = schemas["Input"]["properties"]
    published = published_schema(version, properties.keys())
    for name, entry in published["components"]["schemas"]["Input"]["properties"].items():
        properties[name] = {**entry, "x-order": len(properties)}
        if (most := version.most.get(RENAMED.get(name, name))) is not None:
            _narrow(properties[name], most)
    if version.output == "one":
        schemas["Output"] = {"title": "Output", "type": "string", "format": "uri"}
    schemas["Output"].pop("x-cog-array-type", None)
    return document


def _widen(entry: dict[str, Any], name: str, published: Input) -> None:
    """Allow what a version took besides what an input's schema allows."""
    if name == "seed":
        entry.pop("minimum", None)
        entry.pop("maximum", None)
    if "enum" in entry:
        entry["enum"] += [one for one in published.choices or () if one not in entry["enum"]]
    numbers = [one for one in published.choices or () if isinstance(one, int)]
    for limit, wider, value in (
        ("minimum", min, published.minimum),
        ("maximum", max, published.maximum),
    ):
        if limit in entry:
            entry[limit] = wider([entry[limit], *numbers, *([] if value is None else [value])])


def _narrow_inputs(document: dict[str, Any], most: Mapping[str, int]) -> None:
    schemas = document["components"]["schemas"]
    for name, limit in most.items():
        if (entry := schemas["Input"]["properties"].get(name)) is not None:
            for part in entry.get("allOf", ()):
                _narrow(schemas[part["$ref"].rpartition("/")[2]], limit)
            _narrow(entry, limit)


def _narrow(entry: dict[str, Any], most: int) -> None:
    """Allow only so much of what an input's schema allows."""
    if "enum" in entry:
        allowed = [one for one in entry["enum"] if not isinstance(one, int) or one <= most]
        if allowed != entry["enum"]:
            entry["enum"], entry[LIMITED] = allowed, True
    if entry.get("maximum", most) > most:
        entry["maximum"], entry[LIMITED] = most, True


def _property(name: str, published: Input) -> dict[str, Any]:
    """Return an input as OpenAPI has it."""
    is_file = published.type == "file"
    kind = {"type": "string", "format": "uri"} if is_file else {"type": published.type}
    said = {
        "minimum": published.minimum,
        "maximum": published.maximum,
        "enum": published.choices,
        "default": None if name in LEFT_EMPTY else published.default,
    }
    entry: dict[str, Any] = {"title": name.replace("_", " ").title(), **kind}
    return entry | {key: value for key, value in said.items() if value is not None}
