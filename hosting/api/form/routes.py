"""The web form: a static page at `/`, and what only it asks for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.middleware.gzip import GZipMiddleware

from hosting.api.auth import Admitted
from hosting.api.compressed import CompressedFile
from hosting.api.context import services_of
from hosting.api.form import gallery, models, token_counts
from hosting.api.form.models import RunningModel
from hosting.api.form.static import FORM, POLICY, FormFiles
from hosting.api.problems import Problem, invalid
from hosting.api.replicate import documents
from hosting.api.view import view_of
from hosting.net.fetch import FetchError
from hosting.queue.downloads import NoTurn
from hosting.queue.inputs import Fault
from hosting.storage import mime
from hosting.storage.files import InputFile, folder_of_prediction, link_path

EXAMPLES = Path(__file__).parents[3] / "examples"

routes = APIRouter(include_in_schema=False)


class Address(BaseModel):
    """The URL of a picture."""

    url: str


def include(application: FastAPI) -> None:
    """Add the page to the application."""
    application.include_router(routes)
    application.include_router(gallery.routes)
    application.include_router(token_counts.routes)
    application.mount("/form/examples", FormFiles(directory=EXAMPLES))
    # Compressed: nothing in these files is secret.
    application.mount("/form", GZipMiddleware(FormFiles(directory=FORM)))


@routes.get("/")
async def page() -> Response:
    """Return the page. It gets what it shows by the API, as any client does."""
    headers = {"content-security-policy": POLICY, "cache-control": "no-cache", "vary": "accept"}
    return CompressedFile(FORM / "index.html", headers=headers)


@routes.get("/p/{prediction_id}", response_model=None)
async def prediction(request: Request, prediction_id: str) -> Response:
    """Return a prediction as it is now; a browser gets the page.

    Its URL, in the prediction's `urls`, needs no token for a time. What it shows has `settings`
    beside the client's `input`: all that the model was given, by the contract's names. No link in
    it is good for longer than the one that led here, and none leads to what only its owner may do.
    """
    if "text/html" in request.headers.get("accept", ""):
        return await page()
    services = services_of(request)
    expires = services.links.expiry_of(str(request.url))
    found = await services.queue.current(prediction_id) if expires else None
    folder = folder_of_prediction(prediction_id)
    if found is None or await services.store.tokens.is_owner_gone(folder):
        raise Problem(404, "The link has expired or is not complete, or nothing is there")
    view = dataclasses.replace(view_of(request), expires=expires)
    shown = await documents.shown(view, found)
    files = {
        name: view.link(link_path(file.path(found.id))) if file.is_stored else file.location
        for name, file in ((name, InputFile(location)) for name, location in found.files.items())
    }
    shown["urls"] = {"web": shown["urls"]["web"]}
    document = {**shown, "task": found.task, "settings": {**found.request, **files}}
    return JSONResponse(document, headers={"vary": "accept"})


@routes.get("/form/models")
async def running_models(caller: Admitted) -> list[RunningModel]:
    """Return the models that the page offers: one for each that runs."""
    return models.running(caller)


@routes.post("/form/picture", response_model=None)
async def picture(address: Address, caller: Admitted) -> Response:
    """Return the picture that a URL leads to: the page itself can't reach other sites."""
    try:
        data = await caller.services.downloads.now(caller.token.id, address.url)
    except NoTurn as error:
        raise Problem(429, str(error), headers={"Retry-After": "1"}) from None
    except FetchError as error:
        raise invalid([Fault("invalid_file", "url", str(error))]) from None
    return Response(data, media_type=mime.picture_type(data))
