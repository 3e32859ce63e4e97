"""The trace of a prediction that the demo model draws, as a collector gets it."""

from __future__ import annotations

from pathlib import Path

from tests.support.server import start, until
from tools.trace_collector import Collector

TRACE, CLIENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_the_engines_spans_lie_in_the_run_that_lies_in_the_prediction(tmp_path: Path) -> None:
    with Collector() as collector:
        server = start(
            tmp_path, "--model", "demo", EXECUTOR="plain", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url
        )
        asked = {"input": {"prompt": "a red apple", "num_inference_steps": 5, "num_images": 2}}
        with server.ask("/predictions", asked, Traceparent=f"00-{TRACE}-{CLIENT}-01") as answer:
            assert answer.status == 200
        server.stop()
        spans = {span.name: span for span in collector.spans if span.trace_id == TRACE}
    request, prediction = spans["POST /predictions"], spans["prediction"]
    (run,) = [span for name, span in spans.items() if name.startswith("generate_content")]
    assert request.parent_id == CLIENT
    assert prediction.parent_id == request.id
    assert run.parent_id == spans["queue"].parent_id == prediction.id
    for name in ("read", "encode text", "encode image", "denoise", "decode", "finish", "save"):
        assert spans[name].parent_id == run.id
        assert run.start <= spans[name].start <= spans[name].end <= run.end
    assert prediction.start <= run.start <= run.end <= prediction.end + 0.1
    assert spans["denoise"].attributes == {
        "stable_diffusion.steps": 5,
        "stable_diffusion.calls": 5,
        "stable_diffusion.replays": 0,
        "stable_diffusion.rows_per_call": 4.0,
    }
    assert (
        run.attributes["gen_ai.response.model"],
        run.attributes["gen_ai.request.choice.count"],
    ) == (
        "demo",
        2,
    )


def test_a_server_whose_collector_is_down_draws_and_stops_in_time(tmp_path: Path) -> None:
    server = start(
        tmp_path,
        "--model",
        "demo",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        EXECUTOR="plain",
    )
    status, answer = server.predict(prompt="a red apple", num_inference_steps=2)
    assert (status, answer["status"]) == (200, "succeeded")
    server.stop()
    until(lambda: server.process.poll() is not None)
    assert sum("opentelemetry" in line or "Traceback" in line for line in server.printed) == 0
