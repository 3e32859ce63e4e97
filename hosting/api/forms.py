"""Forms that clients send, multipart or urlencoded: always UTF-8."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Set
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser

from hosting.api.problems import Problem, invalid
from hosting.queue.inputs import Fault

MULTIPART, URLENCODED = "multipart/form-data", "application/x-www-form-urlencoded"
FORM_TYPES = (MULTIPART, URLENCODED)


@asynccontextmanager
async def form_of(
    request: Request,
    *,
    max_files: int,
    max_fields: int,
    max_part_size: int = 2**20,
    files: Set[str] = frozenset(),
) -> AsyncIterator[FormData]:
    """Read a request's form, in UTF-8 whatever charset its type names; empty if it is none.

    Args:
        files: the names of parts that are files, also where they have no file name.

    Raises:
        Problem: when it can't be read, or a text in it is not in UTF-8.
    """
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    limits = {"max_fields": max_fields, "max_part_size": max_part_size}
    form = FormData()
    try:
        async with aclosing(request.stream()) as stream:
            if kind == MULTIPART:
                headers = Headers({"content-type": _without_charset(content_type)})
                limits["max_files"] = max_files
                form = await _MultiPart(headers, stream, files, **limits).parse()
            elif kind == URLENCODED:
                form = await _UrlEncoded(request.headers, stream, **limits).parse()
    except MultiPartException as error:
        raise Problem(400, error.message) from None
    except (UnicodeError, LookupError) as error:
        raise Problem(400, f"The form can't be read as UTF-8: {error}") from None
    try:
        yield form
    finally:
        await form.close()


def text_of(data: bytes | bytearray, field: str) -> str:
    """Return the text in a field of a form.

    Raises:
        Problem: when it is not in UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError:
        fault = Fault("invalid_type", field, "The text is not in UTF-8; give it in UTF-8")
        raise invalid([fault]) from None


class _UrlEncoded(FormParser):
    """Starlette's, which takes what is not in UTF-8 for other characters."""

    def on_field_end(self) -> None:
        super().on_field_end()
        name, value = (
            unquote_to_bytes(bytes(part).replace(b"+", b" "))
            for part in (self._field_name, self._field_value)
        )
        known_as = text_of(name, name.decode(errors="replace"))
        self._items[-1] = known_as, text_of(value, known_as)


class _MultiPart(MultiPartParser):
    """Starlette's, which takes what is not in UTF-8 for other characters.

    And which takes a form that ends within a part for whole, and loses that part.
    """

    _is_within_part = False

    def __init__(
        self,
        headers: Headers,
        stream: AsyncGenerator[bytes, None],
        files: Set[str],
        **limits: Any,
    ) -> None:
        super().__init__(headers, self._whole(stream), **limits)
        self._files = files

    def on_part_begin(self) -> None:
        super().on_part_begin()
        self._is_within_part = True

    def on_headers_finished(self) -> None:
        disposition = self._current_part.content_disposition
        _, options = parse_options_header(disposition)
        name = options.get(b"name", b"")
        known_as = text_of(name, name.decode(errors="replace"))
        text_of(options.get(b"filename", b""), f"{known_as}.filename")
        if disposition and b"filename" not in options and known_as in self._files:
            self._current_part.content_disposition = disposition + b'; filename=""'
        super().on_headers_finished()

    def on_part_end(self) -> None:
        if self._current_part.file is None:
            text_of(self._current_part.data, self._current_part.field_name)
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
