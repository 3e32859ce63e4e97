"""Sends the hostile requests to a front, and takes its answers as they come."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tools.attacks import requests, values
from tools.attacks.requests import MODEL, Attack, Target
from tools.fake_cog import data_url, pixels

WEIGHTS = "stable-diffusion-v1-5"
ENDLESS = "GET /form/events"
"""The operation whose answer has no end: what it begins with is enough."""
AT_ONCE = 4
ANSWER_SECONDS = 60.0
"""Time after which an answer is taken for one that never comes."""
REST_SECONDS = 0.2
"""Time after which a message that may lack something is ended."""
HUNG_UP, NOTHING = 0, -1
"""Statuses of what the front hangs up on, and of what it gives no answer to in time."""


@dataclass(frozen=True)
class Answer:
    """The answer to an attack."""

    attack: Attack
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    """By their names in small letters."""
    seconds: float = 0.0


def target(url: str, token: str = "") -> Target:
    """Return a front as a target, after a file and a shared prediction were made in it."""
    place = urlsplit(url).netloc
    plain = Target(place, token, [], {}, {}, [])

    def ask(method: str, path: str, kind: str = "", body: bytes = b"") -> Any:
        headers = {b"Content-Type": kind.encode(), b"Prefer": b"wait"} if kind else {}
        message = requests.request(plain, method.encode(), path.encode(), headers, body)
        answer = send(place, Attack("sane", path, message))
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path} was answered {answer.status}: {answer.body!r}")
        return json.loads(answer.body)

    operations = requests.operations(ask("GET", "/docs/openapi.json"))
    schema = ask("GET", f"/openapi.json?model={MODEL}")
    properties = schema["components"]["schemas"]["Input"]["properties"]
    form = b'--b\r\nContent-Disposition: form-data; name="content"; filename="a.png"\r\n\r\n'
    form += pixels("fox", 7) + b"\r\n--b--\r\n"
    sent = ask("POST", "/v1/files", "multipart/form-data; boundary=b", form)
    inputs = {"prompt": "fox", "num_inference_steps": 1, "image": data_url(pixels("fox", 7))}
    asked = json.dumps({"version": MODEL, "input": inputs}).encode()
    made = ask("POST", "/v1/predictions", "application/json", asked)
    shares = f"/v1/predictions/{made['id']}/shares"
    shared = ask("POST", shares, "application/json", b"{}")
    owner, name = MODEL.split("/")
    return Target(
        place,
        token,
        operations,
        {name: values.resolved(entry, schema) for name, entry in properties.items()},
        {
            "owner": owner,
            "model": WEIGHTS,
            "engine": WEIGHTS,
            "name": name,
            "version_id": made["version"],
            "prediction_id": made["id"],
            "file_id": sent["id"],
            "share_id": shared["id"],
            "file": "out-0.png",
        },
        list(_links([sent, made])),
    )


def send_all(place: str, attacks: Iterable[Attack]) -> list[Answer]:
    """Send attacks, some at once, and return their answers, in no order."""
    lock = threading.Lock()
    left = iter(attacks)
    answers: list[Answer] = []

    def work() -> None:
        while True:
            with lock:
                attack = next(left, None)
            if attack is None:
                return
            answers.append(send(place, attack))

    with ThreadPoolExecutor(AT_ONCE) as threads:
        working = [threads.submit(work) for _ in range(AT_ONCE)]
        for one in working:
            one.result()
    return answers


def send(place: str, attack: Attack) -> Answer:
    """Send one, again if it came too often, and return its answer."""
    while True:
        answer = _sent(place, attack)
        if answer.status != 429 or "retry-after" not in answer.headers:
            return answer
        time.sleep(float(answer.headers["retry-after"]))


def _sent(place: str, attack: Attack) -> Answer:
    host, _, port = place.rpartition(":")
    start = time.perf_counter()
    with socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS) as connection:
        with suppress(ConnectionError):  # it may be answered before all of it was taken
            connection.sendall(attack.message)
        if attack.kind == "HTTP":
            connection.settimeout(REST_SECONDS)
            with suppress(TimeoutError, ConnectionError):
                connection.recv(1, socket.MSG_PEEK)
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
            connection.settimeout(ANSWER_SECONDS)
        method = attack.message.partition(b" ")[0].decode("latin-1")
        response = http.client.HTTPResponse(connection, method=method)
        try:
            response.begin()
            is_endless = attack.operation == ENDLESS and response.status == 200
            body = response.read1() if is_endless else response.read()
        except TimeoutError:
            return Answer(attack, NOTHING, seconds=time.perf_counter() - start)
        except (ConnectionError, http.client.HTTPException):
            return Answer(attack, HUNG_UP, seconds=time.perf_counter() - start)
        finally:
            response.close()
    headers = {name.lower(): text for name, text in response.getheaders()}
    return Answer(attack, response.status, body, headers, time.perf_counter() - start)


def _links(document: Any) -> Iterator[str]:
    """Yield the signed links in a document, from the path on."""
    if isinstance(document, str) and "signature=" in document:
        parts = urlsplit(document)
        yield f"{parts.path}?{parts.query}"
    elif isinstance(document, list | dict):
        for part in document.values() if isinstance(document, dict) else document:
            yield from _links(part)
