"""A client's inputs become those of a Cog endpoint, or every fault is named."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hosting.published_models import LIMITED, RENAMED, RENAMED_VALUES
from infotext import samplers
from infotext.loras import LONGEST_CHARACTERS, split

SIZE_NAMES = ("size", "image_dimensions")
SEEDS = 2**53
"""Number of seeds, from 0 on: the whole numbers that JSON carries exactly."""
SIZE = re.compile(r"\s*(\d{1,5})\s*[x×]\s*(\d{1,5})\s*", re.ASCII | re.IGNORECASE)
RATIO = re.compile(r"\s*(\d{1,5}(?:\.\d{1,5})?)\s*:\s*(\d{1,5}(?:\.\d{1,5})?)\s*", re.ASCII)
USUAL_SIDE_PIXELS = 768
"""The native size of a model that nobody knows: that of Stable Diffusion 2.1."""
AUTOMATIC_SIDES_PIXELS = (128, 256, 384, 448, 512, 576, 640, 704, 768, 832, 896, 960, 1024)
"""The sides that an `aspect_ratio` is made of, as the model chooses where one is left empty."""
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
LONGEST_NUMBER_CHARACTERS = 400
"""Characters of a number, or of a size, that comes as a text: of 1.8e308, written out, and more."""
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
HALF_CHARACTER = re.compile("[\ud800-\udfff]")
"""Which JSON may have by itself, and UTF-8 may not."""
STEPS = ("num_inference_steps", "refine_steps")
"""The inputs that are numbers of steps."""
FILE_SCHEMES = ("http://", "https://", "data:")
MOST_LEVELS = 20
"""Of lists and objects within each other, in what is kept of a client's JSON."""
LONGEST_QUOTE_CHARACTERS = 50
"""Characters of a value that a fault quotes."""


@dataclass(frozen=True)
class Fault:
    """A fault of one input.

    type: required, invalid_type, enum, number_gte, number_lte, format or conflict, most of which
        are Replicate's.
    field: as the client named it: input.num_images, or input.num_outputs.
    description: a sentence for the person who gave it.
    """

    type: str
    field: str
    description: str


class InvalidInputs(ValueError):
    """Some inputs can't be used; `faults` has all, and the text a line for each.

    Args:
        values: those that can be used, by the schema's names.
    """

    def __init__(self, *faults: Fault, values: Mapping[str, Any] = {}) -> None:
        super().__init__("\n".join(f"- {fault.field}: {fault.description}" for fault in faults))
        self.faults = faults
        self.values = values


class _Refused(Exception):
    """One value can't be used; what its fault will say."""

    def __init__(self, type: str, description: str) -> None:  # noqa: A002 - the fault's name
        super().__init__(description)
        self.type = type
        self.description = description


def read(
    inputs: Mapping[str, Any],
    schema: Mapping[str, Any],
    defaults: Mapping[str, Any] = {},
    native_size: int | None = None,
) -> dict[str, Any]:
    """Return the inputs as the endpoint's schema names and types them.

    Nulls and names that the schema lacks are dropped, the originals' names become the schema's,
    `size` and `aspect_ratio` become width and height, numbers and booleans may be given as text,
    and a list of texts as one with commas. What is left out and has no default here is left to the
    endpoint.

    Args:
        inputs: whatever JSON has; nothing is assumed of the values.
        schema: the endpoint's OpenAPI document.
        defaults: by the schema's names, for what is left out.
        native_size: the side in pixels of the square that the model was trained on, near whose area
            an `aspect_ratio` is; None if nobody knows.

    Raises:
        InvalidInputs: naming everything that is wrong with them, in the schema's order.
    """
    properties = _properties(schema)
    given = {name: value for name, value in inputs.items() if value is not None}
    names = {name: name for name in properties}
    found: list[tuple[str, Fault]] = []

    def refuse(name: str, as_given: str, refused: _Refused) -> None:
        found.append((name, Fault(refused.type, f"input.{as_given}", refused.description)))

    for old, new in RENAMED.items():
        if old not in given or new not in properties:
            continue
        value = given.pop(old)
        if new not in given:
            given[new], names[new] = value, old
        # Lists and objects are refused anyway, and may be too deep to be compared.
        elif isinstance(value, list | dict) or given[new] != value:
            refuse(new, old, _conflict(old, names[new]))
    if {"width", "height"} <= properties.keys():
        for as_given in (*SIZE_NAMES, "aspect_ratio"):
            if as_given not in given:
                continue
            try:
                size = _size(as_given, given[as_given], native_size or USUAL_SIDE_PIXELS)
                for name, side in zip(("width", "height"), size, strict=True):
                    if name not in given:
                        given[name], names[name] = side, as_given
                    elif as_given == "aspect_ratio" or given[name] != side:
                        raise _conflict(as_given, names[name])
            except _Refused as refused:
                refuse("width", as_given, refused)

    usual = dict(defaults)
    if "scheduler" in properties:
        named = _sampler(given.get("scheduler"), properties)
        spacing = named.get("spacing")
        if spacing and given.get("spacing", spacing) != spacing:
            refuse("spacing", names.get("spacing", "spacing"), _conflict("scheduler", "spacing"))
        given |= named
        if "scheduler" in given:
            usual = _without_what_is_lacking(usual, given["scheduler"])
        else:
            usual |= _sampler(usual.get("scheduler"), properties)
    given = {**usual, **given}
    values = {}
    for name, wanted in properties.items():
        if name in given:
            try:
                values[name] = _value(given[name], wanted, RENAMED_VALUES.get(name, {}))
            except _Refused as refused:
                refuse(name, names[name], refused)
        elif wanted["required"]:
            refuse(name, name, _Refused("required", f"{name} is required"))
    if found:
        order = list(properties)
        found.sort(key=lambda one: order.index(one[0]))
        raise InvalidInputs(*dict.fromkeys(fault for _, fault in found), values=values)
    return values


def fault_of_defaults(defaults: Mapping[str, Any], schema: Mapping[str, Any]) -> str | None:
    """Return what is wrong with one of the defaults, in a sentence that begins with its name.

    Args:
        defaults: by the schema's names.
        schema: the endpoint's OpenAPI document.
    """
    properties = _properties(schema)
    for name, value in defaults.items():
        if name not in properties:
            return f"{name} is not an input; give one of {', '.join(properties)}"
        try:
            _value(value, properties[name], RENAMED_VALUES.get(name, {}))
        except _Refused as refused:
            return f"{name}: {refused}"
    return None


def file_inputs(schema: Mapping[str, Any]) -> set[str]:
    """Return the names of the inputs that are files.

    Args:
        schema: the endpoint's OpenAPI document.
    """
    return {name for name, wanted in _properties(schema).items() if wanted.get("format") == "uri"}


def text_inputs(schema: Mapping[str, Any]) -> set[str]:
    """Return the names of the inputs that are texts of any words.

    Args:
        schema: the endpoint's OpenAPI document.
    """
    return {
        name
        for name, wanted in _properties(schema).items()
        if wanted["type"] == "string" and "enum" not in wanted and "format" not in wanted
    }


def list_inputs(schema: Mapping[str, Any]) -> set[str]:
    """Return the names by which the inputs that are lists are given.

    Args:
        schema: the endpoint's OpenAPI document.
    """
    names = {name for name, wanted in _properties(schema).items() if wanted["type"] == "array"}
    return names | {old for old, new in RENAMED.items() if new in names}


def choices(schema: Mapping[str, Any], name: str) -> list[Any]:
    """Return the values that an input allows, where it has choices; empty is none of them."""
    return [value for value in _properties(schema)[name]["enum"] if value is not None]


def ends(schema: Mapping[str, Any], name: str) -> tuple[float, float]:
    """Return the least and the most that an input allows, where it has both."""
    found = _properties(schema)[name]
    return found["minimum"], found["maximum"]


def known_names(schema: Mapping[str, Any]) -> set[str]:
    """Return the names by which inputs are read: the schema's own, and the originals'.

    Args:
        schema: the endpoint's OpenAPI document.
    """
    properties = _properties(schema).keys()
    renamed = {name for name, known_as in RENAMED.items() if known_as in properties}
    return {*properties, *renamed, *SIZE_NAMES, "aspect_ratio"}


def is_too_deep(value: object, levels: int = MOST_LEVELS) -> bool:
    """Return whether lists and objects lie within each other more than so many levels deep."""
    if not isinstance(value, list | dict):
        return False
    parts = value.values() if isinstance(value, dict) else value
    return not levels or any(is_too_deep(part, levels - 1) for part in parts)


def _properties(schema: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return each input's schema, in its order, with its choices and `required`."""
    schemas = schema["components"]["schemas"]
    inputs = schemas["Input"]
    resolved = {}
    for name, entry in inputs["properties"].items():
        # Cog writes the choices of an input beside it, and a reference to them into it.
        referred = [schemas[part["$ref"].rpartition("/")[2]] for part in entry.get("allOf", ())]
        resolved[name] = {"required": name in inputs.get("required", ())}
        for part in (*referred, entry):
            resolved[name] |= part
    return dict(sorted(resolved.items(), key=lambda item: item[1].get("x-order", 0)))


def _sampler(name: object, properties: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the inputs for a name that a sampler has elsewhere; none where it is no such name."""
    if not isinstance(name, str) or name in properties["scheduler"].get("enum", ()):
        return {}
    return {key: value for key, value in (samplers.read(name) or {}).items() if key in properties}


def _without_what_is_lacking(defaults: Mapping[str, Any], scheduler: object) -> dict[str, Any]:
    """Return defaults without those for which a sampler has no use."""
    lacking = {"eta"} if scheduler != "DDIM" else set()
    if scheduler in samplers.EVEN_SCHEDULERS and defaults.get("spacing") in tuple(
        samplers.SPACINGS
    ):
        lacking.add("spacing")
    most = samplers.MOST_STEPS.get(str(scheduler), math.inf)
    lacking |= {name for name in STEPS if (_number(defaults.get(name)) or 0) > most}
    return {name: value for name, value in defaults.items() if name not in lacking}


def _conflict(name: str, other: str) -> _Refused:
    return _Refused("conflict", f"{name} and {other} contradict each other; give only one of them")


def _size(as_given: str, value: object, native_size: int) -> tuple[int, int]:
    """Width and height that a size or an aspect ratio stands for.

    Of a ratio as the model chooses where both are empty: of the pairs of sides with half to twice
    the native area the closest in shape, then in area.
    """
    is_ratio = as_given == "aspect_ratio"
    pattern, example = (RATIO, "16:9") if is_ratio else (SIZE, "512x768")
    text = value if isinstance(value, str) and len(value) <= LONGEST_NUMBER_CHARACTERS else ""
    match = pattern.fullmatch(text)
    if not match or not all(float(side) > 0 for side in match.groups()):
        raise _refused("format", value, f"give width and height, such as {example}")
    if not is_ratio:
        return int(match[1]), int(match[2])
    return size_of_shape(float(match[1]) / float(match[2]), native_size)


def size_of_shape(
    ratio: float,
    native_size: int,
    widths: Sequence[int] = AUTOMATIC_SIDES_PIXELS,
    heights: Sequence[int] = AUTOMATIC_SIDES_PIXELS,
) -> tuple[int, int]:
    """Return the width and height in pixels of a shape, as the model chooses them.

    Args:
        ratio: of width and height.
        native_size: the side in pixels of the square that the model was trained on.
        widths, heights: those that there are.
    """
    native_area = native_size**2
    pairs = list(itertools.product(widths, heights))
    near = [pair for pair in pairs if native_area / 2 <= math.prod(pair) <= native_area * 2]

    def distance(size: tuple[int, int]) -> tuple[float, float]:
        width, height = size
        shape, area = width / height / ratio, width * height / native_area
        return abs(math.log(shape)), abs(math.log(area))

    return min(near or pairs, key=distance)


def _value(value: object, wanted: Mapping[str, Any], renamed: Mapping[Any, Any]) -> Any:
    """Return a value as the schema wants it.

    Args:
        renamed: what some values stand for.

    Raises:
        _Refused: when it is not to be had.
    """
    kind, allowed = wanted["type"], _allowed(wanted)
    read_as: Any = _READERS[kind](value)
    if kind == "integer" and isinstance(read_as, float):
        read_as = int(read_as) if read_as.is_integer() else None
    if renamed:
        read_as = renamed.get(read_as, read_as)
    if read_as is None:
        raise _refused("invalid_type", value, allowed)
    if "enum" in wanted and read_as not in wanted["enum"]:
        raise _refused("enum", value, allowed)
    if "minimum" in wanted and read_as < wanted["minimum"]:
        raise _refused("number_gte", value, allowed)
    if "maximum" in wanted and read_as > wanted["maximum"]:
        raise _refused("number_lte", value, allowed)
    if wanted.get("format") == "uri":
        read_as = read_as.strip()
        if not read_as[:8].lower().startswith(FILE_SCHEMES):
            raise _refused("format", value, allowed)
    return read_as


def _text(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    if HALF_CHARACTER.search(value):
        raise _refused("format", value, "give valid Unicode: a part of it is half a character")
    return value


def _number(value: object) -> int | float | None:
    if isinstance(value, str):
        text = value.strip()
        if len(text) > LONGEST_NUMBER_CHARACTERS or not NUMBER.fullmatch(text):
            return None
        is_whole = text.lstrip("+-").isdecimal()
        value = int(text) if is_whole else float(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None


def _boolean(value: object) -> bool | None:
    if isinstance(value, str):
        return BOOLEANS.get(value.strip().lower())
    return value if isinstance(value, bool) else None


def _texts(value: object) -> list[str] | None:
    if isinstance(value, str):
        parts = split(value)
        if parts is None:
            raise _refused("too_long", value, f"give at most {LONGEST_CHARACTERS} characters")
        return _texts(parts)
    if not isinstance(value, list):
        return None
    texts = []
    for part in value:
        text = _text(part)
        if text is None:
            raise _refused("invalid_type", part, "give a list of texts")
        texts.append(text)
    return texts


_READERS: Mapping[str, Callable[[object], Any]] = {
    "string": _text,
    "integer": _number,
    "number": _number,
    "boolean": _boolean,
    "array": _texts,
}


def _allowed(wanted: Mapping[str, Any]) -> str:
    """Return advice: what the schema takes."""
    advice = _advice(wanted)
    return f"{advice}: more is beyond the limit of your token" if LIMITED in wanted else advice


def _advice(wanted: Mapping[str, Any]) -> str:
    if "enum" in wanted:
        return "give one of " + ", ".join(str(one) for one in wanted["enum"] if one is not None)
    if wanted.get("format") == "uri":
        return f"give a file as {', '.join(FILE_SCHEMES[:-1])} or {FILE_SCHEMES[-1]} URL"
    kinds = {
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "array": "a list of texts",
    }
    limits = {"minimum": "from", "maximum": "to"}
    words = [f"{word} {wanted[limit]}" for limit, word in limits.items() if limit in wanted]
    return " ".join(["give", kinds.get(wanted["type"], "a text"), *words])


def _refused(type: str, value: object, allowed: str) -> _Refused:  # noqa: A002 - the fault's name
    return _Refused(type, f"{quote(value)} is not allowed; {allowed}")


def quote(value: object) -> str:
    """Return a value as a reader of JSON knows it, cut to a length that fits a sentence."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, int) and value.bit_length() > 3 * LONGEST_QUOTE_CHARACTERS:
        return "a number with that many digits"
    if isinstance(value, str):
        cut = (
            value
            if len(value) <= LONGEST_QUOTE_CHARACTERS
            else value[: LONGEST_QUOTE_CHARACTERS - 1] + "…"
        )
        return json.dumps(_encodable(cut), ensure_ascii=False)
    return json.dumps(value)


def _encodable(text: str) -> str:
    """`text` with a question mark for each half of a character, which UTF-8 can't have."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
