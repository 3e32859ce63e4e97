from __future__ import annotations

import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from hosting import log
from hosting.backends import servers


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Puts back what `configure` changes."""
    root, ours = logging.getLogger(), logging.getLogger("hosting")
    before = root.handlers[:], root.level, ours.handlers[:], ours.level, ours.propagate
    yield
    root.handlers, root.level, ours.handlers, ours.level, ours.propagate = before
    logging.captureWarnings(False)


def output(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> io.StringIO:
    monkeypatch.setattr(sys, "stdout", stream)
    log.configure()
    return stream


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    """What each line says."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def fail() -> None:
    raise RuntimeError("of two\nlines")


def test_an_event_is_a_line_with_its_level_and_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = output(monkeypatch, io.StringIO())
    log.info("started", prediction="abc")
    log.warning("not saved", prediction="abc", reason="the disk is full")
    first, second = events(stream)
    assert first.pop("time") > 1.7e9
    assert first == {"level": "info", "event": "started", "prediction": "abc"}
    assert (second["level"], second["reason"]) == ("warning", "the disk is full")


def test_a_traceback_is_inside_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = output(monkeypatch, io.StringIO())
    try:
        fail()
    except RuntimeError as error:
        log.error("its run went wrong", exception=error, prediction="abc")
        logging.getLogger("uvicorn.error").exception("Exception in %s application", "ASGI")
    ours, theirs = events(stream)
    for event in (ours, theirs):
        assert event["level"] == "error"
        assert event["exception"].startswith("Traceback")
        assert event["exception"].endswith("RuntimeError: of two\nlines")
    assert (ours["event"], ours["prediction"]) == ("its run went wrong", "abc")
    assert theirs["event"] == "Exception in ASGI application"


def test_what_libraries_warn_of_is_a_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = output(monkeypatch, io.StringIO())
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old", UserWarning, stacklevel=1)
    logging.getLogger("httpx2").info("nobody wants to know")
    (event,) = events(stream)
    assert event["level"] == "warning"
    assert "UserWarning: old" in event["event"]


def test_no_field_takes_the_place_of_the_event(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = output(monkeypatch, io.StringIO())
    log.log(logging.INFO, "100 % done", {"event": "another", "level": "none", "name": "x"})
    (event,) = events(stream)
    assert (event["event"], event["level"], event["name"]) == ("100 % done", "info", "x")


def test_a_terminal_has_text(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = output(monkeypatch, Terminal())
    log.info("started", prediction="a\x1b[31m")
    try:
        fail()
    except RuntimeError as error:
        log.error("its run went wrong", exception=error)
    first, second, *traceback = stream.getvalue().splitlines()
    assert first[8:] == " started prediction=a�[31m"
    assert second[8:] == " ERROR: its run went wrong"
    assert traceback[-2:] == ["RuntimeError: of two", "lines"]


def test_nothing_happens_when_nobody_reads_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    output(monkeypatch, Gone())
    log.info("started")
    assert capsys.readouterr().err == ""


def test_what_a_cog_server_says_keeps_its_level(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = output(monkeypatch, io.StringIO())
    said = {"level": "ERROR", "fields": {"message": "Worker crashed", "prediction_id": "abc-1"}}
    servers._log_line("demo", json.dumps(said))
    servers._log_line("demo", "no JSON")
    first, second = events(stream)
    assert (first["level"], first["event"]) == ("error", "Worker crashed")
    assert (first["prediction"], first["server"]) == ("abc", "demo")
    assert (second["level"], second["event"]) == ("info", "no JSON")
