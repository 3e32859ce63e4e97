"""The certificate that signs: made once and kept, or the operator's, read or refused in words."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from stable_diffusion import certificates
from stable_diffusion.catalogue import SetupError

PLAIN = NoEncryption()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def own(folder: Path) -> dict[str, str]:
    """An environment that names a certificate and its key in files."""
    made = certificates.find({})
    for name, data in (("chain.pem", made.chain), ("key.pem", made.key)):
        (folder / name).write_bytes(data)
    return {"C2PA_CERTIFICATE": f"{folder}/chain.pem", "C2PA_KEY": f"{folder}/key.pem"}


def refusal(environment: Mapping[str, str]) -> str:
    with pytest.raises(SetupError) as caught:
        certificates.find(environment)
    return str(caught.value)


def test_a_self_signed_one_is_made_once_and_kept_for_this_account_alone(cache: Path) -> None:
    first = certificates.find({})
    (file,) = (cache / "c2pa").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert certificates.find({}) == first
    assert first.algorithm == "es256"
    names = [str(one.subject) for one in x509.load_pem_x509_certificates(first.chain)]
    assert len(names) == 2
    assert not any(os.uname().nodename in name for name in names)


def test_those_who_make_it_at_once_get_the_same() -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(certificates.find, [{}] * 8))
    assert len({one.key for one in found}) == 1


def test_one_that_ends_soon_is_made_anew() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificates, "VALID_DAYS", certificates.LEFT_DAYS)
        old = certificates.find({})
    assert certificates.find({}).key != old.key


def test_the_operators_own_is_read(tmp_path: Path) -> None:
    environment = own(tmp_path)
    found = certificates.find(environment)
    assert found.chain == (tmp_path / "chain.pem").read_bytes()


def test_one_without_the_other_or_a_missing_file_is_refused_in_words(tmp_path: Path) -> None:
    environment = own(tmp_path)
    chain, key = environment.values()
    assert "C2PA_CERTIFICATE is given without C2PA_KEY" in refusal({"C2PA_CERTIFICATE": chain})
    assert "C2PA_KEY is given without C2PA_CERTIFICATE" in refusal({"C2PA_KEY": key})
    said = refusal({**environment, "C2PA_KEY": f"{tmp_path}/none.pem"})
    assert said.startswith("C2PA_KEY is")
    assert "can't be read" in said
    said = refusal({"C2PA_CERTIFICATE": f"{tmp_path}/none.pem", "C2PA_KEY": key})
    assert said.startswith("C2PA_CERTIFICATE is")


def test_files_that_are_no_certificate_and_no_key_are_refused(tmp_path: Path) -> None:
    environment = own(tmp_path)
    (tmp_path / "text.pem").write_text("hello")
    text = f"{tmp_path}/text.pem"
    assert "has no certificates in PEM" in refusal({**environment, "C2PA_CERTIFICATE": text})
    assert "has no key in PEM" in refusal({**environment, "C2PA_KEY": text})


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP384R1()), "es384"),
        (ec.generate_private_key(ec.SECP521R1()), "es512"),
        (ed25519.Ed25519PrivateKey.generate(), "ed25519"),
        (rsa.generate_private_key(65537, 2048), "ps256"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_algorithm_is_that_of_the_key(
    key: ec.EllipticCurvePrivateKey, algorithm: str, tmp_path: Path
) -> None:
    environment = own(tmp_path)
    write(key, tmp_path / "key.pem")
    assert certificates.find(environment).algorithm == algorithm


def test_a_key_that_cannot_sign_or_has_a_password_is_refused(tmp_path: Path) -> None:
    environment = own(tmp_path)
    write(x25519.X25519PrivateKey.generate(), tmp_path / "key.pem")
    assert "give one of RSA, Ed25519" in refusal(environment)
    locked = BestAvailableEncryption(b"secret")
    write(ec.generate_private_key(ec.SECP256R1()), tmp_path / "key.pem", locked)
    assert "without a password" in refusal(environment)


def write(
    key: ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey,
    file: Path,
    encryption: KeySerializationEncryption = PLAIN,
) -> None:
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
