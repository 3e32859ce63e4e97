"""The API's schema, from the text of predict.py, as `cog build` writes it into images.

Cog's server validates by `.cog/openapi_schema.json` and, without that file, not at all. Cog reads
predict.py without running it, and drops what it can't read in silence; this does the same but
refuses what it can't read. `openapi.json` beside this file holds what is the same for all models.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PREDICT = ROOT / "predict.py"
TYPES: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "Path": {"type": "string", "format": "uri"},
    "list[str]": {"type": "array", "items": {"type": "string"}},
}
PREDICTORS = {
    "img2img": "Predictor",
    "inpainting": "Inpainting",
    "depth": "DepthToImage",
    "upscale": "Upscaler",
}
"""The class of predict.py that each task's models are served by, unless another is asked for."""
KEYWORDS = {"ge": "minimum", "le": "maximum", "accept": "x-cog-accept"}
"""The schema's names for those keywords of `Input` whose values it takes as they are."""
ONE_STRING = re.compile(r"""description="(?:[^"\\\n]|\\.)*\"""")


class SchemaError(ValueError):
    """Something in predict.py that Cog would not read as it is written."""

    def __init__(self, node: ast.AST, fault: str) -> None:
        super().__init__(f"predict.py, line {getattr(node, 'lineno', '?')}: {fault}")


def schema(source: str, predictor: str = "Predictor") -> dict[str, Any]:
    """Return the OpenAPI document of one predictor.

    Args:
        source: the text of predict.py.
        predictor: the name of its class there.

    Raises:
        SchemaError: where Cog would drop or refuse something.
    """
    module = ast.parse(source)
    classes = {node.name: node for node in module.body if isinstance(node, ast.ClassDef)}
    constants = {
        node.targets[0].id: node.value
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    methods = [n for n in classes[predictor].body if getattr(n, "name", None) == "predict"]
    method = methods[0]
    if not isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef)):
        raise SchemaError(method, "predict must be a function")
    streaming = [_is_streaming(decorator) for decorator in method.decorator_list]

    document: dict[str, Any] = json.loads((Path(__file__).parent / "openapi.json").read_text())
    schemas = document["components"]["schemas"]
    properties, required = {}, []
    arguments = method.args.args[1:]
    defaults = [None] * (len(arguments) - len(method.args.defaults)) + method.args.defaults
    for order, (argument, default) in enumerate(zip(arguments, defaults, strict=True)):
        name = argument.arg
        keywords = _keywords(source, argument, default, classes, constants)
        properties[name], choices = _property(argument, keywords, order)
        if choices is not None:
            kind = properties[name].pop("type")
            properties[name].pop("title")
            properties[name]["allOf"] = [{"$ref": f"#/components/schemas/{name}"}]
            enumeration = {"title": name, "type": kind, "enum": choices}
            schemas[name] = enumeration | {"description": "An enumeration."}
        if "default" not in keywords:
            required.append(name)
    schemas["Input"] = {"title": "Input", "type": "object", "properties": properties}
    schemas["Input"]["required"] = required
    schemas["Output"] = _output(method)
    if any(streaming):
        document["paths"]["/predictions"]["post"]["x-cog-streaming"] = True
    return document


def concurrency(source: str) -> int:
    """Return the number of predictions at once that `@cog.concurrent(max=...)` allows."""
    found = re.search(r"@cog\.concurrent\(max=(\d+)\)", source)
    return int(found[1]) if found else 1


def write(predictor: str = "Predictor") -> Path:
    """Write the schema to the file that Cog's server reads."""
    path = ROOT / ".cog" / "openapi_schema.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(schema(PREDICT.read_text(), predictor), indent=2) + "\n")
    return path


def _is_streaming(decorator: ast.expr) -> bool:
    text = ast.unparse(decorator)
    if text != "cog.streaming" and not text.startswith("cog.concurrent("):
        raise SchemaError(decorator, f"@{text} would hide the inputs' defaults from Cog")
    return text == "cog.streaming"


def _keywords(
    source: str,
    argument: ast.arg,
    default: ast.expr | None,
    classes: dict[str, ast.ClassDef],
    constants: dict[str, ast.expr],
) -> dict[str, Any]:
    """Return the literal keywords of the `Input(...)` that is the argument's default."""
    if isinstance(default, ast.Attribute) and isinstance(default.value, ast.Name):
        shared = classes.get(default.value.id)
        inputs = {
            ast.unparse(node.targets[0]): node.value
            for node in (shared.body if shared else [])
            if isinstance(node, ast.Assign)
        }
        default = inputs.get(default.attr)
    if not isinstance(default, ast.Call) or ast.unparse(default.func) != "Input":
        raise SchemaError(
            argument, f"{argument.arg} must have an Input(...) of this file as its default"
        )
    if default.args:
        raise SchemaError(default, "all arguments of Input must be given by name")
    values = {}
    for keyword in default.keywords:
        if keyword.arg not in {"default", "description", "choices", *KEYWORDS}:
            raise SchemaError(keyword, f"the keyword {keyword.arg} is not supported")
        if keyword.arg == "description" and not ONE_STRING.fullmatch(
            ast.get_source_segment(source, keyword) or ""
        ):
            raise SchemaError(keyword, "a description must be one string on one line")
        values[keyword.arg] = _literal(keyword.arg, keyword.value, constants)
    return values


def _literal(keyword: str, node: ast.expr, constants: dict[str, ast.expr]) -> Any:
    if keyword == "choices" and isinstance(node, ast.Name) and node.id in constants:
        node = constants[node.id]
    wanted = ast.List if keyword == "choices" else (ast.Constant, ast.UnaryOp)
    is_empty_list = keyword == "default" and isinstance(node, ast.List) and not node.elts
    if not (isinstance(node, wanted) or is_empty_list):
        raise SchemaError(node, f"{keyword} must be a literal; Cog would drop it")
    return ast.literal_eval(node)


def _property(
    argument: ast.arg, keywords: dict[str, Any], order: int
) -> tuple[dict[str, Any], list[Any] | None]:
    annotation = ast.unparse(argument.annotation) if argument.annotation else ""
    nullable = annotation.startswith("Optional[")
    kind = annotation.removeprefix("Optional[").removesuffix("]") if nullable else annotation
    if kind not in TYPES:
        raise SchemaError(argument, f"{argument.arg}: Cog has no input of type {annotation!r}")
    if nullable != ("default" in keywords and keywords["default"] is None):
        raise SchemaError(argument, f"{argument.arg}: Optional and a default of None go together")
    entry: dict[str, Any] = {
        "title": argument.arg.replace("_", " ").title(),
        **TYPES[kind],
        "x-order": order,
    }
    entry |= {name: keywords[name] for name in ("description", "default") if name in keywords}
    entry |= {KEYWORDS[name]: keywords[name] for name in KEYWORDS if name in keywords}
    if nullable:
        entry["nullable"] = True
    return entry, keywords.get("choices")


def _output(method: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, Any]:
    if not method.returns or ast.unparse(method.returns) != "AsyncIterator[Path]":
        raise SchemaError(method, "the output must be AsyncIterator[Path]")
    array = {"title": "Output", "type": "array", "x-cog-array-type": "iterator"}
    return {**array, "items": TYPES["Path"]}
