"""The hostile requests for each operation of a front, by the OpenAPI documents that it serves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from tools.attacks import documents, forms, messages, parameters, values

MODEL = "stability-ai/stable-diffusion"
STEPS = {"num_inference_steps": "1"}
INPUTS = {"prompt": '"fox"', **STEPS}
"""Sane inputs, as JSON by name."""
NESTS = {"input": INPUTS, "parameters": STEPS}
"""Fields that have inputs in them, and the sane ones there."""
TEXT_PROMPT = "text_prompts[0][text]"
NO_PICTURE = b"no picture"
METHODS = ("get", "post", "put", "patch", "delete", "query")
PAGES: dict[str, Any] = {
    "/": {"get": {}},
    "/docs": {"get": {}},
    "/docs/openapi.json": {"get": {}},
    "/docs/start.js": {"get": {}},
    "/docs/swagger-ui-bundle.js": {"get": {}},
    "/docs/swagger-ui.css": {"get": {}},
    "/form/events": {"get": {}},
    "/form/models": {"get": {}},
    "/form/predictions": {
        "get": {
            "parameters": [{"name": "cursor", "in": "query"}, {"name": "search", "in": "query"}]
        }
    },
    "/form/zip": {"get": {"parameters": [{"name": "ids", "in": "query"}]}},
    "/s/{share_id}": {"get": {"parameters": [{"name": "share_id", "in": "path"}]}},
    "/s/{share_id}/files/{file}": {
        "get": {"parameters": [{"name": "share_id", "in": "path"}, {"name": "file", "in": "path"}]}
    },
    "/s/{share_id}/zip": {"get": {"parameters": [{"name": "share_id", "in": "path"}]}},
    "/p/{prediction_id}": {"get": {"parameters": [{"name": "prediction_id", "in": "path"}]}},
    "/form/{path}": {"get": {"parameters": [{"name": "path", "in": "path"}]}},
    "/form/examples/{path}": {"get": {"parameters": [{"name": "path", "in": "path"}]}},
    "/v1/models": {
        "query": {"requestBody": {"content": {"application/json": {"schema": {"type": "string"}}}}}
    },
    "/form/picture": {
        "post": {
            "requestBody": {
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "properties": {"url": {"type": "string", "format": "uri"}},
                            "required": ["url"],
                        }
                    }
                }
            }
        }
    },
    "/form/tokens": {
        "post": {
            "requestBody": {
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "properties": {
                                "model": {"type": "string"},
                                "texts": {"type": "array", "items": {"type": "string"}},
                                "use_compel": {"type": "boolean"},
                            },
                            "required": ["model", "texts"],
                        }
                    }
                }
            }
        }
    },
}
"""The operations that the front's document leaves out, as it would have them."""


@dataclass(frozen=True)
class Target:
    """A front, and what there is in it for the requests to be about."""

    host: str
    """As in the header Host."""
    token: str
    operations: list[Operation]
    inputs: Mapping[str, Mapping[str, Any]]
    """The schema of each input of `MODEL`."""
    places: Mapping[str, str]
    """Values of the paths' parameters that lead to something."""
    links: list[str]
    """Signed links, from the path on."""


@dataclass(frozen=True)
class Operation:
    """An operation of an API."""

    method: str
    path: str
    parameters: list[tuple[str, str]] = field(default_factory=list)
    """Where each stands, and its name."""
    json: Mapping[str, Mapping[str, Any]] | None = None
    """The schema of each field of its JSON; None where it takes none."""
    form: Mapping[str, Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Attack:
    """A hostile request.

    Args:
        kind: paths, queries, headers, methods, JSON, values, addresses, forms, links or HTTP.
        operation: its method and path.
        message: all of the request, as it is sent.
    """

    kind: str
    operation: str
    message: bytes

    def __str__(self) -> str:
        return f"{self.kind}, {self.operation}: {self.message[:300]!r}"


def operations(document: Mapping[str, Any]) -> list[Operation]:
    """Return the operations of a front's OpenAPI document and its pages, what removes last."""
    found = [
        _operation(method, path, operation, document)
        for path, methods in (*document["paths"].items(), *PAGES.items())
        for method, operation in methods.items()
        if method in METHODS
    ]
    return sorted(found, key=lambda one: one.method == "delete")


def attacks(target: Target) -> Iterator[Attack]:
    """Yield all hostile requests."""
    for link in target.links:
        yield from on_link(target, link)
    for operation in target.operations:
        yield from on_operation(target, operation)


def on_operation(target: Target, operation: Operation) -> Iterator[Attack]:
    """Yield the hostile requests for an operation."""
    yield from _Requests(target, operation).all()


def on_link(target: Target, link: str) -> Iterator[Attack]:
    """Yield a signed link, changed in each of its parts."""
    path, _, query = link.encode().partition(b"?")
    queries = [b"", *(query + b"&" + more[1:] for more in parameters.WHOLE_QUERIES)]
    for pair in query.split(b"&"):
        name = pair.partition(b"=")[0]
        queries += [query.replace(pair, name + b"=" + text) for text in parameters.QUERIES]
        queries += [query + b"&" + name + b"=" + text for text in parameters.QUERIES]
    paths = [path + b"?" + changed for changed in queries]
    folder = path.rpartition(b"/")[0]
    paths += [folder + b"/" + text + b"?" + query for text in parameters.PATHS]
    for changed in paths:
        message = request(target, b"GET", changed, {b"authorization": b""}, b"")
        yield Attack("links", f"GET {path.decode()}", message)


class _Requests:
    """The requests for one operation."""

    def __init__(self, target: Target, operation: Operation) -> None:
        self._target = target
        self._operation = operation
        self._path = self._filled(operation.path)
        self._fields = _sane(operation)

    def all(self) -> Iterator[Attack]:
        yield from self._of_parameters()
        yield from (self._attack("headers", headers=headers) for headers in parameters.headers())
        for method in parameters.METHODS:
            yield self._attack("methods", method=method)
        for query in parameters.WHOLE_QUERIES:
            yield self._attack("queries", self._path + query)
        if self._operation.json is not None:
            yield from self._of_json(self._operation.json)
        if self._operation.json is not None or self._operation.form is not None:
            yield from self._of_forms()
            token = _lines({b"Authorization": b"Bearer " + self._target.token.encode()})
            for message in messages.hostile(self._path, token):
                yield Attack("HTTP", f"POST {self._operation.path}", message)

    def _of_parameters(self) -> Iterator[Attack]:
        sane_body = documents.document(self._fields) if self._operation.json else b""
        for place, name in self._operation.parameters:
            if place == "path":
                before, after = re.split(rf"\{{{name}(?::path)?\}}", self._operation.path)
                for text in parameters.PATHS:
                    path = self._filled(before) + text + self._filled(after)
                    yield self._attack("paths", path)
            elif place == "query":
                for text in parameters.QUERIES:
                    pair = name.encode() + b"=" + text
                    yield self._attack("queries", self._path + b"?" + pair)
                    yield self._attack("queries", self._path + b"?" + pair + b"&" + pair)
            else:
                known = {**parameters.READ, **parameters.REFUSED}
                for text in known.get(name.lower().encode(), parameters.QUERIES):
                    headers = {name.encode(): text}
                    yield self._attack("headers", headers=headers, body=sane_body)

    def _filled(self, path: str) -> bytes:
        for name, value in self._target.places.items():
            path = path.replace(f"{{{name}}}", value)
        return path.encode()

    def _of_json(self, schemas: Mapping[str, Mapping[str, Any]]) -> Iterator[Attack]:
        for charset, body in documents.hostile(self._fields):
            headers = {b"Content-Type": b"application/json; charset=" + charset.encode()}
            yield self._attack("JSON", headers=headers, body=body)
        for name, schema in schemas.items():
            yield from (self._with("values", {name: value}) for value in values.of(schema))
        nest = next((name for name in NESTS if name in schemas), None)
        inputs = self._target.inputs if nest or "prompt" in schemas else {}

        def given(changed: Mapping[str, str]) -> Mapping[str, str]:
            if not nest:
                return changed
            return {nest: documents.document({**NESTS[nest], **changed}).decode()}

        for changed in _of_inputs(inputs):
            yield self._with("values", given(changed))
        for name in documents.NAMES if nest else ():
            yield self._with("values", given({name: "1"}))
        files = [name for name, schema in inputs.items() if schema.get("format") == "uri"]
        around = [name for name, schema in schemas.items() if schema.get("format") == "uri"]
        for url in values.urls() if files or around else ():
            inside = given(dict.fromkeys(files, url)) if files else {}
            yield self._with("addresses", {**inside, **dict.fromkeys(around, url)})

    def _with(self, kind: str, changed: Mapping[str, str]) -> Attack:
        body = documents.document({**self._fields, **changed})
        return self._attack(kind, headers={b"Content-Type": b"application/json"}, body=body)

    def _of_forms(self) -> Iterator[Attack]:
        schemas = self._operation.form or {}
        texts = {
            name: values.as_bytes(self._fields.get(name, '"{}"'))
            for name in self._fields or schemas
            if schemas.get(name, {}).get("format") not in ("binary", "uri")
        }
        file = next((n for n, s in schemas.items() if s.get("format") == "binary"), "image")
        # No picture: the form is read to its end, but no prediction has to be drawn each time.
        for kind, body in forms.hostile(texts, file, NO_PICTURE):
            yield self._attack("forms", headers={b"Content-Type": kind}, body=body)
        sane = forms.part(file, NO_PICTURE, b'filename="a.png"')
        changes = [
            {name: values.as_bytes(value) for name, value in changed.items()}
            for changed in _of_inputs(schemas)
        ]
        changes += [
            {name: body} for name in texts for body in documents.BODIES if len(body) < 2**17
        ]
        for changed in changes:
            named = {file: sane} if file not in changed else {}
            fields = {**texts, **changed}
            named |= {name: forms.part(name, value) for name, value in fields.items()}
            body = forms.multipart(*named.values())
            yield self._attack("values", headers={b"Content-Type": forms.MULTIPART}, body=body)

    def _attack(
        self,
        kind: str,
        path: bytes = b"",
        method: bytes = b"",
        headers: Mapping[bytes, bytes] = {},
        body: bytes = b"",
    ) -> Attack:
        method = method or self._operation.method.upper().encode()
        operation = f"{self._operation.method.upper()} {self._operation.path}"
        message = request(self._target, method, path or self._path, headers, body)
        return Attack(kind, operation, message)


def request(
    target: Target, method: bytes, path: bytes, headers: Mapping[bytes, bytes], body: bytes
) -> bytes:
    """Return a request as it is sent; given headers take the place of the usual ones."""
    usual = {
        b"host": target.host.encode(),
        b"authorization": b"Bearer " + target.token.encode(),
        b"connection": b"close",
    }
    if body or method not in (b"GET", b"HEAD"):
        usual |= {b"content-type": b"application/json", b"content-length": b"%d" % len(body)}
    named = {**usual, **{name.lower(): text for name, text in headers.items()}}
    return method + b" " + path + b" HTTP/1.1\r\n" + _lines(named) + b"\r\n" + body


def _of_inputs(schemas: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    """Yield hostile values of fields, as JSON by name.

    Fields of one type have theirs at once: a fault of one does not hide that of another, as all
    that is wrong is to be named.
    """
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, schema in schemas.items():
        kind = schema.get("type"), schema.get("format"), "enum" in schema
        groups.setdefault(kind, []).append(name)
    for names in groups.values():
        for hostile in zip_longest(*(values.of(schemas[name]) for name in names)):
            given = zip(names, hostile, strict=True)
            yield {name: value for name, value in given if value is not None}


def _lines(headers: Mapping[bytes, bytes]) -> bytes:
    return b"".join(name + b": " + text + b"\r\n" for name, text in headers.items())


def _sane(operation: Operation) -> dict[str, str]:
    """Return the fields of a sane body, as JSON by name."""
    schemas = operation.json or operation.form or {}
    if "inputs" in schemas:
        return {"inputs": '"fox"', "parameters": documents.document(STEPS).decode()}
    if "text_prompts" in schemas:
        return {"text_prompts": '[{"text": "fox"}]', "steps": "1"}
    if TEXT_PROMPT in schemas:
        return {TEXT_PROMPT: '"fox"', "steps": "1"}
    if "input" in schemas:
        version = {"version": json.dumps(MODEL)} if "version" in schemas else {}
        return {"input": documents.document(INPUTS).decode(), **version}
    if "prompt" in schemas:
        return INPUTS
    return {"url": '"http://127.0.0.1:9/"'} if "url" in schemas else {}


def _operation(
    method: str, path: str, operation: Mapping[str, Any], document: Mapping[str, Any]
) -> Operation:
    content = operation.get("requestBody", {}).get("content", {})

    def fields(kind: str) -> dict[str, dict[str, Any]] | None:
        if kind not in content:
            return None
        schema = values.resolved(content[kind]["schema"], document)
        properties = schema.get("properties", {})
        return {name: values.resolved(part, document) for name, part in properties.items()}

    return Operation(
        method,
        path,
        [(one["in"], one["name"]) for one in operation.get("parameters", ())],
        fields("application/json"),
        fields("multipart/form-data"),
    )
