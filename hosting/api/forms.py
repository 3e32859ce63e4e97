"""Forms that clients send, multipart or urlencoded: always UTF-8."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.datastructures import FormData

from hosting.api.problems import Problem

FORM_TYPES = ("multipart/form-data", "application/x-www-form-urlencoded")


@asynccontextmanager
async def form_of(
    request: Request, *, max_files: int, max_fields: int, max_part_size: int = 2**20
) -> AsyncIterator[FormData]:
    """Read a request's form, in UTF-8 whatever charset its type names.

    Raises:
        Problem: when it can't be read.
    """
    headers = [
        (name, _without_charset(value) if name == b"content-type" else value)
        for name, value in request.scope["headers"]
    ]
    plain = Request({**request.scope, "headers": headers}, request.receive)
    try:
        form = await plain.form(
            max_files=max_files, max_fields=max_fields, max_part_size=max_part_size
        )
    except (UnicodeError, LookupError) as error:
        raise Problem(400, f"The form can't be read as UTF-8: {error}") from None
    try:
        yield form
    finally:
        await plain.close()


def _without_charset(content_type: bytes) -> bytes:
    parts = content_type.split(b";")
    return b";".join(part for part in parts if not part.strip().lower().startswith(b"charset"))
