"""Links to predictions: whom they show what, and until when."""

from __future__ import annotations

import io
import json
import re
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hosting.storage.shares import MOST_SHARES
from tests.support.front import Front, front
from tests.support.pictures import EXAMPLES
from tools.fake_cog import CogServer, data_url, pixels

MODEL = "stability-ai/stable-diffusion-img2img"
HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
JSON = {"accept": "application/json"}
GONE = "This link has expired or was revoked, or its pictures were deleted"


def drawn(one: Front, headers: dict[str, str] | None = None, **inputs: Any) -> dict[str, Any]:
    """A prediction that is over."""
    asked = {"input": {"prompt": "fox", "seed": 7, **inputs}}
    headers = {"prefer": "wait", **(headers or {})}
    answer = one.client.post(f"/v1/models/{MODEL}/predictions", json=asked, headers=headers)
    document: dict[str, Any] = answer.json()
    assert document["status"] == "succeeded"
    return document


def shared(one: Front, prediction_id: str, seconds: int | None = None) -> dict[str, Any]:
    """A new link to a prediction."""
    body = {"expires_in": seconds}
    answer = one.client.post(f"/v1/predictions/{prediction_id}/shares", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def seen(one: Front, url: str) -> dict[str, Any]:
    """What a link shows."""
    answer = one.client.get(url, headers=JSON)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def test_a_link_shows_the_prediction_its_settings_and_its_files(one: Front) -> None:
    cat = (EXAMPLES / "cat.png").read_bytes()
    made = drawn(one, image=data_url(cat), num_outputs=2)
    link = shared(one, made["id"], 3600)
    document = seen(one, link["url"])
    assert (document["model"], document["task"]) == (MODEL, "img2img")
    assert document["settings"]["prompt"] == document["input"]["prompt"] == "fox"
    assert document["settings"]["num_images"] == 2
    assert document["expires_at"] == link["expires_at"]
    assert document["urls"] == {"web": link["url"]}
    pictures = [one.client.get(url).content for url in document["output"]]
    assert pictures == [pixels("fox", 7, 0), pixels("fox", 7, 1)]
    assert one.client.get(document["settings"]["image"]).content == cat


def test_no_link_in_it_leads_elsewhere(one: Front) -> None:
    other = drawn(one)["output"][0]
    made = drawn(one, image=data_url(pixels("owl", 1)), negative_prompt="a", elsewhere=other)
    link = shared(one, made["id"])
    text = json.dumps(seen(one, link["url"]))
    urls = re.findall(r'https?://[^"]+', text)
    assert urls
    assert all(url == link["url"] or url.startswith(f"{link['url']}/files/") for url in urls)
    assert made["id"] not in text


def test_of_an_image_that_came_by_a_link_it_shows_the_copy_alone(one: Front) -> None:
    first = drawn(one)["output"][0]
    made = drawn(one, image=first)
    link = shared(one, made["id"])
    document = seen(one, link["url"])
    assert "signature=" not in json.dumps(document)
    assert one.client.get(document["settings"]["image"]).content == pixels("fox", 7)
    assert document["input"]["image"] == document["settings"]["image"]


def test_a_seed_that_nobody_chose_is_no_input(one: Front) -> None:
    asked = {"input": {"prompt": "fox"}}
    path = f"/v1/models/{MODEL}/predictions"
    made = one.client.post(path, json=asked, headers={"prefer": "wait"}).json()
    document = seen(one, shared(one, made["id"])["url"])
    assert "seed" not in document["input"]
    assert "seed" in document["settings"]
    chosen = seen(one, shared(one, drawn(one)["id"])["url"])
    assert chosen["input"]["seed"] == 7


def test_other_files_are_not_had_by_it(one: Front) -> None:
    link = shared(one, drawn(one)["id"])
    other = drawn(one, num_outputs=2)["id"]
    for name in ("out-1.png", "in-image", f"..%2f{other}%2fout-0.png", "%2e%2e", ".out-0.png.part"):
        answer = one.client.get(f"{link['url']}/files/{name}")
        assert answer.status_code == 404, name


def test_what_a_client_sent_runs_nowhere(one: Front) -> None:
    link = shared(one, drawn(one, image=data_url(pixels("owl", 1)))["id"])
    image = one.client.get(seen(one, link["url"])["settings"]["image"])
    assert image.headers["content-type"] == "application/octet-stream"
    assert image.headers["content-disposition"].startswith("attachment")
    assert image.headers["content-security-policy"].startswith("sandbox")


def ways(one: Front, url: str) -> list[int]:
    """The statuses that a link's page, document, picture and archive are answered with."""
    asked = [(url, HTML), (url, JSON), (f"{url}/files/out-0.png", {}), (f"{url}/zip", {})]
    return [one.client.get(path, headers=headers).status_code for path, headers in asked]


def test_what_is_revoked_is_gone_at_once_and_the_files_too(one: Front) -> None:
    made = drawn(one)["id"]
    link, kept = shared(one, made), shared(one, made)
    assert ways(one, link["url"]) == [200] * 4
    picture = one.client.get(f"{link['url']}/files/out-0.png")
    assert picture.headers["cache-control"] == "no-store"
    assert one.client.delete(f"/v1/shares/{link['id']}").status_code == 204
    assert ways(one, link["url"]) == [404] * 4
    assert ways(one, kept["url"]) == [200] * 4
    assert one.client.get(link["url"], headers=JSON).json()["detail"] == GONE
    assert one.client.delete(f"/v1/shares/{link['id']}").status_code == 404


def test_it_goes_with_its_prediction(one: Front) -> None:
    made, kept = drawn(one)["id"], shared(one, drawn(one)["id"])
    link = shared(one, made)
    assert one.client.delete(f"/v1/predictions/{made}").status_code == 204
    assert ways(one, link["url"]) == [404] * 4
    assert ways(one, kept["url"]) == [200] * 4


def test_a_picture_that_is_gone_is_said_to_be(one: Front) -> None:
    made = drawn(one)
    (picture,) = seen(one, shared(one, made["id"])["url"])["output"]
    one.services.files.remove(f"predictions/{made['id']}")
    answer = one.client.get(picture)
    assert (answer.status_code, answer.json()["detail"]) == (404, GONE)
    assert "noindex" in answer.headers["x-robots-tag"]


def test_what_has_expired_is_gone(one: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    made = drawn(one)["id"]
    link, endless = shared(one, made, 3600), shared(one, made)
    later = time.time() + 3601
    monkeypatch.setattr(time, "time", lambda: later)
    assert ways(one, link["url"]) == [404] * 4
    assert ways(one, endless["url"]) == [200] * 4
    assert endless["expires_at"] is None
    listed = one.client.get(f"/v1/predictions/{made}/shares").json()["results"]
    assert [share["id"] for share in listed] == [endless["id"]]


def test_only_so_many_are_open_at_a_time(one: Front) -> None:
    path = f"/v1/predictions/{drawn(one)['id']}/shares"
    for _ in range(MOST_SHARES):
        assert one.client.post(path, json={}).status_code == 201
    refused = one.client.post(path, json={})
    assert refused.status_code == 409
    assert "revoke one" in refused.json()["detail"]


@pytest.mark.parametrize("seconds", [0, -1, 10**9, 1.5, "soon"])
def test_a_time_that_makes_no_sense_is_named(one: Front, seconds: Any) -> None:
    path = f"/v1/predictions/{drawn(one)['id']}/shares"
    answer = one.client.post(path, json={"expires_in": seconds})
    assert answer.status_code == 422
    assert answer.json()["invalid_fields"][0]["field"] == "expires_in"


def test_chats_get_a_title_and_a_picture_and_robots_are_turned_away(one: Front) -> None:
    link = shared(one, drawn(one, prompt='a "fox" & <script>alert(1)</script>')["id"])
    answer = one.client.get(link["url"], headers={"accept": "*/*", "user-agent": "Slackbot"})
    page = answer.text
    title = "a &quot;fox&quot; &amp; &lt;script&gt;alert(1)&lt;/script&gt;"
    assert f"<title>{title}</title>" in page
    assert page.count("<title>") == 1
    assert f'<meta property="og:title" content="{title}">' in page
    assert f'<meta property="og:url" content="{link["url"]}">' in page
    assert f'<meta property="og:description" content="1 picture by {MODEL}">' in page
    assert "alert(1)</script>" not in page
    assert '<meta name="robots" content="noindex' in page
    assert answer.headers["x-robots-tag"].startswith("noindex")
    assert answer.headers["vary"] == "accept, Accept-Encoding"
    (picture,) = re.findall(r'<meta property="og:image" content="([^"]+)">', page)
    image = one.client.get(picture)
    assert image.headers["content-type"] == "image/png"
    assert image.headers["x-robots-tag"].startswith("noindex")


def test_a_long_prompt_is_a_short_title(one: Front) -> None:
    link = shared(one, drawn(one, prompt="fox\n " * 99)["id"])
    (title,) = re.findall(r"<title>(.*)</title>", one.client.get(link["url"], headers=HTML).text)
    assert title == f"{'fox ' * 24}fox…"


def test_a_link_that_is_gone_tells_chats_nothing(one: Front) -> None:
    page = one.client.get("/s/none", headers=HTML)
    assert page.status_code == 404
    assert "og:" not in page.text
    assert "modulepreload" in page.text


def test_its_pictures_come_as_a_zip_file(one: Front) -> None:
    link = shared(one, drawn(one, prompt="Red fox!", num_outputs=2)["id"])
    answer = one.client.get(f"{link['url']}/zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["red-fox-seed-7.png", "red-fox-seed-8.png"]


def test_one_that_still_waits_is_shown_as_it_is(one: Front, cog: CogServer) -> None:
    cog.tell("held fox", "hold")
    asked = {"input": {"prompt": "held fox"}}
    made = one.client.post(f"/v1/models/{MODEL}/predictions", json=asked).json()
    link = shared(one, made["id"])
    assert seen(one, link["url"])["output"] is None
    assert "og:image" not in one.client.get(link["url"], headers=HTML).text
    assert one.client.get(f"{link['url']}/zip").status_code == 404
    cog.let_go("held fox")


@pytest.fixture
def guarded(cog: CogServer, tmp_path: Path) -> Iterator[Front]:
    """A front of its own: once it has a token, nobody else is let in."""
    with front(tmp_path, cog) as one:
        yield one


def test_others_predictions_are_neither_shared_nor_listed_nor_revoked(guarded: Front) -> None:
    one = guarded
    ann, bob = one.token("ann"), one.token("bob")
    made = drawn(one, ann)["id"]
    path = f"/v1/predictions/{made}/shares"
    link = one.client.post(path, json={}, headers=ann).json()
    assert one.client.post(path, json={}, headers=bob).status_code == 404
    assert one.client.get(path, headers=bob).status_code == 404
    assert one.client.delete(f"/v1/shares/{link['id']}", headers=bob).status_code == 404
    for method, url in (("POST", path), ("GET", path), ("DELETE", f"/v1/shares/{link['id']}")):
        assert one.client.request(method, url).status_code == 401
    assert ways(one, link["url"]) == [200] * 4
