"""A Cog server without a model that behaves as coglet 0.23.1 does and records its requests."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from PIL import Image
from starlette.types import Receive, Scope, Send

from cog_schema import schema
from hosting.queue.changes import within

SLOW_SECONDS = 0.3
_BAD = "InputError: image: it is not a picture"
_FLAGGED = "NsfwError: NSFW content detected. Try running it again, or try a different prompt."
FAILURES = {
    "fail": ("inputs", _BAD),
    "fail as before": (None, _BAD),
    "nsfw": ("nsfw", _FLAGGED),
    "nsfw as before": (None, _FLAGGED),
    "err": (None, "ArithmeticError: no picture came out"),
    "disk": (None, "OSError: [Errno 28] No space left on device: '/tmp/out-0.png'"),
    "memory": ("memory", "MemoryError: there is not enough memory for a picture of this size"),
    "quoted": ("inputs", "InputError: prompt: 'OSError: [Errno 28]' is not allowed"),
}
"""The metric `failure` and the error of predictions that fail."""
NOTES = ["prompt: its end is left out", "image: it is small"]
MEASURED: dict[str, Any] = {
    "seconds": {"read": 0.002, "text": 0.01, "image": 0.02, "denoise": 2.0, "decode": 0.5}
    | {"finish": 0.01, "save": 0.03, "follow": 0.2},
    "phases": [
        {"name": "read", "start": 0, "end": 0.002},
        {"name": "text", "start": 0.01, "end": 0.02},
        {"name": "denoise", "start": 0.05, "end": 2.05},
        {"name": "decode", "start": 2.1, "end": 2.6},
    ],
    "steps": 20,
    "calls": 20,
    "replays": 10,
    "rows_per_call": 3.5,
    "join_seconds": 0.04,
    "first_step_seconds": 0.15,
    "steps_per_second": 10.0,
    "totals": {
        "calls": 100,
        "rows": 350,
        "steps": 200,
        "replays": 60,
        "captures": 3,
        "combinations": 2,
        "slots": 4,
        "memory_allocated": 5_000_000,
    },
}
"""What a worker on a GPU may have measured of a prediction."""
BROKEN_PIPE = "Failed to send request: Failed to send on slot socket: Broken pipe (os error 32)"
TRIPPED = "Failed to submit coroutine: CancelationException: "
SCHEMAS = {
    task: schema.schema(schema.PREDICT.read_text(), predictor)
    for task, predictor in schema.PREDICTORS.items()
}


MODELS = {
    "img2img": "stable-diffusion-2-1",
    "inpainting": "stable-diffusion-2-inpainting",
    "depth": "stable-diffusion-2-depth",
    "upscale": "stable-diffusion-x4-upscaler",
}
"""The names of the weights that each task's server says it has."""


LORAS: list[dict[str, Any]] = [
    {"name": "blueprint", "hash": "b1" * 32, "trigger": "blueprint style", "reason": None},
    {"name": "ink", "hash": "1c" * 32, "trigger": None, "reason": None},
    {
        "name": "wide",
        "hash": "3d" * 32,
        "trigger": None,
        "reason": "it was made for Stable Diffusion XL",
    },
]
EMBEDDINGS: list[dict[str, Any]] = [
    {"name": "pencil", "tokens": ["pencil"], "hash": "9e" * 32, "reason": None},
    {"name": "far", "tokens": ["far"], "hash": "fa" * 32, "reason": "its vectors are too long"},
]
"""What is installed where each server runs, unless a test changes it."""


def pixels(prompt: str, seed: int, index: int = 0) -> bytes:
    """Return a small PNG that depends on prompt, seed and index only."""
    colour = hashlib.sha256(f"{prompt}/{seed}/{index}".encode()).digest()[:12]
    file = io.BytesIO()
    Image.frombytes("RGB", (2, 2), colour).save(file, "PNG")
    return file.getvalue()


def preview(prompt: str, index: int = 0) -> dict[str, Any]:
    """Return what a predictor shows of an image while it is drawn: a small WebP."""
    file = io.BytesIO()
    colour = hashlib.sha256(f"{prompt}/{index}".encode()).digest()[:3]
    Image.new("RGB", (16, 16), tuple(colour)).save(file, "WEBP")
    return {"index": index, "url": data_url(file.getvalue(), "image/webp")}


def data_url(data: bytes, kind: str = "image/png") -> str:
    """Return a file as a data URL."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@dataclass
class Received:
    """An HTTP request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Run:
    """A prediction that had a slot."""

    id: str
    input: dict[str, Any]
    company: list[str]
    """The prompts of the predictions that ran when it began."""
    previews: list[Any] = field(default_factory=list)
    """What it shows of its images while it runs."""
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: bool = False
    hung_up: bool = False
    status: str = "processing"

    @property
    def prompt(self) -> str:
        """The prompt, which decides what the prediction does."""
        return str(self.input["prompt"])


class CogServer:
    """A Cog server whose predictions do what `tell` has set for their prompts.

    What a prediction may do:
        succeed: nothing else, and at once. So does every prompt that was told nothing.
        hold: begin, and succeed when it is let go.
        trip: the same, but fail as Cog does that is told to stop in the middle of starting.
        slow: succeed after SLOW_SECONDS.
        late: not even begin, nor be there to cancel, until it is let go; then hold until cancelled.
        fail: end with a fault of the inputs.
        nsfw: end because all images were flagged.
        fail as before, nsfw as before: the same, of a predictor that gives no reason as a metric.
        err: end with an error that nobody foresaw.
        disk, memory: end because the machine has no more of it.
        die: take the worker with it.
        break: hang up in the middle.
        garbage: send what is no JSON.
        strange: send JSON that is no event of Cog's.
        full: be refused, as if all slots were taken.
        no picture: send text for a picture.
        note: say something of the prompt and of the image, in each part the same, and succeed.
        note much: the same, of the most that a predictor quotes.
        show late: draw, show previews once more, and succeed when it is let go.
        warming, warm: say that it is, or is no more, made faster, and succeed.

    Args:
        task: what it serves.
        slots: predictions at once.
    """

    def __init__(self, task: str = "img2img", slots: int = 8) -> None:
        paths = {**SCHEMAS[task]["paths"], "/shutdown": {"post": {}}}
        self.schema = {**SCHEMAS[task], "paths": paths}
        self.description: dict[str, Any] = {
            "model": MODELS[task],
            "task": task,
            "native_size": 768,
            "checker": True,
            "samplers": self.schema["components"]["schemas"]["scheduler"]["enum"],
            "versions": {"diffusers": "0.40.0", "torch": "2.13.0"},
            "upscalers": [],
            "vocabulary": None,
            "loras": LORAS,
            "embeddings": EMBEDDINGS,
        }
        """What its worker says of its model when it is set up."""
        self.adapters: Any = None
        """What each prediction says is installed there now, if it is not as described."""
        self.measured: Any = None
        """What its worker has measured of each prediction that succeeds, if it says so."""
        self.models: list[dict[str, Any]] = []
        """What each prediction says of the models that it serves now, if it serves several."""
        self.slots = slots
        self.status = "READY"
        self.shows_previews = True
        """Whether its predictions show previews where they are asked to."""
        self.shown: dict[str, list[Any]] = {}
        """By prompts, what they show instead."""
        self.is_cluster = False
        """Whether it says how many slots it has, and answers 503 when they are taken."""
        self.restarts = True
        """Whether its supervisor starts it again once its worker is dead."""
        self.received: list[Received] = []
        self.runs: list[Run] = []
        self.refused = 0
        """The number of predictions that came when all slots were taken."""
        self.most_at_once = 0
        self.url = ""
        self._told: dict[str, list[str]] = {}
        self._free: set[str] = set()
        self._running: list[Run] = []
        self._late: list[Run] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    # What those who use it say and ask

    def tell(self, prompt: str, *what: str) -> None:
        """Set what a prompt's predictions do, one after another, the last for all that follow."""
        self._told[prompt] = list(what)

    def let_go(self, *prompts: str) -> None:
        """Let the predictions of these prompts that hold go on, and all that come later."""
        self._free.update(prompts)
        assert self._loop
        for run in self._running + self._late:
            if run.prompt in prompts:
                self._loop.call_soon_threadsafe(run.let_go.set)

    def restart(self) -> None:
        """Become ready again, as with a new worker."""
        self.status = "READY"

    @property
    def prompts(self) -> list[str]:
        """The prompts of all predictions that had a slot, in their order."""
        return [run.prompt for run in self.runs]

    @property
    def running(self) -> list[str]:
        """The prompts of the predictions that run."""
        return [run.prompt for run in self._running]

    def runs_of(self, prompt: str) -> list[Run]:
        """Return the predictions of a prompt that had a slot, in their order."""
        return [run for run in self.runs if run.prompt == prompt]

    @contextmanager
    def served(self) -> Iterator[CogServer]:
        """Listen on a free port in a thread, for the time of a block."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            config = uvicorn.Config(
                self, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
            )
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, args=([listening],))
            thread.start()
            try:
                yield self
            finally:
                if self._loop:
                    self._loop.call_soon_threadsafe(self._end)
                server.should_exit = True
                thread.join()

    def _end(self) -> None:
        for run in self._running + self._late:
            run.cancelled = True
            run.let_go.set()

    # What clients see

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as an ASGI application."""
        self._loop = asyncio.get_running_loop()
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        asked = Received(scope["method"], scope["path"], headers, body)
        self.received.append(asked)
        if asked.path == "/health-check":
            slots = {"cog-slots": str(self.slots)} if self.is_cluster else {}
            logs = f"[coglet::setup] model {json.dumps(self.description)}\n[coglet] Server ready\n"
            await _answer(send, 200, {"status": self.status, "setup": {"logs": logs}}, slots)
            if self.status == "UNHEALTHY" and self.restarts:
                self.restart()
        elif asked.path == "/openapi.json":
            await _answer(send, 200, self.schema)
        elif found := re.fullmatch(r"/predictions/([^/]+)/cancel", asked.path):
            runs = [run for run in self._running if run.id == found[1]]
            for run in runs:
                run.cancelled = True
                run.let_go.set()
            await _answer(send, 200 if runs else 404, {})
        elif asked.method == "PUT" and headers.get("accept") == "text/event-stream":
            await self._predict(asked, receive, send)
        else:
            await _answer(send, 404, {"detail": "Not Found"})

    async def _predict(self, asked: Received, receive: Receive, send: Send) -> None:
        document = json.loads(asked.body)
        inputs, context = document["input"], document.get("context", {})
        behaviours = self._told.get(inputs["prompt"], ["succeed"])
        what = behaviours.pop(0) if len(behaviours) > 1 else behaviours[0]
        if what == "full" or len(self._running) >= self.slots:
            self.refused += 1
            if self.is_cluster:
                await _answer(send, 503, {"error": "all slots are taken"}, {"retry-after": "1"})
            else:
                await _answer(send, 409, {"detail": "Already running a prediction"})
            return
        prediction_id = asked.path.rpartition("/")[2]
        if self.status != "READY":
            await _begin(send)
            await _event(send, "start", {"id": prediction_id, "status": "processing"})
            await self._complete(send, Run(prediction_id, inputs, []), BROKEN_PIPE)
            return
        run = Run(prediction_id, inputs, self.running)
        gone = asyncio.create_task(_until_gone(receive, run))
        if what == "late":
            self._late.append(run)
            await run.let_go.wait()
            self._late.remove(run)
            run.let_go.clear()
        if self.shows_previews and context.get("previews") == "on":
            usual = [preview(run.prompt, index) for index in _indexes(run)]
            run.previews = self.shown.get(run.prompt, usual)
        self.runs.append(run)
        self._running.append(run)
        self.most_at_once = max(self.most_at_once, len(self._running))
        if run.prompt in self._free and what in ("hold", "trip"):
            run.let_go.set()
        try:
            await self._run(run, what, send)
        finally:
            gone.cancel()
            self._running.remove(run)

    async def _run(self, run: Run, what: str, send: Send) -> None:
        await _begin(send)
        await _event(send, "start", {"id": run.id, "status": "processing"})
        if what == "garbage":
            await _send(send, b"event: log\ndata: {half of\n\n")
            await run.let_go.wait()
            return
        if what == "strange":
            await _event(send, "metric", {"mode": "replace", "name": "progress"})
            await run.let_go.wait()
            return
        await _event(send, "log", {"data": f"drawing {run.prompt}\n", "source": "stdout"})
        if self.adapters is not None:
            await _metric(send, "adapters", self.adapters)
        if self.models:
            await _metric(send, "models", self.models)
        await _metric(send, "progress", {"step": 1, "steps": 2, "seconds_left": 0.5})
        for shown in run.previews:
            await _metric(send, "preview", shown)
        if what in ("note", "note much"):
            await _metric(
                send, "notes", NOTES if what == "note" else [f"prompt: {'狐' * 1000}"] * 2
            )
        if what in ("warming", "warm"):
            await _metric(send, "warming", what == "warming")
        if what == "break":
            raise ConnectionError("it is meant to break")
        if what == "die":
            self.status = "UNHEALTHY"
            for running in self._running:
                running.status = "crashed"
                running.let_go.set()
        if what == "slow":
            await within(run.let_go, SLOW_SECONDS)
        if what in ("hold", "late", "trip") and not run.hung_up:
            await run.let_go.wait()
        if run.status == "crashed":
            await self._complete(send, run, "Worker crashed")
        elif run.cancelled and what == "trip":
            await self._complete(send, run, TRIPPED)
        elif run.cancelled:
            run.status = "canceled"
            await self._complete(send, run)
        elif what in FAILURES:
            kind, reason = FAILURES[what]
            if kind == "nsfw":
                await _metric(send, "images", [_image(run, index) for index in _indexes(run)])
            if kind:
                await _metric(send, "failure", kind)
            await self._complete(send, run, f"Prediction failed: Async prediction failed: {reason}")
        else:
            await self._draw(send, run, what)

    async def _draw(self, send: Send, run: Run, what: str) -> None:
        files = []
        for index in _indexes(run):
            picture = pixels(run.prompt, run.input["seed"], index)
            files.append(_image(run, index, f"{index}-{run.id}.png"))
            await _metric(send, "images", files)
            url = data_url(picture)
            await _event(send, "output", {"chunk": "some text" if what == "no picture" else url})
        if what == "show late":
            for shown in run.previews:
                await _metric(send, "preview", shown)
            await _event(send, "log", {"data": "late\n", "source": "stdout"})
            await run.let_go.wait()
        await _event(send, "log", {"data": "step 2 of 2, 0 s left\n", "source": "stdout"})
        await _metric(send, "progress", {"step": 2, "steps": 2, "seconds_left": 0.0})
        if self.measured is not None:
            await _metric(send, "engine", self.measured)
        run.status = "succeeded"
        await self._complete(send, run)

    async def _complete(self, send: Send, run: Run, error: str | None = None) -> None:
        document: dict[str, Any] = {"id": run.id, "status": run.status}
        if error is not None:
            document |= {"status": "failed", "error": error}
        metrics: dict[str, Any] = {"predict_time": 0.25}
        if run.previews:  # as each metric's last value is
            metrics["preview"] = run.previews[-1]
        document |= {"logs": f"drawing {run.prompt}\n", "metrics": metrics}
        await _event(send, "completed", document)
        await _send(send, b"", more=False)


def _indexes(run: Run) -> range:
    return range(run.input.get("num_images", 1))


def _image(run: Run, index: int, file: str | None = None) -> dict[str, Any]:
    """Return an entry of the metric `images`: flagged, if it has no file."""
    seed = run.input["seed"] + index
    return {"index": index, "seed": seed, "nsfw": None if file else True, "file": file}


async def _until_gone(receive: Receive, run: Run) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    run.hung_up = run.cancelled = True
    run.let_go.set()


async def _answer(
    send: Send, status: int, document: Any, more: Mapping[str, str] | None = None
) -> None:
    named = {"content-type": "application/json", **(more or {})}
    headers = [(name.encode(), text.encode()) for name, text in named.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await _send(send, json.dumps(document).encode(), more=False)


async def _begin(send: Send) -> None:
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _metric(send: Send, name: str, value: Any) -> None:
    await _event(send, "metric", {"mode": "replace", "name": name, "value": value})


async def _event(send: Send, kind: str, data: Any) -> None:
    await _send(send, f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode())


async def _send(send: Send, data: bytes, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})
