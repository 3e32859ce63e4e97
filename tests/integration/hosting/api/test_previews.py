"""Previews: in the event stream of who asks for them, and nowhere else."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, select
from sqlalchemy.orm import Session

from tests.support.front import Front, front, wait_until
from tools.fake_cog import CogServer, preview

MODEL = "stability-ai/stable-diffusion"
VERSION = "27b93a2413e7f36cd83da926f3656280b2931564ff050bf9575f1fdf9bcd7478"
"""One of its versions that made up to ten images."""
WEBP = "image/webp"


@pytest.fixture
def cog(everywhere: None) -> Iterator[CogServer]:
    with CogServer().served() as cog:
        yield cog


@pytest.fixture
def one(cog: CogServer, tmp_path: Path) -> Iterator[Front]:
    with front(tmp_path, cog, allowed_networks=("127.0.0.0/8",)) as one:
        yield one


def ask(one: Front, prompt: str, **fields: Any) -> dict[str, Any]:
    """A prediction as the answer to its creation has it."""
    inputs = {"prompt": prompt, "seed": 7, **fields.pop("input", {})}
    asked = {"version": f"{MODEL}:{VERSION}", "input": inputs, **fields}
    answer = one.client.post("/v1/predictions", json=asked)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def events(one: Front, url: str) -> Iterator[tuple[str, str]]:
    """The kinds and data of a prediction's events, to the last."""
    with one.client.stream("GET", url) as answer:
        assert answer.status_code == 200
        kind = ""
        for line in answer.iter_lines():
            name, _, text = line.partition(": ")
            if name == "event":
                kind = text
            elif name == "data":
                yield kind, text


def previews(found: list[tuple[str, str]]) -> list[Any]:
    return [json.loads(data) for kind, data in found if kind == "preview"]


def stored(one: Front) -> str:
    """All that the database has."""

    def rows(session: Session) -> str:
        tables = MetaData()
        tables.reflect(session.connection())
        return str([session.execute(select(table)).all() for table in tables.tables.values()])

    return one.database.write_now(rows)


@contextmanager
def told() -> Iterator[tuple[str, list[str]]]:
    """The URL of a webhook, and the bodies that it is called with."""
    bodies: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            bodies.append(self.rfile.read(length).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_stream_has_previews_where_it_asks_for_them(one: Front, cog: CogServer) -> None:
    cog.tell("fox", "hold")
    asked = ask(one, "fox")
    found = []
    for event in events(one, asked["urls"]["stream"] + "&previews=true"):
        found.append(event)
        if event[0] == "preview":
            cog.let_go("fox")
    assert previews(found) == [preview("fox")]
    kinds = [kind for kind, _ in found]
    assert kinds.index("preview") < kinds.index("output") < kinds.index("done")


def test_a_stream_has_none_unasked_for(one: Front, cog: CogServer) -> None:
    cog.tell("fox", "hold")
    asked = ask(one, "fox")
    wait_until(lambda: one.services.queue.preview(asked["id"]))
    found = []
    for event in events(one, asked["urls"]["stream"]):
        found.append(event)
        cog.let_go("fox")
    assert not previews(found)
    assert {kind for kind, _ in found} == {"logs", "output", "done"}


def test_a_picture_that_is_there_has_no_preview(one: Front, cog: CogServer) -> None:
    asked = ask(one, "fox")
    wait_until(lambda: one.client.get(asked["urls"]["get"]).json()["status"] == "succeeded")
    found = list(events(one, asked["urls"]["stream"] + "&previews=true"))
    assert {kind for kind, _ in found} == {"logs", "output", "done"}
    assert not previews(found)
    assert cog.runs[0].previews


def test_a_preview_that_is_late_is_shown_to_nobody(one: Front, cog: CogServer) -> None:
    cog.tell("fox", "show late")
    asked = ask(one, "fox")
    wait_until(lambda: "late" in one.client.get(asked["urls"]["get"]).json()["logs"])
    assert one.services.queue.preview(asked["id"]) is None
    cog.let_go("fox")
    found = list(events(one, asked["urls"]["stream"] + "&previews=true"))
    assert [kind for kind, _ in found][-1] == "done"
    assert not previews(found)


def test_a_worker_that_shows_none_has_none(one: Front, cog: CogServer) -> None:
    cog.shows_previews = False
    asked = ask(one, "fox")
    assert not previews(list(events(one, asked["urls"]["stream"] + "&previews=true")))


def test_what_is_no_preview_is_shown_to_nobody(one: Front, cog: CogServer) -> None:
    good = preview("fox")["url"]
    for number, broken in enumerate(
        (
            "text",
            {"index": 0},
            {"index": -1, "url": good},
            {"index": 0.5, "url": good},
            {"index": 0, "url": "https://example.com/fox.webp"},
            {"index": 0, "url": good.replace(WEBP, "image/svg+xml")},
            {"index": 0, "url": f"{good}<script>"},
            {"index": 0, "url": f"data:image/webp;base64,{'A' * 70_000}"},
        )
    ):
        prompt = f"fox {number}"
        cog.tell(prompt, "hold")
        cog.shown[prompt] = [broken, {"index": 0, "url": good}]
        asked = ask(one, prompt)
        found = []
        for event in events(one, asked["urls"]["stream"] + "&previews=true"):
            found.append(event)
            if event[0] == "preview":
                cog.let_go(prompt)
        assert previews(found) == [{"index": 0, "url": good}], broken


def test_previews_are_of_the_images_of_the_whole_prediction(one: Front, cog: CogServer) -> None:
    cog.tell("fox", "succeed", "hold")
    asked = ask(one, "fox", input={"num_outputs": 6})
    found = []
    for event in events(one, asked["urls"]["stream"] + "&previews=true"):
        found.append(event)
        if event[0] == "preview" and json.loads(event[1])["index"] == 5:
            cog.let_go("fox")
    assert previews(found)[-1] == {**preview("fox", 1), "index": 5}


def test_no_preview_is_stored_or_in_any_answer_or_webhook(one: Front, cog: CogServer) -> None:
    cog.tell("fox", "hold")
    with told() as (hook, bodies):
        asked = ask(one, "fox", webhook=hook)
        texts = []
        wait_until(lambda: one.services.queue.preview(asked["id"]))
        paths = ["/v1/predictions", asked["urls"]["get"], asked["urls"]["web"], "/health"]
        texts += [one.client.get(path).text for path in paths]
        texts.append(stored(one))
        cog.let_go("fox")
        wait_until(lambda: any('"succeeded"' in body for body in bodies))
        texts += [one.client.get(path).text for path in paths]
        texts += [stored(one), *bodies]
    assert cog.runs[0].previews
    assert one.services.queue.preview(asked["id"]) is None
    assert all("fox" in text for text in texts if "endpoints" not in text)
    assert not any(WEBP in text or '"preview"' in text for text in texts)


def test_cogs_stream_has_no_preview(one: Front, cog: CogServer) -> None:
    asked = {"input": {"prompt": "fox", "seed": 7}, "context": {"previews": "on"}}
    told = {"accept": "text/event-stream"}
    answer = one.client.post("/predictions", json=asked, headers=told)
    assert "completed" in answer.text
    assert cog.runs[0].previews
    assert WEBP not in answer.text
