"""Who asks, how they reached the front, and what they may: what every route begins with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import ASGIApp, Receive, Scope, Send

from hosting.api.limits import Limits
from hosting.api.problems import Problem
from hosting.api.replicate import documents
from hosting.api.replicate.documents import PredictionShape
from hosting.published_models import MODELS, Model
from hosting.queue import watch
from hosting.queue.dispatch import Dispatcher
from hosting.settings import Settings
from hosting.storage import tokens
from hosting.storage.database import Unavailable
from hosting.storage.tables import Prediction, Token

WITH_BODY = ("POST", "PUT", "PATCH", "DELETE")
"""Methods of requests that bring something, or change something."""

_Bearer = Annotated[
    HTTPAuthorizationCredentials | None,
    Security(HTTPBearer(auto_error=False, description="made by scripts/tokens")),
]
"""Only tells the documentation of it; the header is read here, as it may say Token too."""


@dataclass(frozen=True)
class Front:
    """What the routes work with."""

    settings: Settings
    dispatcher: Dispatcher
    limits: Limits


@dataclass(frozen=True)
class View:
    """How the front was reached, and so how its answers name it."""

    front: Front
    base: str
    """The front's URL, without a path."""
    hosts: frozenset[str]
    """The names and ports under which links to the front are its own."""
    takes_data: bool
    """Whether outputs go to the client as data URLs: Replicate's own clients make files of them
    and of https URLs, not of plain http ones."""
    expires: str | None = None
    """When its links' time is over, if that is not as long as links are good."""

    def link(self, path: str) -> str:
        """The URL of a path of ours, signed."""
        return self.front.dispatcher.links.to(self.base, path, self.expires)

    async def shown(self, prediction: Prediction) -> PredictionShape:
        """A prediction as its client is to see it."""
        dispatcher = self.front.dispatcher
        paths = [f"/files/predictions/{prediction.id}/{name}" for name in prediction.output]
        urls: list[str] = []
        if self.takes_data:
            urls = await asyncio.to_thread(
                dispatcher.files.data_urls, prediction.id, prediction.output
            )
        data = dict(zip(paths, urls, strict=False))
        return documents.prediction(
            prediction,
            lambda path: data.get(path) or self.link(path),
            await watch.queue(dispatcher, prediction),
        )


@dataclass(frozen=True)
class Visitor:
    """Someone who may ask."""

    view: View
    token: Token

    @property
    def dispatcher(self) -> Dispatcher:
        """What runs the predictions."""
        return self.view.front.dispatcher


def front_of(request: Request) -> Front:
    """What the application was made with."""
    front: Front = request.app.state.front
    return front


def view_of(request: Request) -> View:
    """How a request reached the front."""
    front = front_of(request)
    public = front.settings.public_url
    base = public or f"{request.url.scheme}://{request.headers['host']}"
    hosts = frozenset(urlsplit(url).netloc.lower() for url in (base, public) if url)
    agent = request.headers.get("user-agent", "")
    is_replicate = agent.startswith(("replicate-python/", "replicate-javascript/"))
    return View(front, base, hosts, is_replicate and base.startswith("http:"))


async def visitor_of(request: Request, _: _Bearer = None) -> Visitor:
    """Lets in who has a token, or who is on this machine as long as none was ever made.

    Raises:
        Problem: when it is neither, or has asked too often.
    """
    if hasattr(request.state, "visitor"):  # the door has let it in, and counted it
        admitted: Visitor = request.state.visitor
        return admitted
    front = front_of(request)
    authorization = request.headers.get("authorization")
    token = await front.dispatcher.database.read(tokens.of_header, authorization)
    if token is None:
        raise Problem(
            401,
            "You did not pass a valid token; send it as the header Authorization: Bearer …",
            headers={"WWW-Authenticate": "Bearer"},
        )
    if seconds := front.limits.seconds_to_wait(token.id):
        raise Problem(
            429,
            f"You may make {front.settings.requests_per_minute} requests a minute; "
            f"try again in {seconds} s",
            headers={"Retry-After": str(seconds)},
        )
    return Visitor(view_of(request), token)


Admitted = Annotated[Visitor, Depends(visitor_of)]
"""What a route takes that only those who may ask can use."""


class Door:
    """Lets in who sends something before any of it is read, whatever the path.

    By the time that a route looks, its framework has read the body and parsed it: seconds of work
    for whoever comes by.

    Args:
        answer: makes the answer to who is not let in.
    """

    def __init__(self, app: ASGIApp, answer: Callable[[Request, Exception], Response]) -> None:
        self._app = app
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers it."""
        if scope["type"] == "http" and scope["method"] in WITH_BODY:
            request = Request(scope)
            try:
                request.state.visitor = await visitor_of(request)
            except (Problem, Unavailable) as error:
                await self._answer(request, error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def running_schema(dispatcher: Dispatcher, model: Model) -> Mapping[str, Any]:
    """The schema of what serves a model.

    Raises:
        Problem: when nothing does, or none knows yet.
    """
    for endpoint in dispatcher.endpoints_of(model.task):
        if endpoint.schema is not None:
            return endpoint.schema
    if any(endpoint.schema is None for endpoint in dispatcher.endpoints):
        raise Problem(503, "The models are still starting", headers={"Retry-After": "5"})
    tasks = {endpoint.task for endpoint in dispatcher.endpoints}
    names = ", ".join(sorted(one.id for one in MODELS if one.task in tasks))
    raise Problem(404, f"{model.id} does not run here; there run {names}")
