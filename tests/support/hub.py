"""A small Hugging Face hub on this machine; its files are noise of a few kilobytes."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from typing import Any
from urllib.parse import unquote, urlsplit

FIRST, SECOND = "1" * 40, "2" * 40

CONFIGURATIONS = (
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "unet/config.json",
    "vae/config.json",
)
UNET = "unet/diffusion_pytorch_model.fp16.safetensors"
HALF = ("text_encoder/model.fp16.safetensors", UNET, "vae/diffusion_pytorch_model.fp16.safetensors")
FULL = tuple(file.replace(".fp16", "") for file in HALF)
OTHERS = (
    "README.md",
    "feature_extractor/preprocessor_config.json",
    "safety_checker/config.json",
    "safety_checker/model.fp16.safetensors",
    "text_encoder/onnx/config.json",
    "text_encoder/pytorch_model.bin",
    "unet/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.fp16.bin",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/diffusion_pytorch_model.safetensors.index.json",
    "v2-1_768-ema-pruned.ckpt",
    "v2-1_768-ema-pruned.safetensors",
    "vae/diffusion_pytorch_model.bin",
)
INDEX = "model_index.json"
EVERYTHING = (*CONFIGURATIONS, *HALF, *FULL, *OTHERS, INDEX)
LOADED = (*CONFIGURATIONS, *HALF, INDEX)


def contents(*files: str, edition: str = "") -> dict[str, bytes]:
    """Noise for each file, the same for the same file and edition."""
    return {file: hashlib.shake_256((edition + file).encode()).digest(3000) for file in files}


def record(content: bytes) -> dict[str, Any]:
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


class Hub(ThreadingHTTPServer):
    """A hub, as far as a download asks; every repository in it has the same commits.

    commits: content of each file, by revision; `main` is the revision of that branch.
    broken: content of files that is not what the listing says.
    refusals: status and headers of the answer to every path that starts so.
    answers: content of the answer to every path that starts so, with status 200.
    breaks: of a file, after how many bytes the connection breaks, for one request after another.
    held: a file of which the hub sends the half, then sets `waiting` and no more is heard of it.
    listed, sent: repository and revision of each listing asked for; file and range of each file.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.commits = {FIRST: contents(*EVERYTHING)}
        self.main = FIRST
        self.broken: dict[str, bytes] = {}
        self.refusals: dict[str, tuple[int, dict[str, str]]] = {}
        self.answers: dict[str, bytes] = {}
        self.breaks: dict[str, Iterator[int]] = {}
        self.held, self.waiting = "", threading.Event()
        self.ranges = True
        self.token: str | None = None
        self.listed: list[tuple[str, str]] = []
        self.sent: list[tuple[str, str | None]] = []

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class Page(BaseHTTPRequestHandler):
    """One request."""

    server: Hub

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        refused = [
            answer for start, answer in self.server.refusals.items() if path.startswith(start)
        ]
        answers = [body for start, body in self.server.answers.items() if path.startswith(start)]
        if refused:
            self._answer(*refused[0], content=b"It went wrong\n  at line 1\n")
        elif answers:
            self._answer(200, {}, content=answers[0])
        elif match := re.fullmatch("/api/models/(.+/.+)/revision/(.+)", path):
            self._list(match[1], match[2], sizes="blobs=true" in url.query)
        elif match := re.fullmatch("/.+/.+/resolve/([0-9a-f]{40})/(.+)", path):
            self._resolve(match[1], match[2])
        elif match := re.fullmatch("/network/([0-9a-f]{40})/(.+)", path):
            self._send(match[1], match[2])
        else:
            self._answer(404, {})

    def _list(self, repository: str, name: str, sizes: bool) -> None:
        self.server.listed.append((repository, name))
        revision = self.server.main if name == "main" else name
        if revision not in self.server.commits:
            self._answer(404, {"X-Error-Code": "RevisionNotFound"})
            return
        siblings: list[dict[str, Any]] = []
        for file, content in self.server.commits[revision].items():
            sibling: dict[str, Any] = {"rfilename": file}
            if sizes:
                sibling["size"] = len(content)
                if is_large(file):
                    sibling["lfs"] = record(content) | {"pointerSize": 134}
            siblings.append(sibling)
        listing = {"id": repository, "sha": revision, "siblings": siblings}
        self._answer(200, {}, json.dumps(listing).encode())

    def _resolve(self, revision: str, file: str) -> None:
        if self.server.token and self.headers["Authorization"] != f"Bearer {self.server.token}":
            self._answer(401, {"X-Error-Code": "GatedRepo"})
        elif is_large(file):
            self._answer(302, {"Location": f"{self.server.url}/network/{revision}/{file}"})
        else:
            self._send(revision, file)

    def _send(self, revision: str, file: str) -> None:
        content = self.server.broken.get(file) or self.server.commits[revision][file]
        asked = self.headers["Range"]
        self.server.sent.append((file, asked))
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if not self.server.ranges:
            start = 0
        headers = {"X-Repo-Commit": revision, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        if start >= len(content):
            self._answer(416, headers | {"Content-Range": f"bytes */{len(content)}"})
            return
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if file == self.server.held:
            end = len(content) // 2
        else:
            end = start + next(self.server.breaks.get(file, repeat(len(content))))
        self._answer(206 if start else 200, headers, content[start:], sent=content[start:end])
        if file == self.server.held:
            self.server.waiting.set()
            self.rfile.read()  # until the other side has gone

    def _answer(
        self, status: int, headers: dict[str, str], content: bytes = b"", sent: bytes | None = None
    ) -> None:
        self.send_response(status)
        for header, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(content if sent is None else sent)

    def log_message(self, *_: object) -> None:
        pass


def is_large(file: str) -> bool:
    return file.endswith((".safetensors", ".bin", ".ckpt"))
