"""Intake: a client's inputs become a prediction in the queue, or every fault is named."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
import secrets
import string
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from hosting import tracing
from hosting.limits import TokenLimits
from hosting.net import fetch
from hosting.net.links import Links
from hosting.prediction import Prediction
from hosting.published_models import RENAMED, Model, Version
from hosting.queue import cost, inputs, loras, version_inputs
from hosting.queue.inputs import Fault, InvalidInputs
from hosting.queue.limits import faults_of_model, fit
from hosting.settings import Settings
from hosting.states import Priority
from hosting.storage import mime
from hosting.storage.files import LINKED, Files, InputFile, file_of_upload, folder_of_prediction
from hosting.storage.spendings import MEGA
from hosting.storage.store import Store
from hosting.storage.tables import Token, new_id

LARGEST_INPUT_BYTES = 2**20
"""Bytes that the inputs may have as JSON, without the files in them."""
MOST_ESCAPES = 1_000_000
"""Percent-encoded bytes of a data URL: to decode each takes two hundred bytes of memory."""
DRAWN_SEEDS = 2**32
DATA_URL = re.compile(r"\s*data:", re.IGNORECASE)
OWN_UPLOAD = re.compile(r"/v1/files/([a-z0-9]{1,64})")


class QueueFull(Exception):
    """A token has as many unfinished predictions as it may have."""


@dataclass(frozen=True)
class NewPrediction:
    """A prediction that a client asks for.

    Args:
        token: whose it is.
        version: which one of which model was asked for.
        schema: that of the endpoint that serves it.
        native_size: the side in pixels of the square that its model was trained on; None if nobody
            knows.
        inputs: as the client sent them.
        base: the URL at which the client reached the front.
        hosts: where the front is reached: links there are its own.
        installed: by name, the hashes of the LoRAs of the endpoint that serves it; None where
            nobody knows yet.
    """

    token: Token
    version: Version
    schema: Mapping[str, Any]
    native_size: int | None
    inputs: Mapping[str, Any]
    base: str
    hosts: frozenset[str]
    installed: Mapping[str, str] | None = None
    weights: str | None = None
    """The name of the model that draws, unless the inputs name another; None where nobody knows
    yet."""
    native_sizes: Mapping[str, int | None] = field(default_factory=dict)
    """By the models' names, as `native_size`, where the endpoint serves several."""
    api: str = "replicate"
    """Whose form it was asked for in, and its webhook is told of it: see `Prediction.api`."""
    priority: Priority = Priority.INTERACTIVE
    notes: Sequence[str] = ()
    """Sentences that its logs begin with."""
    given_id: str | None = None
    webhook: str | None = None
    webhook_events: list[str] = field(default_factory=list)
    cancel_after: int | None = None
    """Seconds after which it is ended if it is not over."""
    makes_files: bool = False


class Intake:
    """Checks what clients ask for, and puts it into the queue."""

    def __init__(self, settings: Settings, store: Store, files: Files, links: Links) -> None:
        self._settings = settings
        self._store = store
        self._files = files
        self._links = links
        self._decoding = asyncio.Lock()
        """For one data URL at a time: to decode one takes twice its size in memory."""

    async def accept(self, new: NewPrediction) -> Prediction:
        """Take a prediction into the queue: when this returns, it will be run, come what may.

        One whose `given_id` the token has used before is not taken again: that one is returned.

        Raises:
            InvalidInputs: naming every fault.
            QueueFull: when the token has too many.
            QuotaExceeded: when it would keep too many bytes of files.
            DailyQuotaSpent: when it has asked for too much today.
        """
        return await self._add(*await self.prepare(new), self.limits_of(new.token))

    def limits_of(self, token: Token) -> TokenLimits:
        """Return the limits of a token."""
        return TokenLimits.of(token.name, token.limits, self._settings)

    async def prepare(self, new: NewPrediction) -> tuple[Prediction, dict[str, bytes]]:
        """Return a prediction that can be put into the queue, and the files that came with it.

        Raises:
            InvalidInputs: naming every fault.
        """
        faults = [*_faults_around(new)]
        limits = self.limits_of(new.token)
        weights = _weights(new)
        faults += faults_of_model(limits, _model(new), weights)
        allowed = limits.loras
        usable = allowed
        if allowed is not None and new.installed is not None:
            usable = allowed & new.installed.keys()
        version = limits.limited(new.version).for_loras(usable)
        native_size = new.native_sizes.get(weights or "") or new.native_size
        try:
            values = version_inputs.read(version, new.inputs, new.schema, native_size)
        except InvalidInputs as error:
            values, faults = dict(error.values), [*error.faults, *faults]
        if new.native_sizes:
            values["model"] = weights
        if asked := values.get("loras"):
            is_renamed = new.inputs.get("loras") is None and new.inputs.get("lora") is not None
            named = "input.lora" if is_renamed else "input.loras"
            try:
                values["loras"] = loras.pinned(asked, new.installed, allowed, named)
            except InvalidInputs as error:
                faults += error.faults
        names = inputs.file_inputs(new.schema) & set(values)
        given = {name: values.pop(name) for name in sorted(names)}
        found: dict[str, bytes] = {}
        for name, url in given.items():
            try:
                data = await self.local(url, new.token.id, new.hosts)
            except fetch.FetchError as error:
                faults.append(Fault("invalid_file", f"input.{name}", str(error)))
            else:
                if data is not None:
                    found[name] = data
        if not faults and "width" in inputs.known_names(new.schema):
            try:
                picture = found.get("image")
                values |= fit(values, limits, "image" in given, picture, native_size)
            except InvalidInputs as error:
                faults += error.faults
        shown = _shown(new, names)
        faults += _faults_of_json(shown)
        if faults:
            raise InvalidInputs(*faults)

        if values.get("seed") is None:
            values["seed"] = secrets.randbelow(DRAWN_SEEDS)
        files = {
            name: InputFile.sent(name).location if name in found else url
            for name, url in given.items()
        }
        now = time.time()
        logs = "".join(f"{note}\n" for note in new.notes)
        prediction = Prediction(
            id=new_id(),
            created_at=now,
            deadline=None if new.cancel_after is None else now + new.cancel_after,
            api=new.api,
            priority=new.priority,
            cost=cost.of(values, "image" in files, native_size),
            given_id=new.given_id,
            token_id=new.token.id,
            task=new.version.model.task,
            model=new.version.model.id,
            version=new.version.id,
            source=new.base,
            input=shown,
            request=values,
            files=files,
            ready=len(found) == len(given),
            input_bytes=sum(map(len, found.values())),
            logs=logs,
            checkpoint={"logs": logs} if logs else {},
            webhook=new.webhook,
            webhook_events=new.webhook_events,
            makes_files=new.makes_files,
            traceparent=tracing.traceparent(),
        )
        if fault := _fault_of_cost(prediction.cost, limits):
            raise InvalidInputs(fault)
        return prediction, found

    async def _add(
        self, prediction: Prediction, files: Mapping[str, bytes], limits: TokenLimits
    ) -> Prediction:
        """Write a prediction with the files that came with it; whole, or not at all."""
        limit, most_bytes = self._settings.queue_limit, self._settings.kept_bytes
        folder = folder_of_prediction(prediction.id)
        try:
            await self.write(prediction, files)
            accepted = await self._store.predictions.add(prediction, limit, most_bytes, limits)
        except Exception:
            await asyncio.to_thread(self._files.remove, folder)
            raise
        if accepted is None or accepted.id != prediction.id:
            await asyncio.to_thread(self._files.remove, folder)
        if accepted is None:
            raise QueueFull(
                f"You have {limit} unfinished predictions, as many as you may; "
                "try again when one is over"
            )
        return accepted

    async def write(self, prediction: Prediction, files: Mapping[str, bytes]) -> None:
        """Write the files that came with a prediction."""
        for name, data in files.items():
            path = InputFile.sent(name).path(prediction.id)
            await asyncio.to_thread(self._files.write, path, data)

    async def local(self, url: str, token_id: str, hosts: frozenset[str]) -> bytes | None:
        """Return the picture of a data URL, or of a link of ours; None for any other URL.

        Args:
            token_id: the client's.
            hosts: where the front is reached: links there are its own.

        Raises:
            FetchError: when it is none, or too large; or when the URL can't be one.
        """
        if _is_data(url):
            async with self._decoding:
                data = await asyncio.to_thread(_decoded, url)
        else:
            fetch.check_url(url)
            name = await self._own_file(url, token_id, hosts)
            if name is None:
                return None
            try:
                data = await asyncio.to_thread(self._files.read, name)
            except (ValueError, FileNotFoundError):
                raise fetch.FetchError(f"{url[:100]} is no longer there") from None
        most = self._settings.image_megabytes
        if len(data) > most * 2**20:
            raise fetch.FetchError(f"The file has more than {most} MiB")
        if fault := mime.fault_of(data):
            raise fetch.FetchError(f"The file {fault}")
        return data

    async def _own_file(self, url: str, token_id: str, hosts: frozenset[str]) -> str | None:
        """Return the file of ours that a URL means, if it is one that the client may read."""
        parts = urlsplit(url)
        if parts.netloc.lower() not in hosts:
            return None
        if upload := OWN_UPLOAD.fullmatch(parts.path):
            if await self._store.uploads.find(upload[1], token_id):
                return file_of_upload(upload[1])
            raise fetch.FetchError(f"There is no file {upload[1]}, or it has expired")
        if not parts.path.startswith(LINKED):
            return None
        if not self._links.is_valid(url):
            raise fetch.FetchError("The link has expired, or it is not complete")
        name = parts.path.removeprefix(LINKED)
        if await self._store.tokens.is_owner_gone(name):
            raise fetch.FetchError(f"{url[:100]} is no longer there")
        return name


def _fault_of_cost(pixel_steps: float, limits: TokenLimits) -> Fault | None:
    """Return the fault of a prediction that is more than its token may have in a whole day."""
    most, asked = limits.megapixel_steps_a_day, pixel_steps / MEGA
    if most is None or asked <= most:
        return None
    sentence = (
        f"The prediction has {asked:.0f} megapixel-steps, and your token may have {most:g} a day; "
        "give a smaller size, fewer steps or fewer images"
    )
    return Fault("too_large", "input", sentence)


def _weights(new: NewPrediction) -> str | None:
    """Return the name of the model that is to draw, where several might: the inputs', if any."""
    asked = new.inputs.get("model")
    return asked if isinstance(asked, str) and asked else new.weights


def _model(new: NewPrediction) -> Model:
    """Return the model that is asked for: that of the inputs, if any, else the version's."""
    weights, model = _weights(new), new.version.model
    return model if weights in (None, new.weights) else Model(str(weights), model.task)


def _faults_around(new: NewPrediction) -> Iterator[Fault]:
    """Yield what is wrong with the webhook."""
    if new.webhook is not None:
        try:
            fetch.check_url(new.webhook)
        except fetch.FetchError as error:
            yield Fault("invalid_url", "webhook", str(error))


def _shown(new: NewPrediction, files: Set[str]) -> dict[str, Any]:
    """Return the inputs that are known as they are kept: data URLs are files beside them.

    Args:
        files: the names of the inputs that are files.
    """
    known = inputs.known_names(new.schema) | new.version.inputs.keys()
    shown = {name: value for name, value in new.inputs.items() if name in known}
    for name, value in shown.items():
        known_as = RENAMED.get(name, name)
        if known_as in files and _is_data(value):
            shown[name] = InputFile.sent(known_as).placeholder
    return shown


def _faults_of_json(shown: Mapping[str, Any]) -> list[Fault]:
    """Return what is wrong with the input as the prediction will show it."""
    too_large = Fault("too_large", "input", "The inputs have more than 1 MiB, files left aside")
    texts = [value for value in shown.values() if isinstance(value, str)]
    if sum(map(len, texts)) > LARGEST_INPUT_BYTES:  # so that it takes no memory to find out
        return [too_large]
    try:
        size = len(json.dumps(shown, ensure_ascii=False, allow_nan=False).encode())
    except (ValueError, RecursionError):
        sentence = "The inputs have numbers or characters that JSON and Unicode do not have"
        return [Fault("format", "input", sentence)]
    if inputs.is_too_deep(shown):
        sentence = f"The inputs are nested more than {inputs.MOST_LEVELS} levels deep"
        return [Fault("format", "input", sentence)]
    if size > LARGEST_INPUT_BYTES:
        return [too_large]
    return []


def _decoded(url: str) -> bytes:
    """Return the content of a data URL, read as forgivingly as browsers do.

    Source: https://fetch.spec.whatwg.org/#data-url-processor.
    """
    head, comma, text = url.partition("#")[0].partition(",")
    if not comma:
        raise fetch.FetchError("The data URL has no comma, and so no data")
    if text.count("%") > MOST_ESCAPES:
        raise fetch.FetchError(f"The data URL has more than {MOST_ESCAPES} percent-encoded bytes")
    try:
        data = unquote_to_bytes(text) if "%" in text else text.encode()
    except UnicodeEncodeError:
        raise fetch.FetchError("The data URL has half a character") from None
    del text
    if not re.search(r"; *base64 *$", head, re.IGNORECASE):
        return data
    data = data.translate(None, string.whitespace.encode())
    data += b"=" * (-len(data) % 4)
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise fetch.FetchError("The data URL is not in base64, as it says") from None


def _is_data(value: object) -> bool:
    return isinstance(value, str) and DATA_URL.match(value) is not None
