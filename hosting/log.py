"""The log: a line for each thing that happens, for people on a terminal, as JSON elsewhere.

What is logged goes through the standard library's `logging`, as does what libraries log: this
module says what of it is shown, and how. The names of a line's fields are `time`, `level`, `event`,
`reason` (why it happened), `exception` (a traceback), and those of what it is about, such as
`prediction`.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

_logger = logging.getLogger("hosting")


def info(event: str, /, **fields: object) -> None:
    """Log what happens as it should.

    Args:
        event: what happens.
        fields: what it is about, such as `prediction`, an id, and the `reason`.
    """
    log(logging.INFO, event, fields)


def warning(event: str, /, **fields: object) -> None:
    """Log what should not happen, and is dealt with."""
    log(logging.WARNING, event, fields)


def error(event: str, /, exception: BaseException | None = None, **fields: object) -> None:
    """Log what needs somebody to look at it.

    Args:
        exception: whose traceback is of use.
    """
    log(logging.ERROR, event, fields, exception)


def log(
    level: int,
    event: str,
    fields: Mapping[str, object],
    exception: BaseException | None = None,
) -> None:
    """Log an event at one of `logging`'s levels."""
    _logger.log(level, "%s", event, extra={"fields": fields}, exc_info=exception)


def configure() -> None:
    """Have all that this process logs, its libraries' warnings too, go to standard output."""
    logging.basicConfig(level=logging.WARNING, handlers=[_handler()], force=True)
    logging.captureWarnings(True)
    _logger.setLevel(logging.INFO)


def configure_ours() -> None:
    """Have what this project logs go to standard output, in a process that is Ray's."""
    _logger.handlers = [_handler()]
    _logger.propagate = False
    _logger.setLevel(logging.INFO)


class AsJson(logging.Formatter):
    """A record as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        head = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        document = {**head, **_fields(record), **head}
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, default=str)


class ForTerminals(logging.Formatter):
    """A record as people read it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and a traceback below it."""
        words = [time.strftime("%H:%M:%S", time.localtime(record.created))]
        if record.levelno > logging.INFO:
            words.append(f"{record.levelname}:")
        words.append(record.getMessage())
        words += [f"{name}={value}" for name, value in _fields(record).items()]
        lines = [" ".join(words)]
        if record.exc_info:
            lines += self.formatException(record.exc_info).splitlines()
        # A client's text must not move the cursor, nor colour what follows.
        return "\n".join("".join(c if c.isprintable() else "�" for c in line) for line in lines)


class _Output(logging.StreamHandler[Any]):
    """Standard output, which may be gone."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say nothing when nobody reads it any more."""
        if not isinstance(sys.exception(), OSError | ValueError):
            super().handleError(record)


def _handler() -> logging.Handler:
    handler = _Output(sys.stdout)
    handler.setFormatter(ForTerminals() if sys.stdout.isatty() else AsJson())
    return handler


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields: Mapping[str, object] = getattr(record, "fields", {})
    return fields
