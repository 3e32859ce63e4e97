"""The trace of a prediction, by the spans that come out of a front."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from hosting import tracing
from hosting.storage import predictions
from tests.support import traces
from tests.support.front import Front, front, wait_until
from tests.support.traces import Spans, id_of, parent_of, trace_of
from tools.fake_cog import MEASURED, CogServer, pixels
from tools.trace_collector import Collector

MODEL = "stability-ai/stable-diffusion-img2img"
PATH = f"/v1/models/{MODEL}/predictions"
ROUTE = "/v1/models/{owner}/{name}/predictions"
TRACE, CLIENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{TRACE}-{CLIENT}-01"}
NOT_SAMPLED = {"traceparent": f"00-{TRACE}-{CLIENT}-00"}
SECRET = "a fox in a secret place"
LOCAL: dict[str, Any] = {"allowed_networks": ("127.0.0.0/8",)}


@pytest.fixture
def cog() -> Iterator[CogServer]:
    with CogServer(slots=2).served() as cog:
        yield cog


@pytest.fixture
def spans() -> Iterator[Spans]:
    with traces.kept() as spans:
        yield spans


@pytest.fixture
def one(spans: Spans, cog: CogServer, tmp_path: Path) -> Iterator[Front]:
    with front(tmp_path, cog, **LOCAL) as one:
        yield one


@dataclass
class Elsewhere:
    """A web server that takes webhooks, and has a picture."""

    url: str
    status: int = 200
    calls: list[dict[str, str]] = field(default_factory=list)
    """The headers of the webhooks, their names in small letters."""


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200 if self.path.startswith("/fox.png") else 404, pixels("fox", 1))

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            found.calls.append({name.lower(): text for name, text in self.headers.items()})
            self.answer(found.status, b"")

        def answer(self, status: int, data: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Elsewhere(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield found
        server.shutdown()
        thread.join()


def ask(
    one: Front, prompt: str = SECRET, headers: dict[str, str] = SAMPLED, **fields: Any
) -> dict[str, Any]:
    """A prediction's document when it is over."""
    inputs = {"prompt": prompt, **fields.pop("input", {})}
    body = {"input": inputs, **fields}
    answer = one.client.post(PATH, json=body, headers={"prefer": "wait", **headers})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_one_trace_leads_from_the_client_to_the_webhook(
    one: Front, cog: CogServer, spans: Spans, elsewhere: Elsewhere
) -> None:
    cog.measured = MEASURED
    webhook: dict[str, Any] = {
        "webhook": f"{elsewhere.url}/hook?key=s3cret",
        "webhook_events_filter": ["completed"],
    }
    picture = {"image": f"{elsewhere.url}/fox.png?key=s3cret", "num_inference_steps": 20}
    done = ask(one, input=picture, **webhook)
    called = spans.one("POST webhook")
    asked, prediction = spans.one(f"POST {ROUTE}"), spans.one("prediction")
    wait, download, run = (spans.one(name) for name in ("queue", "download", "generate_content"))
    assert {trace_of(span) for span in spans.all()} == {TRACE}
    assert asked.parent is not None
    assert f"{asked.parent.span_id:016x}" == CLIENT
    assert parent_of(prediction) == id_of(asked)
    for span in (wait, download, run, called):
        assert parent_of(span) == id_of(prediction)
    phases = [span for span in spans.all() if parent_of(span) == id_of(run)]
    assert [span.name for span in phases] == ["read", "encode text", "denoise", "decode"]
    (hook,) = elsewhere.calls
    assert hook["traceparent"] == f"00-{TRACE}-{id_of(called):016x}-01"
    (sent,) = [one for one in cog.received if one.method == "PUT"]
    assert sent.headers["traceparent"] == f"00-{TRACE}-{id_of(run):016x}-01"
    for text in (SECRET, "s3cret", "data:"):
        assert text not in spans.texts()
    assert dict(prediction.attributes or {}) == {
        "stable_diffusion.prediction.id": done["id"],
        "stable_diffusion.prediction.status": "succeeded",
        "stable_diffusion.prediction.attempt": 1,
        "stable_diffusion.task": "img2img",
        "gen_ai.request.model": MODEL,
    }


def test_the_names_and_attributes_are_the_standards(
    one: Front, cog: CogServer, spans: Spans, elsewhere: Elsewhere
) -> None:
    cog.measured = MEASURED
    ask(
        one,
        input={"num_inference_steps": 20, "seed": 5, "num_outputs": 2},
        webhook=elsewhere.url,
        webhook_events_filter=["completed"],
    )
    called = spans.one("POST webhook")
    asked, run, denoise = (spans.one(n) for n in (f"POST {ROUTE}", "generate_content", "denoise"))
    assert (asked.kind, run.kind, called.kind) == (
        SpanKind.SERVER,
        SpanKind.CLIENT,
        SpanKind.CLIENT,
    )
    assert asked.attributes
    assert asked.attributes["http.request.method"] == "POST"
    assert asked.attributes["http.route"] == ROUTE
    assert asked.attributes["url.path"] == PATH
    assert asked.attributes["http.response.status_code"] == 201
    assert run.name == f"generate_content {MODEL}"
    assert run.attributes
    assert {name: run.attributes[name] for name in run.attributes if name.startswith("gen_ai")} == {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "stable_diffusion",
        "gen_ai.request.model": MODEL,
        "gen_ai.response.model": "stable-diffusion-2-1",
        "gen_ai.output.type": "image",
        "gen_ai.request.choice.count": 2,
        "gen_ai.request.seed": 5,
    }
    assert run.attributes["stable_diffusion.prediction.status"] == "succeeded"
    assert denoise.attributes == {
        "stable_diffusion.steps": 20,
        "stable_diffusion.calls": 20,
        "stable_diffusion.replays": 10,
        "stable_diffusion.rows_per_call": 3.5,
    }
    assert called.attributes == {
        "http.request.method": "POST",
        "server.address": "127.0.0.1",
        "server.port": int(elsewhere.url.rpartition(":")[2]),
        "http.response.status_code": 200,
    }
    assert spans.all()[0].resource.attributes["service.name"] == "stable-diffusion"


def test_the_times_are_those_of_the_prediction_and_nothing_ends_before_it_began(
    one: Front, cog: CogServer, spans: Spans
) -> None:
    cog.measured = {
        **MEASURED,
        "phases": [
            {"name": "read", "start": 0, "end": 0.0001},
            {"name": "denoise", "start": 0.0002, "end": 1e6},
        ],
    }
    before = time.time()
    ask(one)
    prediction, run = spans.one("prediction"), spans.one("generate_content")
    after = time.time()
    for span in spans.all():
        assert span.start_time is not None
        assert span.end_time is not None
        assert before - 0.01 <= span.start_time / 1e9 <= span.end_time / 1e9 <= after + 0.01
    assert prediction.start_time is not None
    assert run.start_time is not None
    assert run.start_time >= prediction.start_time
    denoise = spans.one("denoise")
    assert denoise.end_time is not None
    assert run.end_time is not None
    assert denoise.end_time <= run.end_time


def test_a_client_that_traces_nothing_begins_a_trace(one: Front, spans: Spans) -> None:
    ask(one, headers={})
    prediction = spans.one("prediction")
    assert trace_of(prediction) != TRACE
    assert spans.one(f"POST {ROUTE}").parent is None


def test_what_the_client_does_not_sample_is_not_sampled_here(
    one: Front, cog: CogServer, spans: Spans, elsewhere: Elsewhere
) -> None:
    cog.measured = MEASURED
    ask(one, headers=NOT_SAMPLED, webhook=elsewhere.url, webhook_events_filter=["completed"])
    wait_until(lambda: elsewhere.calls)
    assert spans.all() == []
    version, trace, _, flags = elsewhere.calls[0]["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "00")


def test_a_prediction_that_another_front_goes_on_with_is_in_the_same_trace(
    spans: Spans, cog: CogServer, tmp_path: Path
) -> None:
    cog.tell("slow", "hold", "succeed")
    with front(tmp_path, cog, stop_seconds=0.1) as one:
        body = {"input": {"prompt": "slow"}}
        asked = one.client.post(PATH, json=body, headers=SAMPLED).json()
        wait_until(lambda: cog.running)
    with front(tmp_path, cog) as other:
        wait_until(
            lambda: (
                other.client.get(f"/v1/predictions/{asked['id']}").json()["status"] == "succeeded"
            )
        )
        prediction = spans.one("prediction")
    first, second = spans.named("generate_content")
    assert parent_of(first) == parent_of(second) == id_of(prediction)
    assert parent_of(prediction) == id_of(spans.one(f"POST {ROUTE}"))
    assert {trace_of(one) for one in (first, second, prediction)} == {TRACE}
    attempts = [
        (one.attributes or {})["stable_diffusion.prediction.attempt"] for one in (first, second)
    ]
    assert attempts == [1, 2]
    assert (first.attributes or {})["error.type"] == "requeued"
    assert second.status.status_code is StatusCode.UNSET
    assert len(spans.named("queue")) == 1


def test_each_run_after_a_crash_is_a_span(one: Front, cog: CogServer, spans: Spans) -> None:
    cog.tell("unlucky", "die", "break", "succeed")
    assert ask(one, "unlucky")["status"] == "succeeded"
    spans.one("prediction")
    runs = spans.named("generate_content")
    assert [(one.attributes or {}).get("error.type") for one in runs] == [
        "crashed",
        "crashed",
        None,
    ]


@pytest.mark.parametrize(
    ("what", "kind"), [("fail", "inputs"), ("nsfw", "nsfw"), ("err", "internal")]
)
def test_what_fails_says_of_which_kind_and_not_why(
    one: Front, cog: CogServer, spans: Spans, what: str, kind: str
) -> None:
    cog.tell(SECRET, what)
    error = ask(one)["error"]
    for span in (spans.one("prediction"), spans.one("generate_content")):
        assert (span.attributes or {})["error.type"] == kind
        assert span.status.status_code is StatusCode.ERROR
        assert not span.status.description
        assert not span.events
    assert error not in spans.texts()


def test_one_that_is_cancelled_while_it_waits_has_a_span(
    one: Front, cog: CogServer, spans: Spans
) -> None:
    cog.tell("slow", "hold")
    for _ in range(2):
        one.client.post(PATH, json={"input": {"prompt": "slow"}})
    wait_until(lambda: len(cog.running) == 2)
    body = {"input": {"prompt": "fox"}}
    waiting = one.client.post(PATH, json=body, headers=SAMPLED).json()
    one.client.post(f"/v1/predictions/{waiting['id']}/cancel")
    prediction = spans.one("prediction")
    assert (prediction.attributes or {})["stable_diffusion.prediction.status"] == "canceled"
    assert trace_of(prediction) == TRACE
    cog.let_go("slow")


def test_a_download_that_fails_is_seen(one: Front, spans: Spans, elsewhere: Elsewhere) -> None:
    ask(one, input={"image": f"{elsewhere.url}/gone.png"})
    download, prediction = spans.one("download"), spans.one("prediction")
    assert (download.attributes or {})["error.type"] == "FetchError"
    assert (prediction.attributes or {})["error.type"] == "inputs"
    assert "gone.png" not in spans.texts()


def test_a_webhook_that_nobody_takes_is_seen(
    one: Front, spans: Spans, elsewhere: Elsewhere
) -> None:
    elsewhere.status = 500
    ask(one, webhook=elsewhere.url, webhook_events_filter=["completed"])
    wait_until(lambda: spans.named("POST webhook"))
    called = spans.named("POST webhook")[0]
    assert (called.attributes or {})["error.type"] == "500"
    assert called.status.status_code is StatusCode.ERROR


def test_searches_signatures_and_shares_are_left_out_of_urls(one: Front, spans: Spans) -> None:
    done = ask(one)
    assert one.client.get(done["output"][0]).status_code == 200
    one.client.get("/v1/predictions", params={"cursor": SECRET})
    made = one.client.post(f"/v1/predictions/{done['id']}/shares", json={}).json()
    assert one.client.get(made["url"]).status_code == 200
    assert one.client.delete(f"/v1/shares/{made['id']}").status_code == 204
    wait_until(lambda: len(spans.named("GET")) == 3 and spans.named("DELETE"))
    told = spans.texts()
    assert made["id"] not in told
    assert "signature=" not in told
    assert "secret" not in told
    assert "/s/REDACTED" in told


def test_what_is_asked_for_all_the_time_has_no_trace(one: Front, spans: Spans) -> None:
    for path in ("/health", "/metrics", "/form/style.css"):
        assert one.client.get(path, headers=SAMPLED).status_code in (200, 503)
    assert spans.all() == []


def test_without_a_setting_nothing_is_traced_kept_or_sent(
    cog: CogServer, tmp_path: Path, elsewhere: Elsewhere
) -> None:
    assert tracing.provider() is None
    cog.measured = MEASURED
    with front(tmp_path, cog, **LOCAL) as one:
        done = ask(one, webhook=elsewhere.url, webhook_events_filter=["completed"])
        wait_until(lambda: elsewhere.calls)
        assert "traceparent" not in elsewhere.calls[0]
        assert all("traceparent" not in one.headers for one in cog.received)
        found = one.database.write_now(predictions.find, done["id"])
        assert found is not None
        assert found.traceparent is None


def test_a_trace_of_before_ends_where_traces_are_turned_off(
    cog: CogServer, tmp_path: Path, elsewhere: Elsewhere
) -> None:
    cog.tell("slow", "hold", "succeed")
    hook = {"webhook": elsewhere.url, "webhook_events_filter": ["completed"]}
    with traces.kept() as spans, front(tmp_path, cog, stop_seconds=0.1, **LOCAL) as one:
        body = {"input": {"prompt": "slow"}, **hook}
        assert one.client.post(PATH, json=body, headers=SAMPLED).status_code == 201
        wait_until(lambda: cog.running)
    before = len(spans.all())
    with front(tmp_path, cog, **LOCAL):
        wait_until(lambda: elsewhere.calls)
    assert "traceparent" not in elsewhere.calls[0]
    assert len(spans.all()) == before


@contextmanager
def configured(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Iterator[None]:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    tracing.configure()
    try:
        yield
    finally:
        tracing.close()


def test_a_collector_that_is_down_hurts_no_prediction(
    cog: CogServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cog.measured = MEASURED
    nowhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_SCHEDULE_DELAY": "10"}
    with configured(monkeypatch, **nowhere):
        assert tracing.provider() is not None
        with front(tmp_path, cog) as one:
            for _ in range(3):
                start = time.monotonic()
                assert ask(one)["status"] == "succeeded"
                assert time.monotonic() - start < 5
        start = time.monotonic()
        tracing.close()
        assert time.monotonic() - start < 5


def test_spans_come_to_a_collector(
    cog: CogServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cog.measured = MEASURED
    with Collector() as collector:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        with configured(monkeypatch, **variables), front(tmp_path, cog) as one:
            ask(one)
        names = {span.name for span in collector.spans}
        assert {"prediction", "queue", f"generate_content {MODEL}", "denoise"} <= names
        assert {span.trace_id for span in collector.spans} == {TRACE}
