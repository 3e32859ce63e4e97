"""The models that run here, by the names that AUTOMATIC1111's clients give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hosting.api.auth import Caller
from hosting.api.context import Services
from hosting.api.problems import Problem
from hosting.api.schemas import running
from hosting.backends.endpoints import ServedModel
from hosting.published_models import Version
from hosting.queue.inputs import known_names

DRAWING = ("img2img", "inpainting", "depth")
"""The tasks that draw, the usual one first."""
UPSCALE = "upscale"


@dataclass(frozen=True)
class Served:
    """A model that runs here, and what serves it."""

    model: ServedModel
    schema: Mapping[str, Any]
    version: Version

    @property
    def name(self) -> str:
        """The name of its weights."""
        return self.model.model

    @property
    def upscalers(self) -> tuple[str, ...]:
        """The names of the networks that its input `upscaler` takes."""
        return self.model.description.upscalers if self.model.description else ()

    def loras(self, caller: Caller) -> dict[str, str | None] | None:
        """Return why those that a caller may name can't be used, if they can't, by their names.

        None if nobody knows yet which there are.
        """
        if "loras" not in known_names(self.schema):
            return {}
        if self.model.description is None:
            return None
        found = self.model.adapters.for_names(caller.loras).loras
        return {one.name: one.reason for one in found}


def served(services: Services) -> list[Served]:
    """Return the models that draw, the usual one first.

    Raises:
        Problem: when none does, or none is known yet.
    """
    found = [one for task in DRAWING for one in _of_task(services, task)]
    if not found:
        raise none(services, "No model that draws runs here")
    return found


def of_task(services: Services, task: str) -> Served | None:
    """Return the usual model for a task; None if there is none, or none is known yet."""
    return next(_of_task(services, task), None)


def _of_task(services: Services, task: str) -> Iterator[Served]:
    """Yield the models that are served for a task, each once."""
    seen = set[str]()
    for one in services.served:
        if one.task == task and one.endpoint.schema is not None and one.model not in seen:
            seen.add(one.model)
            version = services.models.running(task, one.model)
            yield Served(*running(services, version.model), version)


def none(services: Services, sentence: str) -> Problem:
    """Return the problem that nothing serves a request, or that nobody knows yet."""
    if any(endpoint.schema is None for endpoint in services.endpoints):
        return Problem(503, "The models are still starting", headers={"Retry-After": "5"})
    return Problem(404, sentence)


def chosen(services: Services, name: str) -> Served | None:
    """Return the model that a name means: its own, with or without a hash, or a published one.

    None if there is no such model here.

    Raises:
        Problem: when no model is known yet.
    """
    models = served(services)
    bare = name.partition(" [")[0].strip()
    for ending in (".safetensors", ".ckpt"):
        bare = bare.removesuffix(ending)
    if own := next((one for one in models if one.name == bare), None):
        return own
    published = services.models.find(bare)
    if not published or published.model.task not in (one.version.model.task for one in models):
        return None
    meant, _ = running(services, published.model)
    return next(one for one in models if one.name == meant.model)
