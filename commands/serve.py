"""Run the front, and the Cog servers of the models behind it: the API, until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from collections import defaultdict

from cog_schema import selection
from hosting import app
from hosting.backends.servers import Launch
from hosting.models_file import ModelsError
from hosting.settings import Settings, SettingsError
from hosting.storage.database import DatabaseError, Unavailable
from stable_diffusion.catalogue import WeightsError, names


def main() -> int:
    """Serve until stopped; return the exit status."""
    arguments = _parser().parse_args()
    os.umask(0o077)  # what is in DATA is nobody else's business
    try:
        settings = Settings.from_environment()
        launches = [] if settings.cog_urls else _launches(arguments)
        _check_port(arguments.host, arguments.port)
        return asyncio.run(app.serve(settings, launches, arguments.host, arguments.port))
    except (WeightsError, SettingsError, ModelsError, DatabaseError, Unavailable) as error:
        print(error, file=sys.stderr)
        return 1


def _launches(arguments: argparse.Namespace) -> list[Launch]:
    """Return the launches of the Cog servers, one for the models of each predictor."""
    named = [name for text in arguments.model or () for name in names(text)]
    models: list[str | None] = [*(named or names(os.environ.get("MODEL")))] or [None]
    predictors: list[str | None] = arguments.predictor or [None] * len(models)
    if len(predictors) != len(models):
        raise SettingsError(
            f"--predictor names {len(predictors)} for {len(models)} models; "
            "give one for each model, in their order, or none"
        )
    by_predictor = defaultdict[str, list[str | None]](list)
    for model, predictor in zip(models, predictors, strict=True):
        by_predictor[selection.predictor_of(model, predictor)].append(model)
    return [selection.launch(some, predictor) for predictor, some in by_predictor.items()]


def _check_port(host: str, port: int) -> None:
    """Raise SettingsError where the port can't be listened on."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError:
        raise SettingsError(
            f"can't listen on port {port} of {host}; give another --port or --host"
        ) from None


def _port(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port; give 1 to 65535")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/serve",
        description=__doc__,
        epilog="Settings are in the environment: see docs/settings.md.",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen on; any but loopback needs a token (scripts/tokens)",
    )
    parser.add_argument("--port", type=_port, default=5000, help="1 to 65535; 5000 unless given")
    selection.add_arguments(parser, several=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())
