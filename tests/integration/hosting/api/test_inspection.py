"""`/v1/inspect`: what a picture carries, whoever made it and whatever it is."""

from __future__ import annotations

import io
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from PIL import Image, PngImagePlugin

import infotext
from hosting.backends import child
from stable_diffusion import content_credentials, images, watermark
from tests.support.front import Front, front
from tests.support.pictures import EXAMPLES
from tools.attacks import pictures
from tools.fake_cog import CogServer, data_url

URL = "/v1/inspect"
SOURCES = content_credentials.SOURCE_TYPES
MADE: dict[str, Any] = {"prompt": "a fox, »ü«", "seed": 7, "num_inference_steps": 25}
MARKS = {"StableDiffusionV1": watermark.MARK, "SDV2": watermark.MARK_2}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with CogServer().served() as cog, front(tmp_path_factory.mktemp("front"), cog) as one:
        one.client.headers.update(one.token("ann"))
        yield one


def file_of(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def ours(folder: Path, mark: bytes, ending: str) -> bytes:
    """A file that the engine would make."""
    picture = Image.open(EXAMPLES / "cat.png").convert("RGB").resize((320, 264))
    text = infotext.write({**MADE, "guidance_scale": 7.5}, picture.size, 7, "demo")
    path = folder / f"made.{ending}"
    images.save(watermark.lay(picture, mark=mark), path, ending, 90, MADE, text)
    return path.read_bytes()


def said(answer: httpx2.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    named = {"watermark", "made_from", "parameters", "fields", "loras", "content_credentials"}
    assert document.keys() == named
    return document


def refused(one: Front, data: bytes) -> str:
    """The sentence by which a file is refused."""
    answer = one.client.post(URL, files={"image": data})
    assert answer.status_code == 422, answer.text
    [fault] = answer.json()["invalid_fields"]
    assert fault["field"] == "image"
    sentence: str = fault["description"]
    return sentence


@pytest.mark.parametrize("known_as", MARKS)
@pytest.mark.parametrize("ending", ["png", "webp", "jpg"])
def test_a_picture_of_ours_says_what_it_was_made_from(
    known_as: str, ending: str, one: Front, tmp_path: Path
) -> None:
    carried = said(one.client.post(URL, files={"image": ours(tmp_path, MARKS[known_as], ending)}))
    if ending == "png":  # the loss of the others wipes it out
        assert carried["watermark"] == known_as
    assert carried["made_from"] == MADE
    assert carried["parameters"].startswith("a fox, »ü«\nSteps: 25, CFG scale: 7.5, Seed: 7, ")
    assert carried["fields"]["Prompt"] == "a fox, »ü«"
    assert (carried["fields"]["Size-1"], carried["fields"]["Size-2"]) == ("320", "264")


def test_a_picture_comes_as_a_form_a_url_or_by_itself(one: Front, tmp_path: Path) -> None:
    data = ours(tmp_path, watermark.MARK_2, "png")
    kept = one.client.post("/v1/files", files={"content": data}).json()
    link = kept["urls"]["download"]
    answers = [
        one.client.post(URL, files={"image": ("a.png", data, "image/png")}),
        *(
            one.client.post(URL, json={"image": url})
            for url in (data_url(data), kept["urls"]["get"], link)
        ),
        one.client.post(URL, content=data),
    ]
    carried = [said(answer) for answer in answers]
    assert all(each == carried[0] for each in carried)
    assert carried[0]["watermark"] == "SDV2"


def test_a_picture_of_others_carries_what_its_maker_wrote(one: Front) -> None:
    plain = file_of(Image.new("RGB", (300, 300)), "JPEG")
    nothing: dict[str, Any] = {
        "watermark": None,
        "made_from": None,
        "parameters": None,
        "fields": {},
        "loras": [],
        "content_credentials": None,
    }
    assert said(one.client.post(URL, content=plain)) == nothing
    written = PngImagePlugin.PngInfo()
    written.add_text("parameters", "dog <lora:ink:0.7>\nSteps: 9, Sampler: Euler, Seed: 1")
    for odd in ("[1]", "{", '{"a": NaN}', '{"a": "\\ud800"}', '{"a": 1e999}', "[" * 100_000):
        written.add_text("Description", odd)
        theirs = file_of(Image.new("RGB", (8, 8)), pnginfo=written)
        carried = said(one.client.post(URL, content=theirs))
        assert carried["made_from"] is None
        assert carried["fields"]["Sampler"] == "Euler"
        assert carried["loras"] == ["ink:0.7"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("PNG: (60000, 60000) pixels", "60000 × 60000 pixels (3600.0 megapixels) is too large"),
        ("PNG: fewer pixels than it says", "its file ends too early"),
        ("JPEG: 300 scans of a camera's", "more than 100 scans"),
        ("WebP: a canvas of 16384 × 16384 pixels", "is too large"),
        ("other: HEIC", "is HEIC"),
        ("other: text", "is not a picture"),
    ],
)
def test_a_hostile_file_is_refused_by_what_is_wrong_with_it(
    name: str, says: str, one: Front
) -> None:
    assert says in refused(one, pictures.hostile(name))


@pytest.mark.parametrize(
    ("number", "status", "says"),
    [
        (signal.SIGXCPU, 422, "takes too long to read"),
        (signal.SIGALRM, 422, "takes too long to read"),
        (signal.SIGSEGV, 422, "its file is damaged"),
        (signal.SIGKILL, 503, "try again"),
    ],
)
def test_whatever_ends_its_process_is_answered(
    number: signal.Signals,
    status: int,
    says: str,
    one: Front,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nkill -{number.value} $$\n")
    program.chmod(0o700)
    monkeypatch.setattr(child, "sys", SimpleNamespace(executable=str(program)))
    answer = one.client.post(URL, files={"image": file_of(Image.new("RGB", (8, 8)))})
    assert answer.status_code == status
    assert says in answer.json()["detail"]


def test_what_takes_as_much_as_it_may_is_read(one: Front) -> None:
    most = pictures.hostile("PNG: as many pixels as may be")
    assert said(one.client.post(URL, content=most))["watermark"] is None


@pytest.mark.parametrize("body", [{}, {"image": 7}, {"image": None}])
def test_without_a_picture_it_is_refused(body: dict[str, Any], one: Front) -> None:
    answer = one.client.post(URL, json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"] == "- image: Send a picture's file, its URL or data URL"
    assert one.client.post(URL, content=b"no JSON").status_code == 400
    half = one.client.post(URL, content=b'{"image": "data:,\\ud800"}')
    assert half.json()["detail"] == "- image: The data URL has half a character"
    inner = one.client.post(URL, json={"image": "http://127.0.0.1:9/a.png"})
    assert inner.status_code == 422


def test_it_needs_a_token_and_has_the_limits_of_all_requests(
    tmp_path: Path,
) -> None:
    with (
        CogServer().served() as cog,
        front(tmp_path, cog, requests_per_minute=6, image_megabytes=1) as one,
    ):
        token = one.token("ann")
        tiny = file_of(Image.new("RGB", (8, 8)))
        assert one.client.post(URL, content=tiny).status_code == 401
        large = one.client.post(URL, content=tiny + bytes(2**20), headers=token)
        assert large.json()["detail"] == "- image: The file has more than 1 MiB"
        assert one.client.post(URL, content=tiny, headers=token).status_code == 429


def test_a_signed_picture_says_whether_it_was_changed_since(
    one: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHE_DIR", str(tmp_path))
    signer = content_credentials.Signer({})
    created = {"action": "c2pa.created", "digitalSourceType": f"{SOURCES}trainedAlgorithmicMedia"}
    manifest = {
        "claim_generator_info": [content_credentials.SOFTWARE],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}],
    }
    signed = signer.sign(ours(tmp_path, watermark.MARK_2, "jpg"), "jpg", manifest)
    found = said(one.client.post(URL, content=signed))["content_credentials"]
    assert (found["state"], found["faults"]) == ("valid", [])
    assert found["software"] == "stable-diffusion"
    changed = signed.replace(b"a fox", b"a dog")
    found = said(one.client.post(URL, content=changed))["content_credentials"]
    assert found["state"] == "invalid"
    assert found["faults"]
