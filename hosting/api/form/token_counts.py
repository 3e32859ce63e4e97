"""The page's token counter: how many of a prompt's tokens the model reads."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from hosting.api.auth import Admitted
from hosting.api.problems import Problem, invalid
from hosting.api.schemas import running
from hosting.backends.description import Description
from hosting.backends.token_counter import TokenCounter, without_weights
from hosting.queue.inputs import Fault

MOST_CHARACTERS = 20_000
"""Of all texts of a request together."""
MOST_TEXTS = 8

routes = APIRouter(include_in_schema=False)
_counter = TokenCounter()


class Texts(BaseModel):
    """Prompts for a model."""

    model: str
    """Its name, as `owner/name`."""
    texts: Annotated[list[str], Field(max_length=MOST_TEXTS)]
    use_compel: bool = False
    """Whether they are in compel's syntax, whose weights are no words."""


class Counts(TypedDict):
    """The tokens of texts."""

    limit: int | None
    """Those that the model reads of a text; None where that is not known."""
    counts: list[int | None]
    """Of each text; None where it is not known, as with an embedding in it."""


@routes.post("/form/tokens")
async def count_tokens(asked: Texts, caller: Admitted) -> Counts:
    """Return how many tokens texts have, by the tokenizer of the model that runs here."""
    if sum(map(len, asked.texts)) > MOST_CHARACTERS:
        sentence = f"All texts together may have {MOST_CHARACTERS} characters"
        raise invalid([Fault("too_long", "texts", sentence)])
    found = caller.services.models.find(asked.model)
    if found is None:
        raise Problem(404, f"There is no model {asked.model[:100]}")
    description = running(caller.services, found.model)[0].description
    file = description.tokenizer if description else None
    if description is None or file is None:
        return {"limit": None, "counts": [None] * len(asked.texts)}
    texts = [without_weights(text) if asked.use_compel else text for text in asked.texts]
    counts = await asyncio.to_thread(_counter.counts, file, texts)
    if counts is None:
        return {"limit": None, "counts": [None] * len(texts)}
    embeddings = _embeddings(description)
    return {
        "limit": description.token_limit,
        "counts": [
            None if embeddings and embeddings.search(text) else count
            for text, count in zip(texts, counts, strict=True)
        ],
    }


def _embeddings(description: Description) -> re.Pattern[str] | None:
    """Return what finds the words that stand for embeddings; None where there are none."""
    words = [
        re.escape(token)
        for one in description.embeddings
        for token in one.tokens
        if one.reason is None
    ]
    return re.compile(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)", re.IGNORECASE) if words else None
