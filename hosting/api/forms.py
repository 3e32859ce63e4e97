"""Forms that clients send, multipart or urlencoded: always UTF-8."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, Headers
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser

from hosting.api.problems import Problem

MULTIPART, URLENCODED = "multipart/form-data", "application/x-www-form-urlencoded"
FORM_TYPES = (MULTIPART, URLENCODED)


@asynccontextmanager
async def form_of(
    request: Request, *, max_files: int, max_fields: int, max_part_size: int = 2**20
) -> AsyncIterator[FormData]:
    """Read a request's form, in UTF-8 whatever charset its type names; empty if it is none.

    Raises:
        Problem: when it can't be read.
    """
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    limits = {"max_fields": max_fields, "max_part_size": max_part_size}
    form = FormData()
    try:
        async with aclosing(request.stream()) as stream:
            if kind == MULTIPART:
                headers = Headers({"content-type": _without_charset(content_type)})
                form = await _MultiPart(headers, stream, max_files=max_files, **limits).parse()
            elif kind == URLENCODED:
                form = await FormParser(request.headers, stream, **limits).parse()
    except MultiPartException as error:
        raise Problem(400, error.message) from None
    except (UnicodeError, LookupError) as error:
        raise Problem(400, f"The form can't be read as UTF-8: {error}") from None
    try:
        yield form
    finally:
        await form.close()


class _MultiPart(MultiPartParser):
    """Starlette's, which takes a form that ends within a part for whole, and loses that part."""

    _is_within_part = False

    def __init__(
        self, headers: Headers, stream: AsyncGenerator[bytes, None], **limits: Any
    ) -> None:
        super().__init__(headers, self._whole(stream), **limits)

    def on_part_begin(self) -> None:
        super().on_part_begin()
        self._is_within_part = True

    def on_part_end(self) -> None:
        super().on_part_end()
        self._is_within_part = False

    async def _whole(self, stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async for chunk in stream:
            yield chunk
        if self._is_within_part:
            raise MultiPartException("The form ends within a part")


def _without_charset(content_type: str) -> str:
    parts = content_type.split(";")
    return ";".join(part for part in parts if not part.strip().lower().startswith("charset"))
