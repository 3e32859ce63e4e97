"""What a client asks for becomes a prediction in the queue, or every fault is named."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from hosting.net import fetch
from hosting.published_models import Model
from hosting.queue import inputs
from hosting.queue.dispatch import Dispatcher
from hosting.queue.inputs import Fault, InvalidInputs
from hosting.storage import mime, predictions, uploads
from hosting.storage.files import LINKED, InputFile, file_of_upload, folder_of_prediction
from hosting.storage.tables import Prediction, Token, new_id

LARGEST_INPUT = 2**20
"""Bytes that the inputs may have as JSON, without the files in them."""
SEEDS = 2**32
OWN_UPLOAD = re.compile(r"/v1/files/([a-z0-9]{1,64})")


class QueueFull(Exception):
    """A token has as many unfinished predictions as it may have."""


@dataclass(frozen=True)
class Ask:
    """What a client asks for.

    Args:
        token: whose it is.
        model: by which name it was asked for.
        version: by which id.
        inputs: as the client sent them.
        base: the URL at which the client reached the front.
        hosts: where the front is reached: links there are its own.
    """

    token: Token
    model: Model
    version: str
    schema: Mapping[str, Any]
    inputs: Mapping[str, Any]
    base: str
    hosts: frozenset[str]
    api: str = "replicate"
    """As which its webhook is told of it: replicate or deepinfra."""
    given_id: str | None = None
    webhook: str | None = None
    webhook_events: list[str] = field(default_factory=list)


async def accept(dispatcher: Dispatcher, ask: Ask) -> Prediction:
    """Takes a prediction into the queue: when this returns, it will be run, come what may.

    One whose `given_id` the token has used before is not taken again: that one is returned.

    Raises:
        InvalidInputs: naming every fault.
        QueueFull: when the token has too many.
    """
    faults: list[Fault] = []
    try:
        values = inputs.read(ask.inputs, ask.schema, ask.model.defaults)
    except InvalidInputs as error:
        faults, values = [*error.faults], {**error.values}
    if ask.version in ask.model.black_repainted and ask.inputs.get("mask") is not None:
        sentence = (
            f"In version {ask.version[:8]} of {ask.model.id} black was repainted, here white is; "
            f"invert the mask, and name {ask.model.id} without that version"
        )
        faults.append(Fault("conflict", "input.mask", sentence))
    if ask.webhook is not None:
        try:
            fetch.check_url(ask.webhook)
        except fetch.FetchError as error:
            faults.append(Fault("invalid_url", "webhook", str(error)))
    names = inputs.file_inputs(ask.schema) & set(values)
    given = {name: values.pop(name) for name in sorted(names)}
    found: dict[str, bytes] = {}
    for name, url in given.items():
        try:
            data = await _local(dispatcher, ask, url)
        except fetch.FetchError as error:
            faults.append(Fault("invalid_file", f"input.{name}", str(error)))
        else:
            if data is not None:
                found[name] = data
    shown = dict(ask.inputs)
    for name, value in ask.inputs.items():
        known_as = inputs.RENAMED.get(name, name)
        if known_as in names and _is_data(value):
            shown[name] = InputFile.sent(known_as).placeholder
    faults += _faults_of_json(shown)
    if faults:
        raise InvalidInputs(*faults)

    if values.get("seed") is None:
        values["seed"] = secrets.randbelow(SEEDS)
    prediction = Prediction(
        id=new_id(),
        api=ask.api,
        given_id=ask.given_id,
        token_id=ask.token.id,
        task=ask.model.task,
        model=ask.model.id,
        version=ask.version,
        source=ask.base,
        input=shown,
        request=values,
        files={
            name: InputFile.sent(name).location if name in found else url
            for name, url in given.items()
        },
        ready=len(found) == len(given),
        webhook=ask.webhook,
        webhook_events=ask.webhook_events,
    )
    for name, data in found.items():
        path = InputFile.sent(name).path(prediction.id)
        await asyncio.to_thread(dispatcher.files.write, path, data)
    limit = dispatcher.settings.queue_limit
    accepted = await dispatcher.database(predictions.add, prediction, limit)
    if accepted is not prediction:
        await asyncio.to_thread(dispatcher.files.remove, folder_of_prediction(prediction.id))
    if accepted is None:
        raise QueueFull(
            f"You have {limit} unfinished predictions, as many as you may; "
            "try again when one is over"
        )
    dispatcher.wake(accepted.id)
    return accepted


def _faults_of_json(shown: Mapping[str, Any]) -> list[Fault]:
    """What is wrong with what will be shown as the prediction's input."""
    try:
        size = len(json.dumps(shown, ensure_ascii=False, allow_nan=False).encode())
    except (ValueError, RecursionError):
        sentence = "The inputs have numbers or characters that JSON and Unicode do not have"
        return [Fault("format", "input", sentence)]
    if size > LARGEST_INPUT:
        return [Fault("too_large", "input", "The inputs have more than 1 MiB, files left aside")]
    return []


async def _local(dispatcher: Dispatcher, ask: Ask, url: str) -> bytes | None:
    """The picture of a data URL, or of a link to a file of ours; None for what is elsewhere.

    Raises:
        FetchError: when it is none, or too large; or when the URL can't be one.
    """
    if _is_data(url):
        data = await asyncio.to_thread(_decoded, url)
    else:
        fetch.check_url(url)
        name = await _own_file(dispatcher, ask, url)
        if name is None:
            return None
        try:
            data = await asyncio.to_thread(dispatcher.files.read, name)
        except (ValueError, FileNotFoundError):
            raise fetch.FetchError(f"{url[:100]} is there no more") from None
    most = dispatcher.settings.image_megabytes
    if len(data) > most * 2**20:
        raise fetch.FetchError(f"The file has more than {most} MiB")
    if mime.picture_type(data) is None:
        raise fetch.FetchError(f"The file is no picture; {mime.TAKEN}")
    return data


async def _own_file(dispatcher: Dispatcher, ask: Ask, url: str) -> str | None:
    """The file of ours that a URL means, if it is one of ours and may be read by who asks."""
    parts = urlsplit(url)
    if parts.netloc.lower() not in ask.hosts:
        return None
    if upload := OWN_UPLOAD.fullmatch(parts.path):
        if await dispatcher.database.read(uploads.find, upload[1], ask.token.id):
            return file_of_upload(upload[1])
        raise fetch.FetchError(f"There is no file {upload[1]}, or no longer")
    if not parts.path.startswith(LINKED):
        return None
    if not dispatcher.links.is_good(url):
        raise fetch.FetchError("The link's time is over, or it is not complete")
    return parts.path.removeprefix(LINKED)


def _decoded(url: str) -> bytes:
    """What a data URL holds."""
    head, comma, text = url.partition(",")
    if not comma:
        raise fetch.FetchError("The data URL has no comma, and so no data")
    if not head.lower().endswith(";base64"):
        return unquote_to_bytes(text)
    try:
        return base64.b64decode(unquote_to_bytes(text), validate=True)
    except (binascii.Error, ValueError):
        raise fetch.FetchError("The data URL is not in base64, as it says") from None


def _is_data(value: object) -> bool:
    return isinstance(value, str) and value[:5].lower() == "data:"
