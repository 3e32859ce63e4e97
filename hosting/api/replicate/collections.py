"""The collections of Replicate's API, of which there are none, and the hardware, which is this."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from hosting.api.auth import Admitted
from hosting.api.problems import Problem
from hosting.api.replicate import documents
from hosting.api.replicate.documents import HARDWARE, HardwareDocument, Page

routes = APIRouter()


@routes.get("/collections", tags=["collections"])
async def list_collections(_: Admitted) -> Page[dict[str, Any]]:
    """Return the collections of models: there are none."""
    return documents.page([])


@routes.get("/collections/{slug}", tags=["collections"], status_code=404, response_model=None)
async def get_collection(slug: str, _: Admitted) -> None:
    """Say that there is no such collection."""
    raise Problem(404, f"There is no collection {slug[:100]}")


@routes.get("/hardware", tags=["hardware"])
async def list_hardware(_: Admitted) -> list[HardwareDocument]:
    """Return the hardware that a model may run on: whatever this server has."""
    return [{"name": "This server's own", "sku": HARDWARE}]
