"""Run one prediction in this process, with the flags of `cog predict`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cog_schema import schema, selection
from infotext import samplers

if TYPE_CHECKING:
    from predict import Predictor
    from stable_diffusion.events import Event
    from stable_diffusion.request import Request

EXAMPLE = 'scripts/predict -i prompt="a panda" -i image=@examples/face.png -o panda.png'


def main() -> int:
    """Run the command; return 0, or 2 for wrong input, 1 for a failure, 130 for Ctrl-C."""
    from stable_diffusion.catalogue import SetupError, names

    choice = argparse.ArgumentParser(add_help=False)
    selection.add_arguments(choice)
    predictor = "Predictor"
    try:
        chosen = choice.parse_known_args()[0]
        predictor = selection.predictor_of(chosen.model, chosen.predictor)
    except SetupError as error:
        if not {"-h", "--help"} & set(sys.argv):
            print(error, file=sys.stderr)
            return 1
    document = schema.schema(schema.PREDICT.read_text(), predictor)
    arguments = _parser(document, choice).parse_args()
    if named := names(arguments.model):
        os.environ["MODEL"] = named[0]  # of several, the usual one

    from stable_diffusion.request import InputError
    from stable_diffusion.safety import NsfwError

    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder  # for what is fetched, and for pictures that nobody came to see
        try:
            _run(arguments, document, predictor)
        except InputError as error:
            print(error, file=sys.stderr)
            return 2
        except (
            SetupError,
            NsfwError,
            ArithmeticError,
            MemoryError,
            RuntimeError,
            OSError,
        ) as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("cancelled; no file was written", file=sys.stderr)
            return 130
    return 0


def _run(arguments: argparse.Namespace, document: dict[str, Any], name: str) -> None:
    import predict
    from stable_diffusion import catalogue

    predictor = getattr(predict, name)()
    faults: list[str] = []
    inputs = _inputs(arguments, document, faults)
    if isinstance(model := inputs.pop("model", None), str):
        os.environ["MODEL"] = model
    output = Path(arguments.output) if arguments.output else None
    if output:
        if not output.parent.is_dir():
            faults.append(f"--output: there is no folder {str(output.parent)!r}")
        suffix = output.suffix[1:].lower()
        kind = "jpg" if suffix == "jpeg" else suffix
        if output.is_dir():
            faults.append(f"--output: {str(output)!r} is a folder; give the name of a file")
        elif kind not in _choices(document, "output_format"):
            faults.append(f"--output: {str(output)!r} is not a picture; give .png, .webp or .jpg")
        elif inputs.setdefault("output_format", kind) != kind:
            faults.append(f"--output: {str(output)!r} contradicts output_format")
    properties = document["components"]["schemas"]["Input"]["properties"].items()
    defaults = {name: entry["default"] for name, entry in properties if entry.get("default")}
    # The engine checks what is used; to look takes long where there are many.
    loras = catalogue.loras(lambda _: None).files() if inputs.get("loras") else {}
    request = predictor.read(
        defaults | inputs, faults, upscalers=catalogue.upscalers(), loras=loras
    )
    for note in request.notes:
        print(note, file=sys.stderr)
    asyncio.run(_predict(predictor, request, output))


async def _predict(predictor: Predictor, request: Request, output: Path | None) -> None:
    from tqdm import tqdm

    # What makes many predictions faster takes longer to get ready than one takes.
    os.environ.setdefault("EXECUTOR", "plain")
    predictor.load()

    from stable_diffusion.events import Notice, Progress
    from stable_diffusion.results import generate_files

    bar = tqdm(desc=str(predictor.engine.model), unit="step", disable=None, leave=False)
    with bar, closing(predictor.engines):

        def tell(event: Event) -> None:
            if isinstance(event, Notice):
                bar.write(event.warning, file=sys.stderr)
            if isinstance(event, Progress):
                bar.total = event.steps
                bar.update(event.step - bar.n)

        files = generate_files(predictor.engine, request, tell, signer=predictor.signer)
        drawn = [drawn async for drawn in files]
    output = output or Path(f"output.{request.output_format}")
    for picture, path in drawn:
        target = (
            output.with_suffix(f".{picture.index}{output.suffix}") if len(drawn) > 1 else output
        )
        shutil.move(path, target)
        print(f"{target}  seed {picture.seed}")


def _inputs(
    arguments: argparse.Namespace, document: dict[str, Any], faults: list[str]
) -> dict[str, Any]:
    """Return the inputs by name, in the schema's types where their text allows it."""
    properties = document["components"]["schemas"]["Input"]["properties"]
    inputs: dict[str, Any] = {}
    if arguments.json is not None:
        try:
            inputs = dict(json.loads(_text(arguments.json)))
        except (ValueError, TypeError, RecursionError, OSError) as error:
            faults.append(f"--json: give a JSON object, or @ and the name of its file; {error}")
    lists: dict[str, list[str]] = {}
    for pair in arguments.input:
        name, equals, value = pair.partition("=")
        if equals and properties.get(name, {}).get("type") == "array":
            parts = (part.strip() for part in value.split(","))
            lists.setdefault(name, []).extend(part for part in parts if part)
        elif equals:
            inputs[name] = _typed(value, properties.get(name, {}), document)
        else:
            faults.append(f"--input: {pair!r} is not allowed; give name=value")
    inputs |= lists
    if isinstance(inputs.get("scheduler"), str):
        named = samplers.read(inputs["scheduler"]) or {}
        if "spacing" in named and inputs.get("spacing", named["spacing"]) != named["spacing"]:
            faults.append(f"spacing: contradicts the scheduler {inputs['scheduler']!r}")
        inputs |= named
    for name, value in list(inputs.items()):
        if name not in properties:
            faults.append(f"{name}: there is no such input")
            del inputs[name]
        elif properties.get(name, {}).get("format") == "uri" and isinstance(value, str):
            try:
                inputs[name] = _file(value)
            except ValueError as error:
                faults.append(f"{name}: {error}")
                del inputs[name]
    return inputs


def _typed(value: str, entry: dict[str, Any], document: dict[str, Any]) -> Any:
    """Convert a text to the type of its input; one that is not of that type is refused later."""
    if value == "" and entry.get("nullable"):
        return None
    kind = _kind(entry, document)
    if kind == "boolean":
        return {"true": True, "false": False}.get(value.lower(), value)
    for number in (int, float) if kind in ("integer", "number") else ():
        try:
            return number(value)
        except ValueError:
            continue
    return value


def _file(value: str) -> Any:
    import requests

    from predict import fetched

    if value.startswith("@"):
        path = Path(value[1:])
        if not path.is_file():
            raise ValueError(f"there is no file {value[1:]!r}")
        return path
    if not value.startswith(("http://", "https://", "data:")):
        raise ValueError(f"{value!r} is not allowed; give @ and a file's name, or a URL")
    try:
        return fetched(value)
    except requests.RequestException as error:
        raise ValueError(f"{value!r} could not be fetched: {error}") from None
    except (ValueError, OSError):
        raise ValueError("must be a data URL such as data:image/png;base64,iVBOR…") from None


def _text(value: str) -> str:
    if value == "@-":
        return sys.stdin.read()
    return Path(value[1:]).read_text() if value.startswith("@") else value


def _parser(document: dict[str, Any], choice: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/predict",
        parents=[choice],
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="inputs, which depend on the model:\n"
        + "\n".join(_help(document))
        + f"\n\nexample:\n  {EXAMPLE}",
    )
    parser.add_argument(
        "-i",
        "--input",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an input; @FILE gives the file itself, for image and mask; loras may come repeatedly",
    )
    parser.add_argument(
        "--json", metavar="JSON", help="all inputs as a JSON object; @FILE or @- reads it"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="where the picture goes, output.png unless given; several get a number each",
    )
    return parser


def _help(document: dict[str, Any]) -> list[str]:
    lines = []
    for name, entry in document["components"]["schemas"]["Input"]["properties"].items():
        kind = "file" if entry.get("format") == "uri" else _kind(entry, document)
        kind = "list" if kind == "array" else kind
        allowed = [kind]
        if "minimum" in entry:
            allowed.append(f"{entry['minimum']} to {entry['maximum']}")
        if choices := _choices(document, name):
            allowed.append("one of " + " ".join(map(str, choices)))
        if "default" not in entry:
            allowed.append("required")
        elif entry["default"] not in (None, "", []):
            allowed.append(f"default {json.dumps(entry['default'])}")
        lines += [f"  {name:22}{entry['description']}", f"  {'':22}({', '.join(allowed)})"]
    return lines


def _kind(entry: dict[str, Any], document: dict[str, Any]) -> str:
    if "allOf" in entry:
        entry = document["components"]["schemas"][entry["allOf"][0]["$ref"].rpartition("/")[2]]
    return str(entry.get("type", "string"))


def _choices(document: dict[str, Any], name: str) -> list[Any]:
    return list(document["components"]["schemas"].get(name, {}).get("enum", []))


if __name__ == "__main__":
    sys.exit(main())
