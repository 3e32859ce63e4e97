"""The models as OpenAI's clients list them, beside what Replicate's clients read of them."""

from __future__ import annotations

from typing import Literal

# Pydantic, which documents this, takes no other before Python 3.12.
from typing_extensions import TypedDict

CREATED = 1669248000
"""When Stable Diffusion 2 was published, 2022-11-24, in seconds since 1970: models must have some
date."""


class ModelEntry(TypedDict):
    """A model as OpenAI's API has it."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


def entry(model_id: str) -> ModelEntry:
    """Return a model as OpenAI's API has it.

    Args:
        model_id: `owner/name`, or the name of weights.
    """
    owner = model_id.rpartition("/")[0] or "stable-diffusion"
    return {"id": model_id, "object": "model", "created": CREATED, "owned_by": owner}
