"""The form's gallery: its predictions in pages, found by words, and as they change."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx2
import pytest
from PIL import Image

from hosting.api import limits
from hosting.api.auth import Caller
from hosting.api.form import stream
from hosting.api.view import View
from hosting.backends import thumbnailer
from hosting.queue import feed
from hosting.storage import search, tokens
from tests.support.events import Listener, listening
from tests.support.front import Front, front, wait_until
from tools.fake_cog import CogServer

MODEL = "stability-ai/stable-diffusion-img2img"
WAIT = {"prefer": "wait"}
Headers = Mapping[str, str]
NONE: Headers = MappingProxyType({})


@pytest.fixture
def cog(everywhere: None) -> Iterator[CogServer]:
    with CogServer(slots=2).served() as cog:
        yield cog


@pytest.fixture
def one(cog: CogServer, tmp_path: Path) -> Iterator[Front]:
    with front(tmp_path, cog, cog_slots=2) as one:
        yield one


def drawn(one: Front, prompt: str, headers: Headers = NONE, **inputs: Any) -> Any:
    """A prediction that is over."""
    asked = {"input": {"prompt": prompt, "seed": 7, **inputs}}
    path = f"/v1/models/{MODEL}/predictions"
    answer = one.client.post(path, json=asked, headers={**WAIT, **headers})
    assert answer.json()["status"] == "succeeded", answer.text
    return answer.json()


def begun(one: Front, prompt: str, headers: Headers = NONE) -> str:
    """The id of a prediction that was asked for."""
    path = f"/v1/models/{MODEL}/predictions"
    answer = one.client.post(path, json={"input": {"prompt": prompt}}, headers=headers)
    assert answer.status_code == 201
    return str(answer.json()["id"])


def listed(one: Front, headers: Headers = NONE, **query: str) -> list[Any]:
    """All predictions of a list, page after page."""
    found: list[Any] = []
    url = str(httpx2.URL("/form/predictions", params=query))
    while url:
        page = one.client.get(url, headers=headers).raise_for_status().json()
        found += page["results"]
        url = page["next"]
    return found


def prompts(one: Front, search: str = "") -> list[str]:
    return [shown["input"]["prompt"] for shown in listed(one, search=search)]


def copies_of(shown: Any) -> list[str]:
    """The small copies that there are of a prediction's pictures."""
    return [copy for copy in shown["thumbnails"] if copy]


def test_the_list_has_each_prediction_as_the_api_does_and_what_a_gallery_needs(one: Front) -> None:
    made = drawn(one, "a fox", num_outputs=2)
    (shown,) = listed(one)
    assert shown["task"] == "img2img"
    assert shown["sizes"] == [[2, 2], [2, 2]]
    own = {"task", "sizes", "thumbnails"}
    assert {name: value for name, value in shown.items() if name not in own} == made


def test_the_newest_come_first_in_pages_that_lead_on(
    one: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "PAGE_ROWS", 2)
    for number in range(5):
        drawn(one, f"fox {number}")
    first = one.client.get("/form/predictions").json()
    assert len(first["results"]) == 2
    assert prompts(one) == ["fox 4", "fox 3", "fox 2", "fox 1", "fox 0"]


def test_predictions_are_found_by_all_words_of_a_text_in_any_case(
    one: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "PAGE_ROWS", 2)
    for prompt in ("a Red fox", "a red\0 cat", "the OXFORD red", "ÜBER den Fuchs", "a blue fox"):
        drawn(one, prompt)
    assert prompts(one, search="RED") == ["the OXFORD red", "a red\0 cat", "a Red fox"]
    assert prompts(one, search=" fox  rED ") == ["a Red fox"]
    assert prompts(one, search="u\u0308ber") == ["ÜBER den Fuchs"]
    assert prompts(one, search="o%d") == []
    assert len(prompts(one, search="")) == 5


@pytest.mark.parametrize("bound", ["MOST_ROWS", "MOST_CHARACTERS"])
def test_a_search_looks_through_so_many_at_a_time_and_leads_on(
    one: Front, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    for prompt in ("a red fox", "a cat", "a red dog", "a cow"):
        drawn(one, prompt)
    monkeypatch.setattr(search, bound, 1)
    first = one.client.get("/form/predictions?search=red").json()
    assert first["results"] == []
    assert first["next"]
    assert prompts(one, search="red") == ["a red dog", "a red fox"]
    assert prompts(one, search="owl") == []


def test_a_search_that_is_no_text_of_people_is_refused(one: Front) -> None:
    answer = one.client.get("/form/predictions", params={"search": "x" * 501})
    assert answer.status_code == 422
    assert answer.json()["invalid_fields"][0]["field"] == "search"
    assert one.client.get("/form/predictions?cursor=x").status_code == 422


def test_each_sees_and_hears_of_its_own_alone(one: Front) -> None:
    ada, bob = one.token("ada"), one.token("bob")
    with listening(one, ada) as adas, listening(one, bob) as bobs:
        made = drawn(one, "a fox", ada)
        drawn(one, "a cat", bob)
        adas.wait(lambda heard: heard.states(made["id"]))
        bobs.wait(lambda heard: heard.of("prediction"))
        assert {data["input"]["prompt"] for data in adas.of("prediction")} == {"a fox"}
        assert {data["input"]["prompt"] for data in bobs.of("prediction")} == {"a cat"}
    assert [shown["id"] for shown in listed(one, ada)] == [made["id"]]
    for path in ("/form/predictions", "/form/events"):
        assert one.client.get(path).status_code == 401


def test_a_stream_tells_of_all_that_becomes_of_a_prediction(one: Front, cog: CogServer) -> None:
    cog.tell("fox", "hold")
    with listening(one) as heard:
        fox = begun(one, "fox")
        heard.wait(lambda heard: heard.states(fox)[-1:] and cog.running)
        heard.wait(lambda heard: heard.states(fox)[-1]["status"] == "processing")
        cog.let_go("fox")
        heard.wait(lambda heard: heard.states(fox)[-1]["status"] == "succeeded")
        # The small copy is made meanwhile.
        heard.wait(lambda heard: heard.states(fox)[-1] == listed(one)[0])
        states = [state["status"] for state in heard.states(fox)]
        assert sorted(states, key=["starting", "processing", "succeeded"].index) == states


def test_who_connects_is_told_of_what_is_not_over(one: Front, cog: CogServer) -> None:
    drawn(one, "a cat")
    cog.tell("fox", "hold")
    fox = begun(one, "fox")
    with listening(one) as heard:
        heard.wait(lambda heard: heard.states(fox))
        assert {state["id"] for state in heard.of("prediction")} == {fox}
        cog.let_go("fox")


def test_what_does_not_change_is_told_once(one: Front, cog: CogServer) -> None:
    cog.tell("fox", "hold")
    fox = begun(one, "fox")
    wait_until(lambda: cog.running)
    with listening(one) as heard:
        heard.wait(lambda heard: heard.states(fox))
        drawn(one, "a cat")
        drawn(one, "a dog")
        heard.wait(lambda heard: len({state["id"] for state in heard.of("prediction")}) == 3)
        told = heard.states(fox)
        assert all(before != after for before, after in pairwise(told))
        cog.let_go("fox")


def positions(heard: Listener, prediction_id: str) -> list[int]:
    """The positions in the queue that were told of a prediction by themselves."""
    places = [data for data in heard.of("place") if data["id"] == prediction_id]
    return [data["queue"]["position"] for data in places]


def test_of_what_waits_only_its_place_is_told_again(
    one: Front, cog: CogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "PLACES_SECONDS", 0.0)
    cog.tell("fox", "hold")
    foxes = [begun(one, "fox"), begun(one, "fox")]
    wait_until(lambda: len(cog.running) == 2)
    cat, dog = begun(one, "a cat"), begun(one, "a dog")
    with listening(one) as heard:
        heard.wait(lambda heard: heard.states(dog))
        assert heard.states(dog)[0]["queue"]["position"] == 2
        one.client.post(f"/v1/predictions/{cat}/cancel")
        heard.wait(lambda heard: 1 in positions(heard, dog))
        assert len(heard.states(dog)) == 1
        cog.let_go("fox")
        heard.wait(lambda heard: heard.states(dog)[-1]["status"] == "succeeded")
        assert {place["id"] for place in heard.of("place")}.isdisjoint(foxes)


def test_a_change_of_the_models_is_told(one: Front, cog: CogServer) -> None:
    with listening(one) as heard:
        assert heard.of("models") == []
        cog.status = "STARTING"
        heard.wait(lambda heard: heard.of("models"))
        assert heard.of("models")[0] == {}


def test_a_token_that_is_revoked_hears_no_more(one: Front) -> None:
    ada = one.token("ada")
    with listening(one, ada) as heard:
        one.database.write_now(tokens.revoke, "ada")
        heard.wait(lambda heard: heard.has_ended)


def test_who_was_let_in_without_a_token_hears_no_more_once_there_is_one(one: Front) -> None:
    with listening(one) as heard:
        one.token("ada")
        heard.wait(lambda heard: heard.has_ended)


def test_a_token_has_so_many_streams_and_gets_the_place_of_one_that_has_gone(
    one: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_STREAMS", 1)
    with listening(one):
        answer = one.client.get("/form/events")
        assert answer.status_code == 429
        assert answer.headers["retry-after"]
    wait_until(lambda: not one.services.streams.is_full("local"))
    with listening(one):
        pass


def test_of_streams_that_begin_together_there_are_no_more_either(
    one: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_STREAMS", 1)
    token = one.database.write_now(tokens.find, None)
    assert token is not None
    caller = Caller(View(one.services, one.url, frozenset(), False, False), token)

    async def second() -> list[bytes]:
        admitted = stream.events(caller)
        with one.services.streams.opened(token.id):
            return [event async for event in admitted]

    assert asyncio.run(second()) == []


def test_a_stream_ends_with_its_server(cog: CogServer, tmp_path: Path) -> None:
    heard: list[Listener] = []
    with front(tmp_path, cog) as one:
        there, goes = threading.Event(), threading.Event()

        def listen() -> None:
            with listening(one) as listener:
                heard.append(listener)
                there.set()
                goes.wait()

        thread = threading.Thread(target=listen)
        thread.start()
        there.wait()
    assert heard[0].has_ended
    goes.set()
    thread.join()


@pytest.mark.usefixtures("on_postgresql")
def test_what_is_done_by_another_front_is_told_too(tmp_path: Path) -> None:
    with CogServer().served() as cog, CogServer().served() as another, front(tmp_path, cog) as one:
        cog.status = "STARTING"
        wait_until(lambda: one.services.endpoints[0].status == "STARTING")
        with front(tmp_path, another) as other, listening(one) as heard:
            another.tell("fox", "hold")
            fox = begun(other, "fox")
            heard.wait(lambda heard: "processing" in [s["status"] for s in heard.states(fox)])
            another.let_go("fox")
            heard.wait(lambda heard: heard.states(fox)[-1]["status"] == "succeeded")
            cat = drawn(other, "a cat")
            heard.wait(lambda heard: heard.states(cat["id"])[-1:])
            heard.wait(lambda heard: heard.states(cat["id"])[-1]["status"] == "succeeded")
            heard.wait(lambda heard: another.running == [])


def test_previews_of_what_runs_here_are_told_once_and_stored_nowhere(
    one: Front, cog: CogServer
) -> None:
    cog.shows_previews = False
    cog.tell("fox", "hold")
    fox = begun(one, "fox")
    wait_until(lambda: cog.running)
    previews = one.application.state.dispatcher.previews
    urls = [f"data:image/webp;base64,{name}" for name in ("AAAA", "BBBB")]
    with listening(one) as heard:
        for number, url in enumerate(urls, 1):
            previews.take(fox, {"index": 1, "url": url}, 4)
            wait_until(lambda: len(heard.of("preview")) == number)  # noqa: B023
            assert heard.of("preview")[-1] == {"id": fox, "index": 5, "url": url}
        drawn(one, "a cat")
        heard.wait(lambda heard: heard.of("prediction")[-1]["status"] == "succeeded")
        assert [one_["url"] for one_ in heard.of("preview")] == urls
        cog.let_go("fox")


def test_who_looks_at_a_picture_has_a_small_copy_made_of_it(one: Front) -> None:
    with listening(one) as heard:
        made = drawn(one, "a fox", num_outputs=2)
        heard.wait(lambda heard: heard.states(made["id"]))
        heard.wait(lambda heard: len(copies_of(heard.states(made["id"])[-1])) == 2)
        (shown,) = listed(one)
        assert heard.states(made["id"])[-1] == shown
    assert len(shown["thumbnails"]) == 2
    for thumbnail, picture in zip(shown["thumbnails"], made["output"], strict=True):
        copy = one.client.get(thumbnail)
        assert copy.headers["content-type"] == "image/webp"
        assert copy.headers["content-disposition"].startswith("inline")
        small, original = (
            Image.open(io.BytesIO(one.client.get(url).content)) for url in (thumbnail, picture)
        )
        assert small.size == original.size == (2, 2)
    assert one.client.get(thumbnail.partition("?")[0]).status_code == 404


def test_of_what_nobody_looks_at_there_is_none_until_somebody_does(
    one: Front, tmp_path: Path
) -> None:
    made = drawn(one, "a fox")
    folder = tmp_path / "predictions" / made["id"]
    assert [path.name for path in folder.iterdir()] == ["out-0.png"]
    assert listed(one)[0]["thumbnails"] == [None]
    wait_until(lambda: listed(one)[0]["thumbnails"] != [None])
    assert {path.name for path in folder.iterdir()} == {"out-0.png", "thumb-0.webp"}


def test_a_picture_that_can_not_be_read_is_tried_once(
    one: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    copies = thumbnailer.copies

    def counted(paths: Sequence[str]) -> AsyncGenerator[bytes | None, None]:
        tried.extend(Path(path).parent.name for path in paths)
        return copies(paths)

    monkeypatch.setattr(thumbnailer, "copies", counted)
    broken, whole = drawn(one, "a fox"), drawn(one, "a cat")
    picture = tmp_path / "predictions" / broken["id"] / "out-0.png"
    picture.write_bytes(picture.read_bytes()[:50])
    wait_until(lambda: listed(one)[0]["thumbnails"] != [None])
    drawn(one, "a dog")
    wait_until(lambda: listed(one)[0]["thumbnails"] != [None])
    assert listed(one)[2]["thumbnails"] == [None]
    assert [tried.count(one_) for one_ in (broken["id"], whole["id"])] == [1, 1]


def test_a_copy_that_comes_after_its_prediction_was_deleted_is_dropped(
    one: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, goes_on = threading.Event(), threading.Event()

    async def slow(paths: Sequence[str]) -> AsyncGenerator[bytes | None, None]:
        began.set()
        await asyncio.to_thread(goes_on.wait)
        yield b"copy"

    monkeypatch.setattr(thumbnailer, "copies", slow)
    fox = drawn(one, "a fox")
    listed(one)
    began.wait()
    assert one.client.delete(f"/v1/predictions/{fox['id']}").status_code == 204
    goes_on.set()
    monkeypatch.undo()
    cat = drawn(one, "a cat")
    wait_until(lambda: listed(one)[0]["thumbnails"] != [None])
    assert [path.name for path in (tmp_path / "predictions").iterdir()] == [cat["id"]]
