"""What a picture carries: a watermark, Content Credentials, what it was made from."""

from __future__ import annotations

from fastapi import APIRouter, Request

from hosting.api.auth import Admitted
from hosting.api.bodies import data_url, fields_of
from hosting.api.forms import FORM_TYPES
from hosting.api.problems import Problem, invalid
from hosting.backends.inspector import Carried, Unreadable
from hosting.net.fetch import FetchError
from hosting.queue.downloads import NoTurn
from hosting.queue.inputs import Fault
from hosting.storage import mime

_IMAGE = {"type": "string", "description": "a picture's file"}
_BODY = {
    "required": True,
    "content": {
        kind: {"schema": {"type": "object", "required": ["image"], "properties": {"image": image}}}
        for kind, image in (
            ("multipart/form-data", {**_IMAGE, "format": "binary"}),
            ("application/json", {**_IMAGE, "format": "uri", "description": "its URL or data URL"}),
        )
    }
    | {"image/*": {"schema": {**_IMAGE, "format": "binary"}}},
}

routes = APIRouter()


@routes.post("/v1/inspect", tags=["files"], openapi_extra={"requestBody": _BODY})
async def inspect(request: Request, caller: Admitted) -> Carried:
    """Say what a picture carries: a watermark, what it was made from, AUTOMATIC1111's parameters.

    It is sent as a form, as JSON with its URL, or by itself.
    """
    services = caller.services
    try:
        url = await _url(request)
        data = await services.queue.picture(url, caller.token.id, caller.view.hosts)
        return await services.inspector.inspect(caller.token.id, data)
    except NoTurn as error:
        raise Problem(429, str(error), headers={"Retry-After": "1"}) from None
    except (FetchError, Unreadable) as error:
        raise invalid([Fault("invalid_file", "image", str(error))]) from None


async def _url(request: Request) -> str:
    """Return the URL of the picture that was sent; a data URL of one that came by itself."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in FORM_TYPES and mime.picture_type(body := await request.body()):
        return data_url(body)
    fields = await fields_of(request, texts=frozenset(), files={"image"})
    image = dict(fields).get("image")
    if not isinstance(image, str):
        raise invalid([Fault("required", "image", "Send a picture's file, its URL or data URL")])
    return image
