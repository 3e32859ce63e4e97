from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import pytest

from hosting import tracing
from hosting.trace_provider import exporting

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


@pytest.fixture(autouse=True)
def _off_again() -> Iterator[None]:
    yield
    tracing.close()


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_SERVICE_NAME": "fox"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_traces_are_off_unless_they_are_asked_for(
    variables: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    tracing.configure(variables)
    assert tracing.provider() is None
    assert tracing.headers() == {}
    assert tracing.traceparent() is None
    assert not caplog.records


@pytest.mark.parametrize(
    "variables",
    [
        ENDPOINT,
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"},
        {"OTEL_TRACES_EXPORTER": "otlp"},
    ],
)
def test_each_of_the_standard_variables_asks_for_them(variables: dict[str, str]) -> None:
    tracing.configure(variables)
    assert tracing.provider() is not None


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER is 'zipkin'; give otlp or none"),
        (
            {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'; give http/protobuf, or leave it empty",
        ),
    ],
)
def test_what_is_not_there_is_said_in_one_line(
    variables: dict[str, str], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    tracing.configure(variables)
    assert tracing.provider() is None
    (said,) = caplog.records
    assert (said.levelno, said.getMessage()) == (logging.WARNING, "no traces")
    assert vars(said)["fields"] == {"reason": reason}


def test_without_the_library_it_is_said_in_one_line_what_to_install(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr("hosting.trace_provider")
    monkeypatch.delitem(sys.modules, "hosting.trace_provider")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    tracing.configure(ENDPOINT)
    assert tracing.provider() is None
    (said,) = caplog.records
    assert "requirements-tracing.txt" in vars(said)["fields"]["reason"]


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "stable-diffusion"),
        ({"OTEL_SERVICE_NAME": "fox"}, "fox"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=owl,deployment.environment.name=here"}, "owl"),
    ],
)
def test_the_service_has_the_name_that_it_is_given(
    variables: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    provider = exporting({})
    assert provider.resource.attributes["service.name"] == name
    provider.shutdown()


def test_the_sampler_is_the_one_of_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    provider = exporting({})
    assert not provider.tracer.start_span("fox").is_recording()
    provider.shutdown()
