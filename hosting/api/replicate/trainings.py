"""The trainings of Replicate's API: there are none, and none is taken."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from hosting.api.auth import Admitted
from hosting.api.problems import Problem
from hosting.api.replicate import documents, models
from hosting.api.replicate.documents import REFUSED, Page

routes = APIRouter(tags=["trainings"])


@routes.get("/trainings")
async def list_trainings(_: Admitted) -> Page[dict[str, Any]]:
    """Return the trainings: there are none."""
    return documents.page([])


@routes.get("/trainings/{training_id}", status_code=404, response_model=None)
@routes.post("/trainings/{training_id}/cancel", status_code=404, response_model=None)
async def get_training(training_id: str, _: Admitted) -> None:
    """Say that there is no such training."""
    raise Problem(404, f"There is no training {training_id[:100]}")


@routes.post("/models/{owner}/{name}/versions/{version_id}/trainings", **REFUSED)
async def create_training(owner: str, name: str, version_id: str, caller: Admitted) -> None:
    """Refuse: no model is trained here."""
    models.named(caller.services.models, f"{owner}/{name}:{version_id}")
    raise Problem(403, "No model is trained here; train it elsewhere, and serve its weights here")
