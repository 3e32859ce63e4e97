"""The documents of Stability AI's REST API."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Literal

# Pydantic, which documents these, takes no other before Python 3.12.
from typing_extensions import TypedDict

from hosting.api.results import Picture
from hosting.published_models import Model
from hosting.storage.tables import Token

CREDITS = 1_000_000.0
"""Of everybody, always: nothing costs anything here, and some clients ask only who has enough."""


class Artifact(TypedDict):
    """A picture, in base64."""

    base64: str
    finishReason: Literal["SUCCESS"]
    seed: int


class ArtifactsDocument(TypedDict):
    """The pictures of a request, but for those that the NSFW checker flagged.

    `warnings` has a sentence for each thing that was asked for and is otherwise.
    """

    artifacts: list[Artifact]
    warnings: list[str]


class EngineDocument(TypedDict):
    """A model that runs here."""

    id: str
    name: str
    description: str
    type: Literal["PICTURE"]


class AccountDocument(TypedDict):
    """Whose token it is."""

    id: str
    email: str
    profile_picture: str
    organizations: list[dict[str, Any]]


class BalanceDocument(TypedDict):
    """The credits that a token has: always the same, as nothing costs anything."""

    credits: float


def artifacts(pictures: Sequence[Picture], data: Sequence[bytes]) -> list[Artifact]:
    """Return pictures, with what is in their files."""
    return [
        {"base64": base64.b64encode(one).decode(), "finishReason": "SUCCESS", "seed": picture.seed}
        for picture, one in zip(pictures, data, strict=True)
    ]


def engine(model: Model) -> EngineDocument:
    """Return a model that runs here."""
    return {
        "id": model.name,
        "name": model.id,
        "description": model.description,
        "type": "PICTURE",
    }


def account(token: Token) -> AccountDocument:
    """Return whose token it is."""
    return {"id": token.name, "email": "", "profile_picture": "", "organizations": []}
