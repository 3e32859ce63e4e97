"""Pictures of several predictions in one zip file."""

from __future__ import annotations

import io
import unicodedata
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from hosting.api import archives
from hosting.api.form import gallery
from hosting.storage.tables import Token
from tests.support.front import Front, front, prediction
from tools.fake_cog import CogServer, pixels

MODEL = "stability-ai/stable-diffusion-img2img"


def drawn(one: Front, prompt: str, **inputs: Any) -> str:
    """A prediction that is over; its id."""
    asked = {"input": {"prompt": prompt, "seed": 7, **inputs}}
    path = f"/v1/models/{MODEL}/predictions"
    answer = one.client.post(path, json=asked, headers={"prefer": "wait"})
    return str(answer.json()["id"])


def zipped(one: Front, *ids: str) -> dict[str, bytes]:
    """The files of the archive of some predictions."""
    answer = one.client.get(f"/form/zip?ids={','.join(ids)}")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_names_tell_what_it_is_and_are_there_once(one: Front) -> None:
    ids = [drawn(one, "A red fox, sitting"), drawn(one, "a red fox – sitting!", num_outputs=2)]
    assert zipped(one, *ids, ids[0]) == {
        "a-red-fox-sitting-seed-7.png": pixels("A red fox, sitting", 7),
        "a-red-fox-sitting-seed-7-2.png": pixels("a red fox – sitting!", 7, 0),
        "a-red-fox-sitting-seed-8.png": pixels("a red fox – sitting!", 7, 1),
    }


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("", "picture-seed-7.png"),
        ("../../etc/passwd", "etc-passwd-seed-7.png"),
        ("Ein Füchslein & 狐", "ein-füchslein-狐-seed-7.png"),
        ("हिन्दी", "हिन्दी-seed-7.png"),
        ("word " * 99, f"{'word-' * 11}word-seed-7.png"),
    ],
)
def test_a_prompt_becomes_a_name(one: Front, prompt: str, name: str) -> None:
    assert list(zipped(one, drawn(one, prompt))) == [name]


def test_of_a_long_prompt_only_the_beginning_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []

    class Counted:
        category = unicodedata.category

        @staticmethod
        def normalize(form: Literal["NFC"], text: str) -> str:
            looked_at.append(text)
            return unicodedata.normalize(form, text)

    token = Token(id="ann", name="ann", webhook_secret="")
    long = replace(prediction(token, "fox " * 2**18), output=["out-0.png", "out-1.png"])
    monkeypatch.setattr(archives, "unicodedata", Counted)
    assert len(archives.pictures_of(long)) == 2
    assert max(map(len, looked_at)) < 1000


def test_a_picture_that_is_gone_is_left_out(one: Front) -> None:
    there, gone = drawn(one, "there"), drawn(one, "gone")
    (one.services.settings.data / "predictions" / gone / "out-0.png").unlink()
    assert list(zipped(one, there, gone)) == ["there-seed-7.png"]
    assert one.client.get(f"/form/zip?ids={gone}").status_code == 404


def test_too_many_and_too_large_are_refused(one: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [drawn(one, "a"), drawn(one, "b")]
    monkeypatch.setattr(gallery, "MOST_PREDICTIONS", 1)
    answer = one.client.get(f"/form/zip?ids={','.join(ids)}")
    assert (answer.status_code, answer.json()["detail"]) == (
        413, "Ask for 1 predictions at most, not 2",
    )  # fmt: skip
    monkeypatch.undo()
    monkeypatch.setattr(archives, "LARGEST_BYTES", 10)
    answer = one.client.get(f"/form/zip?ids={','.join(ids)}")
    assert answer.status_code == 413
    assert "ask for fewer" in answer.json()["detail"]


def test_what_failed_has_no_pictures(one: Front, cog: CogServer) -> None:
    assert one.client.get(f"/form/zip?ids={drawn(one, 'bad')}").status_code == 404


def test_others_pictures_are_not_had(cog: CogServer, tmp_path: Path) -> None:
    with front(tmp_path, cog) as one:
        ids = drawn(one, "mine")
        ann = one.token("ann")
        assert one.client.get(f"/form/zip?ids={ids}").status_code == 401
        answer = one.client.get(f"/form/zip?ids={ids}", headers=ann)
        assert answer.status_code == 404
        assert answer.json()["detail"] == f"There is no prediction {ids}"
