"""The requests of a new batch, read from a body of our own form or a file of OpenAI's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hosting.api.auth import Caller
from hosting.api.openai import drawing
from hosting.api.problems import Problem, invalid
from hosting.api.replicate import models
from hosting.api.results import new_of_images, new_prediction, renamed
from hosting.api.schemas import Url
from hosting.queue.batches import NewRequest
from hosting.queue.inputs import Fault
from hosting.queue.intake import NewPrediction
from hosting.storage.files import file_of_upload

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
LONGEST_ID_CHARACTERS = 256
Id = Annotated[str, Field(min_length=1, max_length=LONGEST_ID_CHARACTERS)]


class BatchedRequest(BaseModel):
    """A request of a batch."""

    model_config = ConfigDict(extra="forbid")

    id: Id | None = Field(None, description="of your own, to find its results by")
    version: str | None = Field(
        None, description="a version's id, `owner/name`, or both as `owner/name:id`"
    )
    model: str | None = Field(None, description="`owner/name`, instead of a version")
    input: dict[str, Any] = Field(description="the model's inputs; files as URLs or data URLs")


class BatchRequest(BaseModel):
    """The body that asks for a batch: with `requests`, or in OpenAI's form with a file of them."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
        description="of your own: what is sent again with the same is not taken again",
    )
    requests: list[BatchedRequest] | None = Field(None, description="to BATCH_LIMIT, 1000")
    webhook: Url | None = Field(None, description="a URL that is told of each prediction by POST")
    webhook_events_filter: list[Literal["start", "output", "logs", "completed"]] | None = Field(
        None, description="what the webhook is told of; `completed` unless given"
    )
    input_file_id: str | None = Field(
        None, description="a file of `purpose` batch, with a request in each line (JSONL)"
    )
    endpoint: Literal["/v1/images/generations", "/v1/images/edits"] | None = Field(
        None, description="what the requests of the file are for"
    )
    completion_window: Literal["24h"] | None = Field(
        None, description="has no effect: a batch is worked at until it is over"
    )
    metadata: dict[str, str] | None = Field(
        None, max_length=16, description="a description of your own"
    )


class _Line(BaseModel):
    """A line of a file of requests."""

    custom_id: Id
    method: Literal["POST"]
    url: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Requests:
    """The requests of a batch that can be put into the queue.

    name: names the field of a request in a fault, by the request's place.
    """

    requests: Sequence[NewRequest]
    name: Callable[[int, Fault], Fault]


def of_body(caller: Caller, asked: BatchRequest) -> Requests:
    """Return the requests that a body has, each of a model or a version.

    Raises:
        Problem: naming each fault by the place of its request.
    """
    given = asked.requests or []
    _check_number(caller, len(given), "requests")
    faults = list(_repeated([one.id for one in given], "requests.{}.id".format))
    known: dict[str, NewPrediction | Fault] = {}
    found = list[NewRequest]()
    events: list[str] = list(asked.webhook_events_filter or ["completed"])
    for place, one in enumerate(given):
        reference = one.version or one.model
        field = "model" if one.model and not one.version else "version"
        if reference is None:
            sentence = "Version is required, or model"
            faults.append(Fault("required", f"requests.{place}.version", sentence))
            continue
        if reference not in known:
            known[reference] = _new(caller, reference)
        new = known[reference]
        if isinstance(new, Fault):
            faults.append(replace(new, field=f"requests.{place}.{field}"))
            continue
        prediction = replace(new, inputs=one.input, webhook=asked.webhook, webhook_events=events)
        found.append(NewRequest(prediction, {"id": one.id} if one.id else {}))
    if faults:
        raise invalid(faults)
    return Requests(found, _in_body)


def _new(caller: Caller, reference: str) -> NewPrediction | Fault:
    """Return a prediction without inputs, or what is wrong with the model that is named."""
    try:
        return new_prediction(caller, models.named(caller.services.models, reference), {})
    except Problem as problem:
        if problem.status != 404:
            raise
        return Fault("not_found", "", problem.detail)


async def of_file(caller: Caller, asked: BatchRequest) -> Requests:
    """Return the requests that the lines of an upload have, in OpenAI's form.

    Raises:
        Problem: naming each fault by the number of its line.
    """
    services = caller.services
    needed = {"input_file_id": asked.input_file_id, "endpoint": asked.endpoint}
    if missing := [name for name, value in needed.items() if value is None]:
        raise invalid([Fault("required", name, f"{name} is required") for name in missing])
    record = await services.store.uploads.find(str(asked.input_file_id), caller.token.id)
    if record is None:
        sentence = f"There is no file {str(asked.input_file_id)[:100]}, or it has expired"
        raise invalid([Fault("not_found", "input_file_id", sentence)])
    data = await asyncio.to_thread(services.files.read, file_of_upload(record.id))
    lines = [(number, text) for number, text in enumerate(data.splitlines(), 1) if text.strip()]
    del data
    _check_number(caller, len(lines), "input_file_id")

    faults = list[Fault]()
    read = list[tuple[int, _Line]]()
    for number, text in lines:
        line = _line(text, str(asked.endpoint))
        if isinstance(line, _Line):
            read.append((number, line))
        else:
            faults += [_in_line(number, fault) for fault in line]
    faults += _repeated(
        [line.custom_id for _, line in read], lambda at: f"line {read[at][0]}: custom_id"
    )
    news: dict[str, NewPrediction] = {}
    found = list[NewRequest]()
    for number, line in read:
        try:
            found.append(_of_line(caller, line, news))
        except Problem as problem:
            if problem.status not in (404, 422):
                raise
            alone = [Fault("not_found", "model", problem.detail)]
            faults += [_in_line(number, fault) for fault in problem.faults or alone]
        await asyncio.sleep(0)  # others are answered in between
    if faults:
        raise invalid(faults)
    numbers, names = [number for number, _ in read], [one.details["names"] for one in found]
    return Requests(
        found, lambda place, fault: _in_line(numbers[place], renamed(fault, names[place]))
    )


def _of_line(caller: Caller, line: _Line, news: dict[str, NewPrediction]) -> NewRequest:
    """Return the request of a line.

    Args:
        news: by versions' ids, predictions of those that lines before have asked for.
    """
    version, asked = drawing.read(caller, list(line.body.items()), needs_image=line.url == EDITS)
    if version.id not in news:
        news[version.id] = new_of_images(caller, version, {})
    # Links alone unless base64 is asked for: a file may have thousands of pictures.
    formats = asked.formats if line.body.get("response_format") else ("url",)
    details = {
        "id": line.custom_id,
        "formats": list(formats),
        "names": asked.names,
        "size": asked.drawn_size,
        "warnings": asked.warnings,
    }
    return NewRequest(replace(news[version.id], inputs=asked.inputs), details)


def _line(text: bytes, endpoint: str) -> _Line | list[Fault]:
    """Return a line, or what is wrong with it."""
    try:
        line = _Line.model_validate(json.loads(text))
    except ValidationError as error:
        return [
            Fault(one["type"], ".".join(map(str, one["loc"])) or "body", one["msg"])
            for one in error.errors()
        ]
    except (ValueError, RecursionError):
        return [Fault("invalid_body", "body", "It is no JSON object")]
    if line.url != endpoint:
        sentence = f"It is {line.url[:100]!r}; give the batch's endpoint, {endpoint}"
        return [Fault("invalid_value", "url", sentence)]
    return line


def _check_number(caller: Caller, number: int, field: str) -> None:
    """Raise a Problem where there are no requests, or more than a batch may have."""
    most = caller.services.settings.batch_limit
    if not 1 <= number <= most:
        sentence = f"It has {number} requests; give 1 to {most}"
        raise invalid([Fault("invalid_value", field, sentence)])


def _repeated(ids: Sequence[str | None], field: Callable[[int], str]) -> Iterator[Fault]:
    """Yield the faults of those ids that others before have."""
    seen = set[str]()
    for place, one in enumerate(ids):
        if one in seen:
            yield Fault("conflict", field(place), f"Another request has the id {one[:100]}")
        elif one is not None:
            seen.add(one)


def _in_body(place: int, fault: Fault) -> Fault:
    return replace(fault, field=f"requests.{place}.{fault.field}")


def _in_line(number: int, fault: Fault) -> Fault:
    return replace(fault, field=f"line {number}: {fault.field}")
