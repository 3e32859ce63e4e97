"""From a client's inputs to the result that it waits for, for the APIs whose answers wait."""

from __future__ import annotations

import asyncio
import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from fastapi import Request

from hosting.api.auth import Caller
from hosting.api.context import Services
from hosting.api.deadlines import seconds_of
from hosting.api.problems import Problem, invalid
from hosting.api.schemas import running
from hosting.prediction import Prediction
from hosting.published_models import RENAMED, Version
from hosting.queue.inputs import Fault, InvalidInputs
from hosting.queue.intake import NewPrediction
from hosting.states import FailureKind, Status
from hosting.storage.files import file_of_prediction

HEADER_CHARACTERS = 1_000
"""Of a header's sentences together; each may become six when it is written in ASCII."""
SENTENCE = re.compile(r"(\w+): (.+)")
"""What the predictor says of an input begins with its name."""


class Failed(Problem):
    """A prediction that was taken, and has no result.

    Args:
        names: what the client calls those inputs that it calls otherwise.
    """

    def __init__(self, prediction: Prediction, names: Mapping[str, str] = {}) -> None:
        if prediction.status is Status.ABORTED:
            super().__init__(HTTPStatus.CONFLICT, "Its deadline came before it could begin")
        elif prediction.status is Status.CANCELED:
            super().__init__(HTTPStatus.CONFLICT, "It was canceled")
        elif prediction.failure is FailureKind.INPUTS and (faults := _faults(prediction, names)):
            lines = [f"{fault.field}: {fault.description}" for fault in faults]
            super().__init__(HTTPStatus.BAD_REQUEST, "\n".join(lines), faults)
        else:
            is_the_clients = prediction.failure is not None and prediction.failure.is_the_clients
            super().__init__(
                HTTPStatus.BAD_REQUEST if is_the_clients else HTTPStatus.INTERNAL_SERVER_ERROR,
                prediction.error or "It failed",
            )
        self.is_flagged = prediction.failure is FailureKind.NSFW
        """Whether it was the checker that left nothing of it."""


@dataclass(frozen=True)
class Picture:
    """A picture of a prediction: its place among those asked for, its seed, and its file."""

    index: int
    seed: int
    file: str


def new_prediction(
    caller: Caller, version: Version, inputs: Mapping[str, Any], **more: Any
) -> NewPrediction:
    """Return a prediction to be accepted.

    Args:
        more: fields of `NewPrediction`.

    Raises:
        Problem: when nothing serves the version's model, or none knows yet.
    """
    served, schema = running(caller.services, version.model)
    several = served.endpoint.served if served.is_named else []
    return NewPrediction(
        token=caller.token,
        version=version,
        schema=schema,
        native_size=served.native_size,
        inputs=inputs,
        base=caller.view.base,
        hosts=caller.view.hosts,
        installed=served.installed,
        weights=served.model,
        native_sizes={one.model: one.native_size for one in several},
        priority=caller.view.priority,
        **more,
    )


def new_of_images(caller: Caller, version: Version, inputs: Mapping[str, Any]) -> NewPrediction:
    """Return a prediction to be accepted, of as many images as MOST_IMAGES allows.

    Raises:
        Problem: as `new_prediction`.
    """
    new = new_prediction(caller, version, inputs)
    version, schema = _of_images(version, new.schema, caller.services.settings.most_images)
    return replace(new, version=version, schema=schema)


async def ended(request: Request, services: Services, prediction: Prediction) -> Prediction:
    """Return a prediction that was accepted, once it is over. Who hangs up cancels it.

    Raises:
        Problem: when the server stops before its turn comes.
    """
    prediction = await services.queue.waited_for(prediction, request.is_disconnected)
    if services.queue.gives_up(prediction):
        raise Problem(503, "The server stops; ask again later", headers={"Retry-After": "5"})
    return prediction


async def finished(
    request: Request,
    services: Services,
    prediction: Prediction,
    names: Mapping[str, str] = {},
) -> Prediction:
    """Return a prediction that was accepted, once it has succeeded. Who hangs up cancels it.

    Args:
        names: what the client calls those inputs that it calls otherwise.

    Raises:
        Failed: when it has not.
        Problem: when the server stops before its turn comes.
    """
    prediction = await ended(request, services, prediction)
    if prediction.status is not Status.SUCCEEDED:
        raise Failed(prediction, names)
    return prediction


async def drawn(
    request: Request,
    caller: Caller,
    version: Version,
    inputs: Mapping[str, Any],
    cancel_after: str | None = None,
    names: Mapping[str, str] = {},
) -> Prediction:
    """Have a prediction run, of as many images as MOST_IMAGES allows, and return its end.

    Args:
        inputs: by our names; they may have a `cancel_after`.
        cancel_after: the header `Cancel-After`.
        names: what the client calls those inputs that it calls otherwise.

    Raises:
        Problem: naming each bad input as the client does.
        Failed: when there is no result.
    """
    new = new_of_images(caller, version, inputs)
    new = replace(new, cancel_after=seconds_of(cancel_after, inputs.get("cancel_after")))
    try:
        prediction = await caller.services.queue.accept(new)
    except InvalidInputs as error:
        raise invalid([renamed(fault, names) for fault in error.faults]) from None
    return await finished(request, caller.services, prediction, names)


def named(services: Services, name: str) -> Version:
    """Return the newest version of a model.

    Raises:
        Problem: when there is none.
    """
    found = services.models.find(name)
    if found is None:
        raise Problem(404, f"There is no model {name[:200]}")
    return found


def served(services: Services, name: str | None, tasks: Sequence[str]) -> Version:
    """Return the version that a client means by a name that may be of another host's model.

    A name that is known here chooses the model. Any other has what is served for the task.

    Args:
        tasks: that would do, the best first.

    Raises:
        Problem: when nothing is served that would do, or not yet.
    """
    known = services.models.find(name) if name else None
    if known is not None:
        return known
    endpoints = services.endpoints
    ready = [(one.task, one.model) for one in services.served if one.task]
    fit = [one for one in ready if one[1] == name or one[0] in tasks]
    if not fit:
        if any(not one.served for one in endpoints):
            raise Problem(503, "The models are still starting", headers={"Retry-After": "5"})
        served = ", ".join(model for _, model in ready)
        raise Problem(404, f"Nothing that runs here does this; there run {served}")
    order = [*tasks, *(task for task, _ in fit)]
    task, weights = min(fit, key=lambda one: (one[1] != name, order.index(one[0])))
    return services.models.running(task, weights)


def pictures(prediction: Prediction) -> list[Picture]:
    """Return the pictures of a prediction that has succeeded, without those that were flagged."""
    images = sorted(prediction.metrics.get("images", []), key=lambda image: int(image["index"]))
    drawn = [image for image in images if not image["nsfw"]]
    return [
        Picture(int(image["index"]), int(image["seed"]), name)
        for image, name in zip(drawn, prediction.output, strict=False)
    ]


def warnings(prediction: Prediction, names: Mapping[str, str] = {}) -> list[str]:
    """Return what the predictor has said of its inputs, and which images the checker has flagged.

    Args:
        names: what the client calls those inputs that it calls otherwise.
    """
    said = []
    for note in prediction.metrics.get("notes", []):
        name, colon, rest = note.partition(":")
        said.append(f"{names.get(name, name)}{colon}{rest}")
    images = prediction.metrics.get("images", [])
    places = [str(int(image["index"]) + 1) for image in images if image["nsfw"]]
    if places:
        were = "was" if len(places) == 1 else "were"
        said.append(
            f"Of the {len(images)} images, {', '.join(places)} had NSFW content and {were} left out"
        )
    return said


def in_header(sentences: Sequence[str]) -> str:
    """Return sentences as JSON that is short enough for any client's limit of a header."""
    most = HEADER_CHARACTERS // max(1, len(sentences))
    return json.dumps([one if len(one) <= most else f"{one[: most - 1]}…" for one in sentences])


async def contents(services: Services, prediction: Prediction, files: Sequence[str]) -> list[bytes]:
    """Return what is in some of a prediction's files."""
    paths = [file_of_prediction(prediction.id, name) for name in files]
    return await asyncio.to_thread(lambda: [services.files.read(path) for path in paths])


def _faults(prediction: Prediction, names: Mapping[str, str]) -> list[Fault]:
    """Return the inputs' faults that a prediction has failed by, by the client's names."""
    found = []
    for line in (prediction.error or "").splitlines():
        if (match := SENTENCE.fullmatch(line)) is None:
            return []
        found.append(Fault("invalid_value", names.get(match[1], match[1]), match[2]))
    return found


def renamed(fault: Fault, names: Mapping[str, str]) -> Fault:
    """Return a fault with the name that the client has for its input."""
    name = fault.field.removeprefix("input.")
    return replace(fault, field=names.get(name, name))


def _of_images(
    version: Version, schema: Mapping[str, Any], most: int
) -> tuple[Version, dict[str, Any]]:
    """Return a version and its schema, of `most` images at once."""
    inputs = {
        name: one for name, one in version.inputs.items() if RENAMED.get(name) != "num_images"
    }
    document = copy.deepcopy(dict(schema))
    document["components"]["schemas"]["Input"]["properties"]["num_images"]["maximum"] = most
    return replace(version, inputs=inputs), document
