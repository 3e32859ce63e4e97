"""Draws docs/trace.png: the trace of a prediction by the demo model, as its spans came.

Run by: .venv/bin/python -m tools.trace_picture
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from cog_schema.schema import ROOT
from tools.benchmark.server import serving
from tools.trace_collector import CollectedSpan, Collector

PICTURE = ROOT / "docs" / "trace.png"
EXAMPLES = ROOT / "examples"
INPUTS = {"prompt": "a red apple", "num_inference_steps": 20, "num_images": 2, "seed": 1}
WIDTH, ROW, LABELS, MARGIN = 1100, 26, 330, 16
COLOURS = {"prediction": "#3b6ea5", "generate_content": "#8250a0", "denoise": "#c0582b"}
OTHERS = "#5b8c5a"
LONGEST_SECONDS = 60
"""Seconds until the last span has come."""


class Client(SimpleHTTPRequestHandler):
    """Has the picture that the prediction begins with, and takes its webhook."""

    def do_POST(self) -> None:
        """Take a webhook."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def main() -> None:
    """Trace a prediction, and draw its spans."""
    ordered = list(in_order(traced()))
    drawn(ordered).save(PICTURE, optimize=True)
    print(PICTURE)


def traced() -> list[CollectedSpan]:
    """Return the spans of a prediction of the demo model, with a picture and a webhook."""
    trace_id = secrets.token_hex(16)
    header = {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}
    handler = partial(Client, directory=str(EXAMPLES))
    with Collector() as collector, ThreadingHTTPServer(("127.0.0.1", 0), handler) as client:
        threading.Thread(target=client.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{client.server_port}"
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "ALLOWED_NETWORKS": "127.0.0.0/8",
            "EXECUTOR": "plain",
        }
        with serving("demo", environment) as server:
            server.predict(INPUTS)  # the first takes longer
            server.predict({**INPUTS, "image": f"{url}/flower.png"}, header, f"{url}/webhook")
            end = time.monotonic() + LONGEST_SECONDS
            while time.monotonic() < end:
                spans = [one for one in collector.spans if one.trace_id == trace_id]
                if {"prediction", "POST webhook"} <= {one.name for one in spans}:
                    break
                time.sleep(0.1)
        client.shutdown()
        return [one for one in collector.spans if one.trace_id == trace_id]


def in_order(spans: Sequence[CollectedSpan]) -> Iterator[tuple[int, CollectedSpan]]:
    """Yield spans with their depths, each before those within it, and these in order of time."""
    ids = {span.id for span in spans}

    def below(parent: str | None, depth: int) -> Iterator[tuple[int, CollectedSpan]]:
        children = [
            span
            for span in spans
            if (span.parent_id == parent if parent else span.parent_id not in ids)
        ]
        for span in sorted(children, key=lambda one: one.start):
            yield depth, span
            yield from below(span.id, depth + 1)

    return below(None, 0)


def drawn(spans: Sequence[tuple[int, CollectedSpan]]) -> Image.Image:
    """Return a picture with a row for each span, its name and its bar in time."""
    start = min(span.start for _, span in spans)
    seconds = max(span.end for _, span in spans) - start
    scale = (WIDTH - LABELS - 80 - 2 * MARGIN) / seconds
    picture = Image.new("RGB", (WIDTH, ROW * len(spans) + 2 * MARGIN), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(14)
    for number, (depth, span) in enumerate(spans):
        top = MARGIN + ROW * number
        if number % 2:
            draw.rectangle((0, top, WIDTH, top + ROW - 1), fill="#f4f4f4")
        text = short(span.name, font, LABELS - 16 * depth)
        draw.text((MARGIN + 16 * depth, top + ROW / 2), text, "#222222", font, anchor="lm")
        left = MARGIN + LABELS + scale * (span.start - start)
        right = max(left + 2, MARGIN + LABELS + scale * (span.end - start))
        colour = COLOURS.get(span.name.split(" ")[0], OTHERS)
        draw.rectangle((left, top + 6, right, top + ROW - 7), fill=colour)
        taken = f"{1000 * (span.end - span.start):.0f} ms"
        draw.text((right + 6, top + ROW / 2), taken, "#555555", font, anchor="lm")
    return picture


def short(text: str, font: Any, width: float) -> str:
    """Return a text that is no wider than some pixels."""
    while font.getlength(text) > width:
        text = text.removesuffix("…")[:-1] + "…"
    return text


if __name__ == "__main__":
    main()
