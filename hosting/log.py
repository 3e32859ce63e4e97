"""The log: a line for each thing that happens, for people on a terminal, as JSON elsewhere."""

from __future__ import annotations

import contextlib
import json
import sys
import time


def info(message: str, /, **fields: object) -> None:
    """Writes a line to standard output.

    Args:
        fields: what it is about, such as `prediction`, an id.
    """
    now = time.time()
    if sys.stdout.isatty():
        details = " ".join(f"{name}={value}" for name, value in fields.items())
        text = f"{time.strftime('%H:%M:%S', time.localtime(now))} {message} {details}".rstrip()
        text = "".join(one if one.isprintable() else "�" for one in text)
    else:
        text = json.dumps({"time": round(now, 3), "message": message, **fields}, default=str)
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
        print(text, flush=True)
