"""Hostile JSON: bodies that are none, or none of the operation's, and sane ones made hostile."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from tools.attacks import values

BODIES: tuple[bytes, ...] = (
    *(b"", b" ", b"{", b"}", b"[", b"]", b"null", b"true", b"1", b'"text"', b"[]", b"{}", b"[{}]"),
    *(b"{]", b'{"a"}', b'{"a":}', b"{'a': 1}", b'{"a": 1,}', b"// no\n{}", b"{}{}", b"{} x", b"-"),
    *(b"NaN", b"Infinity", b"1e999", b"9" * 5000, b"[" + b"9" * 5000 + b"]", b"0" * 5000, b"1e"),
    *(b"\xff\xfe", b"\0", b"\0\0\0{", b"{\0}", b"\xef\xbb\xbf{}", b"\xef\xbb\xbf", b"\xc0\x80"),
    *(b'"\xff"', b'{"\xed\xa0\x80": 1}', b'"\\u12"', b'"\\x"', b'"\x01"', b'"unclosed', b'{"a": "'),
    *(b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    *(b'{"input":' * 900 + b"1" + b"}" * 900, b"[" + b"[]," * 600_000 + b"[]]"),
    *(b"[" + b"1," * 400_000 + b"1]", b'"' + b"\\ud800" * 10_000 + b'"', b" " * 2**20),
    b"{" + b",".join(b'"%d": 1' % number for number in range(50_000)) + b"}",
    b"{" + b",".join(b'"a": %d' % number for number in range(50_000)) + b"}",
)
ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-7", "cp037")
NAMES = ("", "__proto__", "__class__", "constructor", "input", "a.b", "\0", "\ud800", "a" * 100_000)
"""Names of fields that no operation has, or not there."""


def document(fields: Mapping[str, str], *more: tuple[str, str]) -> bytes:
    """Return a JSON object.

    Args:
        fields: JSON by name.
        more: names and JSON that follow, repeated names among them.
    """
    pairs = [*fields.items(), *more]
    return ("{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in pairs) + "}").encode()


def hostile(fields: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """Yield hostile JSON around the sane fields of a body, and the character set it is in."""
    yield from (("utf-8", body) for body in BODIES)
    sane = document(fields)
    for encoding in ENCODINGS:
        yield encoding, sane.decode().encode(encoding)
    yield "utf-8", sane[:-1]
    yield "utf-8", sane + sane
    for name in fields:
        yield from (("utf-8", document(fields, (name, value))) for value in ("null", "7", "{}"))
    yield from (("utf-8", document(fields, (name, "1"))) for name in NAMES)
    anything = [*values.ANY, *map(json.dumps, values.TEXTS), *values.BROKEN_TEXTS, *values.NUMBERS]
    refused = [value for value in anything if len(value) > 4300 or "NaN" in value]
    taken = [value for value in anything if value not in refused]
    yield "utf-8", document(fields, *((f"a{at}", value) for at, value in enumerate(taken)))
    yield from (("utf-8", document(fields, ("a", value))) for value in refused)
