"""Content Credentials: valid by the library's reader, and all else of a file as it was."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import c2pa
import pytest
from cryptography.x509 import ObjectIdentifier
from cryptography.x509.oid import ExtendedKeyUsageOID
from PIL import Image

from cog_schema.schema import ROOT
from commands.inspect import what_it_carries
from stable_diffusion import certificates, content_credentials, images
from stable_diffusion.catalogue import SetupError
from stable_diffusion.content_credentials import Signer, signer_of
from tests.support.pictures import picture_of

FORMATS = ("png", "jpg", "webp")
MANIFEST: dict[str, Any] = {
    "claim_generator_info": [content_credentials.SOFTWARE],
    "assertions": [
        {
            "label": "c2pa.actions.v2",
            "data": {
                "actions": [
                    {
                        "action": "c2pa.created",
                        "digitalSourceType": content_credentials.SOURCE_TYPES
                        + content_credentials.GENERATED,
                    }
                ]
            },
        }
    ],
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def saved(path: Path, signer: Signer | None = None) -> bytes:
    def sign(file: bytes) -> bytes:
        assert signer
        return signer.sign(file, path.suffix[1:], MANIFEST)

    made = {"prompt": "a fox", "seed": 7}
    text = "a fox\nSteps: 9, Seed: 7"
    images.save(picture_of(), path, path.suffix[1:], 90, made, text, sign if signer else None)
    return path.read_bytes()


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_signed_file_is_valid_and_has_the_pixels_and_the_metadata_of_the_unsigned(
    file_format: str, tmp_path: Path
) -> None:
    signed, plain = tmp_path / f"signed.{file_format}", tmp_path / f"plain.{file_format}"
    saved(signed, signer_of({"C2PA": "on"}))
    saved(plain)
    with c2pa.Reader(signed) as reader:
        assert reader.get_validation_state() == "Valid"
        (status,) = json.loads(reader.json())["validation_status"]
    assert status["code"] == "signingCredential.untrusted"
    for read in (images.read_metadata, images.read_infotext):
        assert read(signed) == read(plain)
    with Image.open(signed) as one, Image.open(plain) as other:
        assert one.tobytes() == other.tobytes()
        assert one.info.get("icc_profile") == other.info.get("icc_profile")
        assert one.info.get("exif") == other.info.get("exif")


@pytest.mark.parametrize("file_format", FORMATS)
def test_changed_pixels_are_found(file_format: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{file_format}"
    file = bytearray(saved(path, signer_of({"C2PA": "on"})))
    pixels = {"png": b"IDAT", "jpg": b"\xff\xda", "webp": b"VP8 "}[file_format]
    file[file.rindex(pixels) + 40] ^= 1
    found = content_credentials.read(bytes(file))
    assert found
    assert found["state"] == "invalid"
    assert any("Hashes do not match" in fault for fault in found["faults"])


def test_what_a_file_carries_says_whether_its_credentials_are_valid(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    saved(path)
    assert what_it_carries(path)["content_credentials"] is None
    saved(path, signer_of({"C2PA": "on"}))
    carried = what_it_carries(path)
    assert carried["content_credentials"] == {
        "state": "valid",
        "signed_by": certificates.ORGANIZATION,
        "software": "stable-diffusion",
        "faults": [],
    }
    assert carried["made_from"] == {"prompt": "a fox", "seed": 7}
    command = [sys.executable, "-m", "commands.inspect", str(tmp_path / "b.png")]
    saved(tmp_path / "b.png", signer_of({"C2PA": "on"}))
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"Content Credentials: valid, signed by {certificates.ORGANIZATION}" in said.stdout


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_a_file_of_any_format_that_is_taken_may_have_none(kind: str) -> None:
    file = io.BytesIO()
    picture_of().save(file, kind)
    assert content_credentials.read(file.getvalue()) is None


def test_without_the_library_a_file_is_read_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, "c2pa", None)
    assert "content_credentials" not in what_it_carries(tmp_path / "a.png")
    with pytest.raises(SetupError, match=r"not installed; run: .*requirements-c2pa\.txt"):
        signer_of({"C2PA": "on"})


@pytest.mark.parametrize("setting", [{}, {"C2PA": ""}, {"C2PA": "off"}])
def test_it_is_off_by_default(setting: dict[str, str]) -> None:
    assert signer_of(setting) is None


def test_another_value_is_refused() -> None:
    with pytest.raises(SetupError, match="C2PA is 'yes'; give on or off"):
        signer_of({"C2PA": "yes"})


def test_the_operators_certificate_signs(tmp_path: Path) -> None:
    made = certificates.find({})
    environment = own(tmp_path, made.chain, made.key)
    (tmp_path / "cache/c2pa/self-signed.pem").unlink()
    saved(tmp_path / "a.png", signer_of(environment))
    assert not (tmp_path / "cache/c2pa/self-signed.pem").exists()
    found = content_credentials.read((tmp_path / "a.png").read_bytes())
    assert found
    assert found["state"] == "valid"


def own(folder: Path, chain: bytes, key: bytes) -> dict[str, str]:
    (folder / "chain.pem").write_bytes(chain)
    (folder / "key.pem").write_bytes(key)
    paths = {"C2PA_CERTIFICATE": f"{folder}/chain.pem", "C2PA_KEY": f"{folder}/key.pem"}
    return {"C2PA": "on", **paths}


def test_a_key_of_another_certificate_and_one_that_may_not_sign_are_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = certificates.find({})
    monkeypatch.setenv("CACHE_DIR", str(tmp_path / "other"))
    other = certificates.find({})
    with pytest.raises(SetupError, match="can't sign pictures: "):
        signer_of(own(tmp_path, made.chain, other.key))
    monkeypatch.setenv("CACHE_DIR", str(tmp_path / "third"))
    usage = ObjectIdentifier("1.3.6.1.5.5.7.3.1")  # of a web server
    monkeypatch.setattr(ExtendedKeyUsageOID, "EMAIL_PROTECTION", usage)
    server = certificates.find({})
    with pytest.raises(SetupError, match="can't sign pictures: .*for signing documents"):
        signer_of(own(tmp_path, server.chain, server.key))
