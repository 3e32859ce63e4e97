"""Batches: all of a list of requests is taken or none, looked at, cancelled and removed as one."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from hosting.states import Priority
from hosting.storage import batches
from hosting.storage.tables import Batch, PredictionRow, Removal
from tests.support.front import Front, front, wait_until
from tools.fake_cog import CogServer, data_url, pixels

MODEL = "stability-ai/stable-diffusion-img2img"
URL = "/v1/batches"


@pytest.fixture
def cog(everywhere: None) -> Iterator[CogServer]:
    with CogServer(slots=8).served() as cog:  # of which two are for batches
        yield cog


@pytest.fixture
def one(cog: CogServer, tmp_path: Path) -> Iterator[Front]:
    with front(tmp_path, cog, cog_slots=8, batch_limit=20) as one:
        yield one


def request(prompt: str, **inputs: Any) -> dict[str, Any]:
    return {"model": MODEL, "input": {"prompt": prompt, **inputs}}


def post(one: Front, *requests: Any, **body: Any) -> httpx2.Response:
    return one.client.post(URL, json={"requests": list(requests), **body})


def made(one: Front, *prompts: str, **body: Any) -> Any:
    answer = post(one, *(request(prompt, seed=7) for prompt in prompts), **body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def got(one: Front, batch: Any) -> Any:
    return one.client.get(f"{URL}/{batch['id']}").json()


def ended(one: Front, batch: Any) -> Any:
    wait_until(lambda: got(one, batch)["status"] in ("completed", "cancelled"))
    return got(one, batch)


def results(one: Front, batch: Any) -> Any:
    return one.client.get(batch["urls"]["results"]).json()["results"]


def count(one: Front, table: Any) -> int:
    def rows(session: Session) -> int:
        return session.scalar(select(func.count()).select_from(table)) or 0

    return one.database.write_now(rows)


def faults(answer: httpx2.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [fault["field"] for fault in answer.json()["invalid_fields"]]


def test_all_requests_are_drawn_and_the_manifest_says_what_became_of_each(
    one: Front, cog: CogServer
) -> None:
    cog.tell("bad", "fail")
    batch = made(one, "fox", "bad", "owl")
    assert batch["object"] == "batch"
    assert batch["request_counts"]["total"] == 3
    batch = ended(one, batch)
    assert batch["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    assert (batch["counts"]["succeeded"], batch["counts"]["failed"]) == (2, 1)
    assert batch["created_at"] <= batch["in_progress_at"] <= batch["completed_at"]
    fox, bad, owl = results(one, batch)
    assert [each["index"] for each in (fox, bad, owl)] == [0, 1, 2]
    assert [each["status"] for each in (fox, bad, owl)] == ["succeeded", "failed", "succeeded"]
    assert one.client.get(fox["urls"][0]).content == pixels("fox", 7)
    assert owl["images"] == [{"url": owl["urls"][0], "seed": 7}]
    assert (bad["urls"], bad["error"]) == ([], "image: it is not a picture")
    shown = one.client.get(f"/v1/predictions/{fox['prediction']}").json()
    assert (shown["batch"], shown["status"]) == (batch["id"], "succeeded")


def test_its_predictions_wait_behind_those_that_somebody_waits_for(one: Front) -> None:
    batch = made(one, "fox", "owl")

    def look(session: Session) -> None:
        rows = list(session.scalars(select(PredictionRow).order_by(PredictionRow.number)))
        assert [row.priority for row in rows] == [Priority.BATCH, Priority.BATCH]
        assert {row.batch_id for row in rows} == {batch["id"]}
        assert [row.input["prompt"] for row in rows] == ["fox", "owl"]

    one.database.write_now(look)


def test_with_a_fault_in_any_request_none_is_taken_and_each_is_named(
    one: Front, tmp_path: Path
) -> None:
    picture = data_url(pixels("image", 1))
    answer = post(
        one,
        request("fox", image=picture),
        request("owl", num_inference_steps=9999, guidance_scale=0),
        {"model": MODEL, "input": {}},
        {"version": "a/b", "input": {"prompt": "elk"}},
        {"input": {"prompt": "elk"}},
    )
    # Which models there are is known before their inputs are read.
    assert faults(answer) == ["requests.3.version", "requests.4.version"]
    answer = post(
        one,
        request("fox", image=picture),
        request("owl", num_inference_steps=9999, guidance_scale=0),
        request("elk", image="data:,hello"),
    )
    named = ["requests.1.input.num_inference_steps", "requests.1.input.guidance_scale"]
    assert faults(answer) == [*named, "requests.2.input.image"]
    assert count(one, PredictionRow) == count(one, Batch) == 0
    assert list((tmp_path / "predictions").glob("*")) == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "requests"),
        ({"requests": []}, "requests"),
        ({"requests": [request("fox")] * 21}, "requests"),
        ({"requests": [request("fox")], "input_file_id": "a"}, "requests"),
        ({"requests": [{"model": MODEL}]}, "requests.0.input"),
        ({"requests": [{**request("fox"), "more": 1}]}, "requests.0.more"),
        ({"requests": [{**request("fox"), "id": "a"}] * 2}, "requests.1.id"),
        ({"requests": [request("fox")], "webhook": "ftp://a"}, "requests.0.webhook"),
        ({"requests": [request("fox")], "id": "a/b"}, "id"),
        ({"input_file_id": "a"}, "endpoint"),
        ({"input_file_id": "a", "endpoint": "/v1/images/edits"}, "input_file_id"),
        ({"input_file_id": "a", "endpoint": "/v1/chat/completions"}, "endpoint"),
        ({"input_file_id": "a", "completion_window": "1h"}, "completion_window"),
    ],
)
def test_what_is_no_batch_is_refused_by_its_field(
    one: Front, body: dict[str, Any], field: str
) -> None:
    assert field in faults(one.client.post(URL, json=body))


def test_a_batch_of_an_id_that_was_given_before_is_not_taken_again(one: Front) -> None:
    first = made(one, "fox", id="mine-1")
    assert first["id"] == "mine-1"
    again = made(one, "owl", "elk", id="mine-1")
    assert (again["id"], again["urls"]) == (first["id"], first["urls"])
    assert count(one, PredictionRow) == 1
    assert got(one, first)["request_counts"]["total"] == 1
    assert one.client.get(first["urls"]["get"]).json()["id"] == "mine-1"


def test_batches_have_a_limit_of_their_own(cog: CogServer, tmp_path: Path) -> None:
    with front(tmp_path, cog, cog_slots=8, batch_limit=3, queue_limit=1) as one:
        cog.tell("fox", "hold")
        batch = made(one, "fox", "fox")
        refused = post(one, request("owl"), request("elk"))
        assert refused.status_code == 429
        assert refused.headers["retry-after"]
        assert "3 unfinished predictions" in refused.json()["detail"]
        body = {"input": {"prompt": "fox"}}
        path = f"/v1/models/{MODEL}/predictions"
        assert one.client.post(path, json=body).status_code == 201
        assert one.client.post(path, json=body).status_code == 429
        assert made(one, "owl")["request_counts"]["total"] == 1
        assert count(one, PredictionRow) == 4
        one.client.post(batch["urls"]["cancel"])


def test_input_files_of_a_batch_are_kept_together_or_not_at_all(
    cog: CogServer, tmp_path: Path
) -> None:
    picture = data_url(pixels("image", 1) + bytes(400_000))
    with front(tmp_path, cog, kept_megabytes=1) as one:
        refused = post(one, *(request("fox", image=picture) for _ in range(4)))
        assert refused.status_code == 413
        assert list((tmp_path / "predictions").glob("*")) == []
        assert count(one, PredictionRow) == count(one, Batch) == 0
        answer = post(one, *(request("fox", image=picture) for _ in range(2)))
        assert answer.status_code == 201
        assert ended(one, answer.json())["counts"]["succeeded"] == 2


def test_cancelled_as_one_nothing_of_it_goes_on(one: Front, cog: CogServer) -> None:
    cog.tell("owl", "hold")
    batch = made(one, "fox", "owl", "owl", "owl")
    wait_until(lambda: cog.running == ["owl", "owl"])
    shown = one.client.post(batch["urls"]["cancel"]).json()
    assert shown["status"] in ("cancelling", "cancelled")
    batch = ended(one, batch)
    assert batch["status"] == "cancelled"
    assert (batch["counts"]["succeeded"], batch["counts"]["canceled"]) == (1, 3)
    assert batch["cancelling_at"] <= batch["cancelled_at"]
    assert cog.running == []
    assert [each["status"] for each in results(one, batch)] == ["succeeded", *["canceled"] * 3]
    # What is over stays as it is.
    done = ended(one, made(one, "elk"))
    assert one.client.post(done["urls"]["cancel"]).json()["status"] == "completed"


def test_what_a_front_has_begun_to_cancel_is_cancelled_by_the_next(
    one: Front, cog: CogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cog.tell("owl", "hold")
    batch = made(one, *["owl"] * 5)
    wait_until(lambda: cog.running == ["owl", "owl"])
    with monkeypatch.context() as patched:
        patched.setattr(batches, "AT_ONCE", 1)
        one.database.write_now(batches.cancel, batch["id"])
    assert ended(one, batch)["counts"]["canceled"] == 5
    assert cog.running == []


def test_its_pictures_come_as_one_zip_file_in_their_order(one: Front) -> None:
    batch = ended(one, made(one, "a fox", "an owl", "a fox"))
    answer = one.client.get(batch["urls"]["zip"])
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
        assert archive.read(names[1]) == pixels("an owl", 7)
    assert names == [
        "0000-a-fox-seed-7.png", "0001-an-owl-seed-7.png", "0002-a-fox-seed-7.png",
    ]  # fmt: skip


def test_removed_nothing_is_left_of_it_and_what_runs_ends(
    one: Front, cog: CogServer, tmp_path: Path
) -> None:
    cog.tell("owl", "hold")
    batch = made(one, "fox", "owl", "owl", "owl")
    wait_until(lambda: cog.running == ["owl", "owl"])
    link = results(one, batch)[0]["urls"][0]
    assert one.client.delete(f"{URL}/{batch['id']}").status_code == 204
    assert one.client.get(f"{URL}/{batch['id']}").status_code == 404
    assert one.client.get("/v1/predictions").json()["results"] == []
    wait_until(lambda: cog.running == [])

    def has_files(session: Session) -> bool:
        return session.scalar(select(Removal.number).where(Removal.has_files)) is not None

    wait_until(lambda: not one.database.write_now(has_files))
    assert one.client.get(link).status_code == 404
    assert list((tmp_path / "predictions").glob("*")) == []
    assert one.client.delete(f"{URL}/{batch['id']}").status_code == 404
    assert ended(one, made(one, "fox"))["counts"]["succeeded"] == 1


def test_one_of_its_predictions_can_be_removed_by_itself(one: Front) -> None:
    batch = ended(one, made(one, "fox", "owl"))
    fox, _ = results(one, batch)
    one.client.delete(f"/v1/predictions/{fox['prediction']}")
    left = results(one, batch)
    assert [(each["index"], each["status"]) for each in left] == [(0, "removed"), (1, "succeeded")]
    assert got(one, batch)["counts"]["removed"] == 1


def test_nobody_sees_or_ends_anothers(one: Front) -> None:
    ada, bob = one.token("ada"), one.token("bob")
    body = {"requests": [request("fox")]}
    batch = one.client.post(URL, json=body, headers=ada).json()
    for path in ("", "/results", "/zip"):
        assert one.client.get(f"{URL}/{batch['id']}{path}", headers=bob).status_code == 404
    assert one.client.post(f"{URL}/{batch['id']}/cancel", headers=bob).status_code == 404
    assert one.client.delete(f"{URL}/{batch['id']}", headers=bob).status_code == 404
    for kind in ("output", "errors"):
        path = f"/v1/files/{batch['id']}-{kind}/content"
        assert one.client.get(path, headers=bob).status_code == 404
    assert one.client.get(URL, headers=bob).json()["data"] == []
    assert one.client.get(f"{URL}/{batch['id']}").status_code == 401
    assert one.client.get(f"{URL}/{batch['id']}", headers=ada).status_code == 200


def test_they_are_listed_in_pages_the_newest_first(one: Front) -> None:
    ids = [made(one, "fox")["id"] for _ in range(3)]
    page = one.client.get(URL, params={"limit": 2}).json()
    assert [each["id"] for each in page["data"]] == ids[:0:-1]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[2], ids[1], True)
    by_cursor = one.client.get(page["next"]).json()
    by_id = one.client.get(URL, params={"after": page["last_id"]}).json()
    for rest in (by_cursor, by_id):
        assert [each["id"] for each in rest["data"]] == [ids[0]]
        assert not rest["has_more"]
    assert one.client.get(URL, params={"after": "none"}).status_code == 404
    assert one.client.get(URL, params={"cursor": "x"}).status_code == 422


def test_what_was_taken_is_drawn_by_the_front_that_comes_after(
    cog: CogServer, tmp_path: Path
) -> None:
    with front(tmp_path, cog, cog_slots=8) as one:
        cog.tell("owl", "hold", "succeed")
        batch = made(one, "owl", "owl", "fox", "fox")
        wait_until(lambda: len(cog.runs_of("owl")) == 2)
    with front(tmp_path, cog, cog_slots=8) as one:
        cog.tell("owl", "succeed")
        assert ended(one, batch)["counts"]["succeeded"] == 4


def upload(one: Front, *lines: Any) -> Any:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    answer = one.client.post(
        "/v1/files", data={"purpose": "batch"}, files={"file": ("requests.jsonl", text.encode())}
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


def line(custom_id: str, url: str = "/v1/images/generations", **body: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": {"seed": 7, **body}}


def by_file(one: Front, file_id: str, endpoint: str = "/v1/images/generations") -> httpx2.Response:
    body = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": "24h"}
    return one.client.post(URL, json=body)


def content(one: Front, file_id: str) -> list[Any]:
    answer = one.client.get(f"/v1/files/{file_id}/content")
    assert answer.status_code == 200
    return [json.loads(text) for text in answer.text.splitlines()]


def test_by_openais_form_the_results_are_files_with_a_line_for_each_request(
    one: Front, cog: CogServer
) -> None:
    cog.tell("bad", "fail")
    file = upload(
        one,
        line("a", prompt="fox", n=2),
        "",
        line("b", prompt="bad"),
        line("c", prompt="owl", size="200x200", response_format="b64_json"),
    )
    assert (file["object"], file["purpose"], file["filename"]) == (
        "file", "batch", "requests.jsonl",
    )  # fmt: skip
    assert one.client.get(f"/v1/files/{file['id']}").json() == file
    assert len(one.client.get(f"/v1/files/{file['id']}/content").content) == file["bytes"]
    batch = by_file(one, file["id"]).json()
    assert batch["endpoint"] == "/v1/images/generations"
    assert batch["output_file_id"] is None or batch["status"] == "completed"
    batch = ended(one, batch)
    fox, owl = content(one, batch["output_file_id"])
    assert (fox["custom_id"], owl["custom_id"]) == ("a", "c")
    assert (fox["response"]["status_code"], fox["error"]) == (200, None)
    urls = [image["url"] for image in fox["response"]["body"]["data"]]
    assert [one.client.get(url).content for url in urls] == [
        pixels("fox", 7), pixels("fox", 7, 1),
    ]  # fmt: skip
    body = owl["response"]["body"]
    assert body["size"] == "192x192"
    assert body["warnings"]
    assert "b64_json" in body["data"][0]
    about = one.client.get(f"/v1/files/{batch['output_file_id']}").json()
    size = len(one.client.get(f"/v1/files/{batch['output_file_id']}/content").content)
    assert (about["purpose"], about["bytes"]) == ("batch_output", size)
    (bad,) = content(one, batch["error_file_id"])
    assert (bad["custom_id"], bad["response"]["status_code"]) == ("b", 400)
    assert bad["response"]["body"]["error"]["message"] == "image: it is not a picture"


def test_edits_need_an_image_and_draw_from_it(one: Front) -> None:
    path = "/v1/images/edits"
    without = upload(one, line("a", path, prompt="fox"))
    assert faults(by_file(one, without["id"], path)) == ["line 1: image"]
    image = data_url(pixels("image", 1))
    file = upload(one, line("a", path, prompt="fox", image=image))
    batch = ended(one, by_file(one, file["id"], path).json())
    assert batch["request_counts"]["completed"] == 1


def test_the_faults_of_a_file_are_named_by_its_lines(one: Front) -> None:
    file = upload(
        one,
        line("a", prompt="fox"),
        "no JSON",
        line("a", prompt="owl"),
        {"custom_id": "b", "method": "GET", "url": "/v1/images/generations"},
        line("c", "/v1/images/edits", prompt="fox"),
        line("d", prompt="fox", size="large"),
        line("e", prompt="fox", model="stability-ai/stable-diffusion-x4-upscaler"),
    )
    assert faults(by_file(one, file["id"])) == [
        "line 2: body",
        "line 4: method",
        "line 4: body",
        "line 5: url",
        "line 3: custom_id",
        "line 6: size",
        "line 7: model",
    ]
    file = upload(one, "", line("a", prompt="fox"), line("b", prompt="fox", n=99, steps=0))
    assert faults(by_file(one, file["id"])) == ["line 3: n", "line 3: steps"]
    assert count(one, PredictionRow) == count(one, Batch) == 0


def test_files_for_another_purpose_are_refused(one: Front) -> None:
    answer = one.client.post(
        "/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.jsonl", b"{}")}
    )
    assert faults(answer) == ["purpose"]
    assert faults(one.client.post("/v1/files", data={"purpose": "batch"})) == ["file"]
    assert one.client.get("/v1/files/none/content").status_code == 404


def test_what_was_cancelled_or_removed_is_said_in_the_errors_file(
    one: Front, cog: CogServer
) -> None:
    cog.tell("owl", "hold")
    file = upload(one, line("a", prompt="fox"), line("b", prompt="owl"), line("c", prompt="elk"))
    batch = by_file(one, file["id"]).json()
    wait_until(lambda: got(one, batch)["counts"]["succeeded"] == 2)
    one.client.post(batch["urls"]["cancel"])
    batch = ended(one, batch)
    one.client.delete(f"/v1/predictions/{results(one, batch)[0]['prediction']}")
    codes = [(each["custom_id"], each["error"]["code"]) for each in content(
        one, batch["error_file_id"]
    )]  # fmt: skip
    assert codes == [("a", "removed"), ("b", "batch_cancelled")]


HOSTILE = (
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b"9" * 5000,
    b"null",
    b'"text"',
    b'{"custom_id": "\\ud800", "method": "POST", "url": "/v1/images/generations", "body": {}}',
    b'{"custom_id": 1e999, "method": "POST", "url": "\\u0000", "body": NaN}',
)


def test_whatever_is_in_a_file_is_refused_by_its_line(one: Front) -> None:
    for text in HOSTILE:
        sent = {"file": ("a.jsonl", b"\n" + text)}
        file = one.client.post("/v1/files", data={"purpose": "batch"}, files=sent).json()
        assert all(fault.startswith("line 2: ") for fault in faults(by_file(one, file["id"])))
    for nothing in (b"", b"\r\n \n"):
        sent = {"file": ("a.jsonl", nothing)}
        file = one.client.post("/v1/files", data={"purpose": "batch"}, files=sent).json()
        assert faults(by_file(one, file["id"])) == ["input_file_id"]
    nested: Any = 1
    for _ in range(40):
        nested = [nested]
    file = upload(one, line("a", prompt=nested, seed="\ud800"))
    assert "line 1: prompt" in faults(by_file(one, file["id"]))


def test_ids_and_descriptions_may_have_any_characters(one: Front) -> None:
    odd = "a\0 \N{SNOWMAN}\u2028'\"\\"
    file = upload(one, line(odd, prompt="fox"))
    body = {"input_file_id": file["id"], "endpoint": "/v1/images/generations"}
    answer = one.client.post(URL, json={**body, "metadata": {odd: odd}})
    batch = ended(one, answer.json())
    assert batch["metadata"] == {odd: odd}
    assert content(one, batch["output_file_id"])[0]["custom_id"] == odd
    assert results(one, batch)[0]["id"] == odd
    assert one.client.get(URL).json()["data"][0]["metadata"] == {odd: odd}


def test_the_limits_of_a_token_hold_for_each_request_and_its_quota_for_all_together(
    cog: CogServer, tmp_path: Path
) -> None:
    with front(tmp_path, cog, token_steps=30, token_predictions_a_day=3) as one:
        over = [request("fox"), request("owl", num_inference_steps=31)]
        assert faults(post(one, *over)) == ["requests.1.input.num_inference_steps"]
        many = post(one, *(request("fox") for _ in range(4)))
        assert faults(many) == ["requests"]
        assert "your token may have 3 a day" in many.json()["detail"]
        made(one, "fox", "owl")
        spent = post(one, request("fox"), request("owl"))
        assert spent.status_code == 429
        assert int(spent.headers["retry-after"]) > 3600
        assert count(one, PredictionRow) == 2
        assert made(one, "elk")["request_counts"]["total"] == 1


def test_who_waits_goes_before_a_batch_that_was_there_first(cog: CogServer, tmp_path: Path) -> None:
    with front(tmp_path, cog, cog_slots=1) as one:
        cog.tell("owl", "hold")
        batch = made(one, "owl", "a", "b", "c")
        wait_until(lambda: cog.running == ["owl"])
        path = f"/v1/models/{MODEL}/predictions"
        waits = one.client.post(path, json={"input": {"prompt": "fox"}}).json()
        cog.let_go("owl")
        assert ended(one, batch)["counts"]["succeeded"] == 4
        assert one.client.get(f"/v1/predictions/{waits['id']}").json()["status"] == "succeeded"
        assert cog.prompts.index("fox") < cog.prompts.index("b")
