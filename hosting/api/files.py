"""Files: those that clients upload, by Replicate's API or OpenAI's, and the links to all here."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, RedirectResponse, StreamingResponse
from starlette.datastructures import UploadFile

from hosting.api.auth import Admitted, Caller
from hosting.api.batches import lines
from hosting.api.context import services_of
from hosting.api.forms import form_of
from hosting.api.openai import documents as openai
from hosting.api.problems import Problem, invalid
from hosting.api.replicate import documents
from hosting.api.replicate.documents import FileDocument, Page
from hosting.queue.inputs import MOST_LEVELS, Fault, is_too_deep
from hosting.storage.files import LINKED, FileGone, Files, file_of_upload, link_path, type_of
from hosting.storage.tables import Upload, new_id

SANDBOX = "sandbox; default-src 'none'; frame-ancestors 'none'"

LARGEST_METADATA_BYTES = 2**16

_TEXT = {"type": "string"}
_FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "content": {**_TEXT, "format": "binary", "description": "the file"},
                    "file": {**_TEXT, "format": "binary", "description": "the file, with purpose"},
                    "purpose": {
                        "enum": ["batch"],
                        "description": "by OpenAI's API: the file has "
                        "the requests of a batch, one in each line, as JSON",
                    },
                    "filename": {**_TEXT, "description": "its name, if not that of the part"},
                    "metadata": {**_TEXT, "description": "a JSON object of your own"},
                },
            }
        }
    },
}
"""The form that makes a file. Its parts are read by hand, as `metadata` may be a file too."""

AnyFile = FileDocument | openai.FileDocument
PURPOSE = "batch"

routes = APIRouter()


@routes.post("/v1/files", status_code=201, tags=["files"], openapi_extra={"requestBody": _FORM})
async def create_file(request: Request, caller: Admitted) -> AnyFile:
    """Store a file for a day; its `urls.get` can be given as an input.

    By OpenAI's API it is `file`, and its `purpose` is batch.

    Beyond what one may keep at a time, it is answered 413.
    """
    async with form_of(request, max_files=2, max_fields=10) as form:
        purpose = form.get("purpose")
        if purpose not in (None, PURPOSE):
            sentence = f"Files are kept for the purpose {PURPOSE} alone; give that, or none"
            raise invalid([Fault("invalid_value", "purpose", sentence)])
        part = "content" if purpose is None else "file"
        content = form.get(part)
        if not isinstance(content, UploadFile):
            raise invalid([Fault("required", part, f"Send a file as the part {part}")])
        data = await content.read()
        details = await _details(form.get("metadata", "{}"))
        known_as = form.get("filename") or content.filename
    services = caller.services
    most = services.settings.kept_bytes
    await services.store.uploads.check_quota(caller.token.id, len(data), most)
    now = time.time()
    record = Upload(
        id=new_id(),
        token_id=caller.token.id,
        name=str(known_as or "file")[:255],
        content_type=(content.content_type or "application/octet-stream")[:255],
        size=len(data),
        sha256=await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest()),
        details=details,
        created_at=now,
        expires_at=now + services.settings.upload_hours * 3600,
        purpose=purpose and PURPOSE,
    )
    name = file_of_upload(record.id)
    try:
        await asyncio.to_thread(services.files.write, name, data)
        # Looks for room once more: others may have come meanwhile.
        await services.store.uploads.add(record, most)
    except Exception:
        await asyncio.to_thread(services.files.remove, name)
        raise
    return _shown(caller, record)


@routes.get("/v1/files", tags=["files"])
async def list_files(caller: Admitted, cursor: str | None = None) -> Page[FileDocument]:
    """Your files, the newest first, in pages: of 100, or fewer where they are large."""
    view = caller.view
    page = await caller.services.store.uploads.page(caller.token.id, cursor)
    shown = [documents.upload(one, view.base, view.link) for one in page.rows]
    return documents.page(shown, f"{view.base}/v1/files", page.newer, page.older)


@routes.get("/v1/files/{file_id}", tags=["files"])
async def get_file(file_id: str, caller: Admitted) -> AnyFile:
    """Return what is known of a file; `urls.download` leads to its content."""
    if found := await lines.batch_of(caller, file_id):
        size = 0
        async for line in lines.lines(caller, *found):
            size += len(line)
        return openai.batch_file(file_id, size, found[0].created_at)
    return _shown(caller, await _own_upload(caller, file_id))


@routes.get("/v1/files/{file_id}/content", tags=["files"], response_model=None)
async def get_content(file_id: str, caller: Admitted) -> Response:
    """Return a file's content, as OpenAI's clients ask for it: one's own, or a batch's results."""
    if found := await lines.batch_of(caller, file_id):
        return StreamingResponse(lines.lines(caller, *found), media_type=lines.TYPE)
    record = await _own_upload(caller, file_id)
    name = file_of_upload(record.id)
    return await stored_file(caller.services.files, name, record.name, {})


@routes.get("/v1/files/{file_id}/download", status_code=307, tags=["files"])
async def download_file(file_id: str, caller: Admitted) -> RedirectResponse:
    """Lead to a file's content, by a link that needs no token for a time."""
    record = await _own_upload(caller, file_id)
    return RedirectResponse(caller.view.link(link_path(file_of_upload(record.id))))


@routes.delete("/v1/files/{file_id}", status_code=204, tags=["files"])
async def delete_file(file_id: str, caller: Admitted) -> Response:
    """Remove a file. Predictions that were asked for with it have their own copy."""
    record = await _own_upload(caller, file_id)
    services = caller.services
    await services.store.uploads.forget(record.id)
    await asyncio.to_thread(services.files.remove, file_of_upload(record.id))
    return Response(status_code=204)


@routes.get(LINKED + "{name:path}", tags=["files"])
async def get_file_content(name: str, request: Request) -> Response:
    """Return a file's content; the link to it, in other answers, needs no token for a time.

    Pictures that we encoded are shown; what a client sent is given back as an attachment.
    """
    services = services_of(request)
    gone = Problem(404, "The link has expired, or is not complete, or the file was removed")
    if not services.links.is_valid(str(request.url)):
        raise gone
    files, ours = services.files, type_of(name)
    known_as = name.partition("/")[2].replace("/", "-") if ours else name.rpartition("/")[2]
    headers = {"cache-control": "private, max-age=3600, immutable"} if ours else {}
    try:
        if not files.is_there(name) or await services.store.tokens.is_owner_gone(name):
            raise gone
        return await stored_file(files, name, known_as, headers)
    except (ValueError, FileGone):
        raise gone from None


async def stored_file(
    files: Files, name: str, known_as: str, headers: Mapping[str, str]
) -> FileResponse:
    """Return a file: what we encoded is shown, what a client sent is given back as an attachment.

    Args:
        known_as: its name for whoever saves it.

    Raises:
        ValueError: when it is no name of a file of ours.
        FileGone: when it is not there.
    """
    ours = type_of(name)
    policy = {} if ours else {"content-security-policy": SANDBOX}
    return FileResponse(
        files.path(name),
        headers={"cross-origin-resource-policy": "cross-origin", **policy, **headers},
        media_type=ours or "application/octet-stream",
        content_disposition_type="inline" if ours else "attachment",
        filename=known_as,
        stat_result=await asyncio.to_thread(files.stat, name),
    )


async def _details(part: UploadFile | str) -> dict[str, Any]:
    """Return a client's description of its file; Replicate's JavaScript client sends a file.

    Raises:
        Problem: when it is none.
    """
    text = part if isinstance(part, str) else await part.read()
    try:
        details = json.loads(text) if len(text) <= LARGEST_METADATA_BYTES else None
        json.dumps(details, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        details = None
    if not isinstance(details, dict) or is_too_deep(details):
        sentence = f"Give a JSON object of up to 64 KiB, nested at most {MOST_LEVELS} deep"
        raise invalid([Fault("invalid_type", "metadata", sentence)])
    return details


def _shown(caller: Caller, record: Upload) -> AnyFile:
    """Return a file in the form of the API that it was sent by."""
    if record.purpose:
        return openai.upload(record)
    return documents.upload(record, caller.view.base, caller.view.link)


async def _own_upload(caller: Caller, file_id: str) -> Upload:
    record = await caller.services.store.uploads.find(file_id, caller.token.id)
    if record is None:
        raise Problem(404, f"There is no file {file_id[:100]}")
    return record
