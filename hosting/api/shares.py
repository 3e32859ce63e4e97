"""Links to predictions for others, who see them until the link ends or is revoked."""

from __future__ import annotations

import asyncio
import html
import re
import time
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

# Pydantic, which documents these, takes no other before Python 3.12.
from typing_extensions import TypedDict

from hosting.api import archives
from hosting.api.auth import Admitted
from hosting.api.compressed import CompressedHTML
from hosting.api.context import Services, services_of
from hosting.api.files import stored_file
from hosting.api.form.static import FORM, POLICY
from hosting.api.problems import Problem, no_prediction
from hosting.api.replicate import documents
from hosting.api.view import View, view_of
from hosting.prediction import Prediction
from hosting.storage.files import TYPES, FileGone, InputFile, file_of_prediction
from hosting.storage.shares import TooManyShares
from hosting.storage.tables import Share, new_id

LONGEST_SECONDS = 366 * 86400
LONGEST_TITLE_CHARACTERS = 100
"""Of a prompt, in a chat's preview."""
NOT_FOR_ROBOTS = {"x-robots-tag": "noindex, nofollow, noarchive, noimageindex"}

routes = APIRouter()


class NewShare(BaseModel):
    """The body that asks for a link to a prediction."""

    model_config = ConfigDict(extra="forbid")

    expires_in: Annotated[int, Field(ge=1, le=LONGEST_SECONDS)] | None = Field(
        None, description="seconds until it ends; null: as long as the prediction is kept"
    )


class ShareDocument(TypedDict):
    """A link to a prediction. `expires_at` is null where it ends with the prediction."""

    id: str
    url: str
    created_at: str
    expires_at: str | None


@routes.post("/v1/predictions/{prediction_id}/shares", status_code=201, tags=["shares"])
async def create_share(prediction_id: str, asked: NewShare, caller: Admitted) -> ShareDocument:
    """Make a link by which whoever has it sees a prediction: pictures, inputs and settings."""
    prediction = await caller.prediction(prediction_id)
    now = time.time()
    share = Share(
        id=new_id(),
        prediction_id=prediction.id,
        created_at=now,
        expires_at=None if asked.expires_in is None else now + asked.expires_in,
    )
    try:
        added = await caller.services.store.shares.add(share)
    except TooManyShares as error:
        raise Problem(409, str(error)) from None
    if added is None:
        raise no_prediction(prediction_id)
    return _share_document(caller.view, added)


@routes.get("/v1/predictions/{prediction_id}/shares", tags=["shares"])
async def list_shares(prediction_id: str, caller: Admitted) -> documents.Page[ShareDocument]:
    """List the links to a prediction that have not ended, the newest first."""
    prediction = await caller.prediction(prediction_id)
    shares = await caller.services.store.shares.of_prediction(prediction.id)
    return documents.page([_share_document(caller.view, one) for one in shares])


@routes.delete("/v1/shares/{share_id}", status_code=204, tags=["shares"])
async def revoke_share(share_id: str, caller: Admitted) -> Response:
    """End a link, and those to the files in it, at once."""
    if not await caller.services.store.shares.revoke(share_id, caller.token.id):
        raise Problem(404, f"There is no link {share_id[:100]}")
    return Response(status_code=204)


@routes.get("/s/{share_id}", include_in_schema=False, response_model=None)
async def shared(request: Request, share_id: str) -> Response:
    """Return a shared prediction, where JSON is asked for; else the page that shows it.

    What it has leads to the share's own files alone, and to no other link.
    """
    services = services_of(request)
    opened = await _open(services, share_id)
    accept = request.headers.get("accept", "")
    if opened is None:
        if "text/html" not in accept:
            raise _gone()
        return await _page("<title>Shared picture</title>", 404)
    share, found = opened
    view = view_of(request)
    if "application/json" not in accept:  # chats ask for anything
        return await _page(_head(_root(view, share), found))
    document = await _document(view, share, found)
    return JSONResponse(document, headers={"vary": "accept", **NOT_FOR_ROBOTS})


@routes.get("/s/{share_id}/files/{file}", include_in_schema=False, response_model=None)
async def shared_file(request: Request, share_id: str, file: str) -> Response:
    """Return a picture of a shared prediction, or one that it was made from."""
    services = services_of(request)
    found = await _of_share(services, share_id)
    inputs = {one.location for one in _stored(found).values()}
    if file not in {*found.output, *inputs}:
        raise _gone()
    path = file_of_prediction(found.id, file)
    try:
        return await stored_file(services.files, path, file, NOT_FOR_ROBOTS)
    except FileGone:
        raise _gone() from None


@routes.get("/s/{share_id}/zip", include_in_schema=False, response_model=None)
async def shared_pictures(request: Request, share_id: str) -> StreamingResponse:
    """Return the pictures of a shared prediction as a zip file."""
    services = services_of(request)
    found = await _of_share(services, share_id)
    return await archives.response(services.files, archives.pictures_of(found))


async def _open(services: Services, share_id: str) -> tuple[Share, Prediction] | None:
    """Return a share that is open, and the prediction that it leads to."""
    share = await services.store.shares.find(share_id)
    if share is None:
        return None
    found = await services.queue.current(share.prediction_id)
    return None if found is None else (share, found)


async def _of_share(services: Services, share_id: str) -> Prediction:
    """Return the prediction that a share leads to.

    Raises:
        Problem: when the share is not open.
    """
    opened = await _open(services, share_id)
    if opened is None:
        raise _gone()
    return opened[1]


def _gone() -> Problem:
    return Problem(
        404,
        "This link has expired or was revoked, or its pictures were deleted",
        headers=NOT_FOR_ROBOTS,
    )


def _root(view: View, share: Share) -> str:
    """Return the URL of a share's page; those of its files begin with it."""
    return f"{view.base}/s/{share.id}"


def _share_document(view: View, share: Share) -> ShareDocument:
    return {
        "id": share.id,
        "url": _root(view, share),
        "created_at": documents.when(share.created_at),
        "expires_at": None if share.expires_at is None else documents.when(share.expires_at),
    }


def _stored(prediction: Prediction) -> dict[str, InputFile]:
    """Return the files that went into a prediction and lie here, by the names of the inputs."""
    files = ((name, InputFile(location)) for name, location in prediction.files.items())
    return {name: file for name, file in files if file.is_stored}


async def _document(view: View, share: Share, prediction: Prediction) -> dict[str, Any]:
    """Return what a share shows of a prediction, by the contract's names.

    Of a file that came by a URL it is our copy: the URL may be somebody's secret, and outlive the
    share. For the same reason it has no logs and no error, which may quote one.
    """
    root = _root(view, share)

    def link(path: str) -> str:
        return f"{root}/files/{path.rpartition('/')[2]}"

    services = view.services
    queue = await services.queue.place(prediction)
    known = documents.known(view, prediction)
    shown = documents.prediction(known, link, services.models, queue)
    files = {name: link(file.location) for name, file in _stored(prediction).items()}
    settings = {**prediction.request, **files}
    # Whether the client chose the seed is what only its own inputs tell.
    chosen = {name for name in settings if name != "seed" or "seed" in prediction.input}
    return {
        **shown,
        "id": share.id,
        "input": {name: value for name, value in settings.items() if name in chosen},
        "settings": settings,
        "task": prediction.task,
        "logs": "",
        "error": None,
        "expires_at": _share_document(view, share)["expires_at"],
        "urls": {"web": root},
    }


def _head(root: str, prediction: Prediction) -> str:
    """Return what the page's head says of a prediction, for the previews of chats."""
    prompt = " ".join(str(prediction.request.get("prompt") or "").split())
    title = prompt or "Shared picture"
    if len(title) > LONGEST_TITLE_CHARACTERS:
        title = f"{title[: LONGEST_TITLE_CHARACTERS - 1]}…"
    count = len(prediction.output)
    pictures = "1 picture" if count == 1 else f"{count} pictures"
    told = {
        "og:type": "website",
        "og:site_name": "Stable Diffusion",
        "og:title": title,
        "og:description": f"{pictures} by {prediction.model}" if count else prediction.model,
        "og:url": root,
    }
    if count:
        first = prediction.output[0]
        told |= {
            "og:image": f"{root}/files/{first}",
            "og:image:type": TYPES[first.rpartition(".")[2]],
            "og:image:alt": title,
            "twitter:card": "summary_large_image",
        }
    lines = [f"<title>{html.escape(title)}</title>"]
    for name, text in told.items():
        kind = "name" if name.startswith("twitter:") else "property"
        lines.append(f'<meta {kind}="{name}" content="{html.escape(text)}">')
    return "\n  ".join(lines)


async def _page(head: str, status: int = 200) -> Response:
    """Return the page, with what is in its head instead of its title."""
    page = await asyncio.to_thread((FORM / "index.html").read_text, "utf-8")
    robots = f'<meta name="robots" content="{NOT_FOR_ROBOTS["x-robots-tag"]}">'
    text = re.sub(r"<title>.*?</title>", lambda _: f"{head}\n  {robots}", page, count=1)
    headers = {
        "content-security-policy": POLICY,
        "vary": "accept",
        **NOT_FOR_ROBOTS,
    }
    return CompressedHTML(text, status, headers)
