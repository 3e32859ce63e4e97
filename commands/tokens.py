"""Create and revoke the tokens of scripts/serve's clients: once there is one, all need one."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import closing
from datetime import UTC, datetime

from hosting.settings import Settings, SettingsError
from hosting.storage import tokens
from hosting.storage.database import Database, DatabaseError, Unavailable
from hosting.storage.tokens import TokenError


def main() -> int:
    """Run the command; return the exit status."""
    arguments = _parser().parse_args()
    os.umask(0o077)
    try:
        with closing(Database(Settings.from_environment().database)) as database:
            match arguments.command:
                case "create":
                    print(database.write_now(tokens.create, arguments.name))
                    print("It is shown only once.", file=sys.stderr)
                case "revoke":
                    database.write_now(tokens.revoke, arguments.name)
                case "list":
                    for token in database.write_now(tokens.all_tokens):
                        revoked = f", revoked {_when(token.revoked_at)}" if token.revoked_at else ""
                        print(f"{token.name}: made {_when(token.created_at)}{revoked}")
    except (SettingsError, DatabaseError, Unavailable, TokenError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


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
    revoke = commands.add_parser("revoke", help="revoke a token; it is refused at once")
    revoke.add_argument("name", metavar="NAME")
    commands.add_parser("list", help="the names and dates of all tokens")
    return parser


if __name__ == "__main__":
    sys.exit(main())
