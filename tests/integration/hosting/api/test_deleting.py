"""DELETE of a prediction: nothing of it is left, whoever runs it, waits for it or is killed."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from hosting.storage import removals
from hosting.storage.database import Database
from hosting.storage.files import Files
from hosting.storage.tables import Delivery, PredictionRow, Removal
from tests.support.events import listening
from tests.support.front import Front, front, place, wait_until
from tools.fake_cog import CogServer, data_url, pixels

MODEL = "stability-ai/stable-diffusion-img2img"
PATH = f"/v1/models/{MODEL}/predictions"
WAIT = {"prefer": "wait"}


@pytest.fixture
def cog(everywhere: None) -> Iterator[CogServer]:
    with CogServer(slots=2).served() as cog:
        yield cog


@pytest.fixture
def one(cog: CogServer, tmp_path: Path) -> Iterator[Front]:
    with front(tmp_path, cog, cog_slots=2, allowed_networks=("127.0.0.0/8",)) as one:
        yield one


def drawn(one: Front, prompt: str, **body: Any) -> Any:
    """A prediction that is over, and had an image."""
    inputs = {"prompt": prompt, "image": data_url(pixels("image", 1))}
    return one.client.post(PATH, json={"input": inputs, **body}, headers=WAIT).json()


def begun(one: Front, prompt: str, **inputs: Any) -> str:
    """The id of a prediction that was asked for."""
    answer = one.client.post(PATH, json={"input": {"prompt": prompt, **inputs}})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def deleted(one: Front, prediction_id: str, **options: Any) -> int:
    return one.client.delete(f"/v1/predictions/{prediction_id}", **options).status_code


def count(one: Front, table: Any) -> int:
    def rows(session: Session) -> int:
        return session.scalar(select(func.count()).select_from(table)) or 0

    return one.database.write_now(rows)


def has_files(one: Front) -> bool:
    """Whether files of a prediction that was removed may be left."""

    def rows(session: Session) -> bool:
        return session.scalar(select(Removal.number).where(Removal.has_files)) is not None

    return one.database.write_now(rows)


def test_what_is_over_is_gone_with_its_files_and_links(one: Front, tmp_path: Path) -> None:
    made = drawn(one, "a fox")
    folder = tmp_path / "predictions" / made["id"]
    assert {path.name for path in folder.iterdir()} == {"in-image", "out-0.png"}
    links = [*made["output"], made["input"]["image"], made["urls"]["stream"], made["urls"]["web"]]
    assert [one.client.get(link).status_code for link in links] == [200] * 4
    assert deleted(one, made["id"]) == 204
    assert not folder.exists()
    paths = [f"/v1/predictions/{made['id']}", f"/v1/predictions/{made['id']}/stream", *links]
    assert {one.client.get(path).status_code for path in paths} == {404}
    for path in ("/v1/predictions", "/form/predictions"):
        assert one.client.get(path).json()["results"] == []
    assert deleted(one, made["id"]) == 404
    assert not has_files(one)


def test_nobody_deletes_what_is_anothers(one: Front) -> None:
    ada, bob = one.token("ada"), one.token("bob")
    body = {"input": {"prompt": "a fox"}}
    made = one.client.post(PATH, json=body, headers={**WAIT, **ada}).json()
    assert deleted(one, made["id"]) == 401
    assert deleted(one, made["id"], headers=bob) == 404
    assert one.client.get(f"/v1/predictions/{made['id']}", headers=ada).status_code == 200
    assert one.client.get(made["output"][0]).status_code == 200


def test_what_runs_is_cancelled_and_writes_nothing_afterwards(
    one: Front, cog: CogServer, tmp_path: Path
) -> None:
    cog.tell("fox", "hold")
    fox = begun(one, "fox")
    wait_until(lambda: cog.running == ["fox"])
    assert deleted(one, fox) == 204
    assert one.client.get(f"/v1/predictions/{fox}").status_code == 404
    wait_until(lambda: cog.running == [])
    (run,) = cog.runs_of("fox")
    assert run.cancelled
    wait_until(lambda: not one.services.endpoints[0].running)
    wait_until(lambda: not has_files(one))
    assert not (tmp_path / "predictions" / fox).exists()
    cog.tell("fox", "succeed")
    assert drawn(one, "fox")["status"] == "succeeded"


def test_pictures_of_a_part_that_is_finished_go_at_once(
    one: Front, cog: CogServer, tmp_path: Path
) -> None:
    cog.tell("fox", "succeed", "hold")
    fox = begun(one, "fox", num_outputs=6)
    wait_until(lambda: len(cog.runs_of("fox")) == 2)
    wait_until(lambda: len(list((tmp_path / "predictions" / fox).iterdir())) == 4)
    document = one.client.get(f"/v1/predictions/{fox}").json()
    assert deleted(one, fox) == 204
    assert one.client.get(document["output"][0]).status_code == 404
    wait_until(lambda: not has_files(one))
    assert not (tmp_path / "predictions" / fox).exists()


def test_a_picture_that_is_being_written_goes_too(
    one: Front, cog: CogServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Files.write
    begins, goes_on = threading.Event(), threading.Event()

    def slowly(files: Files, name: str, data: bytes) -> None:
        begins.set()
        goes_on.wait()
        write(files, name, data)

    monkeypatch.setattr(Files, "write", slowly)
    fox = begun(one, "fox")
    begins.wait()
    assert deleted(one, fox) == 204
    assert has_files(one)
    goes_on.set()
    wait_until(lambda: not has_files(one))
    assert list((tmp_path / "predictions").iterdir()) == []


def test_what_waits_is_never_run(one: Front, cog: CogServer) -> None:
    cog.tell("held", "hold")
    held = [begun(one, "held"), begun(one, "held")]
    wait_until(lambda: len(cog.running) == 2)
    fox, cat = begun(one, "fox"), begun(one, "cat")
    assert deleted(one, fox) == 204
    cog.let_go("held")
    url = f"/v1/predictions/{cat}"
    wait_until(lambda: one.client.get(url).json()["status"] == "succeeded")
    assert cog.runs_of("fox") == []
    assert {one.client.get(f"/v1/predictions/{one_}").status_code for one_ in held} == {200}


def test_what_is_being_fetched_for_it_goes_too(one: Front, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        fox = begun(one, "fox", image=f"http://127.0.0.1:{silent.getsockname()[1]}/fox.png")
        connection, _ = silent.accept()
        with connection:
            assert deleted(one, fox) == 204
            assert connection.recv(10**4)
            wait_until(lambda: connection.recv(10**4) == b"")
    wait_until(lambda: not has_files(one))
    assert not (tmp_path / "predictions" / fox).exists()


def last_data(sent: str) -> Any:
    """The data of a stream's last event."""
    data = [line for line in sent.splitlines() if line.startswith("data: ")]
    return json.loads(data[-1].removeprefix("data: "))


Wait = Callable[[Front], Any]


def by_replicate(one: Front) -> Any:
    return one.client.post(PATH, json={"input": {"prompt": "fox"}}, headers=WAIT).json()["status"]


def by_stream(one: Front) -> Any:
    made = one.client.post(PATH, json={"input": {"prompt": "fox"}}).json()
    sent = one.client.get(made["urls"]["stream"], headers={"accept": "text/event-stream"}).text
    return last_data(sent)["reason"]


def by_cog(one: Front) -> Any:
    return one.client.put("/predictions/mine", json={"input": {"prompt": "fox"}}).json()["status"]


def by_cogs_stream(one: Front) -> Any:
    headers = {"accept": "text/event-stream"}
    answer = one.client.put("/predictions/mine", json={"input": {"prompt": "fox"}}, headers=headers)
    return last_data(answer.text)["status"]


def by_openai(one: Front) -> Any:
    answer = one.client.post("/v1/images/generations", json={"prompt": "fox"})
    assert answer.status_code == 409
    return "canceled" if "canceled" in answer.json()["error"]["message"] else answer.text


def by_automatic1111(one: Front) -> Any:
    answer = one.client.post("/sdapi/v1/txt2img", json={"prompt": "fox"})
    return "canceled" if answer.status_code == 409 else answer.text


@pytest.mark.parametrize(
    "wait",
    [by_replicate, by_stream, by_cog, by_cogs_stream, by_openai, by_automatic1111],
)
@pytest.mark.parametrize("runs", [True, False])
def test_who_waits_for_it_is_told_that_it_is_canceled(
    one: Front, cog: CogServer, wait: Wait, runs: bool
) -> None:
    cog.tell("held", "hold")
    cog.tell("fox", "hold")
    for _ in range(0 if runs else 2):
        begun(one, "held")
    wait_until(lambda: len(cog.running) == (0 if runs else 2))
    told: list[Any] = []
    waiting = threading.Thread(target=lambda: told.append(wait(one)))
    waiting.start()

    def newest() -> Any:
        return one.client.get("/v1/predictions").json()["results"][:1]

    wait_until(lambda: [shown["input"]["prompt"] for shown in newest()] == ["fox"])
    wait_until(lambda: newest()[0]["status"] == ("processing" if runs else "starting"))
    assert deleted(one, newest()[0]["id"]) == 204
    waiting.join()
    assert told == ["canceled"]
    cog.let_go("held")


def test_its_webhook_is_not_called_again(one: Front) -> None:
    made = drawn(one, "a fox", webhook="http://127.0.0.1:9/", webhook_events_filter=["completed"])
    assert count(one, Delivery) == 1
    assert deleted(one, made["id"]) == 204
    assert count(one, Delivery) == 0


def test_its_id_can_be_used_again(one: Front, cog: CogServer) -> None:
    asked = {"input": {"prompt": "fox"}}
    one.client.put("/predictions/mine", json=asked)
    assert deleted(one, "mine") == 204
    assert one.client.put("/predictions/mine", json=asked).json()["status"] == "succeeded"
    assert len(cog.runs_of("fox")) == 2


def test_who_asks_for_its_pictures_at_that_moment_is_told_that_it_was_deleted(
    one: Front, tmp_path: Path
) -> None:
    asked = {"input": {"prompt": "fox"}}
    one.client.put("/predictions/mine", json=asked)
    (picture,) = (tmp_path / "predictions").glob("*/out-0.png")
    picture.unlink()
    answer = one.client.put("/predictions/mine", json=asked)
    assert (answer.status_code, "was deleted" in answer.json()["detail"]) == (404, True)


def test_it_no_longer_counts_in_the_quotas(cog: CogServer, tmp_path: Path) -> None:
    large = data_url(pixels("image", 1) + bytes(600_000))
    cog.tell("fox", "hold")
    with front(tmp_path, cog, queue_limit=1, kept_megabytes=1) as one:
        fox = begun(one, "fox", image=large)
        body = {"input": {"prompt": "cat", "image": large}}
        assert one.client.post(PATH, json=body).status_code == 429
        one.client.post(f"/v1/predictions/{fox}/cancel")
        wait_until(lambda: not one.services.endpoints[0].running)
        assert one.client.post(PATH, json=body).status_code == 413
        assert deleted(one, fox) == 204
        cat = begun(one, "cat", image=large)
        assert deleted(one, cat) == 204


def test_who_listens_hears_of_it_by_the_id_that_it_knows(one: Front, cog: CogServer) -> None:
    cog.tell("fox", "hold")
    fox = begun(one, "fox")
    one.client.put("/predictions/mine", json={"input": {"prompt": "cat"}})
    with listening(one) as heard:
        heard.wait(lambda heard: heard.states(fox))
        deleted(one, fox)
        heard.wait(lambda heard: {"id": fox} in heard.of("deleted"))
        deleted(one, "mine")
        heard.wait(lambda heard: {"id": "mine"} in heard.of("deleted"))
        drawn(one, "a dog")
        heard.wait(lambda heard: heard.of("prediction")[-1]["status"] == "succeeded")
        last = len(heard.events) - [kind for kind, _ in heard.events][::-1].index("deleted")
        assert fox not in [data.get("id") for _, data in heard.events[last:]]


def test_what_can_not_be_removed_now_is_removed_later(
    one: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = drawn(one, "a fox")

    def fail(files: Files, name: str) -> None:
        raise OSError("the disk is away")

    with monkeypatch.context() as patched:
        patched.setattr(Files, "remove", fail)
        assert deleted(one, made["id"]) == 204
        assert (tmp_path / "predictions" / made["id"] / "out-0.png").exists()
        assert [one.client.get(link).status_code for link in made["output"]] == [404]
        inputs = {"prompt": "a fox", "image": made["output"][0]}
        refused = one.client.post(PATH, json={"input": inputs})
        assert "is no longer there" in refused.json()["detail"]
    wait_until(lambda: not has_files(one))
    assert list((tmp_path / "predictions").iterdir()) == []


def test_a_front_that_was_killed_in_between_goes_on_after_its_start(
    cog: CogServer, tmp_path: Path
) -> None:
    with front(tmp_path, cog) as one:
        made = drawn(one, "a fox")
    database = Database(place(tmp_path))
    database.write_now(removals.remove, made["id"], "local")  # and then it is killed
    database.close()
    assert (tmp_path / "predictions" / made["id"]).exists()
    with front(tmp_path, cog) as one:
        wait_until(lambda: not has_files(one))
        assert list((tmp_path / "predictions").iterdir()) == []


def test_one_that_was_removed_while_its_front_was_taken_for_dead_leaves_nothing(
    one: Front, cog: CogServer, tmp_path: Path
) -> None:
    cog.tell("fox", "hold")
    fox = begun(one, "fox")
    wait_until(lambda: cog.running)

    def as_another_front_would(session: Session) -> None:
        removals.remove(session, fox, "local")
        removals.finish(session, fox)

    one.database.write_now(as_another_front_would)
    (tmp_path / "predictions" / fox).mkdir()
    (tmp_path / "predictions" / fox / "out-0.png").write_bytes(b"late")
    wait_until(lambda: list((tmp_path / "predictions").iterdir()) == [])
    wait_until(lambda: not one.services.endpoints[0].running)


def test_what_is_known_of_removals_is_forgotten_in_time(
    one: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert deleted(one, drawn(one, "a fox")["id"]) == 204
    one.database.write_now(removals.forget)
    assert count(one, Removal) == 1
    monkeypatch.setattr(removals, "KEPT_SECONDS", -1)
    one.database.write_now(removals.forget)
    assert count(one, Removal) == count(one, PredictionRow) == 0


@pytest.mark.usefixtures("on_postgresql")
def test_another_front_ends_what_it_runs_and_removes_its_files(tmp_path: Path) -> None:
    with CogServer().served() as cog, CogServer().served() as another, front(tmp_path, cog) as one:
        cog.status = "STARTING"
        wait_until(lambda: one.services.endpoints[0].status == "STARTING")
        another.tell("fox", "succeed", "hold")
        with front(tmp_path, another) as other, listening(other) as heard:
            fox = begun(one, "fox", num_outputs=6)
            wait_until(lambda: len(another.runs_of("fox")) == 2)
            heard.wait(lambda heard: heard.states(fox))
            assert deleted(one, fox) == 204
            assert other.client.get(f"/v1/predictions/{fox}").status_code == 404
            heard.wait(lambda heard: {"id": fox} in heard.of("deleted"))
            wait_until(lambda: another.running == [])
            wait_until(lambda: not has_files(one))
            assert list((tmp_path / "predictions").iterdir()) == []
            assert heard.events[-1] == ("deleted", {"id": fox})
