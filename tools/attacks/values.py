"""Hostile values for a field, by the type that its schema gives it, as texts of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tools.attacks.addresses import ADDRESSES

DEEP = "[" * 900 + "]" * 900
"""Deeper than anyone needs, and not so deep that Python's own parser refuses it."""
ANY = (
    *("null", "true", "false", "0", "-1", "1.5", '""', '"text"', "[]", "{}", "[[]]", "[null]"),
    *('{"a": [{}]}', '{"": ""}', '{"file": "in-image"}', '["text", "text"]', DEEP),
    *("[" + "0," * 10_000 + "0]", '"' + "a" * 100_000 + '"'),
)
"""One of each type, for every field."""
_WORDS = (
    *("\x1b[31mred", "\r\nSet-Cookie: a=b", "\u202egnp.exe", "\ufeff", "\U0010ffff", "\ufffe", "ⅷ"),
    *("..\\..\\boot.ini", "C:\\CON", "~root", "' OR 1=1 --", '"; DROP TABLE predictions; --'),
    *("%s%n%x", "{0.__class__}", "{{7*7}}", "${jndi:ldap://127.0.0.1/a}", "$(id)", "`id`", "]]>"),
    *("<script>alert(1)</script>", "<!--", "<|endoftext|>", "(a)++", '("a", "b").blend(1)'),
)
TEXTS = (
    *("", " ", "\0", "a\0b", ".", "../../../etc/passwd", "file:///etc/passwd", "null", "NaN", "-1"),
    *("0", "1e999", "true", "[]", "{}", "\n".join(_WORDS), "\u202e", "\r\n", "word " * 5000),
    *("ﷺ" * 1000, "e" + "\u0301" * 1000, "👩‍👩‍👧‍👦" * 500, "(" * 500, "(a)" + "9" * 400),
)
"""Texts for any field, of which some are as good as any other."""
BROKEN_TEXTS = ('"\\ud800"', '"a\\udfffb"', '"\\ud800\\ud800"', '"\\ude00\\ud83d"')
"""Halves of characters, which JSON can have and UTF-8 can not."""
NUMBERS = (
    *("-0", "-0.0", "1e3", "1E+2", "0.1e1", "1e-400", "-1e-400", "1e999", "-1e999", "1.0e308"),
    *("NaN", "Infinity", "-Infinity", "2147483648", "-2147483649", "9007199254740993"),
    *("18446744073709551616", "9" * 400, "-" + "9" * 400, "9" * 5000, "0." + "9" * 5000),
    *(f'"{text}"' for text in ("１２", " 7 ", "+7", "0x10", "1_000", "1,5", "1e9", "9" * 5000)),
    *(f'"{text}"' for text in ("1e999999999", "nan", "inf", "-", ".", "1e", "7\\u0000", "٧")),
)
BOOLEANS = ('"true"', '"TRUE"', '" 0 "', '"yes"', '"on"', '"2"', "2", "1.0", "-0")
LISTS = (
    *('["a", "a"]', '"a,b"', '",,"', '["a,b"]', '[["a"]]', '[{"name": "a"}]', '["a", 1]', "[null]"),
    *('["a:1e999"]', '["a:nan"]', '["a:٧"]', '["a:9"]', '["a:"]', '[":1"]', '["a:1:1"]', '["@"]'),
    *('["a@00"]', '["a@' + "f" * 10_000 + '"]', '["../../etc/passwd:1"]', '["a\\u0000:1"]'),
    *('["' + '", "'.join(map(str, range(1000))) + '"]', '"' + "a," * 100_000 + '"'),
)
"""Lists of texts, of which some are names with weights."""
DATA_URLS = (
    *("data:", "data:,", "data:;,", "DATA:,x", "data:image/png", "data:image/png;base64"),
    *("data:image/png;base64,", "data:image/png;base64,!!!!", "data:image/png;base64,A"),
    *("data:image/png;base64," + "=" * 1000, "data:image/png;base64,iVBORw0KGgo="),
    *("data:image/png;base64,iVBORw0KGgo%", "data:image/png;base64,%ff%fe", "data:,%89PNG%0D%0A"),
    *("data:image/png;base64,iVBORw0KGgo=" * 2, "data:image/svg+xml,<svg onload='a()'/>"),
    *("data:text/html,<script>", "data:image/gif;base64,R0lGODlh", "data:image/png;charset=utf-7,"),
    *("data:image/png;base64,\ud800", "data:" + ";a=b" * 10_000 + ",x", "data:image/png;base64,é"),
)


def of(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield hostile values for a field, as JSON.

    Args:
        schema: of the field, resolved: see `resolved`.
    """
    yield from ANY
    kind = schema.get("type")
    if "enum" in schema:
        yield from _choices(schema["enum"])
    elif schema.get("format") == "uri":
        yield from map(json.dumps, DATA_URLS)
    elif kind == "string":
        yield from map(json.dumps, TEXTS)
    elif kind in ("integer", "number"):
        yield from NUMBERS
        for name, beyond in (("minimum", -1), ("maximum", 1)):
            if name in schema:
                yield from (json.dumps(schema[name] + step) for step in (0, beyond, beyond / 1000))
    elif kind == "boolean":
        yield from BOOLEANS
    if kind == "string":
        yield from BROKEN_TEXTS
    if kind == "array":
        yield from LISTS
        yield from (f"[{item}]" for item in of(schema.get("items", {})))


def urls(port: int = 9) -> Iterator[str]:
    """Yield the hostile addresses, as JSON."""
    yield from (json.dumps(url.replace("PORT", str(port))) for url in ADDRESSES)


def resolved(schema: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with what its references and its alternatives say, null left aside."""
    found = dict(schema)
    for name in ("allOf", "anyOf", "oneOf"):
        for part in found.pop(name, ()):
            if part.get("type") != "null":
                found = {**resolved(part, document), **found}
    if reference := found.pop("$ref", ""):
        target: Any = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
        found = {**resolved(target, document), **found}
    return found


def as_bytes(value: str) -> bytes:
    """Return a value as a form or a query has it: a text as it is, all else as JSON."""
    try:
        text = json.loads(value)
    except (ValueError, RecursionError):
        text = value
    return (text if isinstance(text, str) else value).encode("utf-8", "surrogatepass")


def _choices(choices: list[Any]) -> Iterator[str]:
    first, last = choices[0], choices[-1]
    yield from map(json.dumps, (first, last, f" {first}", [first], {"value": first}))
    if isinstance(first, str):
        yield from map(json.dumps, (first.upper(), first.lower(), first + "\0", first * 1000))
        yield from BROKEN_TEXTS
    else:
        yield from NUMBERS
