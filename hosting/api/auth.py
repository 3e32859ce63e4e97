"""Authentication: every route begins with the caller."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import Depends, Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import ASGIApp, Receive, Scope, Send

from hosting.api.context import Services, services_of
from hosting.api.problems import Problem, no_prediction
from hosting.api.schemas import drawing, running_schema
from hosting.api.view import View, view_of
from hosting.limits import TokenLimits
from hosting.prediction import Prediction
from hosting.published_models import Model, narrowed
from hosting.storage.database import Unavailable
from hosting.storage.tables import Token

WITH_BODY = ("POST", "PUT", "PATCH", "DELETE", "QUERY")
"""Methods of requests that bring something, or change something."""

_Bearer = Annotated[
    HTTPAuthorizationCredentials | None,
    Security(
        HTTPBearer(
            auto_error=False,
            description="made by scripts/tokens; it may also be the password of Basic",
        )
    ),
]
"""Only tells the documentation of it; the header is read here, as it may say Token too."""


@dataclass(frozen=True)
class Caller:
    """Someone who may use the API."""

    view: View
    token: Token

    @property
    def services(self) -> Services:
        """The parts of the application that routes use."""
        return self.view.services

    async def prediction(self, prediction_id: str) -> Prediction:
        """Return its prediction of an id, its own or the caller's, as it is now.

        Raises:
            Problem: when it has none.
        """
        found = await self.services.queue.of_token(prediction_id, self.token.id)
        if found is None:
            raise no_prediction(prediction_id)
        return found

    @property
    def limits(self) -> TokenLimits:
        """The limits of its token."""
        return TokenLimits.of(self.token.name, self.token.limits, self.services.settings)

    @property
    def loras(self) -> frozenset[str] | None:
        """The names of the LoRAs that it may use; None is all."""
        return self.limits.loras

    def schema(self, model: Model) -> Mapping[str, Any]:
        """Return the schema of what serves a model, as this caller may ask it.

        Raises:
            Problem: when nothing does, or none knows yet.
        """
        return narrowed(running_schema(self.services, model), self.limits.most)

    def may_use(self, model: Model) -> bool:
        """Return whether a model runs here, and it may ask for it."""
        served = drawing(self.services, model)
        return served is not None and self.limits.allow(model, served.model)


async def caller_of(request: Request, _: _Bearer = None) -> Caller:
    """Return the caller: by its token or, until one is made, anyone on this machine.

    Raises:
        Problem: when it is neither, or has asked too often.
    """
    if hasattr(request.state, "caller"):  # the middleware has let it in, and counted it
        admitted: Caller = request.state.caller
        return admitted
    services = services_of(request)
    text = token_in(request.headers.get("authorization"))
    token = await services.store.tokens.find(text)
    if token is None:
        raise Problem(
            401,
            "You did not pass a valid token; send it as the header Authorization: Bearer …",
            headers={"WWW-Authenticate": "Bearer"},
        )
    if seconds := services.limits.seconds_to_wait(token.id):
        raise Problem(
            429,
            f"You may make {services.settings.requests_per_minute} requests a minute; "
            f"try again in {seconds} s",
            headers={"Retry-After": str(seconds)},
        )
    return Caller(view_of(request), token)


async def limits_of(request: Request) -> TokenLimits:
    """Return the limits of who asks. Without a token, they are the usual ones, and no LoRAs."""
    services = services_of(request)
    token = await services.store.tokens.find(token_in(request.headers.get("authorization")))
    if token is None:
        return replace(TokenLimits.of("", {}, services.settings), loras=frozenset())
    return TokenLimits.of(token.name, token.limits, services.settings)


def token_in(authorization: str | None) -> str | None:
    """Return the token in an Authorization header; None if it has none.

    It is given as Bearer or Token, or as the password of Basic, with any name.
    """
    kind, _, text = (authorization or "").partition(" ")
    if kind.lower() == "basic":
        try:
            return base64.b64decode(text.strip()).decode().partition(":")[2] or None
        except ValueError:  # no base64, or no UTF-8
            return None
    return text.strip() if kind.lower() in ("bearer", "token") else None


Admitted = Annotated[Caller, Depends(caller_of)]
"""The parameter of a route that needs a token."""


class AuthMiddleware:
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
        """Pass a request on, or answers it."""
        if scope["type"] == "http" and scope["method"] in WITH_BODY:
            request = Request(scope)
            try:
                request.state.caller = await caller_of(request)
            except (Problem, Unavailable) as error:
                await self._answer(request, error)(scope, receive, send)
                return
        await self._app(scope, receive, send)
