"""The bodies in which clients send inputs: JSON, or a form whose files become data URLs."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Set
from contextlib import suppress
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile

from hosting.api.forms import FORM_TYPES, form_of, text_of
from hosting.api.problems import Problem
from hosting.storage import mime

BYTES = "application/octet-stream"


async def fields_of(request: Request, *, texts: Set[str], files: Set[str]) -> list[tuple[str, Any]]:
    """Return the inputs that were sent, with their names, in their order; files as data URLs.

    What a part of a form is, its name says and not how it travels: a text may come as a file, a
    file without a name, and what is left empty is left out, where it is no text.

    Args:
        texts, files: the names of the inputs that are such.

    Raises:
        Problem: when it is neither a JSON object nor a form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in FORM_TYPES:
        limits = {"max_files": 20, "max_fields": 50, "max_part_size": 2**27}
        async with form_of(request, **limits, files=files) as form:
            parts = [
                (name, await _part(name, part, texts, files)) for name, part in form.multi_items()
            ]
        return [(name, part) for name, part in parts if part is not None]
    return list(json_object(await request.body()).items())


def merged(fields: Iterable[tuple[str, Any]], lists: Set[str]) -> dict[str, Any]:
    """Return fields by name; of a form, those of a list that came one by one, as a list.

    Some clients write `[]` behind the name of a list. Of another name, the last value counts.

    Args:
        lists: the names of the inputs that are lists.
    """
    found: dict[str, Any] = {}
    for name, value in fields:
        bare = name.removesuffix("[]")
        if bare not in lists:
            found[name] = value
        elif bare not in found:
            found[bare] = value
        else:
            both = (found[bare], value)
            found[bare] = [
                item for one in both for item in (one if isinstance(one, list) else [one])
            ]
    return found


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that a body is.

    Raises:
        Problem: when it is none.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, Mapping):
        raise Problem(400, "Send the inputs as a JSON object or as a form")
    return dict(document)


def data_url(data: bytes) -> str:
    """Return a file as a data URL."""
    kind = mime.picture_type(data) or BYTES
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


async def _part(name: str, part: UploadFile | str, texts: Set[str], files: Set[str]) -> str | None:
    """Return a part of a form as its name means it; None for one that was left empty.

    Raises:
        Problem: when a file is given where a text belongs, and is none.
    """
    if isinstance(part, str):
        return part if part or name in texts else None
    data = await part.read()
    if name in files:
        if not part.filename and mime.picture_type(data) is None:  # it may be a URL, or left empty
            with suppress(UnicodeDecodeError):
                return data.decode() or None
        return data_url(data)
    return text_of(data, name)
