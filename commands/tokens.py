"""Create, limit and revoke tokens of scripts/serve: once there is one, all clients need one."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from hosting.fair_queueing import LEAST_WEIGHT, MOST_WEIGHT
from hosting.limits import ANY
from hosting.settings import LEAST_SIDE_PIXELS, Settings, SettingsError
from hosting.storage import tokens
from hosting.storage.database import Database, DatabaseError, Unavailable
from hosting.storage.tables import Token
from hosting.storage.tokens import TokenError

DEFAULT = "default"
"""What a limit has that is as the settings say."""
NUMBERS = {
    "side": ("max-side", LEAST_SIDE_PIXELS, "px a side that it may have drawn"),
    "steps": ("max-steps", 1, "steps that it may ask for"),
    "images": ("max-images", 1, "images of a prediction"),
    "predictions_a_day": ("predictions-a-day", 1, "predictions in 24 hours"),
    "megapixel_steps_a_day": (
        "megapixel-steps-a-day",
        1,
        "millions of pixels × steps × images in 24 hours",
    ),
}
"""By the limits that are numbers: their flags, the least they may be, and what they are."""
NAMES = {
    "models": "names of models: weights, as scripts/serve --model has them, or published ones",
    "loras": "names of LoRAs; none of them where no name is given",
}


def main() -> int:
    """Run the command; return the exit status."""
    arguments = _parser().parse_args()
    os.umask(0o077)
    try:
        with closing(Database(Settings.from_environment().database)) as database:
            _run(database, arguments)
    except (SettingsError, DatabaseError, Unavailable, TokenError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _run(database: Database, arguments: argparse.Namespace) -> None:
    match arguments.command:
        case "create":
            text = database.write_now(tokens.create, arguments.name)
            database.write_now(tokens.limit, arguments.name, arguments.weight, _limits(arguments))
            print(text)
            print("It is shown only once.", file=sys.stderr)
        case "limit":
            database.write_now(tokens.limit, arguments.name, arguments.weight, _limits(arguments))
        case "revoke":
            database.write_now(tokens.revoke, arguments.name)
        case "list":
            for token in database.write_now(tokens.all_tokens):
                print(_line(token))


def _limits(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the limits that the flags change; None is as the settings have it."""
    given = {name: getattr(arguments, name) for name in (*NUMBERS, *NAMES)}
    limits: dict[str, Any] = {}
    for name, value in given.items():
        if value in (DEFAULT, [DEFAULT]):
            limits[name] = None
        elif value is not None:
            limits[name] = [one.lower() for one in value] if name == "models" else value
    return limits


def _line(token: Token) -> str:
    """Return what is known of a token."""
    said = [f"{token.name}: made {_when(token.created_at)}"]
    if token.revoked_at:
        said.append(f"revoked {_when(token.revoked_at)}")
    if token.weight != 1:
        said.append(f"weight {token.weight:g}")
    for name, value in token.limits.items():
        flag = NUMBERS[name][0] if name in NUMBERS else name
        shown = " ".join(value) or "none" if isinstance(value, list) else value or ANY
        said.append(f"{flag} {shown}")
    return ", ".join(said)


def _when(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/tokens", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    create = commands.add_parser("create", help="create a token and show it")
    create.add_argument(
        "name", metavar="NAME", help="the token's name, which /v1/account gives as username"
    )
    _add_limits(create)
    limit = commands.add_parser("limit", help="change what a token may ask for, from now on")
    limit.add_argument("name", metavar="NAME")
    _add_limits(limit)
    revoke = commands.add_parser("revoke", help="revoke a token; it is refused at once")
    revoke.add_argument("name", metavar="NAME")
    commands.add_parser("list", help="the names, dates and own limits of all tokens")
    return parser


def _add_limits(parser: argparse.ArgumentParser) -> None:
    limits = parser.add_argument_group(
        "limits", f"each a value, {ANY} for no limit, or {DEFAULT}: as the settings have it"
    )
    limits.add_argument(
        "--weight",
        type=_weight,
        help=f"its share while others wait too, from {LEAST_WEIGHT:g} to {MOST_WEIGHT:g} (1)",
    )
    for name, (flag, least, what) in NUMBERS.items():
        limits.add_argument(f"--{flag}", dest=name, type=_number(least), metavar="N", help=what)
    for name, what in NAMES.items():
        count = "*" if name == "loras" else "+"
        limits.add_argument(f"--{name}", nargs=count, metavar="NAME", help=what)


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not LEAST_WEIGHT <= weight <= MOST_WEIGHT:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no weight; give a number from {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}"
        )
    return weight


def _number(least: int) -> Callable[[str], int | str]:
    """Return the reader of a limit that is a number: 0 is none."""

    def read(text: str) -> int | str:
        if text == DEFAULT:
            return DEFAULT
        if text == ANY:
            return 0
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no limit; give a whole number from {least} on, {ANY} or {DEFAULT}"
            )
        return int(text)

    return read


if __name__ == "__main__":
    sys.exit(main())
