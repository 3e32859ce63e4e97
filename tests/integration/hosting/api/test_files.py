from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from hosting.storage import pages
from hosting.storage.database import Unavailable
from hosting.storage.files import Files
from tests.support.front import Front, front
from tools.fake_cog import CogServer, data_url, pixels

PAGE = b"<html><script>alert(1)</script>"
MODEL = "stability-ai/stable-diffusion-2-1"


@pytest.fixture(scope="module")
def cog(everywhere: None) -> Iterator[CogServer]:
    with CogServer().served() as cog:
        yield cog


@pytest.fixture(scope="module")
def one(cog: CogServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with front(tmp_path_factory.mktemp("front"), cog) as one:
        yield one


@pytest.fixture(scope="module")
def ann(one: Front) -> dict[str, str]:
    return one.token("ann")


@pytest.fixture(scope="module")
def bob(one: Front) -> dict[str, str]:
    return one.token("bob")


def upload(
    one: Front,
    token: dict[str, str],
    data: bytes = PAGE,
    name: str = "page.html",
    kind: str = "text/html",
    **fields: str,
) -> dict[str, Any]:
    files = {"content": (name, data, kind)}
    answer = one.client.post("/v1/files", files=files, data=fields, headers=token)
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


def drawn(one: Front, token: dict[str, str], **inputs: Any) -> dict[str, Any]:
    body = {"model": MODEL, "input": {"prompt": "fox", "seed": 1, **inputs}}
    answer = one.client.post("/v1/predictions", json=body, headers={**token, "prefer": "wait"})
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    assert document["status"] == "succeeded"
    return document


def test_an_uploaded_file_is_described(one: Front, ann: dict[str, str]) -> None:
    before = time.time()
    document = upload(one, ann, metadata='{"a": 1}')
    sha256 = hashlib.sha256(PAGE).hexdigest()
    assert {name: document[name] for name in ("name", "content_type", "size", "metadata")} == {
        "name": "page.html",
        "content_type": "text/html",
        "size": len(PAGE),
        "metadata": {"a": 1},
    }
    assert (document["etag"], document["checksums"]) == (sha256, {"sha256": sha256})
    assert document["urls"]["get"] == f"{one.url}/v1/files/{document['id']}"
    assert document["created_at"] < document["expires_at"]
    again = one.client.get(document["urls"]["get"], headers=ann).json()
    assert again == document
    listed = one.client.get("/v1/files", headers=ann).json()["results"]
    assert listed[0] == document
    assert time.time() - before < 3600


def test_what_a_client_sent_is_given_back_as_an_attachment_in_a_sandbox(
    one: Front, ann: dict[str, str]
) -> None:
    answer = one.client.get(upload(one, ann)["urls"]["download"])
    assert (answer.status_code, answer.content) == (200, PAGE)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"].split("; ")
    assert policy[:2] == ["sandbox", "default-src 'none'"]


def test_an_input_is_an_attachment_too(one: Front, ann: dict[str, str]) -> None:
    document = drawn(one, ann, image=data_url(pixels("image", 1)))
    answer = one.client.get(document["input"]["image"])
    assert (answer.status_code, answer.content) == (200, pixels("image", 1))
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["content-security-policy"].startswith("sandbox;")


@pytest.mark.parametrize("name", ["in-image", "../../uploads/a", "out-0.png", 7])
def test_an_object_that_looks_like_ours_for_files_leads_to_no_file(
    one: Front, ann: dict[str, str], name: object
) -> None:
    sent = {"file": name}
    inputs = {"prompt": "fox", "image": data_url(pixels("image", 1)), "other": sent}
    answer = one.client.post(f"/v1/models/{MODEL}/predictions", json={"input": inputs}, headers=ann)
    shown = answer.json()["input"]
    assert shown.keys() == {"prompt", "image"}
    assert "/files/predictions/" in shown["image"]


@pytest.mark.parametrize("depth", [21, 255, 5000])
def test_metadata_too_deep_to_be_shown_is_refused(
    one: Front, ann: dict[str, str], depth: int
) -> None:
    parts = {"content": ("a", b"data", "a/b")}
    deep = "[" * depth + "]" * depth
    answer = one.client.post(
        "/v1/files", files=parts, data={"metadata": f'{{"a": {deep}}}'}, headers=ann
    )
    assert answer.status_code == 422
    assert one.client.get("/v1/files", headers=ann).status_code == 200


@pytest.mark.parametrize("charset", ["undefined", "punycode", "utf-7", "unicode_escape", "none"])
def test_a_form_is_utf_8_whatever_it_says(one: Front, ann: dict[str, str], charset: str) -> None:
    name = "füx\\ud83d +2D0-".encode()
    body = b"".join(
        [
            b'--b\r\nContent-Disposition: form-data; name="content"; filename="',
            name,
            b'"\r\nContent-Type: image/png\r\n\r\ndata\r\n--b--\r\n',
        ]
    )
    kind = f"multipart/form-data; charset={charset}; boundary=b"
    headers = {**ann, "content-type": kind}
    answer = one.client.post("/v1/files", content=body, headers=headers)
    assert answer.status_code == 201, answer.text
    assert answer.json()["name"] == name.decode()


def test_what_was_drawn_is_shown(one: Front, ann: dict[str, str]) -> None:
    document = drawn(one, ann)
    (url,) = document["output"]
    answer = one.client.get(url)
    assert (answer.status_code, answer.content) == (200, pixels("fox", 1))
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"].startswith("inline;")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"].startswith("private,")
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_link_needs_no_token_and_cannot_be_changed(
    one: Front, ann: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = upload(one, ann), upload(one, ann, b"second")
    link = first["urls"]["download"]
    assert one.client.get(link).status_code == 200
    path, _, query = link.partition("?")
    for changed in (
        path,
        f"{path}?",
        link[:-1],
        link.replace("expires=", "expires=9"),
        link.replace(first["id"], second["id"]),
        f"{one.url}/files/uploads//{first['id']}?{query}",
        f"{one.url}/files/uploads/..%2Fuploads%2F{first['id']}?{query}",
    ):
        for headers in ({}, ann):
            answer = one.client.get(changed, headers=headers)
            assert answer.status_code == 404, changed
            assert answer.headers["content-type"] == "application/problem+json"
    future = time.time() + 26 * 3600
    monkeypatch.setattr(time, "time", lambda: future)
    assert one.client.get(link).status_code == 404


def test_a_link_to_what_is_none_of_the_files_leads_nowhere(one: Front) -> None:
    links = one.services.links
    place = urlsplit(one.url).netloc
    for path in (
        "/files/predictions.db",
        "/files/lock",
        "/files/uploads/../predictions.db",
        "/files/uploads/%2e%2e/predictions.db",
        "/files//etc/passwd",
        "/files/uploads/none",
        "/files/predictions/none/out-0.png",
        "/files/uploads/a%00",
        "/files/uploads",
    ):
        raw = HTTPConnection(place, timeout=30)
        raw.request("GET", links.sign("", path))  # no client tidies it up
        assert raw.getresponse().status == 404, path
        raw.close()


def test_a_file_of_somebody_else_is_not_there(
    one: Front, ann: dict[str, str], bob: dict[str, str]
) -> None:
    document = upload(one, ann, pixels("private", 1), "fox.png", "image/png")
    url = document["urls"]["get"]
    for method in ("GET", "DELETE"):
        assert one.client.request(method, url, headers=bob).status_code == 404
        assert one.client.request(method, url).status_code == 401
    ids = [item["id"] for item in one.client.get("/v1/files", headers=bob).json()["results"]]
    assert document["id"] not in ids
    body = {"model": MODEL, "input": {"prompt": "fox", "image": url}}
    answer = one.client.post("/v1/predictions", json=body, headers=bob)
    assert answer.status_code == 422
    assert answer.json()["invalid_fields"][0]["field"] == "input.image"
    assert one.client.get(url, headers=ann).status_code == 200


def test_an_uploaded_file_is_an_input(one: Front, cog: CogServer, ann: dict[str, str]) -> None:
    picture = pixels("upload", 1)
    document = upload(one, ann, picture, "fox.png", "image/png")
    for url in (document["urls"]["get"], document["urls"]["download"]):
        drawn(one, ann, prompt="with a file", image=url)
    runs = cog.runs_of("with a file")
    assert [run.input["image"] for run in runs] == [data_url(picture)] * 2


def test_an_upload_that_is_no_picture_is_no_input(one: Front, ann: dict[str, str]) -> None:
    url = upload(one, ann)["urls"]["get"]
    body = {"model": MODEL, "input": {"prompt": "fox", "image": url}}
    answer = one.client.post("/v1/predictions", json=body, headers=ann)
    assert answer.status_code == 422
    assert "is not a picture" in answer.json()["detail"]


def test_a_file_that_goes_while_it_is_asked_for_is_gone(
    one: Front, ann: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = upload(one, ann)

    async def removed_meanwhile(name: str) -> bool:
        one.services.files.remove(name)
        return False

    monkeypatch.setattr(one.services.store.tokens, "is_owner_gone", removed_meanwhile)
    assert one.client.get(sent["urls"]["download"]).status_code == 404


def test_a_removed_file_is_gone(one: Front, ann: dict[str, str]) -> None:
    document = upload(one, ann)
    answer = one.client.delete(document["urls"]["get"], headers=ann)
    assert (answer.status_code, answer.content) == (204, b"")
    for url in document["urls"].values():
        assert one.client.get(url, headers=ann).status_code == 404
    assert one.client.delete(document["urls"]["get"], headers=ann).status_code == 404
    ids = [item["id"] for item in one.client.get("/v1/files", headers=ann).json()["results"]]
    assert document["id"] not in ids
    folder = one.services.settings.data / "uploads"
    assert document["id"] not in {path.name for path in folder.iterdir()}


def ids(page: dict[str, Any]) -> list[str]:
    return [file["id"] for file in page["results"]]


def test_files_are_listed_in_pages(
    one: Front, ann: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = one.token("who has many")
    made = [upload(one, token)["id"] for _ in range(3)]
    upload(one, ann)
    monkeypatch.setattr(pages, "PAGE_ROWS", 2)
    first = one.client.get("/v1/files", headers=token).json()
    assert (ids(first), first["previous"]) == ([made[2], made[1]], None)
    assert first["next"].startswith(f"{one.url}/v1/files?cursor=")
    second = one.client.get(first["next"], headers=token).json()
    assert (ids(second), second["next"]) == ([made[0]], None)
    back = one.client.get(second["previous"], headers=token).json()
    assert (ids(back), back["next"], back["previous"]) == (ids(first), first["next"], None)
    assert one.client.get("/v1/files?cursor=abc", headers=token).status_code == 422


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", 'a"b', "ä" * 300, "a\r\nX-Evil: 1", "", "con", "\u202egnp"]
)
def test_the_name_of_a_file_does_no_harm(one: Front, ann: dict[str, str], name: str) -> None:
    document = upload(one, ann, filename=name)
    assert len(document["name"]) <= 255
    answer = one.client.get(document["urls"]["download"])
    assert answer.status_code == 200
    assert "x-evil" not in answer.headers
    path = Path(urlsplit(document["urls"]["download"]).path)
    assert path.name == document["id"]


@pytest.mark.parametrize("metadata", ["[]", "text", "{", "[" * 10_000, '{"a": NaN}', "1"])
def test_metadata_is_an_object(one: Front, ann: dict[str, str], metadata: str) -> None:
    files = {"content": ("a", b"data", "a/b")}
    answer = one.client.post("/v1/files", files=files, data={"metadata": metadata}, headers=ann)
    assert answer.status_code == 422
    assert json.loads(answer.text)["invalid_fields"][0]["field"] == "metadata"


def test_a_file_must_be_sent(one: Front, ann: dict[str, str]) -> None:
    answer = one.client.post("/v1/files", data={"metadata": "{}"}, headers=ann)
    assert answer.status_code == 422
    assert answer.json()["invalid_fields"][0]["field"] == "content"


def test_uploads_that_race_are_kept_as_far_as_there_is_room(
    cog: CogServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, all_write = Files.write, threading.Barrier(4)

    def write_together(files: Files, name: str, data: bytes) -> None:
        all_write.wait(30)  # each has found room by now
        write(files, name, data)

    with front(tmp_path, cog, kept_megabytes=1) as one, ThreadPoolExecutor(4) as threads:

        def send(size: int) -> httpx2.Response:
            return one.client.post("/v1/files", files={"content": ("a", b"x" * size, "a/b")})

        with monkeypatch.context() as patched:
            patched.setattr(Files, "write", write_together)
            answers = list(threads.map(send, [300 * 1024] * 4))
        assert sorted(answer.status_code for answer in answers) == [201, 201, 201, 413]
        kept = {answer.json()["id"] for answer in answers if answer.status_code == 201}
        assert {path.name for path in (tmp_path / "uploads").iterdir()} == kept
        assert {item["id"] for item in one.client.get("/v1/files").json()["results"]} == kept

        refused = send(200 * 1024)
        assert refused.status_code == 413
        assert refused.headers["content-type"] == "application/problem+json"
        assert "have 0.9 MiB, what you send has 0.2 MiB" in refused.json()["detail"]
        one.client.delete(f"/v1/files/{kept.pop()}")
        assert send(200 * 1024).status_code == 201


def test_an_upload_that_the_database_does_not_take_leaves_no_file(
    cog: CogServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any) -> None:
        raise Unavailable("database or disk is full")

    with front(tmp_path, cog) as one:
        monkeypatch.setattr(one.services.store.uploads, "add", full)
        answer = one.client.post("/v1/files", files={"content": ("a", b"data", "a/b")})
        assert answer.status_code == 503
        assert list((tmp_path / "uploads").iterdir()) == []


def test_a_files_content_can_be_asked_for_by_its_id(
    one: Front, ann: dict[str, str], bob: dict[str, str]
) -> None:
    path = f"/v1/files/{upload(one, ann)['id']}/download?owner=ann&expiry=1&signature=a"
    assert one.client.get(path, headers=ann, follow_redirects=True).content == PAGE
    assert one.client.get(path, headers=bob, follow_redirects=True).status_code == 404
