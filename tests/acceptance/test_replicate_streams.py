"""What happens to a prediction, told by Replicate's own client while it does."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from PIL import Image
from replicate.client import Client
from replicate.helpers import FileOutput
from replicate.prediction import Prediction
from replicate.stream import EventSource, ServerSentEvent

from tests.support.front import said
from tests.support.front_process import (
    TEXT_TO_IMAGE,
    Front,
    ask,
    endless_prediction,
    picture,
    small,
)
from tests.support.pictures import same


def kinds(events: list[ServerSentEvent]) -> list[str]:
    return [event.event.value for event in events]


def logs(events: list[ServerSentEvent]) -> str:
    return "".join(event.data for event in events if event.event.value == "logs")


@dataclass(frozen=True)
class Stream:
    """Reads streams without a token, by the client's own reader."""

    http: httpx.Client
    client: Client

    def events(self, prediction: Prediction, since: str | None = None) -> Iterator[ServerSentEvent]:
        """The events from the beginning, or from the one after an id on."""
        assert prediction.urls is not None
        headers = {} if since is None else {"Last-Event-ID": since}
        with self.http.stream("GET", prediction.urls["stream"], headers=headers) as response:
            assert response.status_code == 200
            yield from EventSource(self.client, response)


@pytest.fixture
def stream(front: Front, client: Client) -> Iterator[Stream]:
    with front.http() as http:
        yield Stream(http, client)


def test_logs_and_pictures_come_one_by_one(client: Client) -> None:
    events = list(client.stream(TEXT_TO_IMAGE, input=small(num_outputs=2)))
    assert set(kinds(events)[:-3]) == {"logs"}
    assert kinds(events)[-3:] == ["output", "output", "done"]
    assert said(logs(events)) == "seed 1\n"
    assert "1/3" in logs(events)
    assert logs(events) == client.predictions.list()[0].logs
    drawn = client.run(TEXT_TO_IMAGE, small(num_outputs=2))
    links = [event.data for event in events if event.event.value == "output"]
    pictures = [picture(FileOutput(link, client)) for link in links]
    assert [same(one, picture(other)) for one, other in zip(pictures, drawn, strict=True)] == [
        True,
        True,
    ]


def test_previews_come_while_it_runs_to_who_asks_for_them(front: Front, client: Client) -> None:
    with endless_prediction(client) as prediction, front.http() as http:
        assert prediction.urls is not None
        url = f"{prediction.urls['stream']}&previews=true"
        shown: list[Image.Image] = []
        with http.stream("GET", url) as answer:
            for line in answer.iter_lines():
                if line.startswith('data: {"index"'):
                    url = json.loads(line.removeprefix("data: "))["url"]
                    shown.append(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))
                if len(shown) == 2:
                    break
        assert "image/webp" not in http.get(prediction.urls["web"]).text
    assert [(one.format, one.size) for one in shown] == [("WEBP", (128, 128))] * 2


def test_a_finished_prediction_can_still_be_streamed(client: Client) -> None:
    prediction = ask(client, small(), wait=60)
    events = list(prediction.stream())
    assert kinds(events) == ["logs", "output", "done"]
    assert logs(events) == prediction.logs
    assert events[-1].data == "{}"


def test_events_come_while_it_runs_and_say_when_it_is_canceled(client: Client) -> None:
    with endless_prediction(client) as prediction:
        events = prediction.stream()
        first = next(events)
        assert client.predictions.get(prediction.id).status == "processing"
        prediction.cancel()
        rest = list(events)
    assert first.event.value == "logs"
    assert kinds(rest)[-1] == "done"
    assert rest[-1].data == '{"reason": "canceled"}'
    assert "output" not in kinds(rest)


def test_a_failing_prediction_is_an_error(client: Client) -> None:
    inputs = small(mask="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=")
    words = "mask: there is no image to repaint"
    with pytest.raises(RuntimeError, match=words):
        list(client.stream(TEXT_TO_IMAGE, input=inputs))
    prediction = ask(client, inputs)
    prediction.wait()
    assert (prediction.status, words in str(prediction.error)) == ("failed", True)
    with pytest.raises(RuntimeError, match=words):
        list(prediction.stream())


def test_who_has_the_link_needs_no_token(stream: Stream, bob: Client) -> None:
    prediction = ask(bob, small())
    assert kinds(list(stream.events(prediction)))[-2:] == ["output", "done"]


def test_a_changed_link_does(front: Front, client: Client, bob: Client) -> None:
    prediction, other = (ask(client, small(), wait=60) for _ in range(2))
    assert prediction.urls is not None
    url = prediction.urls["stream"]
    last = url[-1]
    changed = [
        url[:-1] + ("0" if last != "0" else "1"),
        url.replace("expires=", "expires=9"),
        url.replace(prediction.id, other.id),
        url.partition("?")[0],
    ]
    with front.http() as http, front.http("bob") as foreign, front.http("ada") as own:
        assert http.get(url).status_code == 200
        for one in changed:
            assert http.get(one).status_code == 401
            assert foreign.get(one).status_code == 404
            assert own.get(one).text.endswith("\n\n")


def test_a_stream_goes_on_after_any_event(stream: Stream, client: Client) -> None:
    for inputs in (small(num_outputs=2), small(num_inference_steps=1)):
        prediction = ask(client, inputs, wait=60)
        whole = list(stream.events(prediction))
        for place, event in enumerate(whole[:-1]):
            rest = list(stream.events(prediction, since=event.id))
            assert kinds(rest) == kinds(whole[place + 1 :])
            assert logs(whole[: place + 1]) + logs(rest) == prediction.logs


def test_a_stream_that_broke_off_while_it_ran_goes_on(stream: Stream, client: Client) -> None:
    prediction = ask(client, small(num_inference_steps=20))
    read: list[ServerSentEvent] = []
    since = None
    while "done" not in kinds(read):
        # Whoever reads this hangs up after each event.
        events = stream.events(prediction, since)
        read.append(next(events))
        events.close()  # type: ignore[attr-defined]
        since = read[-1].id
    prediction.reload()
    assert prediction.status == "succeeded"
    assert logs(read) == prediction.logs
    assert kinds(read).count("output") == 1
